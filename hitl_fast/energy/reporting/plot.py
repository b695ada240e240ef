"""Watts over time with the windows shaded, through matplotlib."""

from __future__ import annotations

import os

from hitl_fast._common.errors import MissingExtraError
from hitl_fast._common.files import atomic_path

from .export import span
from .results import RunResults

MOST_LABELS = 40  # more windows than this are shaded, but not named


def plot(report: RunResults, path: str | os.PathLike[str]) -> None:
    """Write the plot; the file's ending says whether as PNG, SVG or PDF."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("plots need matplotlib: pip install 'hitl-fast[plots]'") from None
    # A Figure of its own: pyplot would choose a backend for the whole program.
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.add_subplot()
    names = dict.fromkeys(window.name for window in report.windows)
    shades = {name: f"C{i % 10}" for i, name in enumerate(names)}
    for window in report.windows:
        axes.axvspan(window.start, window.start + window.seconds, color=shades[window.name], alpha=0.15, lw=0)
        if len(report.windows) <= MOST_LABELS:
            axes.text(
                window.start, 1.0, window.name, transform=axes.get_xaxis_transform(),
                fontsize=7, rotation=90, va="top", ha="left", color=shades[window.name],
            )  # fmt: skip
    drawn = False
    for name in report.timeline.joules:
        points = report.timeline.watts(name, span(report, name))
        if points:
            axes.step(*zip(*points, strict=True), where="mid", label=report.domains[name].name, lw=1)
            drawn = True
    if drawn:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)
    else:
        reasons = "\n".join(str(domain) for domain in report.domains.values())
        axes.text(
            0.5, 0.5, f"nothing was measured\n{reasons}", transform=axes.transAxes, ha="center", fontsize=8
        )
    axes.set(
        xlabel="seconds since the start", ylabel="watts", title=f"Energy on {report.host}, {report.started}"
    )
    axes.set_ylim(bottom=0)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)

"""A report as a picture: where in the network the shift shows, and how the worst layers' histograms moved."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np

from hitl_fast._common.errors import MissingExtraError

from .results import PreIndexResults

WORST = 3
COLOURS = {"clean": "#4c72b0", "shifted": "#c44e52"}


def draw(report: PreIndexResults, path: str | os.PathLike[str]) -> None:
    """Write the picture of a report, whole or not at all."""
    try:
        from matplotlib.figure import Figure
    except ImportError as missing:
        raise MissingExtraError("plots need matplotlib: pip install 'hitl-fast[plots]'") from missing

    if not report.layers:
        _scores_alone(report, path)
        return
    names = list(report.layers)
    values = [report.layers[n].distances[report.measure_bins][report.measure] for n in names]
    worst = sorted(range(len(names)), key=lambda i: values[i], reverse=True)[:WORST]
    figure = Figure(figsize=(11, max(4.0, 1.6 + 0.22 * len(names))), layout="constrained")
    grid = figure.add_gridspec(len(worst), 2, width_ratios=(3, 2))
    axes = figure.add_subplot(grid[:, 0])
    axes.barh(
        range(len(names)),
        values,
        color=[COLOURS["shifted" if i in worst else "clean"] for i in range(len(names))],
    )
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(f"{report.measure.replace('_', ' ')}, {report.measure_bins} bins, mean over samples")
    shown = {"PreIndex": report.index, "p": report.distance, "inverse ARI": report.inverse_ari}
    axes.set_title(", ".join(f"{name} {value:.3f}" for name, value in shown.items() if value is not None))
    for place, i in enumerate(worst):
        panel = figure.add_subplot(grid[place, 1])
        for shares, label, colour in zip(
            report.layers[names[i]].histogram, ("clean", "shifted"), ("#4c72b0", "#c44e52"), strict=True
        ):
            edges = np.linspace(0, 1, len(shares) + 1)
            panel.stairs(shares, edges, label=label, color=colour)
        panel.set_title(names[i], fontsize=9)
        panel.set_yticks([])
        if place == 0:
            panel.legend(fontsize=8)
        if place == len(worst) - 1:
            panel.set_xlabel("each row's own minimum to maximum")
    _write(figure, path)


def _scores_alone(report: PreIndexResults, path: str | os.PathLike[str]) -> None:
    """The scores that there are, with their intervals, where there are no layers."""
    from matplotlib.figure import Figure

    names = ("effort_score", "inverse_ari", "probe_error", "accuracy_drop", "resque_angle", "class_mean_cka",
             "clean_probe_error", "confidence_drop")  # fmt: skip
    values = {name: getattr(report, name) for name in names if getattr(report, name) is not None}
    figure = Figure(figsize=(7, 1.6 + 0.3 * len(values)), layout="constrained")
    axes = figure.add_subplot()
    axes.barh(range(len(values)), list(values.values()), color=COLOURS["clean"])
    for place, name in enumerate(values):
        if name in (report.intervals or {}):
            axes.hlines(place, *(report.intervals or {})[name], color=COLOURS["shifted"])
    axes.set_yticks(range(len(values)), [name.replace("_", " ") for name in values], fontsize=8)
    axes.invert_yaxis()
    axes.set_title(f"{report.samples} shifted samples" + ("" if report.paired else ", no pairs"))
    _write(figure, path)


def _write(figure: Any, path: str | os.PathLike[str]) -> None:
    from hitl_fast._common.files import write_bytes

    picture = io.BytesIO()
    figure.savefig(picture, format=Path(path).suffix.lstrip(".") or "png", dpi=120)
    write_bytes(path, picture.getvalue())

"""A report as a picture: where in the network the shift shows, and how the worst layers' histograms moved."""

from __future__ import annotations

import io
import os
from pathlib import Path

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
    from hitl_fast._common.files import write_bytes

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
    axes.set_title(
        f"PreIndex {report.index:.3f} = p {report.distance:.3f}, inverse ARI {report.inverse_ari:.3f}"
    )
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
    picture = io.BytesIO()
    figure.savefig(picture, format=Path(path).suffix.lstrip(".") or "png", dpi=120)
    write_bytes(path, picture.getvalue())

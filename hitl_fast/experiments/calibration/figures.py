"""The figures of the calibration page."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .analysis import SCORES, Findings, column, effort_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hitl_fast._common.bootstrap import Interval

# Legible on white and on black.
COLOURS = ("#2f7fd0", "#d9730d", "#2a9d5c", "#b0529e", "#8f8420")
SCATTERED = ("effort_score", "index", "accuracy_drop", "probe_error")


def scatter(findings: Findings) -> Figure:
    """Effort against four scores, a colour for each architecture, censored runs hollow at the cap."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 7), layout="constrained")
    effort = effort_of(findings.rows)
    made_by = np.array([row["architecture"] for row in findings.rows])
    for place, name in enumerate(SCATTERED):
        axes = figure.add_subplot(2, 2, place + 1)
        x, y = column(findings.rows, name), 1 + effort.values
        for architecture, colour in zip(
            dict.fromkeys(made_by.tolist()), itertools.cycle(COLOURS), strict=False
        ):
            reached = (made_by == architecture) & ~effort.censored
            stopped = (made_by == architecture) & effort.censored
            axes.scatter(x[reached], y[reached], s=14, color=colour, label=architecture)
            axes.scatter(x[stopped], y[stopped], s=22, marker="^", facecolors="none", edgecolors=colour)
        axes.set_yscale("log")
        axes.set_xlabel(SCORES[name])
        axes.set_ylabel("1 + steps to the target")
        if place == 0:
            axes.legend(frameon=False)
    return figure


def ranking(findings: Findings) -> Figure:
    """Each score's Spearman correlation with effort, within a model and all together, with intervals."""
    from matplotlib.figure import Figure

    levels = ("within a model", "all together")
    order = sorted(findings.ranks, key=lambda name: findings.ranks[name][levels[0]]["spearman"].value)
    figure = Figure(figsize=(9, 0.36 * len(order) + 1.4), layout="constrained")
    axes = figure.add_subplot()
    for offset, (level, colour) in enumerate(zip(levels, COLOURS, strict=False)):
        found = [findings.ranks[name][level]["spearman"] for name in order]
        _dots(axes, found, np.arange(len(order)) - 0.15 + 0.3 * offset, level, colour)
    axes.set_yticks(range(len(order)), [SCORES[name] for name in order])
    axes.axvline(0, color="#888888", linewidth=0.8)
    axes.set_xlabel("Spearman correlation with steps to the target")
    axes.legend(frameon=False, loc="lower right")
    return figure


def samples(findings: Findings) -> Figure:
    """Against the number of samples: how far a score is from that of all, and how well it ranks."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.8), layout="constrained")
    for place, (what, label) in enumerate(
        (("error", "score less that of all samples"), ("spearman", "Spearman within a model"))
    ):
        axes = figure.add_subplot(1, 2, place + 1)
        for (name, by_count), colour in zip(findings.samples.items(), itertools.cycle(COLOURS), strict=False):
            counts = list(by_count)
            found = [by_count[n][what] for n in counts]
            axes.plot(
                counts, [i.value for i in found], marker="o", markersize=4, color=colour, label=SCORES[name]
            )
            axes.fill_between(
                counts, [i.low for i in found], [i.high for i in found], color=colour, alpha=0.15, linewidth=0
            )
        axes.set_xscale("log")
        axes.set_xticks(counts, [str(n) for n in counts])
        axes.minorticks_off()
        axes.set_xlabel("pairs of samples")
        axes.set_ylabel(label)
        if place == 0:
            axes.legend(frameon=False, fontsize="small")
    return figure


def _dots(axes: Axes, found: Sequence[Interval], places: np.ndarray, label: str, colour: str) -> None:
    middle = np.array([i.value for i in found])
    ends = np.array([[i.low for i in found], [i.high for i in found]])
    axes.hlines(places, ends[0], ends[1], color=colour, linewidth=1.4, alpha=0.6)
    axes.scatter(middle, places, s=18, color=colour, label=label)

"""The plots of the page, on a transparent ground and in colours that are legible on light and dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hitl_fast._common.bootstrap import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {
    "uniform": "#888888", "random_priority": "#b07aa1", "sampler": "#4e79d7", "loss": "#2f9e68",
    "sampler+loss": "#e0812b", "features": "#c9a227", "automatic": "#d1495b", "automatic_low": "#8d6e63",
    "class_balance": "#d1495b", "auto": "#d1495b", "cleanlab": "#d1495b",
}  # fmt: skip


def panels(names: Sequence[str], width: float = 4.6, height: float = 3.4) -> tuple[Figure, list[Axes]]:
    """A figure with one panel a task."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * len(names), height), layout="constrained")
    axes = [figure.add_subplot(1, len(names), i + 1) for i in range(len(names))]
    for axis, name in zip(axes, names, strict=True):
        axis.set_title(name)
        axis.grid(alpha=0.3)
    return figure, axes


def draw_curves(axis: Axes, curves: Mapping[str, np.ndarray], samples: np.ndarray, target: float) -> None:
    """Mean validation accuracy over seeds against samples seen."""
    for condition, accuracy in curves.items():
        axis.plot(samples, accuracy.mean(0), label=condition, color=COLOURS[condition], linewidth=1.6)
    axis.axhline(target, color="#888888", linestyle=":", linewidth=1)
    axis.set_xlabel("samples seen")
    axis.set_ylabel("validation accuracy")


def draw_savings(axis: Axes, savings: Mapping[str, Interval], what: str = "operations") -> None:
    """One line a condition: what is saved, with its interval."""
    for row, (condition, saved) in enumerate(savings.items()):
        colour = COLOURS.get(condition, "#4e79d7")
        axis.plot([100 * saved.low, 100 * saved.high], [row, row], color=colour, linewidth=2)
        axis.plot([100 * saved.value], [row], "o", color=colour)
    axis.axvline(0, color="#888888", linewidth=1)
    axis.set_yticks(range(len(savings)), list(savings))
    axis.invert_yaxis()
    axis.set_xlabel(f"{what} saved to the target, %")


def draw_sensitivity(axis: Axes, lines: Mapping[str, Mapping[float, Interval]], label: str) -> None:
    """Operations saved against one property of the raters, a line a condition."""
    places = sorted({x for line in lines.values() for x in line})
    for offset, (condition, line) in zip(
        np.linspace(-0.12, 0.12, max(len(lines), 1)), lines.items(), strict=False
    ):
        at = [places.index(x) + offset for x in line]
        values = 100 * np.array([[s.value, s.low, s.high] for s in line.values()])
        axis.plot(at, values[:, 0], "o-", label=condition, color=COLOURS[condition], linewidth=1.4)
        axis.vlines(at, values[:, 1], values[:, 2], color=COLOURS[condition], linewidth=1.4)
    axis.axhline(0, color="#888888", linewidth=1)
    axis.set_xticks(range(len(places)), [f"{x:g}" for x in places])
    axis.set_xlabel(label)
    axis.set_ylabel("operations saved, %")


def draw_break_even(
    axis: Axes, sizes: np.ndarray, lines: Mapping[str, np.ndarray], marks: Mapping[str, float]
) -> None:
    """Runs until the saving pays, against the size of the model, on logarithmic axes."""
    for (name, runs), style in zip(lines.items(), ("-", "--"), strict=False):
        axis.loglog(sizes, runs, style, label=name, color="#4e79d7" if style == "-" else "#e0812b")
    axis.axhline(1, color="#888888", linewidth=1)
    for name, size in marks.items():
        axis.axvline(size, color="#888888", linestyle=":", linewidth=1)
        axis.annotate(
            name,
            (size, 0.98),
            xycoords=("data", "axes fraction"),
            rotation=90,
            va="top",
            ha="right",
            fontsize=7,
        )
    axis.set_xlabel("operations a training sample")
    axis.set_ylabel("runs until the ratings are paid for")

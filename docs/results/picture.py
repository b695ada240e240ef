"""The README's picture: how well each score ranks retraining effort. Legible on light and dark pages."""

import html
import re
from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from hitl_fast._common.bootstrap import Interval

GREY, BLUE, ORANGE = "#7d8590", "#4c8dd6", "#e0812c"  # at least 3:1 on white and on #0d1117
DATA = re.compile(r"<dc:description>(.*?)</dc:description>", re.DOTALL)


def draw(scores: Mapping[str, Interval], data: str, path: Path) -> None:
    """Write an SVG that holds the numbers it shows as its description, so that a test can compare them."""
    settings = {"svg.hashsalt": "hitl_fast", "svg.fonttype": "path", "font.size": 10}
    colours = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    with mpl.rc_context(settings | dict.fromkeys(colours, GREY)):
        figure = Figure(figsize=(7.2, 2.6), layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        ordered = sorted(scores.items(), key=lambda entry: entry[1].value)
        for row, (name, value) in enumerate(ordered):
            colour = ORANGE if name.startswith("index") else BLUE
            axes.plot([value.low, value.high], [row, row], color=colour, linewidth=2)
            axes.plot([value.value], [row], "o", color=colour)
        axes.set_yticks(range(len(ordered)), [name for name, _ in ordered])
        axes.set_xlim(0, 1)
        axes.set_xlabel("Spearman correlation with steps to recover, within a model (95 % interval)")
        axes.grid(axis="x", color=GREY, alpha=0.3)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        figure.savefig(path, metadata={"Date": None, "Creator": None, "Description": data}, transparent=True)


def data_of(path: Path) -> str:
    found = DATA.search(path.read_text())
    return html.unescape(found[1]) if found else ""

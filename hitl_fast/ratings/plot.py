"""Plots of ratings and weights, as files."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from hitl_fast._common.errors import InputError, MissingExtraError
from hitl_fast._common.files import atomic_path

from .rater_table import rater_table
from .rating_data import RatingData
from .selection import by_question

BARS = 20
MOST_NAMED = 12


def plot(ratings: RatingData, path: Path) -> None:
    """Three panels: what scores were given, how many ratings an item has, and what raters are like.

    Of several questions, the first: their scores are of different scales.
    """
    if not len(ratings):
        raise InputError("there are no ratings to draw: pairwise comparisons have no scores of their own")
    question, ratings = next(iter(by_question(ratings).items()))
    figure, (scores, items, raters) = _panels(3)
    score = ratings.frame.score.to_numpy()
    values, counts = np.unique(score, return_counts=True)
    if values.size <= BARS:
        width = 0.8 * float(np.diff(values).min()) if values.size > 1 else 0.8
        scores.bar(values, counts, width=width)
        if ratings.categories is not None:
            names = [ratings.categories[int(v)] for v in values]
            scores.set_xticks(values, names, rotation=30, ha="right")
    else:
        scores.hist(score, bins=BARS)
    scores.set(title="scores" if question is None else f"scores: {question}", ylabel="ratings")
    each, of = np.unique(ratings.frame.groupby(["item", "feature"], dropna=False).size(), return_counts=True)
    items.bar(each, of)
    items.set(title="ratings an item", ylabel="items")
    table = rater_table(ratings)
    if table.reliability.notna().any():
        raters.scatter(table.bias, table.reliability, s=20 + 80 * table.n / table.n.max(), alpha=0.6)
        raters.set(title="raters (size: ratings)", xlabel="bias", ylabel="reliability", ylim=(0, 1))
        for name, row in table.head(MOST_NAMED).iterrows():
            raters.annotate(str(name), (row["bias"], row["reliability"]), fontsize=7)
    else:
        raters.bar([str(name) for name in table.index[:MOST_NAMED]], table.n.head(MOST_NAMED))
        raters.set(title="raters", ylabel="ratings")
    _save(figure, path)


def plot_weights(weights: np.ndarray, classes: np.ndarray, path: Path, *, title: str = "weight") -> None:
    """Mean weight of each class as a bar, with the middle half of its weights as a line.

    Args:
        weights: (n,) of the data set's items.
        classes: (n,) class of each item.
        path: PNG or SVG file to write.
        title: of the drawing; say in it if the ratings are simulated.
    """
    figure, (axes,) = _panels(1)
    names = np.unique(classes)
    groups = [weights[classes == name] for name in names]
    low, middle, high = np.array([np.quantile(g, [0.25, 0.5, 0.75]) for g in groups]).T
    places = np.arange(names.size)
    axes.bar(places, [g.mean() for g in groups])
    axes.vlines(places, low, high, color="black", linewidth=1)
    axes.plot(places, middle, "k_")
    axes.set_xticks(places, [str(n) for n in names])
    axes.set(title=title, ylabel="weight")
    _save(figure, path)


def _panels(n: int) -> tuple[Any, Any]:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("drawing needs matplotlib: run pip install 'hitl-fast[plots]'") from None
    figure = Figure(figsize=(4.2 * n + 0.6, 3.4), layout="constrained")
    return figure, figure.subplots(1, n, squeeze=False)[0]


def _save(figure: Any, path: Path) -> None:
    with atomic_path(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(temporary, dpi=120)

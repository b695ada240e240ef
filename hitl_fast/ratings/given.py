"""Columns of ratings from arrays and from a long frame."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from hitl_fast._common.errors import InputError

from .columns import RatingColumns, checked_numbers
from .rating_data import RatingData

if TYPE_CHECKING:
    import pandas


def columns_of_arrays(items: Any, raters: Any, scores: Any, seconds: Any, features: Any) -> RatingColumns:
    """See `Ratings.from_arrays`."""
    score = checked_numbers(scores, "scores")
    bad = np.flatnonzero(~np.isfinite(score))
    if bad.size:
        raise InputError(f"scores[{bad[0]}] is {score[bad[0]]}: every score must be finite")
    spent = np.full(score.size, np.nan) if seconds is None else checked_numbers(seconds, "seconds")
    return RatingColumns(items, raters, score, spent, features)


def answered_items(ratings: RatingData, total: int) -> np.ndarray:
    """The item of each rating, and both items of each comparison.

    Raises:
        ValueError: the ratings are of a data set of another length than ``total``.
    """
    if ratings.num_items not in (None, total):
        raise InputError(
            f"ratings are of a data set of {ratings.num_items} items, and signals of {total} samples"
        )
    pairs = ratings.comparisons
    rated = [item for item in ratings.frame["item"].tolist() if item is not None and item == item]
    return np.array([*rated, *pairs["first"].tolist(), *pairs["second"].tolist()])


def columns_of_frame(table: pandas.DataFrame) -> RatingColumns:
    """See `Ratings.from_frame`."""
    for name in ("rater", "score"):
        if name not in table.columns:
            raise InputError(f"the frame has no column {name!r}, only {', '.join(map(repr, table.columns))}")
    if "item" not in table.columns and "feature" not in table.columns:
        raise InputError("the frame has neither a column 'item' nor a column 'feature'")
    given = table["score"].notna().to_numpy()
    rated, empty = table[given], table[~given]
    size = len(rated)
    score = checked_numbers(rated["score"].to_numpy(), "score")
    bad = np.flatnonzero(~np.isfinite(score))
    if bad.size:
        raise InputError(
            f"score of row {rated.index[bad[0]]!r} is {score[bad[0]]}: every score must be finite"
        )
    seconds = (
        checked_numbers(rated["seconds"].to_numpy(dtype=float, na_value=np.nan), "seconds")
        if "seconds" in table.columns
        else np.full(size, np.nan)
    )
    skipped = [
        (item, rater, "empty", math.nan)
        for item, rater in zip(empty.get("item", [None] * len(empty)), empty["rater"], strict=True)
    ]
    return RatingColumns(
        rated["item"] if "item" in table.columns else [None] * size,
        rated["rater"],
        score,
        seconds,
        rated["feature"] if "feature" in table.columns else None,
        skipped=skipped,
    )

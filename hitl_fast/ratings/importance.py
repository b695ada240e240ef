"""Importance of features in [0, 1], from ratings of features of items or of the whole task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from hitl_kernels.rater_model import rater_model

from hitl_fast._common.errors import InputError

from .identity import codes_of
from .rating_data import RatingData
from .units import one_answer_each, share_units

NARROWEST = 0.5  # of the range of all scores: a feature's that is narrower may be of another scale


def importance(
    ratings: RatingData,
    method: str,
    *,
    num_items: int | None = None,
    features: Sequence[Any] | None = None,
    missing: str | float = "mean",
) -> torch.Tensor:
    """See `Ratings.importance`."""
    rated = ratings.frame.feature.notna().to_numpy()
    if not rated.any():
        raise InputError("no feature was rated: every rating is of an item")
    if method not in ("mean", "calibrated"):
        raise InputError(f"method must be mean or calibrated, not {method!r}")
    names = ratings.features if features is None else [str(f) for f in features]
    if len(set(names)) < len(names):
        raise InputError("features names one twice")
    column = {name: i for i, name in enumerate(names)}
    stray = [f for f in ratings.features if f not in column]
    if stray:
        raise InputError(f"{len(stray)} rated features are not in features: {', '.join(stray[:5])}")
    item, feature, level = _levels(ratings, rated, method)
    whole = np.array([i is None for i in item])
    size = num_items if num_items is not None else ratings.num_items
    places = np.array([column[f] for f in feature])
    task = np.full(len(names), np.nan)
    task[places[whole]] = level[whole]
    if whole.all() and size is None:
        return torch.from_numpy(_filled(task[None], missing, names, None)[0]).float()
    position = _positions(np.array([i for i in item if i is not None], dtype=object), size)
    if size is None:
        raise InputError("num_items is needed: the length of the data set")
    table = np.full((size, len(names)), np.nan)
    table[position, places[~whole]] = level[~whole]
    table = np.where(np.isnan(table), task, table)
    return torch.from_numpy(_filled(table, missing, names, size)).float()


def _levels(ratings: RatingData, rated: np.ndarray, method: str) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Item (None: the whole task), feature and level in [0, 1] of every rated pair."""
    part = ratings.frame[rated]
    items, item_names = codes_of(part.item.to_numpy())
    features, feature_names = codes_of(part.feature.to_numpy())
    pairs, units = np.unique(items * len(feature_names) + features, return_inverse=True)
    raters, people = codes_of(part.rater.to_numpy())
    level = _level_of_ratings(ratings, part.score.to_numpy(), features, feature_names.tolist())
    if method == "calibrated":
        if not share_units(units, raters):
            raise InputError(
                "method 'calibrated' cannot tell raters from items: no feature of an item was rated by two of "
                f"{int(raters.max()) + 1} raters; use method='mean'"
            )
        value = rater_model(*one_answer_each(units, raters, level, people, last=False)).score
    else:
        value = np.bincount(units, level) / np.bincount(units)
    return (
        item_names[pairs // len(feature_names)].astype(object),
        [str(f) for f in feature_names[pairs % len(feature_names)]],
        np.clip(value, 0, 1),
    )


def _level_of_ratings(
    ratings: RatingData, score: np.ndarray, features: np.ndarray, names: list[str]
) -> np.ndarray:
    """Each score as a part of the scale of its feature.

    Raises:
        ValueError: scales were not declared, and the features' scores lie so far apart that they may be of several.
    """
    asked = {q: s for q, s in ratings.questions.items() if q is not None or not ratings.features}
    words = next((q for q, s in asked.items() if s.categories is not None), None)
    if words is not None:
        raise InputError(f"{words!r} is a choice of words, not a score: say what they are worth with labels=")
    if all(s.declared for s in asked.values()):
        spans = [ratings.questions.get(n) or next(iter(asked.values())) for n in names]
        low, high = np.array([s.low for s in spans])[features], np.array([s.high for s in spans])[features]
        return np.asarray((score - low) / (high - low))
    low, high = float(score.min()), float(score.max())
    narrow = [q for q, s in asked.items() if s.high > s.low and s.high - s.low < NARROWEST * (high - low)]
    if len(asked) > 1 and narrow:
        first = asked[narrow[0]]
        raise InputError(
            f"scores of {narrow[0]!r} are {first.low:g} to {first.high:g}, and all are {low:g} to {high:g}: they may "
            "be of different scales. Declare them when reading: scale=(low, high), or scale={"
            f"{narrow[0]!r}: (low, high), ...}} for each"
        )
    return np.asarray((score - low) / (high - low)) if high > low else np.ones_like(score)


def _positions(items: np.ndarray, size: int | None) -> np.ndarray:
    if not all(isinstance(i, int | np.integer) for i in items):
        first = next(i for i in items if not isinstance(i, int | np.integer))
        raise InputError(f"item {first!r} is no position: give items= when reading, to map ids to positions")
    places = items.astype(np.int64)
    outside = (places < 0) | (places >= (size if size is not None else np.iinfo(np.int64).max))
    if outside.any():
        raise InputError(f"item {places[outside][0]} is not a position below num_items = {size}")
    return places


def _filled(table: np.ndarray, missing: str | float, names: list[str], size: int | None) -> np.ndarray:
    gaps = np.isnan(table)
    if not gaps.any():
        return table
    row, column = np.argwhere(gaps)[0]
    if missing == "error":
        of = "" if size is None else f" of item {row}"
        raise InputError(
            f"{int(gaps.sum())} importances are missing, the first that of {names[column]!r}{of}"
        )
    if missing == "mean":
        known = np.where(gaps, 0.0, table).sum(0)
        count = (~gaps).sum(0)
        overall = known.sum() / max(int(count.sum()), 1)
        fill = np.where(count > 0, known / np.maximum(count, 1), overall)
        return np.where(gaps, fill, table)
    if isinstance(missing, str) or not 0 <= missing <= 1:
        raise InputError(f"missing must be 'mean', 'error' or a number in [0, 1], not {missing!r}")
    return np.where(gaps, float(missing), table)

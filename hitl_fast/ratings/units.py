"""Ratings of one question as integers: which unit (an item, or a feature of the whole task) and which rater."""

from __future__ import annotations

import numpy as np

from hitl_fast._common.errors import InputError

from .identity import codes_of
from .neighbours import components
from .rating_data import RatingData


def coded(ratings: RatingData) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit (item, or item and feature) and rater of each rating as integers from 0, and the raters' ids."""
    units = codes_of(ratings.frame.item.to_numpy())[0]
    if ratings.frame.feature.notna().any():
        features, names = codes_of(ratings.frame.feature.to_numpy())
        units = np.unique(units * len(names) + features, return_inverse=True)[1]
    raters, names = codes_of(ratings.frame.rater.to_numpy())
    return units, raters, names


def share_units(units: np.ndarray, raters: np.ndarray) -> bool:
    """Whether some unit has two raters."""
    if not units.size:
        return False
    pairs = np.unique(units * (int(raters.max()) + 1) + raters)
    return pairs.size > np.unique(units).size


def groups_of_pairs(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The group of each node: nodes that pairs (a, b) connect have one number.

    >>> groups_of_pairs(np.array([0, 2]), np.array([1, 3])).tolist()
    [0, 0, 2, 2]
    """
    n = int(max(a.max(), b.max())) + 1
    return components(n, np.stack([a, b], axis=1))


def refuse_several(ratings: RatingData, what: str) -> None:
    """Refuse to treat the ratings of several questions as one.

    Raises:
        ValueError: there are several; names them and what to do instead.
    """
    if len(ratings.questions) > 1:
        names = [n for n in ratings.questions if n is not None]
        shown = ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")
        raise InputError(
            f"{len(ratings.questions)} questions were rated ({shown}), each on a scale of its own: {what}"
        )

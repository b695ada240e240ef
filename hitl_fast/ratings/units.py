"""Ratings of one question as integers: which unit (an item, or a feature of the whole task) and which rater."""

from __future__ import annotations

import numpy as np

from hitl_fast._common.errors import InputError

from .columns import last_of
from .formats.answers import UNKNOWN
from .identity import codes_of
from .neighbours import components
from .rating_data import RatingData

FEW_ANSWERS, CLEAR = 5, 0.3  # of a rater whose direction counts
MAJORITY = 1.5  # times as much as those who are against it


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


def one_answer_each(
    units: np.ndarray, raters: np.ndarray, values: np.ndarray, names: np.ndarray, *, last: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Units, raters and values with one entry for each unit and rater: the mean of their answers, or the last.

    A model of raters takes answers for independent of each other given the item, which those of one person are not: a
    rater at random who answers everything five times alike would be the most reliable of all. Answers of nobody in
    particular (``UNKNOWN``) may be of several people, and stay.
    """
    keys = _keys(units, raters, names)
    _, place, count = np.unique(keys, return_inverse=True, return_counts=True)
    if (count == 1).all():
        return units, raters, values
    kept = last_of(keys)
    if not last:
        values = (np.bincount(place, values) / count)[place]
    return units[kept], raters[kept], values[kept]


def one_comparison_each(
    first: np.ndarray, second: np.ndarray, outcome: np.ndarray, raters: np.ndarray, names: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Comparisons with one entry for each two items and rater: what most of their answers say, else the last.

    As `one_answer_each`. Of one rater all stay, since how often one item wins is all that is known then.
    """
    if len(names) < 2:
        return first, second, outcome, raters
    low, high = np.minimum(first, second), np.maximum(first, second)
    keys = _keys(low * (int(high.max()) + 1) + high, raters, names)
    _, place, count = np.unique(keys, return_inverse=True, return_counts=True)
    won = np.bincount(place, np.where(first == low, outcome, 1 - outcome)) / count
    kept = last_of(keys)
    share = np.where(first == low, won[place], 1 - won[place])[kept]
    said = np.where(share == 0.5, outcome[kept], (share > 0.5).astype(np.float64))
    return first[kept], second[kept], said, raters[kept]


def _keys(units: np.ndarray, raters: np.ndarray, names: np.ndarray) -> np.ndarray:
    """One number for the answers of a named rater to a unit; a number of its own for each other answer."""
    known = np.array([name != UNKNOWN for name in names.tolist()])[raters]
    return np.where(known, units * len(names) + raters, -1 - np.arange(len(units)))


def directions(scale: np.ndarray, reliability: np.ndarray, answers: np.ndarray) -> tuple[float, float]:
    """What raters weigh who follow the consensus of a rater model, and those who run against it.

    Answers times reliability, of raters with a clear direction. Reversing all raters and items gives the same model:
    where both weigh about alike (`undecided`), nothing in the ratings says who is right.
    """
    weight = np.where((answers >= FEW_ANSWERS) & (reliability >= CLEAR), answers * reliability, 0.0)
    return float(weight[scale > 0].sum()), float(weight[scale < 0].sum())


def undecided(along: float, against: float) -> bool:
    return against > 0 and along < MAJORITY * against


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

"""Scores of items from pairwise preferences, with ties and raters of different reliability."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import cpu

__all__ = ["BradleyTerryModel", "bradley_terry"]

MOST_ITEMS = 4096  # a table of items by items is factorised


@dataclass(frozen=True)
class BradleyTerryModel:
    """What `bradley_terry` finds; arrays are float64.

    Attributes:
        score: (items,) on the logit scale; their prior has mean 0. 0 where the item was never compared.
        variance: (items,) posterior variance of the score, with raters and ties as found.
        discrimination: (raters,) how far a rater's preferences follow the scores: 1 as a typical rater, 0 at random,
            below 0 against them.
        discrimination_error: (raters,) standard error of it; 0 where there is one rater, whose value is 1.
        tie: logarithm of the tie parameter; minus infinity where there are no ties.
        steps: steps taken.
        change: largest change of a score in the last step.
    """

    score: np.ndarray
    variance: np.ndarray
    discrimination: np.ndarray
    discrimination_error: np.ndarray
    tie: float
    steps: int
    change: float


def bradley_terry(
    first: np.ndarray,
    second: np.ndarray,
    outcome: np.ndarray,
    raters: np.ndarray | None = None,
    *,
    num_items: int | None = None,
    num_raters: int | None = None,
    prior_variance: float = 4.0,
    max_steps: int = 500,
    tolerance: float = 1e-8,
) -> BradleyTerryModel:
    """Scores of items from comparisons of two, to the largest posterior.

    With d the difference of the scores of first and second, and a the discrimination of the rater::

        P(first) = e^(a d / 2) / Z,  P(second) = e^(-a d / 2) / Z,  P(tie) = e^t / Z,
        s ~ N(0, prior_variance),  a ~ N(1, 1),  a = 1 where there is one rater

    Z being the sum of the three; without a tie in the data there is no third term, and with one rater it is the
    model of Bradley and Terry. Newton steps for scores, raters and ties in turn. Another order of the comparisons
    changes scores by about 1e-7.

    On the CPU alone: the time goes into factorising one matrix of items by items, at most 4,096 a side, and the sums
    over comparisons take less than copying them to a GPU would.

    Args:
        first: (n,) integers, 0 .. num_items - 1.
        second: (n,) integers, another item than ``first``.
        outcome: (n,) 1 where the first won, 0 where the second did, 0.5 for a tie.
        raters: (n,) integers, 0 .. num_raters - 1; None where one rater compared all.
        num_items: how many items there are, at most 4,096; by default the largest plus 1.
        num_raters: the same of raters.
        prior_variance: of the scores, above 0.
        max_steps: at most so many steps are taken.
        tolerance: ends when no score moves by more.

    Raises:
        TypeError: an index is not an integer.
        ValueError: lengths differ, nothing is there, an index is out of range, an item is compared with itself, an
            outcome is not 0, 0.5 or 1, or there are more than 4,096 items.

    Source: Bradley and Terry, Rank analysis of incomplete block designs, 1952; ties: Davidson, On extending the
    Bradley-Terry model to accommodate ties in paired comparison experiments, 1970; a rater's discrimination as in
    item response theory (Birnbaum, 1968).

    >>> model = bradley_terry(np.array([0, 0, 1, 0]), np.array([1, 1, 2, 2]), np.array([1.0, 1.0, 1.0, 1.0]))
    >>> model.score.argsort()[::-1].tolist()
    [0, 1, 2]
    """
    a, b = _index(first, "first"), _index(second, "second")
    y = np.asarray(outcome, dtype=np.float64)
    r = np.zeros_like(a) if raters is None else _index(raters, "raters")
    if not (a.size == b.size == y.size == r.size) or y.ndim != 1:
        raise ValueError(
            f"first, second, outcome and raters must have one length, not {a.size}, {b.size}, {y.size} and {r.size}"
        )
    n_items = _limit(max(int(a.max()), int(b.max())) + 1, num_items, "num_items", (a, b), ("first", "second"))
    n_raters = _limit(int(r.max()) + 1, num_raters, "num_raters", (r,), ("raters",))
    if n_items > MOST_ITEMS:
        raise ValueError(f"num_items is {n_items:,}: at most {MOST_ITEMS:,} items are compared at once")
    same = np.flatnonzero(a == b)
    if same.size:
        raise ValueError(f"first[{same[0]}] and second[{same[0]}] are both {a[same[0]]}: expected two items")
    wrong = np.flatnonzero((y != 0) & (y != 1) & (y != 0.5))
    if wrong.size:
        raise ValueError(f"outcome[{wrong[0]}] is {y[wrong[0]]}: expected 1, 0, or 0.5 for a tie")
    if not (prior_variance > 0 and np.isfinite(prior_variance)):
        raise ValueError(f"prior_variance must be above 0 and finite, not {prior_variance}")
    if max_steps < 1 or not tolerance >= 0:
        raise ValueError(
            f"max_steps must be 1 or more and tolerance 0 or more, not {max_steps} and {tolerance}"
        )
    return BradleyTerryModel(
        *cpu.bradley_terry(a, b, y, r, n_items, n_raters, float(prior_variance), max_steps, float(tolerance))
    )


def _index(values: np.ndarray, name: str) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers, not {array.dtype}")
    if array.ndim != 1 or not array.size:
        raise ValueError(f"{name} must have shape (n,) with n >= 1, not {array.shape}")
    return np.ascontiguousarray(array, dtype=np.int64)


def _limit(
    found: int, given: int | None, name: str, columns: tuple[np.ndarray, ...], names: tuple[str, ...]
) -> int:
    limit = found if given is None else given
    for column, called in zip(columns, names, strict=True):
        wrong = np.flatnonzero((column < 0) | (column >= limit))
        if wrong.size:
            raise ValueError(
                f"{called}[{wrong[0]}] is {column[wrong[0]]}: expected 0 or more and below {name} = {limit}"
            )
    return limit

"""Rank agreement within strata, with intervals from resampled groups; for censored effort too.

A resample of groups is a weight for each row: how often its group was drawn. Ranks, pairs and means under weights are
products of matrices, so that all resamples of a statistic are computed at once, and every score is compared on the
same resamples: the difference of two scores has an interval too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hitl_fast._common.bootstrap import Interval

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Effort:
    """What retrainings took.

    Attributes:
        values: (n,); the cap where censored.
        censored: (n,) bool: at least the value.
    """

    values: Floats
    censored: NDArray[np.bool_]

    def __getitem__(self, which: Any) -> Effort:
        return Effort(self.values[which], self.censored[which])


Statistic = Callable[[Floats, Effort, Floats], Floats]


def spearman(x: Floats, effort: Effort, weights: Floats) -> Floats:
    """(resamples,) Spearman's correlation of x with the effort, censored ones tied above all others; NaN: constant."""
    ranks, others = (_ranks(values, weights) for values in (x, _order(effort)))
    total = weights.sum(1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        a, b = (r - (weights * r).sum(1, keepdims=True) / total for r in (ranks, others))
        spread = np.sqrt((weights * a * a).sum(1) * (weights * b * b).sum(1))
        return np.where(spread > 1e-9, (weights * a * b).sum(1) / spread, np.nan)


def kendall(x: Floats, effort: Effort, weights: Floats) -> Floats:
    """(resamples,) Kendall's tau-b, censored ones tied above all others; NaN: constant."""
    a, b = (np.sign(v[:, None] - v[None, :]) for v in (x, _order(effort)))
    agree, ours, theirs = (_over_pairs(m, weights) for m in (a * b, a * a, b * b))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(ours * theirs > 0, agree / np.sqrt(ours * theirs), np.nan)


def concordance(x: Floats, effort: Effort, weights: Floats) -> Floats:
    """(resamples,) Harrell's C: of the pairs whose order of effort is known, the share that x orders so.

    A pair of censored retrainings has no known order, one censored and one that reached the target has. Equal scores
    count a half; 0.5 is chance.

    Source: Harrell et al., Evaluating the Yield of Medical Tests, JAMA 1982.
    """
    order = _order(effort)
    known = (order[:, None] < order[None, :]).astype(float)
    right = (x[:, None] < x[None, :]) + 0.5 * (x[:, None] == x[None, :])
    with np.errstate(invalid="ignore", divide="ignore"):
        return _over_pairs(known * right, weights) / _over_pairs(known, weights)


def resampled(groups: Sequence[Any], count: int, seed: int) -> Floats:
    """(1 + count, n) weights: all ones, then how often each row's group came in a draw of as many groups."""
    _, member = np.unique(np.asarray(groups), return_inverse=True)
    kinds = int(member.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(kinds, np.full(kinds, 1 / kinds), size=count)
    return np.concatenate([np.ones((1, len(member))), drawn[:, member].astype(float)])


def within(statistic: Statistic, x: ArrayLike, effort: Effort, strata: ArrayLike, weights: Floats) -> Floats:
    """(resamples,) mean over strata of the statistic within each; strata where it is undefined do not count.

    A stratum that lies within one group counts as often as the group was drawn; one that has rows of several counts
    once, whatever was drawn of them.
    """
    values = np.asarray(x, dtype=np.float64)
    _, member = np.unique(np.asarray(strata), return_inverse=True)
    sums, counts = np.zeros(len(weights)), np.zeros(len(weights))
    for stratum in range(int(member.max()) + 1):
        rows = np.flatnonzero(member == stratum)
        drawn = weights[:, rows]
        found = statistic(values[rows], effort[rows], drawn)
        times = drawn[:, 0] if (drawn == drawn[:, :1]).all() else np.ones(len(weights))
        times = np.where(np.isnan(found), 0.0, times)
        sums += times * np.nan_to_num(found)
        counts += times
    with np.errstate(invalid="ignore", divide="ignore"):
        return sums / counts


def interval(values: Floats, level: float = 0.95) -> Interval:
    """The first value, which is of the data, with percentiles of the others."""
    drawn = values[1:][~np.isnan(values[1:])]
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(drawn, tails) if len(drawn) else (np.nan, np.nan)
    return Interval(float(values[0]), float(low), float(high))


def _order(effort: Effort) -> Floats:
    """Numbers in the order of effort: a censored one is above what reached the target at the cap."""
    top = effort.values.max(initial=0.0)
    return np.where(effort.censored, top + 1, effort.values)


def _ranks(values: Floats, weights: Floats) -> Floats:
    """(resamples, n) mean rank of each row among all rows, each as often as its weight says."""
    below = (values[None, :] < values[:, None]) + 0.5 * (values[None, :] == values[:, None])  # [row, other]
    return np.asarray(weights @ below.T)


def _over_pairs(matrix: Floats, weights: Floats) -> Floats:
    """(resamples,) sum over rows i, j of w_i w_j m_ij."""
    return np.asarray(((weights @ matrix) * weights).sum(1))

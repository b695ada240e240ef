"""Rank agreement within strata, with intervals from resampled groups; for censored effort too.

A resample of groups is a weight for each row: how often its group was drawn. Ranks and pairs are summed by group first,
and then over the draws, so that all resamples of several scores cost about as much as one; and every score is compared
on the same resamples: the difference of two scores has an interval too. Ranks, pairs and their sums are whole numbers
or halves, so that no order of summation changes them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hitl_fast._common.bootstrap import Interval

Floats = NDArray[np.float64]
AT_ONCE = 1 << 21  # numbers of (scores, resamples, rows) in memory


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


@dataclass(frozen=True)
class Resamples:
    """How often each row counts in each resample.

    Attributes:
        counts: (resamples, groups), how often each group was drawn; the first row is of the data, all ones.
        member: (n,) group of each row.
    """

    counts: Floats
    member: NDArray[np.intp]

    def __getitem__(self, which: Any) -> Resamples:
        """Some rows, and only the groups that they have."""
        groups, member = np.unique(self.member[which], return_inverse=True)
        return Resamples(self.counts[:, groups], member)

    @property
    def weights(self) -> Floats:
        """(resamples, n)."""
        return self.counts[:, self.member]

    @property
    def belongs(self) -> Floats:
        """(n, groups) 1 where a row is of a group."""
        return np.asarray(self.member[:, None] == np.arange(self.counts.shape[1]), dtype=np.float64)


Statistic = Callable[[Floats, Effort, Resamples], Floats]


def spearman(x: Floats, effort: Effort, drawn: Resamples) -> Floats:
    """(k, resamples) Spearman's correlation of k scores with the effort, censored ones tied above all others.

    NaN where one of the two is constant.
    """
    weights = drawn.weights
    total = weights.sum(1, keepdims=True)
    found = np.empty((len(x), len(weights)))
    step = max(1, AT_ONCE // weights.size)
    with np.errstate(invalid="ignore", divide="ignore"):
        b = _centred_ranks(_order(effort)[None], drawn, weights, total)[0]
        of_effort = (weights * b * b).sum(1)
        for start in range(0, len(x), step):
            a = _centred_ranks(x[start : start + step], drawn, weights, total)
            weighted = weights * a
            spread = np.sqrt((weighted * a).sum(2) * of_effort)
            found[start : start + step] = np.where(spread > 1e-9, (weighted * b).sum(2) / spread, np.nan)
    return found


def kendall(x: Floats, effort: Effort, drawn: Resamples) -> Floats:
    """(k, resamples) Kendall's tau-b, censored ones tied above all others; NaN: constant."""
    order = _order(effort)
    b = np.sign(order[:, None] - order[None, :])
    theirs = _over_pairs(b * b, drawn)
    found = []
    for values in x:
        a = np.sign(values[:, None] - values[None, :])
        agree, ours = (_over_pairs(matrix, drawn) for matrix in (a * b, a * a))
        with np.errstate(invalid="ignore", divide="ignore"):
            found.append(np.where(ours * theirs > 0, agree / np.sqrt(ours * theirs), np.nan))
    return np.array(found)


def concordance(x: Floats, effort: Effort, drawn: Resamples) -> Floats:
    """(k, resamples) Harrell's C: of the pairs whose order of effort is known, the share that x orders so.

    A pair of censored retrainings has no known order, one censored and one that reached the target has. Equal scores
    count a half; 0.5 is chance.

    Source: Harrell et al., Evaluating the Yield of Medical Tests, JAMA 1982.
    """
    order = _order(effort)
    known = (order[:, None] < order[None, :]).astype(float)
    pairs = _over_pairs(known, drawn)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.array([_over_pairs(known * _below(values), drawn) / pairs for values in x])


def resampled(groups: Sequence[Any], count: int, seed: int) -> Resamples:
    """The data, then a count of draws of as many groups as there are."""
    _, member = np.unique(np.asarray(groups), return_inverse=True)
    kinds = int(member.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(kinds, np.full(kinds, 1 / kinds), size=count)
    return Resamples(np.concatenate([np.ones((1, kinds)), drawn.astype(float)]), member)


def within(statistic: Statistic, x: ArrayLike, effort: Effort, strata: ArrayLike, drawn: Resamples) -> Floats:
    """(resamples,) mean over strata of the statistic within each; strata where it is undefined do not count.

    A stratum that lies within one group counts as often as the group was drawn; one that has rows of several counts
    once, whatever was drawn of them.

    Args:
        x: (n,) scores, or (k, n) of k scores, which gives (k, resamples).
    """
    values = np.asarray(x, dtype=np.float64)
    scores = np.atleast_2d(values)
    _, member = np.unique(np.asarray(strata), return_inverse=True)
    sums, counts = np.zeros((2, len(scores), len(drawn.counts)))
    for stratum in range(int(member.max()) + 1):
        rows = np.flatnonzero(member == stratum)
        found, times = _of_a_stratum(statistic, scores[:, rows], effort[rows], drawn[rows])
        times = np.where(np.isnan(found), 0.0, times)
        sums += times * np.nan_to_num(found)
        counts += times
    with np.errstate(invalid="ignore", divide="ignore"):
        means = sums / counts
    return means if values.ndim == 2 else means[0]


def _of_a_stratum(statistic: Statistic, x: Floats, effort: Effort, drawn: Resamples) -> tuple[Floats, Floats]:
    """(k, resamples) the statistic, and (resamples,) how often the stratum counts."""
    if drawn.counts.shape[1] > 1:
        return statistic(x, effort, drawn), np.ones(len(drawn.counts))
    times = drawn.counts[:, 0]
    different, which = np.unique(times, return_inverse=True)  # few, of many resamples
    return statistic(x, effort, Resamples(different[:, None], drawn.member))[:, which], times


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


def _below(values: Floats) -> Floats:
    """[row, other] 1 where the row has less, a half where it has as much."""
    return np.asarray((values[:, None] < values[None, :]) + 0.5 * (values[:, None] == values[None, :]))


def _centred_ranks(x: Floats, drawn: Resamples, weights: Floats, total: Floats) -> Floats:
    """(k, resamples, n) mean rank of each row among all rows, each as often as its weight says, less their mean."""
    belongs = drawn.belongs
    by_group = np.stack([belongs.T @ _below(values) for values in x])  # [score, group, row]
    ranks = drawn.counts @ by_group
    return np.asarray(ranks - (weights * ranks).sum(2, keepdims=True) / total)


def _over_pairs(matrix: Floats, drawn: Resamples) -> Floats:
    """(resamples,) sum over rows i, j of w_i w_j m_ij."""
    belongs = drawn.belongs
    by_group = belongs.T @ matrix @ belongs
    return np.asarray(((drawn.counts @ by_group) * drawn.counts).sum(1))

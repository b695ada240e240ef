"""Krippendorff's alpha: how far raters agree beyond chance, with an interval by resampling the items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hitl_fast._common.errors import InputError

from .columns import last_of
from .identity import pandas_module
from .rating_data import RatingData
from .selection import by_question
from .units import coded, refuse_several

if TYPE_CHECKING:
    import pandas


LEVELS = ("nominal", "ordinal", "interval", "ratio")
MOST_RATIO_VALUES = 4096
CHUNK = 50  # resamples at a time


@dataclass(frozen=True)
class Agreement:
    """Krippendorff's alpha of a set of ratings.

    Attributes:
        alpha: 1 for perfect agreement, 0 for what chance gives, below for systematic disagreement.
        low: lower end of the confidence interval.
        high: upper end.
        level: what differences between scores mean: nominal, ordinal, interval or ratio.
        confidence: probability of the interval.
        units: items that two or more raters rated; the others say nothing about agreement.
        ratings: ratings of those items.
    """

    alpha: float
    low: float
    high: float
    level: str
    confidence: float
    units: int
    ratings: int

    def __str__(self) -> str:
        return (
            f"alpha {self.alpha:.3f} [{self.low:.3f}, {self.high:.3f}] ({self.level}, {self.units:,} items, "
            f"{self.ratings:,} ratings)"
        )


def krippendorff(
    units: np.ndarray,
    values: np.ndarray,
    level: str,
    *,
    replicates: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Agreement:
    """Krippendorff's alpha of values grouped by unit, with a percentile bootstrap over units.

    With n_u values in unit u, n in all, and d2 the squared difference of the level::

        Do = sum over u of (sum over pairs i != j in u of d2(v_i, v_j)) / (n_u - 1) / n
        De = sum over all pairs i != j of d2(v_i, v_j) / (n (n - 1))
        alpha = 1 - Do / De

    d2 is [c != k] (nominal), the squared difference of mid-ranks (ordinal), (c - k)^2 (interval) or
    ((c - k) / (c + k))^2 (ratio), so that all but the last need sums of a unit alone, never a table of pairs.
    Resamples keep the mid-ranks of the whole sample.

    Args:
        units: (n,) integers from 0, the unit of each value.
        values: (n,) finite float64.
        level: "nominal", "ordinal", "interval" or "ratio".
        replicates: how many resamples; 0 gives an interval as wide as [-1, 1].
        confidence: probability of the interval, within 0 and 1.
        seed: of the resampling, which touches no global state.

    Raises:
        ValueError: alpha is undefined (no unit has two values, or no two values differ), an argument is out of
            range, ratio values are negative, or there are more than 4,096 different ones.

    Source: Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011; resampling of units: Efron and
    Tibshirani, An Introduction to the Bootstrap, 1993.

    >>> a, b = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    >>> units, values = np.tile(np.arange(10), 2), np.array(a + b, dtype=float)
    >>> round(krippendorff(units, values, "nominal").alpha, 3)
    0.095
    """
    if level not in LEVELS:
        raise InputError(f"level must be one of {', '.join(LEVELS)}, not {level!r}")
    if not 0 < confidence < 1:
        raise InputError(f"confidence must be within 0 and 1, not {confidence}")
    if replicates < 0:
        raise InputError(f"replicates must be 0 or more, not {replicates}")
    paired = np.bincount(units)[units] > 1
    if not paired.any():
        raise InputError("agreement is undefined: no item was rated by two raters")
    _, unit, size = np.unique(units[paired], return_inverse=True, return_counts=True)
    levels, value, count = np.unique(values[paired], return_inverse=True, return_counts=True)
    if levels.size == 1:
        raise InputError(f"agreement is undefined: every score is {levels[0]:g}, so nothing could differ")
    if level in ("ordinal", "interval"):
        if level == "ordinal":
            levels = np.cumsum(count) - count / 2  # mid-ranks
        statistics: _Moments | _Counts = _Moments(unit, levels[value], size)
    else:
        statistics = _Counts(unit, value, size, _differences(levels, level))
    alpha = float(statistics.alpha(np.ones((1, size.size)))[0])
    generator = np.random.default_rng(seed)
    alphas = []
    for first in range(0, replicates, CHUNK):
        draws = [
            np.bincount(generator.integers(size.size, size=size.size), minlength=size.size)
            for _ in range(min(CHUNK, replicates - first))
        ]
        alphas.append(statistics.alpha(np.array(draws, dtype=np.float64)))
    sampled = np.concatenate(alphas) if alphas else np.array([-1.0, 1.0])
    sampled = sampled[np.isfinite(sampled)]  # a resample in which nothing differs has no alpha
    tail = (1 - confidence) / 2
    low, high = np.quantile(sampled, [tail, 1 - tail]) if sampled.size else (-1.0, 1.0)
    return Agreement(alpha, float(low), float(high), level, confidence, size.size, int(size.sum()))


def question_agreement(
    ratings: RatingData, level: str, *, replicates: int = 1000, confidence: float = 0.95, seed: int = 0
) -> Agreement:
    """See `Ratings.agreement`."""
    refuse_several(
        ratings,
        "ratings.agreement_table() has the agreement of each, ratings.only(question).agreement() of one",
    )
    if not len(ratings):
        raise InputError("agreement is undefined: there are pairwise comparisons, and no ratings")
    if ratings.categories is not None and level != "nominal" and len(ratings.categories) > 2:
        raise InputError(
            f"level {level!r} compares numbers, but the scores are categories: use level='nominal'"
        )
    units, raters, _ = coded(ratings)
    if raters.max() == 0:
        raise InputError(f"agreement is undefined: {ratings.frame.rater.iloc[0]!r} is the only rater")
    last = last_of(units * (int(raters.max()) + 1) + raters)
    scores = ratings.frame.score.to_numpy()
    return krippendorff(
        units[last], scores[last], level, replicates=replicates, confidence=confidence, seed=seed
    )


def agreement_table(
    ratings: RatingData, level: str | None, *, replicates: int, confidence: float, seed: int
) -> pandas.DataFrame:
    """See `Ratings.agreement_table`."""
    rows = []
    for name, part in by_question(ratings).items():
        chosen = level or ("nominal" if part.categories is not None else "interval")
        row = {"question": name, "alpha": np.nan, "low": np.nan, "high": np.nan, "level": chosen}
        row |= {"units": 0, "ratings": len(part), "problem": ""}
        try:
            found = question_agreement(part, chosen, replicates=replicates, confidence=confidence, seed=seed)
            row |= {"alpha": found.alpha, "low": found.low, "high": found.high, "units": found.units}
        except InputError as undefined:
            row["problem"] = str(undefined)
        rows.append(row)
    pd = pandas_module()
    columns = ["question", "alpha", "low", "high", "level", "units", "ratings", "problem"]
    return pd.DataFrame(rows, columns=columns).set_index("question")


class _Moments:
    """Levels whose difference is that of two numbers: sums of values and squares of each unit are enough."""

    def __init__(self, unit: np.ndarray, value: np.ndarray, size: np.ndarray) -> None:
        value = value - value.mean()  # what is squared and subtracted below stays small
        first, second = np.bincount(unit, value), np.bincount(unit, value * value)
        observed = 2 * (size * second - first * first) / (size - 1)
        self.columns = np.stack([observed, size, first, second], 1)  # [units, 4]

    def alpha(self, weights: np.ndarray) -> np.ndarray:
        observed, n, first, second = (weights @ self.columns).T
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(1 - observed * (n - 1) / (2 * (n * second - first * first)))


class _Counts:
    """Any difference between a few values: counts of each value in each unit, kept sparse."""

    def __init__(self, unit: np.ndarray, value: np.ndarray, size: np.ndarray, d2: np.ndarray | None) -> None:
        n_values, n_units = int(value.max()) + 1, size.size
        cell, counts = np.unique(value * n_units + unit, return_counts=True)
        rows, columns = cell // n_units, cell % n_units
        self.d2, self.size = d2, size.astype(np.float64)
        if d2 is None:  # nominal: the pairs in a unit less those that are the same
            pairs = size * size - np.bincount(columns, counts * counts, minlength=n_units)
        else:
            pairs = _pairs_of_units(columns, rows, counts, d2, n_units)
        self.observed = pairs / (size - 1)
        self.cells, self.counts = columns, counts.astype(np.float64)
        self.start = np.searchsorted(rows, np.arange(n_values))

    def alpha(self, weights: np.ndarray) -> np.ndarray:
        n, observed = weights @ self.size, weights @ self.observed
        # [resamples, values]; every value has a cell, as reduceat needs
        of_values = np.stack([np.add.reduceat(w[self.cells] * self.counts, self.start) for w in weights])
        differing = of_values.sum(1, keepdims=True) - of_values if self.d2 is None else of_values @ self.d2
        expected = (of_values * differing).sum(1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(1 - observed * (n - 1) / expected)


def _differences(levels: np.ndarray, level: str) -> np.ndarray | None:
    if level == "nominal":
        return None
    if levels[0] < 0:
        raise InputError(f"level 'ratio' needs scores of 0 or more; one is {levels[0]:g}")
    if levels.size > MOST_RATIO_VALUES:
        raise InputError(
            f"level 'ratio' takes at most {MOST_RATIO_VALUES:,} different scores, not {levels.size:,}: round them"
        )
    total = levels[:, None] + levels[None, :]
    return np.asarray(((levels[:, None] - levels[None, :]) / np.where(total > 0, total, 1)) ** 2)


def _pairs_of_units(
    unit: np.ndarray, value: np.ndarray, count: np.ndarray, d2: np.ndarray, n_units: int
) -> np.ndarray:
    """Sum of d2 over the ordered pairs of values in each unit, from its distinct values."""
    order = np.argsort(unit, kind="stable")
    unit, value, count = unit[order], value[order], count[order]
    distinct = np.bincount(unit, minlength=n_units)
    start = np.cumsum(distinct) - distinct
    total = np.zeros(n_units)
    for step in range(1, int(distinct.max())):  # each value with the one `step` places on in its unit
        first = np.flatnonzero(np.arange(unit.size) + step < (start + distinct)[unit])
        second = first + step
        pairs = 2 * d2[value[first], value[second]] * count[first] * count[second]
        total += np.bincount(unit[first], pairs, minlength=n_units)
    return total

"""How sure one can be of a difference from the runs that there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hitl_fast._common.errors import InputError

Floats = NDArray[np.float64]
AT_ONCE = 1 << 20  # numbers drawn at a time


class Interval(NamedTuple):
    """A value with its interval; NaN where the data do not determine it."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]"

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval is wholly on one side of 0."""
        return self.low > 0 or self.high < 0


def bootstrap(
    statistic: Callable[..., float],
    *columns: ArrayLike,
    seed: int,
    level: float = 0.95,
    resamples: int = 2000,
    groups: ArrayLike | None = None,
) -> Interval:
    """A statistic of rows with its percentile interval over resampled rows.

    Args:
        statistic: takes the columns, returns a number; NaN where it is undefined, which the interval leaves out.
        columns: (n, ...) arrays; their rows are resampled together.
        seed: of the resampling; no global state is touched.
        level: above 0 and below 1.
        resamples: 1 or more.
        groups: (n,) labels of what is alike (a model, a kind of shift): whole groups are resampled, so that many
            rows of few groups do not give overconfident intervals.

    Raises:
        ValueError: no rows, columns of different length, or a level or resamples out of range.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.

    >>> bootstrap(np.mean, [1.0, 2.0, 3.0, 4.0], seed=0).value
    2.5
    """
    arrays = [np.asarray(column) for column in columns]
    if not arrays or any(len(array) != len(arrays[0]) for array in arrays) or len(arrays[0]) == 0:
        raise InputError(f"columns must have one length of 1 or more, not {[len(array) for array in arrays]}")
    if not 0 < level < 1 or resamples < 1:
        raise InputError(f"level must be within 0 and 1 and resamples 1 or more, not {level} and {resamples}")
    rows = np.arange(len(arrays[0]))
    if groups is None:
        members = [rows[i : i + 1] for i in rows]
    else:
        labels = np.asarray(groups)
        if labels.shape != rows.shape:
            raise InputError(f"groups must be ({len(rows)},), one a row, not {labels.shape}")
        members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    generator = np.random.default_rng(seed)
    of_many = _of_many(statistic, arrays)
    values, start = np.empty(resamples), 0
    while start < resamples:  # numbers drawn are the same, however many at a time
        count = min(resamples - start, max(1, AT_ONCE // len(members)))
        drawn = generator.integers(0, len(members), (count, len(members)))
        if of_many is not None:
            values[start : start + count] = of_many(arrays[0], members, drawn)
        else:
            chosen = (np.concatenate([members[j] for j in draw]) for draw in drawn)
            values[start : start + count] = [statistic(*(array[rows] for array in arrays)) for rows in chosen]
        start += count
    values = values[~np.isnan(values)]
    low, high = np.quantile(values, _tails(level)) if len(values) else (np.nan, np.nan)
    return Interval(float(statistic(*arrays)), float(low), float(high))


def _of_many(statistic: Callable[..., float], arrays: Sequence[NDArray[Any]]) -> Callable[..., Floats] | None:
    """What computes the statistic of many resamples without an array of the rows of each; None for most."""
    if (
        len(arrays) > 1
        or arrays[0].ndim != 1
        or arrays[0].dtype.kind not in "fiu"
        or not np.isfinite(arrays[0]).all()
    ):
        return None
    return _means if statistic is np.mean else _medians if statistic is np.median else None


def _means(values: Floats, members: Sequence[NDArray[np.intp]], drawn: NDArray[np.int64]) -> Floats:
    """(resamples,) mean of the rows of the groups drawn."""
    sums, sizes = np.array([(values[rows].sum(dtype=np.float64), len(rows)) for rows in members]).T
    return np.asarray(sums[drawn].sum(1) / sizes[drawn].sum(1))


def _medians(values: Floats, members: Sequence[NDArray[np.intp]], drawn: NDArray[np.int64]) -> Floats:
    """(resamples,) median of the rows of the groups drawn: between the two in the middle of the sorted ones."""
    member = np.empty(len(values), dtype=np.int64)
    for group, rows in enumerate(members):
        member[rows] = group
    order = np.argsort(values)
    ordered, member = values[order].astype(np.float64), member[order]
    found = np.empty(len(drawn))
    for i, draw in enumerate(drawn):
        ends = np.cumsum(np.bincount(draw, minlength=len(members))[member])
        low, high = np.searchsorted(ends, [(ends[-1] + 1) // 2, ends[-1] // 2 + 1])
        found[i] = (ordered[low] + ordered[high]) / 2
    return found


def paired_difference(
    treatment: ArrayLike,
    baseline: ArrayLike,
    *,
    seed: int,
    level: float = 0.95,
    resamples: int = 10_000,
) -> Interval:
    """Mean of ``treatment - baseline`` over pairs (two arms under the same seed), with a bootstrap-t interval.

    ``t* = (mean d* - mean d) / s*`` over resampled pairs; the interval is ``mean d - s q(t*)``, within the differences
    seen. For ten pairs it keeps what it promises, where percentiles of the mean are too narrow; for three nothing
    does, and it is about as wide as the differences are apart.

    Raises:
        ValueError: fewer than 2 pairs, shapes that differ, or a number that is not finite.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 12.5.

    >>> paired_difference([3.0, 3.5, 2.5], [1.0, 1.5, 0.5], seed=0)
    Interval(value=2.0, low=2.0, high=2.0)
    """
    a, b = np.asarray(treatment, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or len(a) < 2:
        raise InputError(
            f"treatment and baseline must be (n,) with one n of 2 or more, not {a.shape} and {b.shape}"
        )
    d = a - b
    if not np.isfinite(d).all():
        raise InputError(f"pair {int(np.flatnonzero(~np.isfinite(d))[0])} is not finite")
    if not 0 < level < 1:
        raise InputError(f"level must be within 0 and 1, not {level}")
    mean, error = float(d.mean()), _standard_error(d[None])[0]
    # Differences that are equal up to rounding say nothing of their spread.
    if error <= 1e-12 * max(float(np.abs(a).max()), float(np.abs(b).max())):
        return Interval(mean, mean, mean)
    chosen = d[np.random.default_rng(seed).integers(0, len(d), (resamples, len(d)))]
    off, errors = chosen.mean(1) - mean, _standard_error(chosen)
    # A resample of one value repeated, up to rounding, is infinitely far out, on the side that it is on.
    repeated = errors <= 1e-9 * error
    side = np.sign(off) * (np.abs(off) > 1e-9 * error)
    far = np.where(side == 0, 0.0, np.copysign(np.inf, side))
    t = np.where(repeated, far, off / np.where(repeated, 1.0, errors))
    ends = mean - error * np.quantile(t, _tails(level)[::-1], method="inverted_cdf")
    low, high = np.clip(ends, d.min(), d.max())
    return Interval(mean, float(low), float(high))


def _standard_error(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(rows.std(1, ddof=1) / np.sqrt(rows.shape[1]))


def _tails(level: float) -> list[float]:
    return [(1 - level) / 2, (1 + level) / 2]

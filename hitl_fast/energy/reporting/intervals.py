"""Intervals of the difference between two sets of runs. NumPy is imported when one is computed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Pair = tuple[float, float]


def student(confidence: float, degrees: float) -> float:
    """The t that Student's distribution stays within, either way, with probability ``confidence``.

    >>> round(student(0.95, 10), 3), round(student(0.95, 1), 2)
    (2.228, 12.71)
    """
    low, high = 0.0, 1.0
    while _within(high, degrees) < confidence:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, degrees) < confidence else (low, middle)
    return high


def _within(t: float, degrees: float) -> float:
    """The probability of abs(T) <= t: 1 - I_x(degrees/2, 1/2) with x = degrees / (degrees + t^2)."""
    if t <= 0:
        return 0.0
    x = degrees / (degrees + t * t)
    a, b = degrees / 2, 0.5
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    if x < (a + 1) / (a + b + 2):
        return 1 - front * _fraction(a, b, x) / a
    return front * _fraction(b, a, 1 - x) / b


def _fraction(a: float, b: float, x: float) -> float:
    """Continued fraction of the incomplete beta function by Lentz's method (Press et al., Numerical Recipes, 6.4)."""
    tiny = 1e-300
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1) or tiny)
    result = d
    for m in range(1, 300):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / (1 + numerator * d or tiny)
            c = 1 + numerator / c or tiny
            result *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return result


def two_sample(
    one: Sequence[float], two: Sequence[float], confidence: float, resamples: int, seed: int
) -> Pair:
    """The wider, at either end, of Welch's t interval and the bootstrap-t interval."""
    import numpy as np

    a, b = np.array(one), np.array(two)
    parts = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    error = math.sqrt(sum(parts))
    difference = float(b.mean() - a.mean())
    # Spread below rounding is none.
    if error <= 1e-12 * max(abs(difference), float(a.mean())):
        return difference, difference
    degrees = sum(parts) ** 2 / sum(
        part**2 / (len(runs) - 1) for part, runs in zip(parts, (a, b), strict=True)
    )
    reach = student(confidence, float(degrees)) * error
    low, high = _bootstrap_t(a, b, confidence, resamples, seed)
    return min(difference - reach, difference - high * error), max(
        difference + reach, difference - low * error
    )


def _bootstrap_t(
    a: NDArray[np.float64], b: NDArray[np.float64], confidence: float, resamples: int, seed: int
) -> Pair:
    """Quantiles of ``t* = (d* - d) / s*`` over resampled runs."""
    import numpy as np

    generator = np.random.default_rng(seed)
    x = a[generator.integers(0, len(a), (resamples, len(a)))]
    y = b[generator.integers(0, len(b), (resamples, len(b)))]
    shift = (y.mean(1) - x.mean(1)) - (b.mean() - a.mean())
    spread = np.sqrt(x.var(1, ddof=1) / len(a) + y.var(1, ddof=1) / len(b))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (
            shift / spread
        )  # a resample of one run repeated has no spread: infinitely far out, as it should be
    t = np.where(np.isnan(t), 0.0, t)
    low, high = np.quantile(t, [(1 - confidence) / 2, (1 + confidence) / 2], method="closest_observation")
    return float(low), float(high)


def paired_t(one: Sequence[float], two: Sequence[float], confidence: float) -> Pair:
    """Student's interval of the mean of ``two[i] - one[i]``."""
    differences = [b - a for a, b in zip(one, two, strict=True)]
    n = len(differences)
    mean = math.fsum(differences) / n
    error = math.sqrt(math.fsum((d - mean) ** 2 for d in differences) / (n - 1) / n)
    if error <= 1e-12 * max(map(abs, one)):
        return mean, mean
    reach = student(confidence, n - 1) * error
    return mean - reach, mean + reach


def detrended(
    one: Sequence[float], two: Sequence[float], sides: str, confidence: float
) -> tuple[float, Pair]:
    """Coefficient of the side in a least squares fit on constant, side and position in time, with its interval.

    The interval spans the t intervals of a straight and, from seven runs on, of a curved drift: a machine that warms up
    drifts less and less.
    """
    import numpy as np

    runs = {"A": iter(one), "B": iter(two)}
    joules = np.array([next(runs[side]) for side in sides])
    position = np.arange(len(sides)) - (len(sides) - 1) / 2
    is_treatment = np.array([float(side == "B") for side in sides])
    columns = [is_treatment, np.ones(len(sides)), position]
    value, (low, high) = _coefficient(np.stack(columns, 1), joules, confidence)
    if len(sides) < 7:
        return value, (low, high)
    _, (left, right) = _coefficient(np.stack([*columns, position**2], 1), joules, confidence)
    return value, (min(low, left), max(high, right))


def drift(one: Sequence[float], two: Sequence[float], confidence: float) -> tuple[float, float, float]:
    """Joules a run by which runs of the same side change, with its interval; all of it where there are too few runs."""
    import numpy as np

    n, m = len(one), len(two)
    if n + m < 6:
        return 0.0, -math.inf, math.inf
    position = np.concatenate([np.arange(n) - (n - 1) / 2, np.arange(m) - (m - 1) / 2])
    design = np.stack([position, np.repeat([1.0, 0.0], [n, m]), np.repeat([0.0, 1.0], [n, m])], 1)
    slope, (low, high) = _coefficient(design, np.array([*one, *two]), confidence)
    return slope, low, high


def _coefficient(
    design: NDArray[np.float64], values: NDArray[np.float64], confidence: float
) -> tuple[float, Pair]:
    """The first coefficient of a least squares fit and its interval."""
    import numpy as np

    fitted, *_ = np.linalg.lstsq(design, values, rcond=None)
    degrees = len(values) - design.shape[1]
    residual = values - design @ fitted
    variance = float(residual @ residual) / degrees * float(np.linalg.inv(design.T @ design)[0, 0])
    value = float(fitted[0])
    if math.sqrt(variance) <= 1e-12 * float(np.abs(values).max()):
        return value, (value, value)
    reach = student(confidence, degrees) * math.sqrt(variance)
    return value, (value - reach, value + reach)

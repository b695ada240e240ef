"""The definition of the rater model in NumPy: one line of code per formula."""

from __future__ import annotations

import numpy as np

# The prior of a rater, in units of the standard deviation of all scores. As if PRIOR_RATINGS ratings of a
# typical rater had been seen before: it decides for raters with a handful of ratings and for nobody else.
PRIOR_RATINGS = 4.0
PRIOR_SLOPE = 0.7
PRIOR_NOISE = 0.5


def graded_start(n_raters: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every rater typical: offset 0, slope PRIOR_SLOPE, noise variance PRIOR_NOISE."""
    return np.zeros(n_raters), np.full(n_raters, PRIOR_SLOPE), np.full(n_raters, PRIOR_NOISE)


def graded_expectation(
    items: np.ndarray, raters: np.ndarray, y: np.ndarray, b: np.ndarray, a: np.ndarray, s: np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of each item's z ~ N(0, 1) given y = b[rater] + a[rater] z[item] + N(0, s[rater])."""
    precision = 1 + np.bincount(items, a[raters] ** 2 / s[raters], minlength=n)
    mean = np.bincount(items, a[raters] * (y - b[raters]) / s[raters], minlength=n) / precision
    return mean, 1 / precision


def graded_maximisation(
    items: np.ndarray, raters: np.ndarray, y: np.ndarray, mean: np.ndarray, variance: np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Regression of every rater's scores on z, with the prior counted in: offset b, slope a, noise s."""
    z, zz = mean[items], mean[items] ** 2 + variance[items]
    k = PRIOR_RATINGS
    b, a, s = np.zeros(n), np.zeros(n), np.zeros(n)
    for r in range(n):
        of = raters == r
        normal = np.array([[of.sum() + k, z[of].sum()], [z[of].sum(), zz[of].sum() + k]])
        b[r], a[r] = np.linalg.solve(normal, [y[of].sum(), (y[of] * z[of]).sum() + k * PRIOR_SLOPE])
        residual = ((y[of] - b[r]) ** 2 - 2 * a[r] * (y[of] - b[r]) * z[of] + a[r] ** 2 * zz[of]).sum()
        prior = k * (b[r] ** 2 + (a[r] - PRIOR_SLOPE) ** 2 + PRIOR_NOISE)
        s[r] = (residual + prior) / (of.sum() + 2 * k)
    return b, a, s


def graded(
    items: np.ndarray,
    raters: np.ndarray,
    y: np.ndarray,
    n_items: int,
    n_raters: int,
    steps: int,
    tolerance: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, int, float]:
    """Expectation and maximisation in turn until no z moves by more than the tolerance."""
    b, a, s = graded_start(n_raters)
    before, change, step = np.zeros(n_items), np.inf, 0
    while change > tolerance and step < steps:
        mean, variance = graded_expectation(items, raters, y, b, a, s, n_items)
        b, a, s = graded_maximisation(items, raters, y, mean, variance, n_raters)
        change, before, step = float(np.abs(mean - before).max()), mean, step + 1
    return mean, variance, b, a, s, step, change

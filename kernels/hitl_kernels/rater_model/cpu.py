"""The rater model in Numba: one pass over the ratings a step, item by item.

Ratings are sorted by (item, rater) first, so that results do not depend on their order of arrival; and items
are cut into blocks by the size of the problem alone, so that they do not depend on the number of threads.
"""

from __future__ import annotations

import numba
import numpy as np

from .. import policy
from .._ratings import item_blocks, sorted_by_item
from . import reference

WORK_PER_RATING = 4.0  # nanoseconds a step, about


def graded(
    items: np.ndarray,
    raters: np.ndarray,
    y: np.ndarray,
    n_items: int,
    n_raters: int,
    steps: int,
    tolerance: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, int, float]:
    order, start = sorted_by_item(items, raters, n_items, n_raters)
    rater, value = raters[order], y[order]
    count = np.bincount(raters, minlength=n_raters).astype(np.float64)
    total = np.bincount(rater, value, minlength=n_raters)
    square = np.bincount(rater, value * value, minlength=n_raters)
    bounds = item_blocks(start, n_raters * 3)
    blocks = bounds.size - 1
    sums, changes = np.empty((blocks, n_raters, 3)), np.empty(blocks)
    mean, variance = np.zeros(n_items), np.ones(n_items)
    b, a, s = reference.graded_start(n_raters)
    change, step = np.inf, 0
    work = WORK_PER_RATING * rater.size
    while change > tolerance and step < steps:
        _graded_pass(work, start, bounds, rater, value, b, a, s, mean, variance, sums, changes)
        b, a, s = graded_maximisation(count, total, square, *sums.sum(0).T)
        change, step = float(changes.max()), step + 1
    return mean, variance, b, a, s, step, change


def graded_maximisation(
    count: np.ndarray, total: np.ndarray, square: np.ndarray, z: np.ndarray, yz: np.ndarray, zz: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``reference.graded_maximisation`` of all raters at once, from their sums of 1, y, y², z, y z and z²."""
    k, slope = reference.PRIOR_RATINGS, reference.PRIOR_SLOPE
    n, q, t = count + k, zz + k, yz + k * slope
    determinant = n * q - z * z
    b = (q * total - z * t) / determinant
    a = (n * t - z * total) / determinant
    residual = square - 2 * b * total + count * b * b - 2 * a * (yz - b * z) + a * a * zz
    prior = k * (b * b + (a - slope) ** 2 + reference.PRIOR_NOISE)
    return b, a, (residual + prior) / (count + 2 * k)


@policy.compiled_by_size
def _graded_pass(
    start: np.ndarray,
    bounds: np.ndarray,
    rater: np.ndarray,
    value: np.ndarray,
    b: np.ndarray,
    a: np.ndarray,
    s: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    sums: np.ndarray,
    changes: np.ndarray,
) -> None:
    """Expectation of each item, and what it adds to the sums of its raters while they are in cache."""
    weight = a / s
    information = a * weight
    for block in numba.prange(bounds.size - 1):
        sums[block] = 0.0
        largest = 0.0
        for i in range(bounds[block], bounds[block + 1]):
            precision, pull = 1.0, 0.0
            for j in range(start[i], start[i + 1]):
                r = rater[j]
                precision += information[r]
                pull += weight[r] * (value[j] - b[r])
            z = pull / precision
            zz = z * z + 1.0 / precision
            largest = max(largest, abs(z - mean[i]))
            mean[i], variance[i] = z, 1.0 / precision
            for j in range(start[i], start[i + 1]):
                r = rater[j]
                sums[block, r, 0] += z
                sums[block, r, 1] += value[j] * z
                sums[block, r, 2] += zz
        changes[block] = largest

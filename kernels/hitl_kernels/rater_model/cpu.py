"""The rater models in Numba: one pass over the ratings a step, item by item.

Ratings are sorted by (item, rater) first, so that results do not depend on their order of arrival; and items
are cut into blocks by the size of the problem alone, so that they do not depend on the number of threads.
"""

from __future__ import annotations

import numba
import numpy as np

from .. import policy
from . import reference

MOST_BLOCKS = 64
ACCUMULATORS = 1 << 21  # float64s in the blocks' accumulators together: 16 MiB


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
    bounds = _blocks(start, n_raters * 3)
    blocks = bounds.size - 1
    sums, changes = np.empty((blocks, n_raters, 3)), np.empty(blocks)
    mean, variance = np.zeros(n_items), np.ones(n_items)
    b, a, s = reference.graded_start(n_raters)
    change, step = np.inf, 0
    graded_pass = _graded_pass_parallel if policy.threads_allowed() else _graded_pass
    while change > tolerance and step < steps:
        graded_pass(start, bounds, rater, value, b, a, s, mean, variance, sums, changes)
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


def categories(
    items: np.ndarray,
    raters: np.ndarray,
    labels: np.ndarray,
    n_items: int,
    n_raters: int,
    n_labels: int,
    steps: int,
    tolerance: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int, float]:
    order, start = sorted_by_item(items, raters, n_items, n_raters)
    cell = (raters * n_labels + labels)[order]  # row of [rater, said] in the counts and in the confusions
    cells = n_raters * n_labels
    bounds = _blocks(start, cells * n_labels)
    blocks = bounds.size - 1
    counts, changes = np.zeros((blocks, cells, n_labels)), np.empty(blocks)
    posterior = np.zeros((n_items, n_labels))
    several = policy.threads_allowed()
    (_majority_parallel if several else _majority)(start, bounds, cell, posterior, counts)
    category_pass = _category_pass_parallel if several else _category_pass
    change, step = np.inf, 0
    while change > tolerance and step < steps:
        share, confusion = category_maximisation(counts.sum(0), posterior, n_raters)
        category_pass(
            start, bounds, cell, share, confusion.reshape(cells, n_labels), posterior, counts, changes
        )
        change, step = float(changes.max()), step + 1
    return posterior, share, confusion, step, change


def category_maximisation(
    counts: np.ndarray, posterior: np.ndarray, n_raters: int
) -> tuple[np.ndarray, np.ndarray]:
    """``reference.category_maximisation`` from the counts [rater x said, truth]."""
    n_labels = posterior.shape[1]
    smoothed = counts.reshape(n_raters, n_labels, n_labels) + reference.PSEUDO_COUNT
    share = posterior.sum(0) + reference.PSEUDO_COUNT
    return np.log(share / share.sum()), np.log(smoothed / smoothed.sum(1, keepdims=True))


def sorted_by_item(
    items: np.ndarray, raters: np.ndarray, n_items: int, n_raters: int
) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the ratings in order of (item, rater), and where each item's begin: [n_items + 1]."""
    by_rater, _ = _counting_sort(raters, n_raters)
    by_item, start = _counting_sort(items[by_rater], n_items)
    return by_rater[by_item], start


def _blocks(start: np.ndarray, accumulators: int) -> np.ndarray:
    """First item of each block: about as many ratings in each, few enough that their accumulators fit."""
    most = max(1, min(MOST_BLOCKS, ACCUMULATORS // max(accumulators, 1), start.size - 1))
    targets = np.linspace(0, start[-1], most + 1)[1:-1]
    return np.concatenate([[0], np.searchsorted(start, targets), [start.size - 1]]).astype(np.int64)


@policy.compiled
def _counting_sort(keys: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    start = np.zeros(n + 1, np.int64)
    for j in range(keys.size):
        start[keys[j] + 1] += 1
    for i in range(n):
        start[i + 1] += start[i]
    place = start[:n].copy()
    order = np.empty(keys.size, np.int64)
    for j in range(keys.size):
        order[place[keys[j]]] = j
        place[keys[j]] += 1
    return order, start


def _graded_blocks(
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


_graded_pass, _graded_pass_parallel = policy.compiled_both(_graded_blocks)


def _majority_blocks(
    start: np.ndarray, bounds: np.ndarray, cell: np.ndarray, posterior: np.ndarray, counts: np.ndarray
) -> None:
    n_labels = posterior.shape[1]
    for block in numba.prange(bounds.size - 1):
        for i in range(bounds[block], bounds[block + 1]):
            answers = start[i + 1] - start[i]
            if answers == 0:
                posterior[i, :] = 1.0 / n_labels
            for j in range(start[i], start[i + 1]):
                posterior[i, cell[j] % n_labels] += 1.0 / answers
            for j in range(start[i], start[i + 1]):
                for k in range(n_labels):
                    counts[block, cell[j], k] += posterior[i, k]


_majority, _majority_parallel = policy.compiled_both(_majority_blocks)


def _category_blocks(
    start: np.ndarray,
    bounds: np.ndarray,
    cell: np.ndarray,
    share: np.ndarray,
    confusion: np.ndarray,
    posterior: np.ndarray,
    counts: np.ndarray,
    changes: np.ndarray,
) -> None:
    n_labels = share.size
    for block in numba.prange(bounds.size - 1):
        counts[block] = 0.0
        largest = 0.0
        after = np.empty(n_labels)
        for i in range(bounds[block], bounds[block + 1]):
            for k in range(n_labels):
                after[k] = share[k]
            for j in range(start[i], start[i + 1]):
                for k in range(n_labels):
                    after[k] += confusion[cell[j], k]
            top = after[0]
            for k in range(1, n_labels):
                top = max(top, after[k])
            total = 0.0
            for k in range(n_labels):
                after[k] = np.exp(after[k] - top)
                total += after[k]
            for k in range(n_labels):
                after[k] /= total
                largest = max(largest, abs(after[k] - posterior[i, k]))
                posterior[i, k] = after[k]
            for j in range(start[i], start[i + 1]):
                for k in range(n_labels):
                    counts[block, cell[j], k] += after[k]
        changes[block] = largest


_category_pass, _category_pass_parallel = policy.compiled_both(_category_blocks)

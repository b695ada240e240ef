"""The distances of two histograms of counts, and their sums over rows, in Numba.

Counts are integers, so that tables hold every logarithm and square root that can occur.
"""

import functools

import numpy as np

from ..policy import compiled, compiled_part
from .reference import PSEUDO_COUNT

Terms = tuple[np.ndarray, np.ndarray, np.ndarray]


@functools.lru_cache(maxsize=8)
def tables(size: int) -> Terms:
    """log(k / 2), sqrt(k) and log(k + pseudo-count) for k up to ``size``. log(0) is never multiplied by more than 0."""
    k = np.arange(size + 1, dtype=np.float64)
    return np.log(np.maximum(k, 1) / 2), np.sqrt(k), np.log(k + PSEUDO_COUNT)


def add_in_order(total: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """``total`` plus each row that is not left out, one after the other."""
    total = total.copy()
    _add_in_order(total, distances)
    return total


@compiled
def _add_in_order(total: np.ndarray, distances: np.ndarray) -> None:
    for i in range(len(distances)):
        if not np.isnan(distances[i, 0, 0]):  # no `+=` of arrays: see _row_pairs_of_block
            for b in range(total.shape[0]):
                for measure in range(total.shape[1]):
                    total[b, measure] += distances[i, b, measure]


@compiled_part
def measures(
    pair: np.ndarray,
    n_bins: int,
    n: int,
    corrected: bool,
    terms: Terms | None,
    heights: np.ndarray,
    ordered: np.ndarray,
    out: np.ndarray,
) -> None:
    """The five distances between two histograms of n values each, in the order of MEASURES.

    With counts, P log(P / M) is p (log p - log((p + q) / 2)) / n. Each term of a sum is exactly 0 where p = q, which
    holds only as long as nothing is contracted or reassociated.
    """
    # Terms of None are known when compiling: the kernel for long rows has no look-up, the other no logarithm.
    if terms is not None:
        half_log, root, smooth_log = terms
    shannon, hellinger, leibler = 0.0, 0.0, 0.0
    for k in range(n_bins):
        # Unsigned: no test for indices that count from the end.
        i, j = np.uint64(pair[0, k]), np.uint64(pair[1, k])
        a, b = np.float64(pair[0, k]), np.float64(pair[1, k])
        if terms is None:
            log_a, log_b = np.log(max(a, 0.5)), np.log(max(b, 0.5))
            log_m = np.log(max(a + b, 1.0) / 2)
            apart = np.sqrt(a) - np.sqrt(b)
            smooth = np.log(a + PSEUDO_COUNT) - np.log(b + PSEUDO_COUNT)
        else:
            log_a, log_b, log_m = half_log[i + i], half_log[j + j], half_log[i + j]
            apart = root[i] - root[j]
            smooth = smooth_log[i] - smooth_log[j]
        shannon += (a * log_a + b * log_b) - (a + b) * log_m
        hellinger += apart * apart
        if corrected:
            leibler += (a + PSEUDO_COUNT) * smooth
        elif b > 0:
            leibler += a * (log_a - log_b)
    along, below, tallest = 0, 0, pair[0, 0]
    for k in range(n_bins):
        for side in range(2):
            tallest = pair[side, k] if pair[side, k] > tallest else tallest
        below += pair[0, k] - pair[1, k]
        along += abs(below)
    if corrected:
        leibler = leibler if leibler > 0 else 0.0
        out[2] = leibler / (n + n_bins * PSEUDO_COUNT)
    else:
        out[2] = leibler / n
    out[0] = (shannon if shannon > 0 else 0.0) / (2 * n)
    out[1] = hellinger / (2 * n)
    out[3] = _sorted_difference(pair, n_bins, tallest, heights, ordered) / (n_bins * n)
    out[4] = along / (n_bins * n)


@compiled_part
def _sorted_difference(
    pair: np.ndarray, n_bins: int, tallest: int, heights: np.ndarray, ordered: np.ndarray
) -> int:
    """sum |sort(p) - sort(q)|: over heights, in how many bins more the one stays below than the other."""
    total = 0
    if tallest < heights.size:
        for k in range(n_bins):
            heights[np.uint64(pair[0, k])] += 1
            heights[np.uint64(pair[1, k])] -= 1
        below = 0
        for height in range(tallest + 1):
            below += heights[height]
            heights[height] = 0
            total += abs(below)
    else:
        for side in range(2):
            _sort(pair[side], ordered[side], n_bins)
        for k in range(n_bins):
            total += abs(ordered[0, k] - ordered[1, k])
    return total


@compiled_part
def _sort(counts: np.ndarray, values: np.ndarray, n_bins: int) -> None:
    """Shell's sort with Knuth's gaps; NumPy's would take Numba 1.7 s to compile."""
    for k in range(n_bins):
        values[k] = counts[k]
    gap = 1
    while 3 * gap < n_bins:
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(gap, n_bins):
            value, j = values[i], i
            while j >= gap and values[j - gap] > value:
                values[j] = values[j - gap]
                j -= gap
            values[j] = value
        gap //= 3

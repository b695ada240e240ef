"""95 % intervals of what some labelled samples say of all: a share of right answers, and an adjusted Rand index."""

from __future__ import annotations

import numpy as np

RESAMPLES = 500
NORMAL = 1.959964  # 95 % of a normal distribution lie within so many standard errors
Ends = tuple[float, float]


def wilson(right: int, of: int) -> Ends:
    """The interval of a share; never a single point, however alike the samples are.

    ``(p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)`` with p = right / n.

    Source: Wilson, Probable Inference, the Law of Succession, and Statistical Inference, 1927.

    >>> [round(end, 3) for end in wilson(20, 20)]
    [0.839, 1.0]
    """
    share, z = right / of, NORMAL**2 / of
    middle = share + z / 2
    half = float(np.sqrt(z * share * (1 - share) + z**2 / 4))
    return max(0.0, (middle - half) / (1 + z)), min(1.0, (middle + half) / (1 + z))


def rand_index_interval(classes: np.ndarray, clusters: np.ndarray) -> Ends | None:
    """The interval of the adjusted Rand index over samples, the clusters as they are; None where no two samples differ.

    Percentiles of 500 bootstrap resamples in which a sample that is drawn twice makes no pair with itself: such pairs
    always agree, and would raise the index of few samples by far more than the interval is wide.

    Args:
        classes, clusters: (n,) integers, at least 0.

    Source: Arcones and Gine, On the Bootstrap of U and V Statistics, 1992.
    """
    classes, clusters = (np.unique(of, return_inverse=True)[1] for of in (classes, clusters))
    shape = int(classes.max()) + 1, int(clusters.max()) + 1
    cells = np.ravel_multi_index((classes, clusters), shape)
    _, cells = np.unique(cells, return_inverse=True)
    margins = [(np.asarray(of), int(of.max()) + 1) for of in (cells, classes, clusters)]
    n = len(classes)
    generator = np.random.default_rng(0)
    found = []
    for _ in range(RESAMPLES):
        weights = np.bincount(generator.integers(0, n, n), minlength=n).astype(np.float64)
        squares = weights**2
        both, by_class, by_cluster = (_pairs(of, groups, weights, squares) for of, groups in margins)
        pairs = (n**2 - float(squares.sum())) / 2
        if not pairs:  # one sample, n times
            continue
        expected = by_class * by_cluster / pairs
        most = (by_class + by_cluster) / 2
        if most != expected:
            found.append((both - expected) / (most - expected))
    if not found:
        return None
    low, high = np.quantile(found, [0.025, 0.975])
    return (float(low), float(high)) if low < high else None


def _pairs(of: np.ndarray, groups: int, weights: np.ndarray, squares: np.ndarray) -> float:
    """The weight of the pairs of different samples within groups."""
    sums = np.bincount(of, weights, groups)
    return float((sums**2 - np.bincount(of, squares, groups)).sum()) / 2

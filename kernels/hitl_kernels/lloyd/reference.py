"""The definition of Lloyd's k-means as scikit-learn runs it, and of the k-means++ start, in NumPy.

Source: Lloyd, Least squares quantization in PCM, 1982; Arthur and Vassilvitskii, k-means++: the advantages of
careful seeding, 2007, with the greedy choice among ``2 + log k`` candidates that its section 5 mentions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Labels = NDArray[np.int32]


def lloyd(
    x: Floats, centroids: Floats, max_iter: int = 300, tol: float = 1e-4, settled: float = 0.0
) -> tuple[Labels, Floats, int, float]:
    """Labels, centroids, iterations, inertia."""
    mean = x.mean(0)  # distances are taken about the mean, where float32 resolves them best
    x, centroids = x - mean, centroids - mean
    tolerance = tol * np.mean(x.var(0))
    labels = np.full(len(x), -1, np.int32)
    for iteration in range(1, max_iter + 1):  # noqa: B007
        previous_labels, previous = labels, centroids
        labels = nearest(x, previous)
        centroids = means(x, labels, previous)
        if (labels == previous_labels).all():
            break
        changed = np.mean(labels != previous_labels)
        if ((centroids - previous) ** 2).sum() <= tolerance or changed <= settled:
            labels = nearest(x, centroids)
            break
    else:
        labels = nearest(x, centroids)
    inertia = float(((x - centroids[labels]) ** 2).sum())
    return labels, centroids + mean, iteration, inertia


def nearest(x: Floats, centroids: Floats) -> Labels:
    """The E-step: the closest centroid of each row, the first one where several are."""
    distances = ((x[:, None] - centroids) ** 2).sum(2)  # [rows, clusters]
    return np.asarray(distances.argmin(1), np.int32)


def means(x: Floats, labels: Labels, previous: Floats) -> Floats:
    """The M-step. A cluster without rows gets the row farthest from its own centroid, which loses it."""
    sizes = np.bincount(labels, minlength=len(previous))
    sums = np.stack([x[labels == k].sum(0) for k in range(len(previous))])
    empty = np.flatnonzero(sizes == 0)
    if empty.size:
        # Which of the farthest rows goes to which empty cluster is up to NumPy's partition of float32.
        distances = ((x - previous[labels]) ** 2).sum(1).astype(np.float32)
        farthest = np.argpartition(distances, -empty.size)[: -empty.size - 1 : -1]
        if distances.max() > 0:  # else there are fewer distinct rows than clusters
            for cluster, row in zip(empty, farthest, strict=True):
                sums[labels[row]] -= x[row]
                sizes[labels[row]] -= 1
                sums[cluster] = x[row]
                sizes[cluster] = 1
    largest = sizes.argmax()
    for k, size in enumerate(sizes):
        # In this order: an empty cluster before the largest copies its sum, one after it copies its mean.
        sums[k] = sums[k] / size if size else sums[largest]
    return sums


def kmeans_plusplus(x: Floats, n_clusters: int, random_state: np.random.RandomState) -> Floats:
    """Rows of x as centroids, each new one drawn in proportion to the squared distance to those before."""
    x = x - (mean := x.mean(0))
    weights = np.full(len(x), 1 / len(x), x.dtype)
    chosen = [random_state.choice(len(x), p=weights)]
    closest = ((x - x[chosen[0]]) ** 2).sum(1)
    trials = 2 + int(np.log(n_clusters))
    for _ in range(1, n_clusters):
        drawn = random_state.uniform(size=trials) * closest.sum()
        candidates = np.searchsorted(np.cumsum(closest), drawn).clip(max=len(x) - 1)
        distances = np.minimum(closest, ((x - x[candidates][:, None]) ** 2).sum(2))  # [trials, rows]
        best = distances.sum(1).argmin()
        closest = distances[best]
        chosen.append(candidates[best])
    return np.asarray(x[chosen] + mean)

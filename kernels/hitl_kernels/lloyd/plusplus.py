"""The k-means++ start and the best of several runs: few steps, each a pass over the rows in cpu.py or gpu.py."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..policy import compiled
from .rows import Float32, Run


class Data(Protocol):
    """Rows somewhere, and their mean."""

    samples: int
    width: int
    mean: Float32

    def take(self, indices: NDArray[np.integer]) -> Float32:
        """Some rows."""


class Backend(Protocol):
    """cpu.py or gpu.py."""

    def lloyd(self, rows: Any, centroids: Float32, max_iter: int, tol: float) -> Run:
        """Centroids in and out are about the mean."""

    def distances(self, rows: Any, candidates: Float32, closest: Float32) -> Float32:
        """[candidates, rows] squared distance to the closest centroid, were the candidate added."""


def kmeans_plusplus(
    backend: Backend, rows: Data, n_clusters: int, random_state: np.random.RandomState
) -> Float32:
    """Centroids about the mean of the rows, drawn as scikit-learn draws them from the same state.

    That is: float64 distances kept as float32, running sums in float32, greedy among 2 + log k candidates.
    """
    weights = np.full(rows.samples, np.float32(1) / np.float32(rows.samples))
    chosen = np.array([random_state.choice(rows.samples, p=weights)])
    centroids = np.empty((n_clusters, rows.width), np.float32)
    centroids[0] = rows.take(chosen)[0] - rows.mean
    trials = 2 + int(np.log(n_clusters))
    closest = backend.distances(rows, centroids[:1], np.full(rows.samples, np.inf, np.float32))[0]
    potential = np.float32(closest.sum(dtype=np.float64))
    for k in range(1, n_clusters):
        drawn = random_state.uniform(size=trials) * potential
        candidates = np.searchsorted(np.cumsum(closest), drawn).clip(max=rows.samples - 1)
        candidate_rows = rows.take(candidates) - rows.mean
        distances = backend.distances(rows, candidate_rows, closest)
        potentials = distances.sum(1, dtype=np.float64).astype(np.float32)
        best = int(potentials.argmin())
        closest, potential = distances[best], potentials[best]
        centroids[k] = candidate_rows[best]
    return centroids


def kmeans(
    backend: Backend,
    rows: Data,
    n_clusters: int,
    n_init: int,
    random_state: np.random.RandomState,
    max_iter: int,
    tol: float,
) -> Run:
    """The best of n_init runs from k-means++ starts."""
    best: Run | None = None
    for _ in range(n_init):
        start = kmeans_plusplus(backend, rows, n_clusters, random_state)
        run = backend.lloyd(rows, start, max_iter, tol)
        # The second condition as in scikit-learn: of one partition found twice, the first keeps its names.
        if best is None or (
            run.inertia < best.inertia
            and not _same_partition(_host(run.labels), _host(best.labels), n_clusters)
        ):
            best = run
    assert best is not None
    return best


def _host(labels: Any) -> NDArray[np.int32]:
    return labels if isinstance(labels, np.ndarray) else np.asarray(labels.cpu())


@compiled
def _same_partition(a: NDArray[np.int32], b: NDArray[np.int32], clusters: int) -> bool:
    """Whether renaming the clusters of a gives b."""
    name = np.full(clusters, -1, np.int32)
    for i in range(a.size):
        if name[a[i]] == -1:
            name[a[i]] = b[i]
        elif name[a[i]] != b[i]:
            return False
    return True

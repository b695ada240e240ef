"""The k-means++ start and the best of several runs: few steps, each a pass over the rows in cpu.py or gpu.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..policy import compiled
from .rows import Float32, Run

FLOAT32_SUMS = 1 << 20  # rows up to which running sums are float32, as scikit-learn's are
AT_HAND = 1 << 20  # distances that the candidates of all starts drawn together may have


class Data(Protocol):
    """Rows somewhere, and their mean."""

    samples: int
    width: int
    mean: Float32

    def take(self, indices: NDArray[np.integer]) -> Float32:
        """Some rows."""


class Backend(Protocol):
    """cpu.py or gpu.py."""

    def lloyd(self, rows: Any, centroids: Float32, max_iter: int, tol: float, settled: float) -> Run:
        """Centroids in and out are about the mean."""

    def distances(self, rows: Any, candidates: Float32, closest: Float32) -> Float32:
        """[starts, candidates, rows] squared distance to the start's closest centroid, were the candidate added.

        Candidates are [starts, candidates, width], closest is [starts, rows].
        """


def kmeans_plusplus(
    backend: Backend, rows: Data, n_clusters: int, starts: int, random_state: np.random.RandomState
) -> Iterator[Float32]:
    """Centroids about the mean of the rows, start by start, drawn as scikit-learn draws them from the same state.

    That is: float64 distances kept as float32, running sums in float32, greedy among 2 + log k candidates. Beyond
    2**20 rows running sums are float64: in float32 they lose 2.4 % of the mass at 2e7 rows, and 9 % at 5e7.
    """
    weights = np.full(rows.samples, np.float32(1) / np.float32(rows.samples))
    trials = 2 + int(np.log(n_clusters))
    together = max(1, AT_HAND // (trials * rows.samples))
    for first in range(0, starts, together):
        draws = [
            (
                random_state.choice(rows.samples, p=weights),
                random_state.uniform(size=(n_clusters - 1, trials)),
            )
            for _ in range(min(together, starts - first))
        ]
        yield from _drawn_together(backend, rows, n_clusters, draws)


def _drawn_together(
    backend: Backend, rows: Data, n_clusters: int, draws: list[tuple[int, NDArray[np.float64]]]
) -> Float32:
    """[starts, clusters, width]: starts by their random numbers, in lockstep, so that a step reads the rows once."""
    which = np.arange(len(draws))
    centroids = np.empty((len(draws), n_clusters, rows.width), np.float32)
    candidates = np.array([[first] for first, _ in draws])
    closest = np.full((len(draws), rows.samples), np.inf, np.float32)
    potentials = np.full(len(draws), np.inf, np.float32)
    for k in range(n_clusters):
        if k:
            drawn = np.stack([uniform[k - 1] for _, uniform in draws]) * potentials[:, None]
            candidates = np.stack([_located(*pair) for pair in zip(closest, drawn, strict=True)])
            candidates = candidates.clip(max=rows.samples - 1)
        candidate_rows = rows.take(candidates.ravel()).reshape(*candidates.shape, rows.width) - rows.mean
        distances = backend.distances(rows, candidate_rows, closest)
        of_candidates = distances.sum(2, dtype=np.float64).astype(np.float32)
        best = of_candidates.argmin(1)
        closest, potentials = distances[which, best], of_candidates[which, best]
        centroids[:, k] = candidate_rows[which, best]
    return centroids


def _located(closest: Float32, drawn: NDArray[np.floating]) -> NDArray[np.int64]:
    """For each number drawn the first row at which the running sum of ``closest`` reaches it."""
    if closest.size <= FLOAT32_SUMS:
        return np.asarray(np.searchsorted(np.cumsum(closest), drawn), np.int64)
    # Block by block, so that the float64 sums of one block exist at a time.
    starts = range(0, closest.size, FLOAT32_SUMS)
    ends = np.cumsum([closest[i : i + FLOAT32_SUMS].sum(dtype=np.float64) for i in starts])
    blocks = np.searchsorted(ends, drawn).clip(max=len(ends) - 1)
    rows = np.empty(drawn.shape, np.int64)
    for block in np.unique(blocks):
        part = closest[starts[block] : starts[block] + FLOAT32_SUMS]
        before = ends[block - 1] if block else 0.0
        sums = before + np.cumsum(part, dtype=np.float64)
        of_block = blocks == block
        rows[of_block] = starts[block] + np.searchsorted(sums, drawn[of_block]).clip(max=part.size - 1)
    return rows


def kmeans(
    backend: Backend,
    rows: Data,
    n_clusters: int,
    n_init: int,
    random_state: np.random.RandomState,
    max_iter: int,
    tol: float,
    settled: float = 0.0,
) -> Run:
    """The best of n_init runs from k-means++ starts."""
    best: Run | None = None
    for start in kmeans_plusplus(backend, rows, n_clusters, n_init, random_state):
        run = backend.lloyd(rows, start, max_iter, tol, settled)
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

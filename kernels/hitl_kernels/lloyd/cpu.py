"""Lloyd's k-means and the k-means++ start in Numba.

Sums over rows are float64, in fixed order over parts of the rows that do not depend on the threads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from ..policy import compiled, compiled_fast, compiled_parallel_fast
from .rows import TILE, Float32, Float64, Rows

Labels = NDArray[np.int32]

BLOCK = 64  # rows a task of the E-step takes; their scores stay in the first-level cache
COLUMNS = 128  # columns a task of the M-step takes
PARTS = 32  # parts of a chunk that the M-step sums apart, while their sums fit into PARTIAL numbers
PARTIAL = 1 << 22


@dataclass
class Run:
    """Where a clustering stands: centroids about the mean of the rows, and what the last E-step said."""

    centroids: Float32  # [clusters, width]
    labels: Labels  # [samples]
    iterations: int = 0
    inertia: float = 0.0


def lloyd(rows: Rows, centroids: Float32, max_iter: int, tol: float) -> Run:
    """From centroids about the mean of the rows."""
    run = Run(centroids, np.full(rows.samples, -1, np.int32))
    sums = _Sums(rows, len(centroids))
    tolerance = tol * rows.variance
    while run.iterations < max_iter:
        run.iterations += 1
        changed = _assign_all(rows, run, sums)
        previous, run.centroids = run.centroids, _average(rows, run, sums)
        if not changed:
            break
        if ((run.centroids - previous).astype(np.float64) ** 2).sum() <= tolerance:
            _assign_all(rows, run, None)
            break
    else:
        _assign_all(rows, run, None)
    run.inertia = float(
        np.sum([_inertia(x[:n], run.centroids, run.labels[i : i + n]) for i, n, x in rows.chunks()])
    )
    return run


class _Sums:
    """Sums and sizes of the clusters, kept up to date by what changes cluster."""

    def __init__(self, rows: Rows, clusters: int) -> None:
        parts = max(1, min(PARTS, PARTIAL // (clusters * rows.width)))
        self.of_parts = np.zeros((parts, clusters, rows.width))
        self.sizes = np.zeros(clusters, np.int64)


def _assign_all(rows: Rows, run: Run, sums: _Sums | None) -> int:
    """The E-step, and the bookkeeping of the M-step if asked: how many rows changed cluster."""
    clusters = len(run.centroids)
    padded = np.zeros((-(-clusters // TILE) * TILE, rows.width), np.float32)
    padded[:clusters] = run.centroids
    norms = np.einsum("kd,kd->k", run.centroids, run.centroids)
    changed = 0
    for start, n, x in rows.chunks():
        labels = run.labels[start : start + n]
        nearest = np.empty(n, np.int32)
        _assign(x, padded, norms, nearest)
        if sums is not None:
            moved = np.flatnonzero(nearest != labels)
            changed += moved.size
            _move(x, moved, labels, nearest, sums.of_parts)
            sums.sizes += np.bincount(nearest[moved], minlength=clusters)
            was = labels[moved]
            sums.sizes -= np.bincount(was[was >= 0], minlength=clusters)
        labels[:] = nearest
    return changed


def _average(rows: Rows, run: Run, kept: _Sums) -> Float32:
    """The M-step's division; scikit-learn's rule for clusters without rows, as in reference.py."""
    sums, sizes = kept.of_parts.sum(0), kept.sizes
    empty = np.flatnonzero(sizes == 0)
    if empty.size:
        sizes = sizes.copy()
        distances = np.empty(rows.samples, np.float32)
        for start, n, x in rows.chunks():
            own = run.centroids[run.labels[start : start + n]]
            distances[start : start + n] = ((x[:n] - own) ** 2).sum(1)
        farthest = np.argpartition(distances, -empty.size)[: -empty.size - 1 : -1]
        if distances.max() > 0:
            for cluster, row, x_row in zip(empty, farthest, rows.take(farthest), strict=True):
                sums[run.labels[row]] -= x_row
                sizes[run.labels[row]] -= 1
                sums[cluster] = x_row
                sizes[cluster] = 1
    largest = sizes.argmax()
    for k in np.flatnonzero(sizes == 0):
        sums[k] = sums[largest] if k < largest else sums[largest] / sizes[largest]
    means: Float32 = (sums / np.maximum(sizes, 1)[:, None]).astype(np.float32)
    return means


@compiled_parallel_fast
def _assign(x: Float32, centroids: Float32, norms: Float32, nearest: Labels) -> None:
    """The E-step: argmin over k of ``|c_k|^2 - 2 x.c_k``, which is ``|x - c_k|^2`` less what all k share."""
    for block in numba.prange((nearest.size + BLOCK - 1) // BLOCK):
        start = block * BLOCK
        stop = min(start + BLOCK, nearest.size)
        products = np.empty((TILE, centroids.shape[0]), np.float32)
        for i in range(start, stop, TILE):
            for k in range(0, centroids.shape[0], TILE):
                _products(x, i, centroids, k, products)
            for row in range(min(TILE, stop - i)):
                nearest[i + row] = _lowest(products[row], norms)


@compiled_fast
def _products(x: Float32, i: int, centroids: Float32, k: int, out: Float32) -> None:
    """Four rows times four centroids: sixteen sums in registers, each number loaded serves four of them."""
    zero = np.float32(0)
    s00 = s01 = s02 = s03 = s10 = s11 = s12 = s13 = zero
    s20 = s21 = s22 = s23 = s30 = s31 = s32 = s33 = zero
    for d in range(x.shape[1]):
        x0, x1, x2, x3 = x[i, d], x[i + 1, d], x[i + 2, d], x[i + 3, d]
        c0, c1, c2, c3 = centroids[k, d], centroids[k + 1, d], centroids[k + 2, d], centroids[k + 3, d]
        s00, s01, s02, s03 = s00 + x0 * c0, s01 + x0 * c1, s02 + x0 * c2, s03 + x0 * c3
        s10, s11, s12, s13 = s10 + x1 * c0, s11 + x1 * c1, s12 + x1 * c2, s13 + x1 * c3
        s20, s21, s22, s23 = s20 + x2 * c0, s21 + x2 * c1, s22 + x2 * c2, s23 + x2 * c3
        s30, s31, s32, s33 = s30 + x3 * c0, s31 + x3 * c1, s32 + x3 * c2, s33 + x3 * c3
    out[0, k], out[0, k + 1], out[0, k + 2], out[0, k + 3] = s00, s01, s02, s03
    out[1, k], out[1, k + 1], out[1, k + 2], out[1, k + 3] = s10, s11, s12, s13
    out[2, k], out[2, k + 1], out[2, k + 2], out[2, k + 3] = s20, s21, s22, s23
    out[3, k], out[3, k + 1], out[3, k + 2], out[3, k + 3] = s30, s31, s32, s33


@compiled_fast
def _lowest(products: Float32, norms: Float32) -> int:
    label = 0
    lowest = norms[0] - 2 * products[0]
    for k in range(1, norms.size):
        score = norms[k] - 2 * products[k]
        if score < lowest:
            lowest = score
            label = k
    return label


@compiled_parallel_fast
def _move(x: Float32, moved: NDArray[np.int64], labels: Labels, nearest: Labels, of_parts: Float64) -> None:
    """Takes rows out of the sums of their old clusters, if any, and adds them to those of the new."""
    parts, bands = of_parts.shape[0], (x.shape[1] + COLUMNS - 1) // COLUMNS
    for task in numba.prange(parts * bands):
        part, first = task // bands, task % bands * COLUMNS
        stop = min(first + COLUMNS, x.shape[1])
        sums = of_parts[part]
        for m in range(moved.size * part // parts, moved.size * (part + 1) // parts):
            i = moved[m]
            if labels[i] >= 0:
                _add(sums[labels[i], first:stop], x[i, first:stop], -1.0)
            _add(sums[nearest[i], first:stop], x[i, first:stop], 1.0)


@compiled_fast
def _add(total: Float64, row: Float32, sign: float) -> None:
    for d in range(row.size):
        total[d] += sign * row[d]


@compiled_parallel_fast
def _inertia(x: Float32, centroids: Float32, labels: Labels) -> float:
    blocks = (labels.size + BLOCK - 1) // BLOCK
    of_blocks = np.zeros(blocks)
    for block in numba.prange(blocks):
        for i in range(block * BLOCK, min((block + 1) * BLOCK, labels.size)):
            of_blocks[block] += _squared_distance(x[i], centroids[labels[i]])
    total = 0.0
    for block in range(blocks):
        total += of_blocks[block]
    return total


@compiled_fast
def _squared_distance(a: Float32, b: Float32) -> float:
    total = 0.0
    for d in range(a.size):
        total += (float(a[d]) - float(b[d])) ** 2
    return total


def kmeans_plusplus(rows: Rows, n_clusters: int, random_state: np.random.RandomState) -> Float32:
    """Centroids about the mean of the rows, drawn as scikit-learn draws them from the same state.

    That is: float64 distances kept as float32, running sums in float32, greedy among 2 + log k candidates.
    """
    weights = np.full(rows.samples, np.float32(1) / np.float32(rows.samples))
    chosen = np.array([random_state.choice(rows.samples, p=weights)])
    centroids = np.empty((n_clusters, rows.width), np.float32)
    centroids[0] = rows.take(chosen)[0]
    trials = 2 + int(np.log(n_clusters))
    closest = _distances(rows, centroids[:1], np.full(rows.samples, np.inf, np.float32))[0]
    potential = np.float32(closest.sum(dtype=np.float64))
    for k in range(1, n_clusters):
        drawn = random_state.uniform(size=trials) * potential
        candidates = np.searchsorted(np.cumsum(closest), drawn).clip(max=rows.samples - 1)
        candidate_rows = rows.take(candidates)
        distances = _distances(rows, candidate_rows, closest)
        potentials = distances.sum(1, dtype=np.float64).astype(np.float32)
        best = int(potentials.argmin())
        closest, potential = distances[best], potentials[best]
        centroids[k] = candidate_rows[best]
    return centroids


def _distances(rows: Rows, candidates: Float32, closest: Float32) -> Float32:
    """[candidates, rows] squared distance of each row to its closest centroid, were the candidate added."""
    out = np.empty((len(candidates), rows.samples), np.float32)
    for start, n, x in rows.chunks():
        _candidate_distances(x, candidates, closest[start : start + n], out[:, start : start + n])
    return out


@compiled_parallel_fast
def _candidate_distances(x: Float32, candidates: Float32, closest: Float32, out: Float32) -> None:
    for block in numba.prange((closest.size + BLOCK - 1) // BLOCK):
        for i in range(block * BLOCK, min((block + 1) * BLOCK, closest.size)):
            for t in range(candidates.shape[0]):
                out[t, i] = min(closest[i], np.float32(_squared_distance(x[i], candidates[t])))


@compiled
def same_partition(a: Labels, b: Labels, clusters: int) -> bool:
    """Whether renaming the clusters of a gives b."""
    name = np.full(clusters, -1, np.int32)
    for i in range(a.size):
        if name[a[i]] == -1:
            name[a[i]] = b[i]
        elif name[a[i]] != b[i]:
            return False
    return True


def kmeans(
    rows: Rows, n_clusters: int, n_init: int, random_state: np.random.RandomState, max_iter: int, tol: float
) -> Run:
    """The best of n_init runs from k-means++ starts."""
    best: Run | None = None
    for _ in range(n_init):
        run = lloyd(rows, kmeans_plusplus(rows, n_clusters, random_state), max_iter, tol)
        # The second condition as in scikit-learn: of one partition found twice, the first keeps its names.
        if best is None or (
            run.inertia < best.inertia and not same_partition(run.labels, best.labels, n_clusters)
        ):
            best = run
    assert best is not None
    return best

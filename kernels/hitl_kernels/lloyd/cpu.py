"""Lloyd's k-means in Numba: the iteration and the M-step. The E-step is in nearest.py.

Sums over rows are float64, in fixed order over parts of the rows that do not depend on the threads.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from ..policy import compiled_fast_by_size, compiled_fast_part
from .candidates import distances
from .nearest import Bounds, Labels, assign
from .products import panels, squared_distance
from .rows import Float32, Float64, Rows, Run
from .tile import LINE, prefetch

__all__ = ["distances", "lloyd"]

BLOCK = 64  # rows whose squared distances are one term of the inertia
FEW = 0.1  # of the rows change cluster where bounds begin to pay
COLUMNS = 512  # columns a task of the M-step takes
PARTS = 8  # at most so many tasks in the M-step, and parts of a chunk whose rows are summed apart
PARTIAL = 1 << 22  # numbers that the sums of all parts may have together


def lloyd(rows: Rows, centroids: Float32, max_iter: int, tol: float, settled: float = 0.0) -> Run:
    """From centroids about the mean of the rows."""
    run = Run(centroids, np.full(rows.samples, -1, np.int32))
    sums, bounds = _Sums(rows, len(centroids)), Bounds(rows)
    tolerance = tol * rows.variance
    while run.iterations < max_iter:
        run.iterations += 1
        changed = _assign_all(rows, run, bounds, sums)
        bounds.kept |= changed <= FEW * rows.samples
        previous, run.centroids = run.centroids, _average(rows, run, sums)
        if not changed:
            break
        moved = ((run.centroids - previous).astype(np.float64) ** 2).sum()
        if moved <= tolerance or changed <= settled * rows.samples:
            _assign_all(rows, run, bounds, None)
            break
    else:
        _assign_all(rows, run, bounds, None)
    run.inertia = float(
        sum(
            _inertia(x.size, x, rows.mean, run.centroids, run.labels[start : start + len(x)], _blocks(x))
            for start, x in rows.chunks()
        )
    )
    return run


class _Sums:
    """Sums of the clusters, kept up to date by the rows that change cluster."""

    def __init__(self, rows: Rows, clusters: int) -> None:
        bands = -(-rows.width // COLUMNS)
        parts = max(1, min(PARTS // bands, PARTIAL // (clusters * rows.width)))
        self.of_parts = np.zeros((parts, clusters, rows.width))

    def move(self, x: Float32, nearest: Labels, labels: Labels) -> int:
        """Moves rows from their old cluster, if any, to the nearest one; how many have moved."""
        moved = (nearest != labels).nonzero()[0]
        _move(2 * moved.size * x.shape[1], x, moved, nearest, labels, self.of_parts)
        labels[:] = nearest
        return int(moved.size)


def _assign_all(rows: Rows, run: Run, bounds: Bounds, sums: _Sums | None) -> int:
    """The E-step, and the sums of the M-step if asked: how many rows changed cluster."""
    points = panels(run.centroids)
    moves = bounds.move_to(run.centroids, points[1])
    changed = 0
    for start, x in rows.chunks():
        part = slice(start, start + len(x))
        labels = run.labels[part]
        nearest = labels if sums is None else labels.copy()
        assign(x, rows.mean, points, (nearest, bounds.squares[part], bounds.gaps[part]), moves)
        if sums is not None:
            changed += sums.move(x, nearest, labels)
    return changed


def _average(rows: Rows, run: Run, kept: _Sums) -> Float32:
    """The M-step's division; scikit-learn's rule for clusters without rows, as in reference.py."""
    sums = kept.of_parts.sum(0)
    sizes = np.bincount(run.labels, minlength=len(sums))
    empty = np.flatnonzero(sizes == 0)
    if empty.size:
        distances = np.empty(rows.samples, np.float32)
        for start, x in rows.chunks():
            own = run.centroids[run.labels[start : start + len(x)]]
            distances[start : start + len(x)] = ((x - rows.mean - own) ** 2).sum(1)
        farthest = np.argpartition(distances, -empty.size)[: -empty.size - 1 : -1]
        if distances.max() > 0:
            for cluster, row, x_row in zip(empty, farthest, rows.take(farthest), strict=True):
                sums[run.labels[row]] -= x_row
                sizes[run.labels[row]] -= 1
                sums[cluster] = x_row
                sizes[cluster] = 1
    sums -= sizes[:, None] * rows.mean
    largest = sizes.argmax()
    for k in np.flatnonzero(sizes == 0):
        sums[k] = sums[largest] if k < largest else sums[largest] / sizes[largest]
    return np.asarray(sums / np.maximum(sizes, 1)[:, None], np.float32)


@compiled_fast_by_size
def _move(x: Float32, moved: NDArray[np.int64], nearest: Labels, labels: Labels, of_parts: Float64) -> None:
    """Sums of the clusters: part of the rows that moved by part, band of columns by band."""
    changed, parts = moved.size, of_parts.shape[0]
    bands = (x.shape[1] + COLUMNS - 1) // COLUMNS
    for task in numba.prange(parts * bands):
        part, first = task // bands, task % bands * COLUMNS
        columns = min(COLUMNS, x.shape[1] - first)
        for m in range(changed * part // parts, changed * (part + 1) // parts):
            i = moved[m]
            if m + 1 < changed:
                for offset in range(0, columns, LINE):
                    prefetch(x, moved[m + 1], first + offset)
            if labels[i] >= 0:
                _add(of_parts, part, labels[i], x, i, first, columns, -1.0)
            _add(of_parts, part, nearest[i], x, i, first, columns, 1.0)


@compiled_fast_part
def _add(
    of_parts: Float64, part: int, cluster: int, x: Float32, i: int, first: int, columns: int, sign: float
) -> None:
    for offset in range(columns):
        d = np.uint64(first + offset)  # as in products.py
        of_parts[part, cluster, d] += sign * x[i, d]


def _blocks(x: Float32) -> Float64:
    return np.empty(-(-len(x) // BLOCK))


@compiled_fast_by_size
def _inertia(x: Float32, mean: Float32, centroids: Float32, labels: Labels, of_blocks: Float64) -> float:
    """The sum of squared distances; ``of_blocks`` is room for its terms."""
    blocks = of_blocks.size
    for block in numba.prange(blocks):
        of_block = 0.0
        for i in range(block * BLOCK, min((block + 1) * BLOCK, labels.size)):
            of_block += squared_distance(x, i, mean, centroids, labels[i])
        of_blocks[block] = of_block
    total = 0.0
    for block in range(blocks):
        total += of_blocks[block]
    return total

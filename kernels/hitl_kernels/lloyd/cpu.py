"""Lloyd's k-means in Numba.

Sums over rows are float64, in fixed order over parts of the rows that do not depend on the threads.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from ..policy import compiled_fast, compiled_parallel_fast
from .rows import Float32, Float64, Rows, Run
from .tile import LINE, NARROW, PANEL, ROWS, lowest_score, make_tile, prefetch

Labels = NDArray[np.int32]

# The E-step takes 64 rows, 512 of their columns and 480 centroids at a time: 128 KiB, and as much of products.
BLOCK, DEPTH, GROUP = 64, 512, 10 * PANEL
TASK = 2 * BLOCK  # rows a task takes, so that its buffers are made once for them
COLUMNS = 512  # columns a task of the M-step takes
PARTS = 8  # at most so many tasks in the M-step, and parts of a chunk whose rows are summed apart
PARTIAL = 1 << 22  # numbers that the sums of all parts may have together

# Compiled code refers to functions by name, so each width of the last panel has one.
TILE_8, TILE_16, TILE_24, TILE_32, TILE_40, TILE_48 = (make_tile(width) for width in range(8, 49, 8))


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
        sum(
            _inertia(x, rows.mean, run.centroids, run.labels[start : start + len(x)])
            for start, x in rows.chunks()
        )
    )
    return run


class _Sums:
    """Sums and sizes of the clusters, kept up to date by what changes cluster."""

    def __init__(self, rows: Rows, clusters: int) -> None:
        bands = -(-rows.width // COLUMNS)
        parts = max(1, min(PARTS // bands, PARTIAL // (clusters * rows.width)))
        self.of_parts = np.zeros((parts, clusters, rows.width))
        self.sizes = np.zeros(clusters, np.int64)


def _assign_all(rows: Rows, run: Run, sums: _Sums | None) -> int:
    """The E-step, and the bookkeeping of the M-step if asked: how many rows changed cluster."""
    panels, norms = _panels(run.centroids)
    changed = 0
    for start, x in rows.chunks():
        labels = run.labels[start : start + len(x)]
        if sums is None:
            _assign(x, rows.mean, panels, norms, labels)
        else:
            changed += _assign_and_move(x, rows.mean, panels, norms, labels, sums.of_parts, sums.sizes)
    return changed


def _panels(centroids: Float32) -> tuple[Float32, Float32]:
    """Centroids as tiles want them, and their squared norms: infinite for those that fill the last panel."""
    clusters, width = centroids.shape
    filled = -(-clusters // NARROW) * NARROW
    panels = np.zeros(filled * width, np.float32)
    norms = np.full(-(-clusters // PANEL) * PANEL, np.inf, np.float32)
    norms[:clusters] = np.einsum("kd,kd->k", centroids, centroids)
    for first in range(0, clusters, PANEL):
        part = centroids[first : first + PANEL]
        size = min(PANEL, filled - first)
        panels[first * width : (first + size) * width].reshape(width, size)[:, : len(part)] = part.T
    return panels, norms


def _average(rows: Rows, run: Run, kept: _Sums) -> Float32:
    """The M-step's division; scikit-learn's rule for clusters without rows, as in reference.py."""
    sums, sizes = kept.of_parts.sum(0), kept.sizes
    empty = np.flatnonzero(sizes == 0)
    if empty.size:
        sizes = sizes.copy()
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


@compiled_parallel_fast
def _assign(x: Float32, mean: Float32, panels: Float32, norms: Float32, labels: Labels) -> None:
    """The E-step: argmin over k of ``|c_k|^2 - 2 x.c_k``, which is ``|x - c_k|^2`` less what all k share."""
    for task in numba.prange((labels.size + TASK - 1) // TASK):
        start = task * TASK
        _assign_part(x, start, min(start + TASK, labels.size), mean, panels, norms, labels)


# No slices inside loops over rows: each would count references to x atomically, in all threads at once.


@compiled_fast
def _assign_part(
    x: Float32, start: int, stop: int, mean: Float32, panels: Float32, norms: Float32, labels: Labels
) -> None:
    width = x.shape[1]
    clusters = panels.size // width
    centred = np.zeros((BLOCK, min(DEPTH, width)), np.float32)
    products = np.zeros((BLOCK, min(GROUP, norms.size)), np.float32)
    lowest = np.empty(BLOCK, np.float32)
    for block in range(start, stop, BLOCK):
        rows = min(BLOCK, stop - block)
        ahead = min(block + BLOCK, x.shape[0] - 1) * width
        for row in range(rows):
            lowest[row] = np.inf
            labels[block + row] = 0
        for group in range(0, norms.size, GROUP):
            end = min(group + GROUP, norms.size)
            for column in range(0, width, DEPTH):
                depth = min(DEPTH, width - column)
                _centre(x, block, rows, column, depth, mean, centred)
                for first in range(group, end, PANEL):
                    size = min(PANEL, clusters - first)
                    offset = first * width + column * size
                    _tiles(
                        size,
                        centred,
                        rows,
                        depth,
                        panels,
                        offset,
                        products,
                        first - group,
                        column > 0,
                        x,
                        ahead,
                    )
            for row in range(rows):
                for first in range(group, end, PANEL):
                    score, k = lowest_score(products, row, first - group, norms, first)
                    if score < lowest[row]:
                        lowest[row] = score
                        labels[block + row] = first + k


@compiled_fast
def _centre(x: Float32, i: int, rows: int, column: int, depth: int, mean: Float32, centred: Float32) -> None:
    for row in range(rows):
        for offset in range(depth):
            d = np.uint64(column + offset)  # unsigned, or a test for indices from the end stops vectorising
            centred[row, offset] = x[i + row, d] - mean[d]


@compiled_fast
def _tiles(
    size: int,
    x: Float32,
    rows: int,
    depth: int,
    panels: Float32,
    offset: int,
    out: Float32,
    column: int,
    add: bool,
    source: Float32,
    ahead: int,
) -> None:
    for row in range(0, rows, ROWS):
        soon = ahead + row * depth
        if size == 48:
            TILE_48(x, row, depth, panels, offset, out, column, add, source, soon)
        elif size == 40:
            TILE_40(x, row, depth, panels, offset, out, column, add, source, soon)
        elif size == 32:
            TILE_32(x, row, depth, panels, offset, out, column, add, source, soon)
        elif size == 24:
            TILE_24(x, row, depth, panels, offset, out, column, add, source, soon)
        elif size == 16:
            TILE_16(x, row, depth, panels, offset, out, column, add, source, soon)
        else:
            TILE_8(x, row, depth, panels, offset, out, column, add, source, soon)


@compiled_parallel_fast
def _assign_and_move(
    x: Float32,
    mean: Float32,
    panels: Float32,
    norms: Float32,
    labels: Labels,
    of_parts: Float64,
    sizes: NDArray[np.int64],
) -> int:
    """The E-step, and the sums of the M-step by what it changed; how many rows changed cluster."""
    nearest = np.empty_like(labels)
    _assign(x, mean, panels, norms, nearest)
    moved = np.empty(labels.size, np.int64)
    changed = 0
    for i in range(labels.size):
        if nearest[i] != labels[i]:
            moved[changed] = i
            changed += 1
            sizes[nearest[i]] += 1
            if labels[i] >= 0:
                sizes[labels[i]] -= 1
    parts, bands = of_parts.shape[0], (x.shape[1] + COLUMNS - 1) // COLUMNS
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
    labels[:] = nearest
    return changed


@compiled_fast
def _add(
    of_parts: Float64, part: int, cluster: int, x: Float32, i: int, first: int, columns: int, sign: float
) -> None:
    for offset in range(columns):
        d = np.uint64(first + offset)  # as in _centre
        of_parts[part, cluster, d] += sign * x[i, d]


@compiled_parallel_fast
def _inertia(x: Float32, mean: Float32, centroids: Float32, labels: Labels) -> float:
    blocks = (labels.size + BLOCK - 1) // BLOCK
    of_blocks = np.zeros(blocks)
    for block in numba.prange(blocks):
        of_block = 0.0
        for i in range(block * BLOCK, min((block + 1) * BLOCK, labels.size)):
            of_block += _squared_distance(x, i, mean, centroids, labels[i])
        of_blocks[block] = of_block
    total = 0.0
    for block in range(blocks):
        total += of_blocks[block]
    return total


@compiled_fast
def _squared_distance(x: Float32, i: int, mean: Float32, centroids: Float32, k: int) -> float:
    """To a centroid about the mean, where the row is rounded to float32 too. Numba's float() would not widen."""
    total = 0.0
    for d in range(x.shape[1]):
        total += (np.float64(x[i, d] - mean[d]) - np.float64(centroids[k, d])) ** 2
    return total


def distances(rows: Rows, candidates: Float32, closest: Float32) -> Float32:
    """[starts, candidates, rows] squared distance to the start's closest centroid, were the candidate added."""
    wide = candidates.astype(np.float64)
    out = np.empty((*candidates.shape[:2], rows.samples), np.float32)
    for start, x in rows.chunks():
        part = slice(start, start + len(x))
        _candidate_distances(x, rows.mean, wide, closest[:, part], out[:, :, part])
    return out


@compiled_parallel_fast
def _candidate_distances(
    x: Float32, mean: Float32, candidates: Float64, closest: Float32, out: Float32
) -> None:
    starts, trials, width = candidates.shape
    samples = x.shape[0]
    for task in numba.prange((samples + TASK - 1) // TASK):
        row = np.empty(width)
        for i in range(task * TASK, min((task + 1) * TASK, samples)):
            for column in range(width):
                d = np.uint64(column)  # as in _centre
                row[d] = x[i, d] - mean[d]
            for start in range(starts):
                for t in range(trials):
                    distance = 0.0
                    for column in range(width):
                        d = np.uint64(column)
                        distance += (row[d] - candidates[start, t, d]) ** 2
                    out[start, t, i] = min(closest[start, i], np.float32(distance))

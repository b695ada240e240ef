"""The E-step of k-means and the distances of k-means++: both are a few rows at a time times all points.

Products are those of tile.py, whose order of summation depends on nothing but the shapes.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from ..policy import compiled_fast, compiled_fast_by_size, compiled_fast_part, threads_for
from .rows import Float32, Float64, Rows
from .tile import LANES, PANEL, ROWS, lowest_score, make_tile

Labels = NDArray[np.int32]

# 64 rows, 512 of their columns and 480 points are taken at a time: 128 KiB, and as much of products.
BLOCK, DEPTH, GROUP = 64, 512, 10 * PANEL
TASK = 2 * BLOCK  # rows a task takes, so that its buffers are made once for them
SPEED = 32  # products of two numbers that are one unit of work
WIDE = 256  # columns from which on a product saves more than it costs
UNIT = 2.0**-24  # relative rounding error of float32

# Compiled code refers to functions by name, so each width of the last panel has one.
TILE_1, TILE_2, TILE_3 = (make_tile(vectors) for vectors in (1, 2, 3))


def panels(centroids: Float32) -> tuple[Float32, Float32]:
    """Points in panels for the tiles, and their squared norms: infinite for those that fill the last panel."""
    clusters, width = centroids.shape
    filled = -(-clusters // LANES) * LANES
    packed = np.zeros(filled * width, np.float32)
    norms = np.full(-(-clusters // PANEL) * PANEL, np.inf, np.float32)
    norms[:clusters] = np.einsum("kd,kd->k", centroids, centroids)
    for first in range(0, clusters, PANEL):
        part = centroids[first : first + PANEL]
        size = min(PANEL, filled - first)
        packed[first * width : (first + size) * width].reshape(width, size)[:, : len(part)] = part.T
    return packed, norms


def assign(x: Float32, mean: Float32, panels: Float32, norms: Float32, labels: Labels) -> None:
    """The E-step: argmin over k of ``|c_k|^2 - 2 x.c_k``, which is ``|x - c_k|^2`` less what all k share."""
    work = x.size * norms.size / SPEED
    if threads_for(work) == 1:
        # Without the loop, and with memory made here: both take long to compile.
        centred, products = _room(x.shape[1], norms.size)
        _assign_part(
            x, 0, labels.size, mean, panels, norms, labels, centred, products, np.empty(BLOCK, np.float32)
        )
    else:
        _assign(work, x, mean, panels, norms, labels)


def _room(width: int, points: int) -> tuple[Float32, Float32]:
    """Memory for the rows of a block less the mean, and for their products with a group of points."""
    return (
        np.zeros((BLOCK, min(DEPTH, width)), np.float32),
        np.zeros((BLOCK, min(GROUP, points)), np.float32),
    )


@compiled_fast_by_size
def _assign(x: Float32, mean: Float32, panels: Float32, norms: Float32, labels: Labels) -> None:
    for task in numba.prange((labels.size + TASK - 1) // TASK):
        start = task * TASK
        centred = np.zeros((BLOCK, min(DEPTH, x.shape[1])), np.float32)
        products = np.zeros((BLOCK, min(GROUP, norms.size)), np.float32)
        lowest = np.empty(BLOCK, np.float32)
        stop = min(start + TASK, labels.size)
        _assign_part(x, start, stop, mean, panels, norms, labels, centred, products, lowest)


# No slices inside loops over rows: each would count references to x atomically, in all threads at once.


@compiled_fast
def _assign_part(
    x: Float32,
    start: int,
    stop: int,
    mean: Float32,
    panels: Float32,
    norms: Float32,
    labels: Labels,
    centred: Float32,
    products: Float32,
    lowest: Float32,
) -> None:
    for block in range(start, stop, BLOCK):
        rows = min(BLOCK, stop - block)
        for row in range(rows):
            lowest[row] = np.inf
            labels[block + row] = 0
        for group in range(0, norms.size, GROUP):
            end = min(group + GROUP, norms.size)
            _multiply(x, block, rows, mean, panels, group, end, centred, products, None)
            for row in range(rows):
                for first in range(group, end, PANEL):
                    score, k = lowest_score(products, row, first - group, norms, first)
                    if score < lowest[row]:
                        lowest[row] = score
                        labels[block + row] = first + k


@compiled_fast_part
def _multiply(
    x: Float32,
    block: int,
    rows: int,
    mean: Float32,
    panels: Float32,
    group: int,
    end: int,
    centred: Float32,
    products: Float32,
    squares: Float32 | None,
) -> None:
    """Rows from block on, less the mean, times the points of a group; adds the rows' squares where asked."""
    width = x.shape[1]
    points = panels.size // width
    ahead = min(block + BLOCK, x.shape[0] - 1) * width
    for column in range(0, width, DEPTH):
        depth = min(DEPTH, width - column)
        _centre(x, block, rows, column, depth, mean, centred)
        if squares is not None:  # known when compiling
            _add_squares(centred, rows, depth, squares)
        for first in range(group, end, PANEL):
            size = min(PANEL, points - first)
            offset = first * width + column * size
            for row in range(0, rows, ROWS):
                soon = ahead + row * depth
                if size == 3 * LANES:
                    TILE_3(centred, row, depth, panels, offset, products, first - group, column > 0, x, soon)
                elif size == 2 * LANES:
                    TILE_2(centred, row, depth, panels, offset, products, first - group, column > 0, x, soon)
                else:
                    TILE_1(centred, row, depth, panels, offset, products, first - group, column > 0, x, soon)


@compiled_fast_part
def _centre(x: Float32, i: int, rows: int, column: int, depth: int, mean: Float32, centred: Float32) -> None:
    for row in range(rows):
        for offset in range(depth):
            d = np.uint64(column + offset)  # unsigned, or a test for indices from the end stops vectorising
            centred[row, offset] = x[i + row, d] - mean[d]


@compiled_fast_part
def _add_squares(centred: Float32, rows: int, depth: int, squares: Float32) -> None:
    for row in range(rows):
        square = np.float32(0)
        for offset in range(depth):
            square += centred[row, offset] * centred[row, offset]
        squares[row] += square


@compiled_fast_part
def squared_distance(x: Float32, i: int, mean: Float32, centroids: Float32, k: int) -> float:
    """To a centroid about the mean, where the row is rounded to float32 too. Numba's float() would not widen."""
    total = 0.0
    for d in range(x.shape[1]):
        apart = np.float64(x[i, d] - mean[d]) - np.float64(centroids[k, d])
        total += apart * apart
    return total


def distances(rows: Rows, candidates: Float32, closest: Float32) -> Float32:
    """[starts, candidates, rows] squared distance to the start's closest centroid, were the candidate added.

    Distances are sums of float64 differences, rounded to float32. In wide rows a float32 product with a bound on
    its error comes first: it shows for most candidates that they are not the closest.
    """
    out = np.empty((*candidates.shape[:2], rows.samples), np.float32)
    points = candidates.reshape(-1, rows.width)
    packed, norms = panels(points)
    wide = points.astype(np.float64)
    for start, x in rows.chunks():
        of_rows = slice(start, start + len(x))
        near, found = closest[:, of_rows], out[:, :, of_rows]
        if rows.width < WIDE:
            _all_distances(x.size * len(points) / 4, x, rows.mean, wide, near, found)
        else:
            _least(x.size * norms.size / SPEED + x.size, x, rows.mean, packed, norms, points, near, found)
    return out


@compiled_fast_by_size
def _all_distances(x: Float32, mean: Float32, points: Float64, closest: Float32, out: Float32) -> None:
    starts, trials, width = out.shape[0], out.shape[1], x.shape[1]
    for task in numba.prange((x.shape[0] + TASK - 1) // TASK):
        row = np.empty(width)
        for i in range(task * TASK, min((task + 1) * TASK, x.shape[0])):
            for column in range(width):
                d = np.uint64(column)  # as in _centre
                row[d] = x[i, d] - mean[d]
            for start in range(starts):
                for t in range(trials):
                    distance = 0.0
                    for column in range(width):
                        d = np.uint64(column)
                        apart = row[d] - points[start * trials + t, d]
                        distance += apart * apart
                    out[start, t, i] = min(closest[start, i], np.float32(distance))


@compiled_fast_by_size
def _least(
    x: Float32,
    mean: Float32,
    panels: Float32,
    norms: Float32,
    points: Float32,
    closest: Float32,
    out: Float32,
) -> None:
    for task in numba.prange((x.shape[0] + TASK - 1) // TASK):
        start = task * TASK
        _least_of_part(x, start, min(start + TASK, x.shape[0]), mean, panels, norms, points, closest, out)


@compiled_fast_part
def _least_of_part(
    x: Float32,
    start: int,
    stop: int,
    mean: Float32,
    panels: Float32,
    norms: Float32,
    points: Float32,
    closest: Float32,
    out: Float32,
) -> None:
    width, trials = x.shape[1], out.shape[1]
    centred = np.zeros((BLOCK, min(DEPTH, width)), np.float32)
    products = np.zeros((BLOCK, min(GROUP, norms.size)), np.float32)
    squares = np.zeros(BLOCK, np.float32)
    # A sum of D products in any order is off by D u |x| |c| at most (Higham, Accuracy and Stability of Numerical
    # Algorithms, 2002, sec. 3.1), so |x - c|^2 by this share of |x|^2 + |c|^2, other roundings included.
    error = np.float32((2.02 * width + 16) * UNIT)
    for block in range(start, stop, BLOCK):
        rows = min(BLOCK, stop - block)
        for group in range(0, norms.size, GROUP):
            end = min(group + GROUP, norms.size)
            squares[:] = 0
            _multiply(x, block, rows, mean, panels, group, end, centred, products, squares)
            for k in range(group, min(end, points.shape[0])):
                for row in range(rows):
                    least = closest[k // trials, block + row]
                    sizes = squares[row] + norms[k]
                    # Written so that what is not finite is measured.
                    if not sizes - np.float32(2) * products[row, k - group] - error * sizes > least:
                        distance = squared_distance(x, block + row, mean, points, k)
                        least = min(least, np.float32(distance))
                    out[k // trials, k % trials, block + row] = least

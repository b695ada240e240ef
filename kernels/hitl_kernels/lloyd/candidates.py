"""The distances of k-means++: of all rows to a few candidates."""

from __future__ import annotations

import numba
import numpy as np

from ..policy import compiled_fast_by_size, compiled_fast_part
from .products import BLOCK, DEPTH, GROUP, SPEED, TASK, error_share, multiply, panels, squared_distance
from .rows import Float32, Float64, Rows

WIDE = 256  # columns from which on a product saves more than it costs


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
    all_rows = np.arange(start, stop)
    error = error_share(width)
    for block in range(0, stop - start, BLOCK):
        rows = min(BLOCK, stop - start - block)
        for group in range(0, norms.size, GROUP):
            end = min(group + GROUP, norms.size)
            squares[:] = 0
            multiply(
                x, all_rows, block, rows, all_rows.size, mean, panels, group, end, centred, products, squares
            )
            for k in range(group, min(end, points.shape[0])):
                for row in range(rows):
                    i = all_rows[block + row]
                    least = closest[k // trials, i]
                    sizes = squares[row] + norms[k]
                    # Written so that what is not finite is measured.
                    if not sizes - np.float32(2) * products[row, k - group] - error * sizes > least:
                        distance = squared_distance(x, i, mean, points, k)
                        least = min(least, np.float32(distance))
                    out[k // trials, k % trials, i] = least

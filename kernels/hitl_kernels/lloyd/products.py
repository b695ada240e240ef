"""Products of a few rows of the data with points, which the E-step of k-means and k-means++ are made of.

The order of summation is that of tile.py, and depends on nothing but the shapes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..policy import compiled_fast_part
from .rows import Float32
from .tile import LANES, PANEL, ROWS, make_tile

# 64 rows, 512 of their columns and 480 points are taken at a time: 128 KiB, and as much of products.
BLOCK, DEPTH, GROUP = 64, 512, 10 * PANEL
TASK = 2 * BLOCK  # rows a task takes, so that its buffers are made once for them
SPEED = 32  # products of two numbers that are one unit of work
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


@compiled_fast_part
def error_share(width: int) -> np.float32:
    """By which share of |x|^2 + |c|^2 a computed |x - c|^2 is off at most, from squares and a product in float32.

    A sum of D products in any order is off by D u |x| |c| at most (Higham, Accuracy and Stability of Numerical
    Algorithms, 2002, sec. 3.1); other roundings are included.
    """
    return np.float32((2.02 * width + 16) * UNIT)


@compiled_fast_part
def multiply(
    x: Float32,
    wanted: NDArray[np.int64],
    block: int,
    rows: int,
    count: int,
    mean: Float32,
    panels: Float32,
    group: int,
    end: int,
    centred: Float32,
    products: Float32,
    squares: Float32 | None,
) -> None:
    """Of ``count`` wanted rows those from block on, less the mean, times the points of a group; adds squares."""
    width = x.shape[1]
    points = panels.size // width
    ahead = wanted[min(block + BLOCK, count - 1)] * width
    for column in range(0, width, DEPTH):
        depth = min(DEPTH, width - column)
        _centre(x, wanted, block, rows, column, depth, mean, centred)
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
def _centre(
    x: Float32,
    wanted: NDArray[np.int64],
    block: int,
    rows: int,
    column: int,
    depth: int,
    mean: Float32,
    centred: Float32,
) -> None:
    for row in range(rows):
        i = wanted[block + row]
        for offset in range(depth):
            d = np.uint64(column + offset)  # unsigned, or a test for indices from the end stops vectorising
            centred[row, offset] = x[i, d] - mean[d]


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

"""The E-step of k-means and the distances of k-means++: both are a few rows at a time times all points.

Products are those of tile.py, whose order of summation depends on nothing but the shapes.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

from ..policy import compiled_fast, compiled_fast_by_size, compiled_fast_part, threads_for
from .rows import Float32, Float64, Rows
from .tile import LANES, PANEL, ROWS, lowest_score, lowest_scores, make_tile

Labels = NDArray[np.int32]

# 64 rows, 512 of their columns and 480 points are taken at a time: 128 KiB, and as much of products.
BLOCK, DEPTH, GROUP = 64, 512, 10 * PANEL
TASK = 2 * BLOCK  # rows a task takes, so that its buffers are made once for them
SPEED = 32  # products of two numbers that are one unit of work
SPARE = 1 << 17  # numbers in memory for rows less their mean
WIDE = 256  # columns from which on a product saves more than it costs
UNIT = 2.0**-24  # relative rounding error of float32
FARTHEST = float(np.finfo(np.float32).max)

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


class Bounds:
    """For each row, how much farther than its centroid the next nearest one is at least.

    Once centroids have moved by less, the row keeps its centroid, and the E-step need not look at it. That is the
    lower bound of Hamerly, Making k-means even faster, SIAM Data Mining 2010, on the difference of two distances, and
    less what rounding may add to them, so that labels are those of an E-step that looks at all rows.

    Bounds cost a quarter of an E-step with few centroids: they are kept from when few rows change cluster.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self.squares = np.zeros(
            rows.samples, np.float32
        )  # of the rows' distances to their mean, once bounds are kept
        self.gaps = np.full(rows.samples, -np.inf, np.float32)
        self.kept = False
        self.largest = np.float32(-1)  # that squared norms of centroids may become; -1: there are no bounds
        self._before: Float32 | None = None

    def move_to(self, centroids: Float32, norms: Float32) -> Float32:
        """How far each centroid, and any other one toward its rows, have moved since the last E-step."""
        clusters = len(centroids)
        if not self.kept:
            return np.zeros(clusters, np.float32)
        if self._before is None:
            self._square()
        largest = norms[:clusters].max()
        if self._before is None or not largest <= self.largest:
            self.gaps[:] = -np.inf
            wanted = 4 * float(largest)
            self.largest = np.float32(wanted if wanted < FARTHEST else 0)  # 0: here again at every E-step
            moved = np.zeros(clusters)
        else:
            apart = centroids - self._before.astype(np.float64)
            moved = np.sqrt(np.einsum("kd,kd->k", apart, apart))
        self._before = centroids
        # The farthest two: any other centroid has come nearer by the first of them at most, or is the first itself.
        first = moved.argmax()
        two = moved[first], np.partition(moved, -2)[-2] if clusters > 1 else 0
        moved += two[0]
        moved[first] += two[1] - two[0]
        return np.asarray(np.minimum(moved * (1 + 4 * UNIT), FARTHEST), np.float32)

    def _square(self) -> None:
        step = max(1, SPARE // self._rows.width)
        for start, x in self._rows.chunks():
            for first in range(0, len(x), step):
                centred = x[first : first + step] - self._rows.mean
                place = slice(start + first, start + first + len(centred))
                np.einsum("nd,nd->n", centred, centred, out=self.squares[place])


def assign(
    x: Float32,
    mean: Float32,
    panels: Float32,
    norms: Float32,
    labels: Labels,
    squares: Float32,
    gaps: Float32,
    moved: Float32,
    largest: np.float32,
) -> None:
    """The E-step: argmin over k of ``|c_k|^2 - 2 x.c_k``, which is ``|x - c_k|^2`` less what all k share.

    Rows whose gap (see ``Bounds``) is larger than ``moved`` of their label keep it.
    """
    work = x.size * norms.size / SPEED
    if threads_for(work) == 1:
        # Without the loop, and with memory made here: both take long to compile.
        rows, centred, products, scores = _room(len(x), x.shape[1], norms.size)
        _assign_part(
            x,
            0,
            labels.size,
            mean,
            panels,
            norms,
            labels,
            squares,
            gaps,
            moved,
            largest,
            rows,
            centred,
            products,
            scores,
        )
    else:
        _assign(work, x, mean, panels, norms, labels, squares, gaps, moved, largest)


def _room(rows: int, width: int, points: int) -> tuple[NDArray[np.int64], Float32, Float32, Float32]:
    """Memory for numbers of rows, for the rows of a block less the mean, for their products, and for their scores."""
    return (
        np.empty(rows, np.int64),
        np.zeros((BLOCK, min(DEPTH, width)), np.float32),
        np.zeros((BLOCK, min(GROUP, points)), np.float32),
        np.empty((3, BLOCK), np.float32),
    )


@compiled_fast_by_size
def _assign(
    x: Float32,
    mean: Float32,
    panels: Float32,
    norms: Float32,
    labels: Labels,
    squares: Float32,
    gaps: Float32,
    moved: Float32,
    largest: np.float32,
) -> None:
    for task in numba.prange((labels.size + TASK - 1) // TASK):
        start = task * TASK
        wanted = np.empty(TASK, np.int64)
        centred = np.zeros((BLOCK, min(DEPTH, x.shape[1])), np.float32)
        products = np.zeros((BLOCK, min(GROUP, norms.size)), np.float32)
        scores = np.empty((3, BLOCK), np.float32)
        stop = min(start + TASK, labels.size)
        _assign_part(
            x,
            start,
            stop,
            mean,
            panels,
            norms,
            labels,
            squares,
            gaps,
            moved,
            largest,
            wanted,
            centred,
            products,
            scores,
        )


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
    squares: Float32,
    gaps: Float32,
    moved: Float32,
    largest: np.float32,
    wanted: NDArray[np.int64],
    centred: Float32,
    products: Float32,
    scores: Float32,
) -> None:
    nothing, tiny, shorter = np.float32(0), np.float32(1e-30), np.float32(1 - 4 * UNIT)
    count = start - start  # 0; the literal would have _multiply compiled for it too
    bounded = largest >= 0
    for i in range(start, stop):
        if bounded:
            gaps[i] = (gaps[i] - moved[labels[i]]) * shorter  # rounded down
        if not (bounded and gaps[i] > 0):
            wanted[count] = i
            count += 1
    lowest, second, own = scores[0], scores[1], scores[2]
    share = _error_share(x.shape[1])
    for block in range(0, count, BLOCK):
        rows = min(BLOCK, count - block)
        for row in range(rows):
            lowest[row] = np.inf
            second[row] = np.inf
            own[row] = squares[wanted[block + row]]
            labels[wanted[block + row]] = 0
        for group in range(0, norms.size, GROUP):
            end = min(group + GROUP, norms.size)
            _multiply(x, wanted, block, rows, count, mean, panels, group, end, centred, products, None)
            for row in range(rows):
                for first in range(group, end, PANEL):
                    if bounded:
                        score, k, following = lowest_scores(products, row, first - group, norms, first)
                        second[row] = min(second[row], max(lowest[row], score), following)
                    else:
                        score, k = lowest_score(products, row, first - group, norms, first)
                    if score < lowest[row]:
                        lowest[row] = score
                        labels[wanted[block + row]] = first + k
        if not bounded:
            continue
        for row in range(rows):  # a loop of its own vectorises
            error = share * (own[row] + largest)
            near = math.sqrt(max(lowest[row] + own[row] + error, nothing))
            least = math.sqrt(max(lowest[row] + own[row] - error, nothing))
            apart = math.sqrt(max(second[row] + own[row] - error, nothing)) - near
            # Computed scores keep their order where squared distances differ by 2 error: where distances differ by
            # sqrt(2 error), or by 2 error / d and the least of them is d / 2 or more.
            root = math.sqrt(error)
            own[row] = max(
                apart - np.float32(2) * root,
                min(apart - np.float32(2.5) * (error / max(least, root, tiny)), np.float32(0.5) * least),
            )
        for row in range(rows):
            gaps[wanted[block + row]] = own[row]


@compiled_fast_part
def _error_share(width: int) -> np.float32:
    """By which share of |x|^2 + |c|^2 a computed |x - c|^2 is off at most, from squares and a product in float32.

    A sum of D products in any order is off by D u |x| |c| at most (Higham, Accuracy and Stability of Numerical
    Algorithms, 2002, sec. 3.1); other roundings are included.
    """
    return np.float32((2.02 * width + 16) * UNIT)


@compiled_fast_part
def _multiply(
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
    error = _error_share(width)
    for block in range(0, stop - start, BLOCK):
        rows = min(BLOCK, stop - start - block)
        for group in range(0, norms.size, GROUP):
            end = min(group + GROUP, norms.size)
            squares[:] = 0
            _multiply(
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

"""The E-step of k-means: the nearest centroid of every row, but of those whose nearest one cannot have changed."""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

from ..policy import compiled_fast, compiled_fast_by_size, threads_for
from .products import BLOCK, DEPTH, GROUP, SPEED, TASK, UNIT, error_share, multiply
from .rows import Float32, Rows
from .tile import PANEL, lowest_score, lowest_scores

Labels = NDArray[np.int32]
Points = tuple[Float32, Float32]  # panels and squared norms
State = tuple[Labels, Float32, Float32]  # of rows: labels, squared norms about the mean, gaps (see Bounds)
Moves = tuple[Float32, np.float32]  # as Bounds.move_to gives them, and Bounds.largest
Room = tuple[NDArray[np.int64], Float32, Float32, Float32]  # see _room

SPARE = 1 << 17  # numbers in memory for rows less their mean
FARTHEST = float(np.finfo(np.float32).max)


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

    def move_to(self, centroids: Float32, norms: Float32) -> Moves:
        """How far each centroid, and any other one toward its rows, have moved since the last E-step."""
        clusters = len(centroids)
        if not self.kept:
            return np.zeros(clusters, np.float32), self.largest
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
        return np.minimum(moved * (1 + 4 * UNIT), FARTHEST).astype(np.float32), self.largest

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
    points: Points,
    state: State,
    moves: Moves,
) -> None:
    """The E-step: argmin over k of ``|c_k|^2 - 2 x.c_k``, which is ``|x - c_k|^2`` less what all k share.

    Labels are overwritten, but those of rows whose gap is larger than what their centroid and others have moved.
    """
    work = x.size * points[1].size / SPEED
    if threads_for(work) == 1:
        # Without the loop, and with memory made here: both take long to compile.
        _assign_part(x, 0, len(x), mean, points, state, moves, _room(len(x), x.shape[1], points[1].size))
    else:
        _assign(work, x, mean, points, state, moves)


def _room(rows: int, width: int, points: int) -> Room:
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
    points: Points,
    state: State,
    moves: Moves,
) -> None:
    rows, width = x.shape
    for task in numba.prange((rows + TASK - 1) // TASK):
        start = task * TASK
        room = (
            np.empty(TASK, np.int64),
            np.zeros((BLOCK, min(DEPTH, width)), np.float32),
            np.zeros((BLOCK, min(GROUP, points[1].size)), np.float32),
            np.empty((3, BLOCK), np.float32),
        )
        _assign_part(x, start, min(start + TASK, rows), mean, points, state, moves, room)


# No slices inside loops over rows: each would count references to x atomically, in all threads at once.


@compiled_fast
def _assign_part(
    x: Float32,
    start: int,
    stop: int,
    mean: Float32,
    points: Points,
    state: State,
    moves: Moves,
    room: Room,
) -> None:
    panels, norms = points
    labels, squares, gaps = state
    moved, largest = moves
    wanted, centred, products, scores = room
    nothing, tiny, shorter = np.float32(0), np.float32(1e-30), np.float32(1 - 4 * UNIT)
    count = start - start  # 0; the literal would have multiply compiled for it too
    bounded = largest >= 0
    for i in range(start, stop):
        if bounded:
            gaps[i] = (gaps[i] - moved[labels[i]]) * shorter  # rounded down
        if not (bounded and gaps[i] > 0):
            wanted[count] = i
            count += 1
    lowest, second, own = scores[0], scores[1], scores[2]
    share = error_share(x.shape[1])
    for block in range(0, count, BLOCK):
        rows = min(BLOCK, count - block)
        for row in range(rows):
            lowest[row] = np.inf
            second[row] = np.inf
            own[row] = squares[wanted[block + row]]
            labels[wanted[block + row]] = 0
        for group in range(0, norms.size, GROUP):
            end = min(group + GROUP, norms.size)
            multiply(x, wanted, block, rows, count, mean, panels, group, end, centred, products, None)
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

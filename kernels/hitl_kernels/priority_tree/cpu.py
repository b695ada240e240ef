"""The tree of sums in Numba. A node's eight children fill one cache line."""

import numpy as np

from .. import policy
from ..philox import cpu as philox
from ..philox.stream import Stream
from ..sums import power_of_two
from .shape import ALL_ZERO, BAD_INDEX, BAD_WEIGHT, FAINT, GOOD, LOUD, WIDTH, layout, refusal


class Tree:
    """Weights in host memory with the sums above them. See the package for what the methods promise."""

    def __init__(self, weights: np.ndarray) -> None:
        self.items = weights.size
        self.leaves = _aligned(-(-weights.size // WIDTH) * WIDTH)
        self.leaves[: weights.size] = weights
        self._sizes, self._offsets, room = layout(weights.size)
        self._nodes = _aligned(room)
        self._scale = 1.0
        self._rescale()

    @property
    def scale(self) -> float:
        return self._scale

    @property
    def total(self) -> float:
        return float(self._nodes[0])

    def update(self, indices: np.ndarray, weights: np.ndarray) -> None:
        problem, position, largest = _check(self.items, indices, weights)
        if problem:
            raise refusal(problem, position, indices[position], weights[position], self.items)
        loud = float(largest) * self._scale > LOUD
        if loud:
            self._scale = power_of_two(float(largest))  # before sums leave float64
        before = np.empty(indices.size)
        _update(self.leaves, self._nodes, self._offsets, self._sizes, self._scale, indices, weights, before)
        if loud or self._nodes[0] < FAINT:
            if not self.leaves.any():
                self.leaves[indices[::-1]] = before[::-1]
                self._rescale()
                raise refusal(ALL_ZERO, 0, 0, 0.0, self.items)
            self._rescale()

    def find(self, targets: np.ndarray) -> np.ndarray:
        out = np.empty(targets.size, np.int64)
        _find(self.leaves, self._nodes, self._offsets, self._scale, targets.copy(), out)
        return out

    def draw(self, stream: Stream, start: int, count: int, stride: int) -> np.ndarray:
        targets, out = np.empty(count), np.empty(count, np.int64)
        _independent(philox.words(stream), np.uint64(start), np.uint64(stride), self._nodes[0], targets)
        _find(self.leaves, self._nodes, self._offsets, self._scale, targets, out)
        return out

    def sample(self, stream: Stream, count: int) -> tuple[np.ndarray, np.ndarray]:
        numbers, out = np.empty(count), np.empty(count, np.int64)
        _sample(philox.words(stream), self.leaves, self._nodes, self._offsets, self._scale, numbers, out)
        return out, numbers

    def _rescale(self) -> None:
        self._scale = power_of_two(float(self.leaves.max()))
        _build(self.leaves, self._nodes, self._offsets, self._sizes, self._scale)


def _aligned(size: int) -> np.ndarray:
    """Zeros whose first element begins a cache line."""
    room = np.zeros(size + WIDTH)
    return room[-(room.ctypes.data // 8) % WIDTH :][:size]


@policy.compiled_inline
def _sum(values: np.ndarray, first: int, scale: float) -> float:
    """Sum of eight, in the order that defines it."""
    a, b = values[first] * scale, values[first + 1] * scale
    c, d = values[first + 2] * scale, values[first + 3] * scale
    e, f = values[first + 4] * scale, values[first + 5] * scale
    g, h = values[first + 6] * scale, values[first + 7] * scale
    found: float = ((a + b) + (c + d)) + ((e + f) + (g + h))
    return found


@policy.compiled
def _build(
    leaves: np.ndarray, nodes: np.ndarray, offsets: np.ndarray, sizes: np.ndarray, scale: float
) -> None:
    """All sums anew: ``nodes`` holds the levels above the leaves, level d at ``offsets[d]``, the root first."""
    depth = offsets.size
    for node in range(sizes[depth - 1]):
        nodes[offsets[depth - 1] + node] = _sum(leaves, WIDTH * node, scale)
    for level in range(depth - 2, -1, -1):
        for node in range(sizes[level]):
            nodes[offsets[level] + node] = _sum(nodes, offsets[level + 1] + WIDTH * node, 1.0)


@policy.compiled
def _check(items: int, indices: np.ndarray, weights: np.ndarray) -> tuple[int, int, float]:
    """What is wrong first, and at which position; else the largest weight."""
    largest = 0.0
    for i in range(indices.size):
        if indices[i] < 0 or indices[i] >= items:
            return BAD_INDEX, i, largest
        if not (weights[i] >= 0.0 and weights[i] < np.inf):
            return BAD_WEIGHT, i, largest
        largest = max(largest, weights[i])
    return GOOD, 0, largest


@policy.compiled
def _update(
    leaves: np.ndarray,
    nodes: np.ndarray,
    offsets: np.ndarray,
    sizes: np.ndarray,
    scale: float,
    indices: np.ndarray,
    weights: np.ndarray,
    before: np.ndarray,
) -> None:
    """Set leaves, the last of equal indices last, and sum again what is above them.

    ``before`` gets the old weights: set in reverse, they undo the update.
    """
    for i in range(indices.size):
        before[i] = leaves[indices[i]]
        leaves[indices[i]] = weights[i]
    depth = offsets.size
    for level in range(depth - 1, -1, -1):
        shift = 3 * (depth - level)
        few = sizes[level] <= indices.size
        for i in range(sizes[level] if few else indices.size):
            node = i if few else indices[i] >> shift
            if level == depth - 1:
                nodes[offsets[level] + node] = _sum(leaves, WIDTH * node, scale)
            else:
                nodes[offsets[level] + node] = _sum(nodes, offsets[level + 1] + WIDTH * node, 1.0)


@policy.compiled
def _find(
    leaves: np.ndarray,
    nodes: np.ndarray,
    offsets: np.ndarray,
    scale: float,
    targets: np.ndarray,
    out: np.ndarray,
) -> None:
    """The item below each target; ``targets`` is used up. One level for all, so that their loads overlap."""
    out[:] = 0
    for level in range(1, offsets.size):
        _descend(nodes[offsets[level] :], 1.0, targets, out)
    _descend(leaves, scale, targets, out)


@policy.compiled
def _descend(values: np.ndarray, scale: float, targets: np.ndarray, nodes: np.ndarray) -> None:
    for i in range(targets.size):
        first = WIDTH * nodes[i]
        target = targets[i]
        child, passed, total = 0, 0.0, 0.0
        for k in range(WIDTH):
            total += values[first + k] * scale
            if target >= total:
                child, passed = k + 1, total
        if child == WIDTH:  # beyond the last child by rounding
            while values[first + child - 1] * scale == 0.0:
                child -= 1
            child -= 1
            passed = 0.0
            for k in range(child):
                passed += values[first + k] * scale
        nodes[i] = first + child
        targets[i] = target - passed


@policy.compiled
def _sample(
    words: philox.Words,
    leaves: np.ndarray,
    nodes: np.ndarray,
    offsets: np.ndarray,
    scale: float,
    numbers: np.ndarray,
    out: np.ndarray,
) -> None:
    """One draw in each of n equal parts of the total, and in ``numbers`` its probability."""
    n, total = numbers.size, nodes[0]
    step = total / max(n, 1)
    for i in range(n):
        a, b, _, _ = philox.block(np.uint64(i), words)
        numbers[i] = (i + philox.unit(a, b)) * step
    _find(leaves, nodes, offsets, scale, numbers, out)
    for i in range(n):
        numbers[i] = leaves[out[i]] * scale / total


@policy.compiled
def _independent(
    words: philox.Words, start: np.uint64, stride: np.uint64, total: float, targets: np.ndarray
) -> None:
    for i in range(targets.size):
        a, b, _, _ = philox.block(start + np.uint64(i) * stride, words)
        targets[i] = philox.unit(a, b) * total

"""The tree of sums in Triton: the same additions in the same order as on the CPU."""

import torch
import triton
import triton.language as tl

from ..philox.gpu import COUNTERS, EXACT, WORDS, pair
from ..philox.stream import Stream
from ..sums import power_of_two
from .shape import ALL_ZERO, BAD_INDEX, BAD_WEIGHT, FAINT, LOUD, WIDTH, layout, refusal

BLOCK = 128


class Tree:
    """Weights in device memory with the sums above them. See the package for what the methods promise."""

    def __init__(self, weights: torch.Tensor) -> None:
        self.items, self._device = len(weights), weights.device
        padding = -self.items % WIDTH
        self.leaves = torch.nn.functional.pad(weights, (0, padding))
        sizes, offsets, room = layout(self.items)
        self._sizes, self._offsets = sizes.tolist(), offsets.tolist()
        self._starts = torch.from_numpy(offsets).to(self._device)
        self._nodes = torch.zeros(room, dtype=torch.float64, device=self._device)
        # In device memory: Triton takes a Python float as float32.
        self._one = torch.ones(1, dtype=torch.float64, device=self._device)
        self._rescale()

    @property
    def scale(self) -> float:
        return float(self._scale[0])

    @property
    def total(self) -> float:
        return float(self._nodes[0])

    def update(self, indices: torch.Tensor, weights: torch.Tensor) -> None:
        self._check(indices, weights)
        # The last of equal indices wins: of a stable sort, the last of each run. Scattering leaves it to chance.
        ordered, order = torch.sort(indices, stable=True)
        last = torch.ones_like(ordered, dtype=torch.bool)
        last[:-1] = ordered[1:] != ordered[:-1]
        indices, weights = ordered[last], weights[order[last]]
        before = self.leaves[indices]
        self._set(indices, weights)
        if not FAINT <= self.total <= LOUD:  # an infinite sum harms nothing: it is summed anew
            if not bool((self.leaves > 0).any()):
                self._set(indices, before)
                raise refusal(ALL_ZERO, 0, 0, 0.0, self.items)
            self._rescale()

    def find(self, targets: torch.Tensor) -> torch.Tensor:
        out = torch.empty(len(targets), dtype=torch.int64, device=self._device)
        if len(targets):
            find_kernel[(triton.cdiv(len(targets), BLOCK),)](
                self.leaves, self._nodes, self._starts, self._scale, targets, out, len(targets),
                len(self._sizes), BLOCK=BLOCK, **EXACT,
            )  # fmt: skip
        return out

    def draw(self, stream: Stream, start: int, count: int, stride: int) -> torch.Tensor:
        return self.find(self._targets(stream, start, count, stride, parts=1))

    def sample(self, stream: Stream, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        items = self.find(self._targets(stream, 0, count, 1, parts=max(count, 1)))
        return items, self.leaves[items] * self._scale / self._nodes[0]

    def _check(self, indices: torch.Tensor, weights: torch.Tensor) -> None:
        outside = (indices < 0) | (indices >= self.items)
        bad = outside | ~((weights >= 0) & (weights < float("inf")))
        if bool(bad.any()):
            position = int(bad.nonzero()[0])
            problem = BAD_INDEX if bool(outside[position]) else BAD_WEIGHT
            raise refusal(problem, position, int(indices[position]), float(weights[position]), self.items)

    def _set(self, indices: torch.Tensor, weights: torch.Tensor) -> None:
        self.leaves[indices] = weights
        if len(indices) == 0:
            return
        depth = len(self._sizes)
        for level in range(depth - 1, -1, -1):
            nodes = indices >> (3 * (depth - level))
            self._sum(level, nodes, len(nodes))

    def _rescale(self) -> None:
        self._scale = self._one * power_of_two(float(self.leaves.max()))
        for level in range(len(self._sizes) - 1, -1, -1):
            nodes = torch.arange(self._sizes[level], device=self._device)
            self._sum(level, nodes, len(nodes))

    def _sum(self, level: int, nodes: torch.Tensor, count: int) -> None:
        if level == len(self._sizes) - 1:
            children, factor, first_child = self.leaves, self._scale, 0
        else:
            children, factor, first_child = self._nodes, self._one, self._offsets[level + 1]
        sum_kernel[(triton.cdiv(count, BLOCK),)](
            children, self._nodes, nodes, factor, first_child, self._offsets[level], count,
            BLOCK=BLOCK, **EXACT,
        )  # fmt: skip

    def _targets(self, stream: Stream, start: int, count: int, stride: int, parts: int) -> torch.Tensor:
        out = torch.empty(count, dtype=torch.float64, device=self._device)
        if count:
            targets_kernel[(triton.cdiv(count, BLOCK),)](
                self._nodes, out, parts, start, stride, count, *stream.words, BLOCK=BLOCK,
                **EXACT,
            )  # fmt: skip
        return out


@triton.jit(do_not_specialize=["first_child", "first_node", "count"])
def sum_kernel(  # type: ignore[no-untyped-def]
    children, out, nodes, scale, first_child, first_node, count, BLOCK: tl.constexpr
):
    """Sum of eight children for each node; a node that is named twice gets the same sum twice."""
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < count
    node = tl.load(nodes + offsets, mask=mask, other=0)
    child = children + first_child.to(tl.int64) + 8 * node
    factor = tl.load(scale)
    a = tl.load(child, mask=mask, other=0.0) * factor + tl.load(child + 1, mask=mask, other=0.0) * factor
    b = tl.load(child + 2, mask=mask, other=0.0) * factor + tl.load(child + 3, mask=mask, other=0.0) * factor
    c = tl.load(child + 4, mask=mask, other=0.0) * factor + tl.load(child + 5, mask=mask, other=0.0) * factor
    d = tl.load(child + 6, mask=mask, other=0.0) * factor + tl.load(child + 7, mask=mask, other=0.0) * factor
    tl.store(out + first_node.to(tl.int64) + node, (a + b) + (c + d), mask=mask)


@triton.jit
def descend(  # type: ignore[no-untyped-def]
    children, factor, target, node, mask
):
    """Past each child that the target is not below; beyond all of them, to the last of positive weight."""
    first = 8 * node
    total = tl.zeros_like(target)
    passed = tl.zeros_like(target)
    before_last = tl.zeros_like(target)
    child = tl.zeros_like(node)
    last = tl.zeros_like(node)
    for k in tl.static_range(8):
        value = tl.load(children + first + k, mask=mask, other=0.0) * factor
        before_last = tl.where(value > 0.0, total, before_last)
        last = tl.where(value > 0.0, k, last)
        total = total + value
        beyond = target >= total
        child = tl.where(beyond, k + 1, child)
        passed = tl.where(beyond, total, passed)
    passed = tl.where(child == 8, before_last, passed)
    child = tl.where(child == 8, last, child)
    return target - passed, first + child


@triton.jit(do_not_specialize=["count", "depth"])
def find_kernel(  # type: ignore[no-untyped-def]
    leaves, nodes, starts, scale, targets, out, count, depth, BLOCK: tl.constexpr
):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < count
    target = tl.load(targets + offsets, mask=mask, other=0.0)
    node = tl.zeros_like(offsets)
    for level in range(1, depth):
        target, node = descend(nodes + tl.load(starts + level), 1.0, target, node, mask)
    target, node = descend(leaves, tl.load(scale), target, node, mask)
    tl.store(out + offsets, node, mask=mask)


@triton.jit(do_not_specialize=["parts", *COUNTERS])
def targets_kernel(  # type: ignore[no-untyped-def]
    nodes, out, parts, start, stride, count, k0, k1, c2, c3, BLOCK: tl.constexpr
):
    """Draw j is anywhere in part j % parts of that many equal parts of [0, total)."""
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < count
    number, _ = pair(start + offsets * stride, k0, k1, c2, c3)
    total = tl.load(nodes)
    target = ((offsets % parts).to(tl.float64) + number) * (total / parts.to(tl.float64))
    tl.store(out + offsets, target, mask=mask)


KERNELS = {
    "sum": (
        sum_kernel,
        {
            "children": "*fp64", "out": "*fp64", "nodes": "*i64", "scale": "*fp64", "first_child": "i64",
            "first_node": "i64", "count": "i64", "BLOCK": "constexpr",
        },
        {"BLOCK": BLOCK},
        EXACT,
    ),
    "find": (
        find_kernel,
        {
            "leaves": "*fp64", "nodes": "*fp64", "starts": "*i64", "scale": "*fp64", "targets": "*fp64",
            "out": "*i64", "count": "i64", "depth": "i64", "BLOCK": "constexpr",
        },
        {"BLOCK": BLOCK},
        EXACT,
    ),
    "targets": (
        targets_kernel,
        {
            "nodes": "*fp64", "out": "*fp64", "parts": "i64", "start": "i64", "stride": "i64", "count": "i64",
            **WORDS, "BLOCK": "constexpr",
        },
        {"BLOCK": BLOCK},
        EXACT,
    ),
}  # fmt: skip

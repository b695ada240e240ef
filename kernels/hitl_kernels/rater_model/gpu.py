"""The rater model on a GPU: torch element by element, Triton for sums over an item's or a rater's ratings.

``index_add`` adds in an order that changes from run to run, and ``segment_reduce`` gives a rater's ten
thousand ratings to one thread; here a program walks a segment in blocks, and equal calls give equal bits.
"""

from __future__ import annotations

import numpy as np
import torch
import triton
import triton.language as tl

from . import reference
from .cpu import graded_maximisation

ROWS = 128  # ratings a block
EXACT = {"enable_fp_fusion": False}  # sums alone: there is nothing to fuse


@triton.jit
def _segment_sums(  # type: ignore[no-untyped-def]
    data, order, start, out, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    """out[segment] = sum of data[order[j]] for j in start[segment] .. start[segment + 1], by column."""
    segment = tl.program_id(0).to(tl.int64)
    first, last = tl.load(start + segment), tl.load(start + segment + 1)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    total = tl.zeros((ROWS, COLUMNS), dtype=tl.float64)
    for block in range(first, last, ROWS):
        j = block + tl.arange(0, ROWS)
        row = tl.load(order + j, mask=j < last, other=0)
        mask = (j < last)[:, None] & (column < columns)[None, :]
        total += tl.load(data + row[:, None] * columns + column[None, :], mask=mask, other=0.0)
    tl.store(out + segment * columns + column, tl.sum(total, axis=0), mask=column < columns)


KERNELS = {
    f"segment_sums_{columns}": (
        _segment_sums,
        {
            "data": "*fp64", "order": "*i64", "start": "*i64", "out": "*fp64", "columns": "i32",
            "ROWS": "constexpr", "COLUMNS": "constexpr",
        },
        {"ROWS": ROWS, "COLUMNS": columns},
        EXACT,
    )
    for columns in (1, 2, 4, 8)
}  # fmt: skip


class Segments:
    """Ratings grouped by a key: their order and where each group begins."""

    def __init__(self, keys: torch.Tensor, n: int, minor: torch.Tensor) -> None:
        by_minor = torch.argsort(minor, stable=True)
        self.order = by_minor[torch.argsort(keys[by_minor], stable=True)]
        self.start = torch.zeros(n + 1, dtype=torch.int64, device=keys.device)
        torch.cumsum(torch.bincount(keys, minlength=n), 0, out=self.start[1:])

    def sums(self, *columns: torch.Tensor) -> torch.Tensor:
        """Sum of each column over each group: [groups, columns]; columns are (ratings,) or (ratings, k)."""
        data = torch.cat([c.reshape(c.shape[0], -1) for c in columns], 1).contiguous()
        groups, width = self.start.numel() - 1, data.shape[1]
        out = torch.empty((groups, width), dtype=torch.float64, device=data.device)
        block = min(8, triton.next_power_of_2(width))
        grid = (groups, triton.cdiv(width, block))
        _segment_sums[grid](data, self.order, self.start, out, width, ROWS=ROWS, COLUMNS=block, **EXACT)
        return out


def graded(
    items: torch.Tensor,
    raters: torch.Tensor,
    y: torch.Tensor,
    n_items: int,
    n_raters: int,
    steps: int,
    tolerance: float,
) -> tuple[torch.Tensor, torch.Tensor, np.ndarray, np.ndarray, np.ndarray, int, float]:
    by_item, by_rater = Segments(items, n_items, raters), Segments(raters, n_raters, items)
    count, total, square = by_rater.sums(torch.ones_like(y), y, y * y).cpu().numpy().T
    b, a, s = reference.graded_start(n_raters)
    mean, variance = torch.zeros(n_items, dtype=y.dtype, device=y.device), None
    change, step = np.inf, 0
    while change > tolerance and step < steps:
        offset, slope, noise = (torch.from_numpy(p).to(y.device)[raters] for p in (b, a, s))
        information, pull = by_item.sums(slope * slope / noise, slope * (y - offset) / noise).T
        variance = 1 / (1 + information)
        before, mean = mean, pull * variance
        z = mean[items]
        b, a, s = graded_maximisation(
            count, total, square, *by_rater.sums(z, y * z, z * z + variance[items]).cpu().numpy().T
        )
        change, step = float((mean - before).abs().max()), step + 1
    assert variance is not None
    return mean, variance, b, a, s, step, change

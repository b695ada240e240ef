"""Sums of rows by segment on a GPU: rows sorted by segment, a program for some rows of one, then their partial sums."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

BLOCK = 128  # columns a program
ROWS = 256  # rows a program


@triton.jit
def _add_runs(rows, order, begins, ends, sums, width, stride, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """sums[r] = sum of rows[order[j]] over begins[r] <= j < ends[r], in that order."""
    run = tl.program_id(0).to(tl.int64)
    d = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = d < width
    j = tl.load(begins + run)
    end = tl.load(ends + run)
    total = tl.zeros((BLOCK,), tl.float64)
    while j < end:
        row = tl.load(order + j)
        total += tl.load(rows + row * stride + d, mask=inside, other=0.0).to(tl.float64)
        j += 1
    tl.store(sums + run * tl.cast(width, tl.int64) + d, total, mask=inside)


OPTIONS = {"enable_fp_fusion": False}  # nothing is multiplied

KERNELS = {
    f"add_runs_{dtype}": (
        _add_runs,
        {
            "rows": f"*{dtype}", "order": "*i64", "begins": "*i64", "ends": "*i64", "sums": "*fp64",
            "width": "i32", "stride": "i64", "BLOCK": "constexpr",
        },
        {"BLOCK": BLOCK},
        OPTIONS,
    )
    for dtype in ("fp16", "fp32", "fp64")
}  # fmt: skip


def segment_sums(rows: torch.Tensor, segments: torch.Tensor, n_segments: int) -> torch.Tensor:
    """(n_segments, width) float64, the same bits every time: each sum is taken in the order of the rows, in runs."""
    if rows.numel() == 0:
        return torch.zeros((n_segments, rows.shape[1]), dtype=torch.float64, device=rows.device)
    order = torch.argsort(segments, stable=True)
    sizes = torch.bincount(segments, minlength=n_segments)
    ends = sizes.cumsum(0)
    runs = (sizes + ROWS - 1) // ROWS
    owner = torch.repeat_interleave(runs)  # [runs], the segment of each
    first = runs.cumsum(0) - runs
    begins = (ends - sizes)[owner] + ROWS * (torch.arange(len(owner), device=rows.device) - first[owner])
    partial = _launch(rows, order, begins, torch.minimum(begins + ROWS, ends[owner]))
    everything = torch.arange(len(owner), device=rows.device)
    return _launch(partial, everything, first, first + runs)


def _launch(
    rows: torch.Tensor, order: torch.Tensor, begins: torch.Tensor, ends: torch.Tensor
) -> torch.Tensor:
    width = rows.shape[1]
    sums = torch.empty((len(begins), width), dtype=torch.float64, device=rows.device)
    grid = (len(begins), triton.cdiv(width, BLOCK))
    _add_runs[grid](rows, order, begins, ends, sums, width, rows.stride(0), BLOCK=BLOCK, **OPTIONS)
    return sums

"""Draws from an alias table in Triton."""

import torch
import triton
import triton.language as tl

from ..philox.gpu import COUNTERS, EXACT, WORDS, pair
from ..philox.stream import Stream

BLOCK = 512


@triton.jit(do_not_specialize=["items", *COUNTERS])
def draw_kernel(  # type: ignore[no-untyped-def]
    table, out, items, start, stride, count, k0, k1, c2, c3, BLOCK: tl.constexpr
):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < count
    first, second = pair(start + offsets * stride, k0, k1, c2, c3)
    bucket = tl.minimum((first * items.to(tl.float64)).to(tl.int64), items.to(tl.int64) - 1)
    threshold = tl.load(table + 2 * bucket, mask=mask, other=0.0)
    alias = tl.load(table + 2 * bucket + 1, mask=mask, other=0.0)
    tl.store(out + offsets, tl.where(second < threshold, bucket, alias.to(tl.int64)), mask=mask)


def draw(table: torch.Tensor, stream: Stream, start: int, count: int, stride: int) -> torch.Tensor:
    out = torch.empty(count, dtype=torch.int64, device=table.device)
    if count:
        draw_kernel[(triton.cdiv(count, BLOCK),)](
            table, out, len(table), start, stride, count, *stream.words, BLOCK=BLOCK, **EXACT
        )
    return out


KERNELS = {
    "draw": (
        draw_kernel,
        {
            "table": "*fp64", "out": "*i64", "items": "i64", "start": "i64", "stride": "i64", "count": "i64",
            **WORDS, "BLOCK": "constexpr",
        },
        {"BLOCK": BLOCK},
        EXACT,
    ),
}  # fmt: skip

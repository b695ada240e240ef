"""Philox 4x32-10 in Triton, by Triton's own rounds: the same words as on the CPU."""

import torch
import triton
import triton.language as tl

from .stream import Stream

BLOCK = 512
EXACT = {"enable_fp_fusion": False}  # a fused multiply-add rounds once where the CPU rounds twice
COUNTERS = ["start", "stride", "count", "k0", "k1", "c2", "c3"]  # any value, 1 among them, in one kernel


@triton.jit
def pair(draw, k0, k1, c2, c3):  # type: ignore[no-untyped-def]
    """The two uniforms of each draw number: int64 [n] -> float64 [n], [n]."""
    low = (draw & 0xFFFFFFFF).to(tl.uint32)
    high = (draw >> 32).to(tl.uint32)
    c = tl.zeros_like(low) + c2.to(tl.uint32)
    d = tl.zeros_like(low) + c3.to(tl.uint32)
    w0, w1, w2, w3 = tl.philox_impl(low, high, c, d, k0.to(tl.uint32), k1.to(tl.uint32))
    return unit(w0, w1), unit(w2, w3)


@triton.jit
def unit(high, low):  # type: ignore[no-untyped-def]
    bits = ((high.to(tl.uint64) << 32) | low.to(tl.uint64)) >> 11
    return bits.to(tl.int64).to(tl.float64) * 1.1102230246251565e-16


@triton.jit(do_not_specialize=COUNTERS)
def uniforms_kernel(  # type: ignore[no-untyped-def]
    out, start, stride, count, k0, k1, c2, c3, BLOCK: tl.constexpr
):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < count
    first, second = pair(start + offsets * stride, k0, k1, c2, c3)
    tl.store(out + offsets, first, mask=mask)
    tl.store(out + count.to(tl.int64) + offsets, second, mask=mask)


def uniforms(stream: Stream, start: int, count: int, stride: int, device: torch.device) -> torch.Tensor:
    out = torch.empty((2, count), dtype=torch.float64, device=device)
    if count:
        uniforms_kernel[(triton.cdiv(count, BLOCK),)](
            out, start, stride, count, *stream.words, BLOCK=BLOCK, **EXACT
        )
    return out


WORDS = {"k0": "i64", "k1": "i64", "c2": "i64", "c3": "i64"}
KERNELS = {
    "uniforms": (
        uniforms_kernel,
        {"out": "*fp64", "start": "i64", "stride": "i64", "count": "i64", **WORDS, "BLOCK": "constexpr"},
        {"BLOCK": BLOCK},
        EXACT,
    ),
}

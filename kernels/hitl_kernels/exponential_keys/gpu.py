"""Exponential keys in Triton: the reference operation for operation, so that every rounding is the same."""

import torch
import triton
import triton.language as tl

from ..philox.gpu import COUNTERS, EXACT, WORDS, pair
from ..philox.stream import Stream

BLOCK = 256


@triton.jit
def minus_log(x):  # type: ignore[no-untyped-def]
    """-log(x) for 0 < x <= 1."""
    bits = x.to(tl.int64, bitcast=True)
    m = ((bits & 0xFFFFFFFFFFFFF) | 0x3FF0000000000000).to(tl.float64, bitcast=True)
    e = ((bits >> 52) - 1023).to(tl.float64)
    high = m > 1.4142135623730951
    m = tl.where(high, m * 0.5, m)
    e = tl.where(high, e + 1.0, e)
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    p = z * (1.0 / 23) + 1.0 / 21
    p = p * z + 1.0 / 19
    p = p * z + 1.0 / 17
    p = p * z + 1.0 / 15
    p = p * z + 1.0 / 13
    p = p * z + 1.0 / 11
    p = p * z + 1.0 / 9
    p = p * z + 1.0 / 7
    p = p * z + 1.0 / 5
    p = p * z + 1.0 / 3
    p = p * z + 1.0
    return -(e * 0.6931471805599453 + (2.0 * s) * p)


@triton.jit(do_not_specialize=COUNTERS)
def keys_kernel(  # type: ignore[no-untyped-def]
    weights, out, count, k0, k1, c2, c3, BLOCK: tl.constexpr
):
    items = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = items < count
    first, second = pair(items // 2, k0, k1, c2, c3)
    uniform = tl.where(items % 2 == 0, first, second) + 1.1102230246251565e-16
    clock = tl.maximum(minus_log(uniform), 5.551115123125783e-17)
    weight = tl.load(weights + items, mask=mask, other=0.0)
    denormal = weight < 2.2250738585072014e-308
    lift = tl.where(denormal, 18446744073709551616.0, 1.0).to(tl.float64)
    bits = (weight * lift).to(tl.int64, bitcast=True)
    m = ((bits & 0xFFFFFFFFFFFFF) | 0x3FF0000000000000).to(tl.float64, bitcast=True)
    e = (bits >> 52) - 1023 - tl.where(denormal, 64, 0)
    key = (clock / m).to(tl.int64, bitcast=True) - 0x3FF0000000000000 - (e << 52)
    tl.store(out + items, tl.where(weight > 0.0, key, 0x7FFFFFFFFFFFFFFF), mask=mask)


def exponential_keys(weights: torch.Tensor, stream: Stream) -> torch.Tensor:
    out = torch.empty(len(weights), dtype=torch.int64, device=weights.device)
    keys_kernel[(triton.cdiv(len(weights), BLOCK),)](
        weights, out, len(weights), *stream.words, BLOCK=BLOCK, **EXACT
    )
    return out


KERNELS = {
    "keys": (
        keys_kernel,
        {"weights": "*fp64", "out": "*i64", "count": "i64", **WORDS, "BLOCK": "constexpr"},
        {"BLOCK": BLOCK},
        EXACT,
    ),
}

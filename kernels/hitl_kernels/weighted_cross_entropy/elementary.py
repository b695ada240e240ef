"""e**x and log(x) in Numba code whose loops have to vectorise: for float32 polynomials, as calls to libm do not."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic, overload

from .. import policy

LOG2E = np.float32(1.4426950408889634)
# log 2 in two parts: n times the first is exact for every n here.
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
# (e**r - 1 - r) / r**2 on |r| <= log(2) / 2, minimax: within 3e-9 of e**r before rounding.
Q0, Q1, Q2, Q3, Q4 = (
    np.float32(0.4999999341), np.float32(0.1666652011), np.float32(0.04166839422),
    np.float32(0.008368780429), np.float32(0.001381446674),
)  # fmt: skip
# (log(1 + f) - f + f**2 / 2) / f**3 for 1 + f between the roots of 1/2 and 2, minimax: within 3e-8 of log(1 + f).
P0, P1, P2, P3, P4, P5, P6 = (
    np.float32(0.3333391074), np.float32(-0.2500133704), np.float32(0.1996306382), np.float32(-0.1657758466),
    np.float32(0.1491476772), np.float32(-0.1426748706), np.float32(0.08700436559),
)  # fmt: skip
# Below it e**x leaves the normal numbers of float32; all of that counts as 0.
UNDERFLOW = np.float32(-87.0)
HALF, ONE, ZERO = np.float32(0.5), np.float32(1.0), np.float32(0.0)
ROOT_OF_HALF = np.int32(0x3F3504F3)  # its bits


def exp(x: Any) -> Any:
    """e**x for x <= 0."""
    return _exp(x) if isinstance(x, np.float32) else np.exp(x)


def log(x: Any) -> Any:
    """Natural logarithm of a normal number > 0, or NaN of NaN."""
    return _log(x) if isinstance(x, np.float32) else np.log(x)


def from_bits(bits: Any) -> Any:
    """The floating-point number with these bits."""
    return bits.view(np.float32 if bits.dtype == np.int32 else np.float64)


def to_bits(x: Any) -> Any:
    """The bits of a float32 as an integer."""
    return x.view(np.int32)


def _exp(x: Any) -> Any:
    # NaN fails the comparison: its integer part is then an integer, and it stays NaN through r.
    n = np.int32((x if x > UNDERFLOW else UNDERFLOW) * LOG2E - HALF)  # rounds to nearest, as x <= 0
    r = x - np.float32(n) * LN2_HIGH
    r = r - np.float32(n) * LN2_LOW
    q = (((Q4 * r + Q3) * r + Q2) * r + Q1) * r + Q0
    power = from_bits(np.int32((n + np.int32(127)) << np.int32(23)))  # 2**n
    return ZERO if x < UNDERFLOW else ((q * r) * r + r + ONE) * power


def _log(x: Any) -> Any:
    bits = to_bits(x)
    n = np.int32(np.int32(bits - ROOT_OF_HALF) >> np.int32(23))
    f = from_bits(np.int32(bits - np.int32(n << np.int32(23)))) - ONE  # x = 2**n (1 + f)
    p = (((((P6 * f + P5) * f + P4) * f + P3) * f + P2) * f + P1) * f + P0
    tail = (p * f - HALF) * (f * f) + np.float32(n) * LN2_LOW
    return x if x != x else f + tail + np.float32(n) * LN2_HIGH


@overload(exp, strict=False, jit_options={"fastmath": policy.CONTRACT})
def _compile_exp(x: Any) -> Callable[[Any], Any]:
    return _exp if x == numba.float32 else lambda x: math.exp(x)


@overload(log, strict=False, jit_options={"fastmath": policy.CONTRACT})
def _compile_log(x: Any) -> Callable[[Any], Any]:
    return _log if x == numba.float32 else lambda x: math.log(x)


@overload(from_bits, strict=False)
def _compile_from_bits(bits: Any) -> Callable[[Any], Any]:
    return lambda bits: _bitcast(bits)


@overload(to_bits, strict=False)
def _compile_to_bits(x: Any) -> Callable[[Any], Any]:
    return lambda x: _bitcast(x)


SAME_WIDTH = {
    numba.int32: (numba.float32, ir.FloatType()),
    numba.int64: (numba.float64, ir.DoubleType()),
    numba.float32: (numba.int32, ir.IntType(32)),
}


@intrinsic
def _bitcast(typing_context: Any, value: Any) -> Any:
    kind, llvm_type = SAME_WIDTH[value]

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], llvm_type)

    return kind(value), generate

"""e**x in Numba code whose loops have to vectorise."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic, overload

from hitl_kernels import policy

LOG2E = np.float32(1.4426950408889634)
# log 2 in two parts: n times the first is exact for every n here.
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
# (e**r - 1 - r) / r**2 on |r| <= log(2) / 2, minimax: within 3e-9 of e**r before rounding.
Q0, Q1, Q2, Q3, Q4 = (
    np.float32(0.4999999341), np.float32(0.1666652011), np.float32(0.04166839422),
    np.float32(0.008368780429), np.float32(0.001381446674),
)  # fmt: skip
# Below it e**x leaves the normal numbers of float32; all of that counts as 0.
UNDERFLOW = np.float32(-87.0)
HALF, ONE, ZERO = np.float32(0.5), np.float32(1.0), np.float32(0.0)


def exp(x: Any) -> Any:
    """e**x for x <= 0; for float32 by a polynomial, as calls to libm do not vectorise."""
    return _polynomial(x) if isinstance(x, np.float32) else np.exp(x)


def from_bits(bits: Any) -> Any:
    """The floating-point number with these bits."""
    return bits.view(np.float32 if bits.dtype == np.int32 else np.float64)


def _polynomial(x: Any) -> Any:
    # NaN fails the comparison: its integer part is then an integer, and it stays NaN through r.
    n = np.int32((x if x > UNDERFLOW else UNDERFLOW) * LOG2E - HALF)  # rounds to nearest, as x <= 0
    r = x - np.float32(n) * LN2_HIGH
    r = r - np.float32(n) * LN2_LOW
    q = (((Q4 * r + Q3) * r + Q2) * r + Q1) * r + Q0
    power = from_bits(np.int32((n + np.int32(127)) << np.int32(23)))  # 2**n
    return ZERO if x < UNDERFLOW else ((q * r) * r + r + ONE) * power


@overload(exp, strict=False, jit_options={"fastmath": policy.CONTRACT})
def _compile_exp(x: Any) -> Callable[[Any], Any]:
    return _polynomial if x == numba.float32 else lambda x: math.exp(x)


@overload(from_bits, strict=False)
def _compile_from_bits(bits: Any) -> Callable[[Any], Any]:
    return lambda bits: _bitcast(bits)


@intrinsic
def _bitcast(typing_context: Any, bits: Any) -> Any:
    wide = bits == numba.int64

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.DoubleType() if wide else ir.FloatType())

    return (numba.float64 if wide else numba.float32)(bits), generate

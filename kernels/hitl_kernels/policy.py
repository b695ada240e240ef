"""What every compiled kernel of the project agrees on."""

from collections.abc import Callable
from typing import Any

import numba

# Reassociation and contraction, so that sums vectorise; never `nnan` or `ninf`: they make isfinite lie.
FASTMATH = {"nsz", "arcp", "contract", "afn", "reassoc"}
# Fused multiply-adds only: for code that splits a constant in two, which reassociation would join again.
CONTRACT = {"contract"}


def compiled(function: Callable[..., Any]) -> Any:
    """One thread, GIL released, IEEE arithmetic: for code whose rounding is part of its contract."""
    return numba.njit(cache=True, nogil=True)(function)


def compiled_fast(function: Callable[..., Any]) -> Any:
    """One thread, GIL released, sums may be reassociated."""
    return numba.njit(cache=True, nogil=True, fastmath=FASTMATH)(function)


def compiled_parallel(function: Callable[..., Any]) -> Any:
    """``prange`` over Numba's threads, IEEE arithmetic."""
    return numba.njit(cache=True, nogil=True, parallel=True)(function)


def compiled_parallel_fast(function: Callable[..., Any]) -> Any:
    """``prange`` over Numba's threads, sums inside an iteration may be reassociated."""
    return numba.njit(cache=True, nogil=True, parallel=True, fastmath=FASTMATH)(function)

"""What every compiled kernel of the project agrees on."""

import os
import types
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


def compiled_inline(function: Callable[..., Any]) -> Any:
    """As :func:`compiled`, pasted into its callers: a loop around it vectorises (Philox: 1.8 for 11.8 ns)."""
    return numba.njit(cache=True, nogil=True, inline="always")(function)


def compiled_unchecked(function: Callable[..., Any]) -> Any:
    """As :func:`compiled`, but x / 0 is inf or nan: without the check a loop that divides vectorises."""
    return numba.njit(cache=True, nogil=True, error_model="numpy")(function)


def compiled_fast(function: Callable[..., Any]) -> Any:
    """One thread, GIL released, sums may be reassociated."""
    return numba.njit(cache=True, nogil=True, fastmath=FASTMATH)(function)


def compiled_parallel(function: Callable[..., Any]) -> Any:
    """``prange`` over Numba's threads, IEEE arithmetic."""
    return numba.njit(cache=True, nogil=True, parallel=True)(function)


def compiled_parallel_fast(function: Callable[..., Any]) -> Any:
    """``prange`` over Numba's threads, sums inside an iteration may be reassociated."""
    return numba.njit(cache=True, nogil=True, parallel=True, fastmath=FASTMATH)(function)


def compiled_both(function: Callable[..., Any]) -> tuple[Any, Any]:
    """The same function twice, ``(one thread, prange)``: for kernels that see both small and large calls.

    Choose with :func:`threads_allowed`. Starting threads costs about 10 us.
    """
    twin = types.FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    # Numba's cache on disk knows a function by its qualified name, not by its options.
    twin.__qualname__ = f"{function.__qualname__}_parallel"
    twin.__module__ = function.__module__
    return compiled(function), compiled_parallel(twin)


def threads_allowed() -> bool:
    """Whether ``prange`` may run here: not in a forked child, which GNU OpenMP ends with SIGTERM."""
    return os.getpid() == _PID


_PID = os.getpid()

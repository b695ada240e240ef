"""The loop that reads counter files at a steady rate without Python: compiled on demand, and run without the GIL."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import types
from numba.core.types import ExternalFunction
from numpy.typing import NDArray

MONOTONIC = 1  # the clock of time.perf_counter_ns on Linux
ABSOLUTE = 1

# Of libc, by name, so that the compiled loop can be kept on disk; a ctypes function's address cannot.
_pread: Any = ExternalFunction("pread", types.intp(types.int32, types.intp, types.intp, types.int64))
_clock_gettime: Any = ExternalFunction("clock_gettime", types.int32(types.int32, types.intp))
_clock_nanosleep: Any = ExternalFunction(
    "clock_nanosleep", types.int32(types.int32, types.int32, types.intp, types.intp)
)


@numba.njit(cache=True)
def _number(text: NDArray[np.uint8], size: int) -> int:
    """The unsigned number that a file begins with; -1 where it begins with none."""
    value = -1
    for i in range(size):
        digit = int(text[i]) - 48
        if digit < 0 or digit > 9:
            break
        value = digit if value < 0 else value * 10 + digit
    return value


@numba.njit(nogil=True, cache=True)
def sample(
    descriptors: NDArray[np.int32],
    interval: int,
    rows: NDArray[np.int64],
    control: NDArray[np.int64],
    times: NDArray[np.int64],
    text: NDArray[np.uint8],
) -> None:
    """Fill ``rows`` in turn until ``control[0]`` is set.

    Args:
        descriptors: open files that begin with a number.
        interval: nanoseconds between two rows, on a fixed grid; what was missed is not made up for.
        rows: [capacity, 1 + files] int64: when the first file was read, then each file's number, -1 for none.
        control: [2] int64: whether to stop; rows written so far.
        times: [2] int64, a timespec; text: [32] uint8. Buffers.
    """
    capacity = rows.shape[0]
    _clock_gettime(np.int32(MONOTONIC), times.ctypes.data)
    due = times[0] * 1_000_000_000 + times[1] + interval
    while control[0] == 0:
        times[0], times[1] = due // 1_000_000_000, due % 1_000_000_000
        _clock_nanosleep(np.int32(MONOTONIC), np.int32(ABSOLUTE), times.ctypes.data, 0)
        _clock_gettime(np.int32(MONOTONIC), times.ctypes.data)
        now = times[0] * 1_000_000_000 + times[1]
        at = control[1] % capacity
        rows[at, 0] = now
        for i in range(descriptors.shape[0]):
            size = _pread(descriptors[i], text.ctypes.data, 31, 0)
            rows[at, 1 + i] = _number(text, size) if size > 0 else -1
        control[1] += 1
        due += ((now - due) // interval + 1) * interval if now >= due else interval

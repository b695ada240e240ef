"""Compiled on demand: a loop that reads counter files at a steady rate without the GIL, and what its rows add up to."""

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

# Columns of a channel's constants and of its state, see `follow`.
MODULUS, UNIT, LIMIT, WAIT, CAP, LEAST = range(6)
RAW, MOVED, TOTAL, SINCE, MARKED = range(5)


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


@numba.njit("void(i4[::1], i8, i8[:, ::1], i8[::1], i8[::1], u1[::1])", nogil=True, cache=True)
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


@numba.njit("void(i8[:, ::1], i8[::1], i8[:, ::1], i8[:, ::1], i8[:, ::1], i8[:, ::1])", cache=True)
def follow(
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    fixed: NDArray[np.int64],
    state: NDArray[np.int64],
    energies: NDArray[np.int64],
    powers: NDArray[np.int64],
) -> None:
    """Each channel's microjoules and mean milliwatts at each row; ``state`` is brought up to the last one.

    A reading that cannot follow the one before is left to the channel, which reads the same counter.

    Args:
        rows: as `sample` writes them, in order.
        columns: [channels] int64: a channel's column in ``rows``; -1 for one that is not read there.
        fixed: [channels, 6] int64: modulus in counts (0 for none), microjoules of a count, milliwatts that cannot be
            exceeded, nanoseconds that a value may be late, the energy counted by now, and the shortest time that a
            power is a mean of.
        state: [channels, 5] int64: the count, when it came, its energy; when the last mean ended, and its energy then.
        energies: [channels, rows] int64, written.
        powers: [channels, rows] int64, written; 0 where no mean ends.
    """
    for i in range(columns.shape[0]):
        for k in range(rows.shape[0]):
            now = rows[k, 0]
            raw = rows[k, columns[i]] if columns[i] >= 0 else -1
            counts = raw - state[i, RAW] if raw > 0 else 0
            if counts < 0:
                counts = counts + fixed[i, MODULUS] if state[i, RAW] < fixed[i, MODULUS] else 0
            used = counts * fixed[i, UNIT]
            late = now - state[i, MOVED] + fixed[i, WAIT]
            if used > 0 and used <= 2e-6 * fixed[i, LIMIT] * late:
                state[i, RAW] = raw
                state[i, MOVED] = now
                state[i, TOTAL] += used
            # What was counted afterwards is not exceeded: a file may have been half written.
            energies[i, k] = min(state[i, TOTAL], fixed[i, CAP])
            elapsed = state[i, MOVED] - state[i, SINCE]
            powers[i, k] = 0
            if elapsed >= fixed[i, LEAST]:
                powers[i, k] = int((energies[i, k] - state[i, MARKED]) * 1e6 / elapsed)
                state[i, SINCE], state[i, MARKED] = state[i, MOVED], energies[i, k]

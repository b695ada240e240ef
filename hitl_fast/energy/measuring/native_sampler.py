"""A cheaper sampler for high rates: a compiled loop reads counter files, and Python looks at its rows now and then.

Above 20 samples a second, and for counters in files (RAPL); other sensors are read by the Python sampler, at 20 Hz.
Where there is no compiler, or before it is done, the Python sampler goes on at the rate that was asked for.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ..sensors.rapl import CounterFile
from ..units import MILLISECOND
from .channel import GRACE, CounterChannel
from .recorder import Recorder, heartbeat

FASTEST_IN_PYTHON = 50 * MILLISECOND  # between two samples
PAUSE = 1000 * MILLISECOND  # between two looks at the rows
CAPACITY = 8192  # rows that wait until Python looks: 8 s at 1 kHz

Loop = Callable[..., None]


def native_sampler(recorder: Recorder, interval: int) -> NativeSampler | None:
    """One for the channels that are files, started; None where it would not pay or cannot be compiled."""
    files = [i for i, channel in enumerate(recorder.channels) if type(channel.sensor) is CounterFile]
    if interval >= FASTEST_IN_PYTHON or not files or sys.platform != "linux" or _uncompiled():
        return None
    return NativeSampler(recorder, files, interval, load)


def _uncompiled() -> bool:
    return os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")


class NoCompilerError(Exception):
    """Numba is not installed, or does not compile here."""


def load() -> Loop:
    """Compiles the loop, or reads it from Numba's cache."""
    try:
        from numba.core.errors import NumbaError
    except ImportError as problem:
        raise NoCompilerError(str(problem)) from problem
    try:
        from .native_loop import sample
    except (
        NumbaError,
        OSError,
        RuntimeError,
    ) as problem:  # no compiler for this machine, no place for its cache
        raise NoCompilerError(str(problem)) from problem
    return sample  # type: ignore[no-any-return]


class NativeSampler:
    """Runs the loop in a thread of its own, and hands its rows to the recorder's timeline.

    Args:
        files: positions of the recorder's channels that are read.
        interval: nanoseconds between two rows.
        load: what makes the loop; see `native_loop.sample` for its arguments.
    """

    def __init__(self, recorder: Recorder, files: list[int], interval: int, load: Callable[[], Loop]) -> None:
        self._recorder = recorder
        self._files = files
        # Other sensors need Python's attention as often as it gives any.
        others = len(files) < len(recorder.channels)
        self.pause = min(FASTEST_IN_PYTHON if others else PAUSE, heartbeat(recorder.channels))
        self._interval = interval
        self._load = load
        self._seen = 0
        self._rows: Any = None
        self._control: Any = None
        self._cpu = 0
        self._columns = [files.index(i) + 1 if i in files else -1 for i in range(len(recorder.channels))]
        self._state: list[tuple[int, int, int]] = []  # each channel's count, when it came, and its energy
        self.settle()
        self._thread = threading.Thread(target=self._run, name="hitl-fast-energy-native", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether rows come in, so that Python need not sample at this rate."""
        return self._control is not None and self._control[1] > 0 and self._thread.is_alive()

    @property
    def cpu(self) -> int:
        """Nanoseconds of CPU time that its thread has taken."""
        identity = self._thread.ident
        if identity is not None and self._thread.is_alive():
            with suppress(OSError):  # it has ended just now
                self._cpu = time.clock_gettime_ns(time.pthread_getcpuclockid(identity))
        return self._cpu

    def _run(self) -> None:
        try:
            loop = self._load()
        except NoCompilerError:  # Python samples instead
            return
        import numpy as np

        descriptors = [self._channel(i).sensor.descriptor for i in self._files]  # type: ignore[attr-defined]
        self._rows = np.zeros((CAPACITY, 1 + len(descriptors)), np.int64)
        control = np.zeros(2, np.int64)
        if self._control is not None:  # stopped before it was compiled
            return
        self._control = control
        buffers = np.zeros(2, np.int64), np.zeros(32, np.uint8)
        loop(np.array(descriptors, np.int32), self._interval, self._rows, control, *buffers)
        self._cpu = time.thread_time_ns()

    def stop(self) -> None:
        """End the loop: its files may be closed from here on."""
        if self._control is None:
            self._control = [1, 0]
        self._control[0] = 1
        self._thread.join(5)

    def replay(self) -> None:
        """Add the rows that came since to the timeline, but the newest, which may not be whole yet.

        `Recorder.sample` calls it under its lock, after it has read the channels. From there on, what they
        have counted is what counts.
        """
        if self._rows is not None and self._control is not None:
            written = int(self._control[1])
            first, last = max(self._seen, written - CAPACITY + 16), written - 1
            if first < last:
                self._seen = last
                self._add(self._rows.take(range(first, last), axis=0, mode="wrap"))
        self.settle()

    def settle(self) -> None:
        """Begin anew from what the channels have counted by now."""
        self._state = [
            (channel.raw if isinstance(channel, CounterChannel) else 0, channel.moved, channel.total)
            for channel in self._recorder.channels
        ]

    def _add(self, rows: Any) -> None:
        import numpy as np

        from .native_loop import follow

        channels, recorder = self._recorder.channels, self._recorder
        if recorder.sampled is not None:
            rows = rows[rows[:, 0] > recorder.sampled]
        if not len(rows):
            return
        fixed = np.array(
            [
                (
                    (channel.modulus or 0) if isinstance(channel, CounterChannel) else 0,
                    channel.unit,
                    channel.limit,
                    channel.refresh + GRACE,
                    channel.total,
                    recorder.shortest_mean(channel),
                )
                for channel in channels
            ],
            np.int64,
        )
        state = np.array(
            [(*own, *mark) for own, mark in zip(self._state, recorder.marks, strict=True)], np.int64
        )
        energies = np.empty((len(channels), len(rows)), np.int64)
        powers = np.empty_like(energies)
        follow(rows, np.array(self._columns, np.int64), fixed, state, energies, powers)
        recorder.extend(
            rows[:, 0], energies, powers, [(since, marked) for *_, since, marked in state.tolist()]
        )

    def _channel(self, i: int) -> CounterChannel:
        channel = self._recorder.channels[i]
        assert isinstance(channel, CounterChannel)
        return channel

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

from ..sensors.counter import difference
from ..sensors.rapl import CounterFile
from ..units import MILLISECOND, PER_MICROJOULE
from .channel import GRACE, CounterChannel
from .recorder import Recorder

FASTEST_IN_PYTHON = 50 * MILLISECOND  # between two samples
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


def load() -> Loop:
    """Compiles the loop, or reads it from Numba's cache."""
    from .native_loop import sample

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
        self.pause = max(interval, FASTEST_IN_PYTHON if others else 2 * FASTEST_IN_PYTHON)
        self._interval = interval
        self._load = load
        self._seen = 0
        self._rows: Any = None
        self._control: Any = None
        self._cpu = 0
        self._values = [(channel.moved, channel.total) for channel in recorder.channels]
        self._raws: list[int] = []
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
            import numpy as np

            descriptors = [self._channel(i).sensor.descriptor for i in self._files]  # type: ignore[attr-defined]
            self._rows = np.zeros((CAPACITY, 1 + len(descriptors)), np.int64)
            control = np.zeros(2, np.int64)
            if self._control is not None:  # stopped before it was compiled
                return
            self._control = control
            buffers = np.zeros(2, np.int64), np.zeros(32, np.uint8)
            loop(np.array(descriptors, np.int32), self._interval, self._rows, control, *buffers)
        except Exception:  # no compiler, no NumPy: Python samples instead
            return
        finally:
            self._cpu = time.thread_time_ns()

    def stop(self) -> None:
        """End the loop: its files may be closed from here on."""
        if self._control is None:
            self._control = [1, 0]
        self._control[0] = 1
        self._thread.join(5)

    def fetch(self) -> Callable[[], None]:
        """The rows that came since, but the newest, which may not be whole yet: to be given to `Recorder.sample`."""
        first = last = 0
        if self._rows is not None and self._control is not None:
            written = int(self._control[1])
            first, last = max(self._seen, written - CAPACITY + 16), written - 1
        if first >= last:
            return lambda: None
        rows = self._rows.take(range(first, last), axis=0, mode="wrap").tolist()
        self._seen = last
        return lambda: self._replay(rows)

    def settle(self) -> None:
        """Begin anew from what the channels have counted by now, which is what counts."""
        with self._recorder.lock:
            self._values = [(channel.moved, channel.total) for channel in self._recorder.channels]
            self._raws = [self._channel(i).raw for i in self._files]

    def _replay(self, rows: list[list[int]]) -> None:
        """Add rows to the timeline, none above what the channels have counted since: a file may be half written."""
        totals = [channel.total for channel in self._recorder.channels]
        for now, *raws in rows:
            self._follow(now, raws)
            values = zip(self._values, totals, strict=True)
            self._recorder.add(now, [(moved, min(value, total)) for (moved, value), total in values])

    def _follow(self, now: int, raws: list[int]) -> None:
        """Count a row's differences. One that cannot be is left to the channel, which reads the same counter."""
        for at, (i, raw) in enumerate(zip(self._files, raws, strict=True)):
            channel = self._channel(i)
            moved, total = self._values[i]
            counts = difference(self._raws[at], raw, channel.modulus) if raw > 0 else None
            most = 2 * channel.limit * (now - moved + channel.refresh + GRACE) // PER_MICROJOULE
            if counts and counts * channel.unit <= most:
                self._values[i] = now, total + counts * channel.unit
                self._raws[at] = raw

    def _channel(self, i: int) -> CounterChannel:
        channel = self._recorder.channels[i]
        assert isinstance(channel, CounterChannel)
        return channel

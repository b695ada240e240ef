"""All channels of a run, read together under one lock: the one place where energy adds up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..units import MILLISECOND, MOST_MILLIWATTS, PER_MICROJOULE, SECOND
from .channel import Channel, State
from .timeline import Timeline

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Reading(NamedTuple):
    """Every channel read once, between two stamps."""

    start: int
    end: int
    states: list[State]


_new = tuple.__new__


class Recorder:
    """Reads channels for windows and for the timeline.

    Any thread may call `read`; each reading is complete before the next begins, and every channel's sum is the
    energy since the recorder began.

    Args:
        interval: nanoseconds between two samples of the timeline.
    """

    def __init__(
        self, channels: Sequence[Channel], *, interval: int, clock: Callable[[], int] = time.perf_counter_ns
    ) -> None:
        self.channels = tuple(channels)
        self.clock = clock
        self.lock = threading.Lock()
        self.timeline = Timeline(len(self.channels))
        self.reads = 0
        self.busy = 0  # nanoseconds spent reading
        self.longest_gap = 0  # between two samples
        self._interval = interval
        self.sampled: int | None = None  # when the last sample was taken
        self._final: Reading | None = None
        # When the last mean power of each channel ended, and its microjoules then.
        self.marks = [(channel.moved, channel.total) for channel in self.channels]

    def read(self) -> Reading:
        """Read every channel now; after `close`, the last reading: what was open then ended then."""
        states = []
        with self.lock:
            if self._final is not None:
                return self._final
            start = stamp = self.clock()
            for channel in self.channels:
                state = channel.poll(stamp)
                states.append(state)
                stamp = state[0]
            end = self.clock()
            self.reads += 1
            self.busy += end - start
        return _new(Reading, (start, end, states))  # half of what Reading(start, end, states) takes

    def sample(self, earlier: Callable[[], None] | None = None) -> Reading:
        """Read for the timeline, and remember peaks and the longest time without a sample.

        ``earlier`` adds samples that were read before, now that it is known what they cannot exceed.
        """
        reading = self.read()
        with self.lock:
            if earlier is not None:
                earlier()
            self.add(reading.end, [(channel.moved, channel.total) for channel in self.channels])
        return reading

    def add(self, time: int, values: Sequence[tuple[int, int]]) -> None:
        """A sample: when each channel's value came, and its microjoules. Under the lock; the past is left out."""
        if self.sampled is not None:
            if time <= self.sampled:
                return
            self.longest_gap = max(self.longest_gap, time - self.sampled)
        self.sampled = time
        powers = [self._power(i, *value) for i, value in enumerate(values)]
        self.timeline.append(time, [total for _, total in values], powers)

    def extend(
        self,
        times: NDArray[np.int64],
        energies: NDArray[np.int64],
        powers: NDArray[np.int64],
        marks: list[tuple[int, int]],
    ) -> None:
        """Samples with their mean powers, all after the last one, one row a channel. Under the lock."""
        first = int(times[0]) if self.sampled is None else self.sampled
        self.longest_gap = max(self.longest_gap, int(times[0]) - first, *(times[1:] - times[:-1]).tolist())
        self.sampled = int(times[-1])
        self.marks = marks
        for channel, peak in zip(self.channels, powers.max(1).tolist(), strict=True):
            channel.peak = max(channel.peak, peak)
        self.timeline.extend(times, energies, powers)

    def shortest_mean(self, channel: Channel) -> int:
        """Nanoseconds that a power must be the mean of: a few refreshes, since a counter that jumps has no less."""
        return max(self._interval // 2, 4 * channel.refresh, 1)

    def _power(self, i: int, moved: int, now: int) -> int:
        """Mean milliwatts since the last mark, 0 where that is too short a while ago."""
        channel = self.channels[i]
        since, total = self.marks[i]
        elapsed = moved - since
        if elapsed < self.shortest_mean(channel):
            return 0
        self.marks[i] = (moved, now)
        power = (now - total) * PER_MICROJOULE // elapsed
        channel.peak = max(channel.peak, power)
        return power

    def close(self, final: Reading) -> None:
        """Give the sensors back. A closed file's number may soon be another file's, so nothing reads from here on."""
        with self.lock:
            self._final = final
            for channel in self.channels:
                channel.close()


def heartbeat(channels: Sequence[Channel]) -> int:
    """Longest pause, in nanoseconds, between readings that still sees every turn of every counter: 30 s or less."""
    turns = [channel.turn * PER_MICROJOULE // MOST_MILLIWATTS for channel in channels if channel.turn]
    return max(min([30 * SECOND, *(turn // 2 for turn in turns)]), 10 * MILLISECOND)

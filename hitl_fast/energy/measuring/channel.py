"""One sensor being read: its joules so far, when they changed, and what went wrong with it.

Times are nanoseconds of `time.perf_counter_ns`, energies whole microjoules. A channel is polled under its
recorder's lock and nowhere else; what others read of it are single attributes or copies made under that lock.
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Protocol

from ..sensors.counter import difference
from ..sensors.domain import Domain
from ..units import FAST, MOST_MILLIWATTS, PER_MICROJOULE, SECOND

PAUSE = 10 * SECOND
CHECK = SECOND // 20
BACK = "lost for a while, then back"

# (last seen with the old value, first seen with the new value, the new value in microjoules)
Change = tuple[int, int, int]

# (when the channel last answered, microjoules so far, microjoules in doubt so far)
State = tuple[int, int, int]


class Sensor(Protocol):
    """What a channel reads; `rapl.py` and `nvml.py` have the real ones."""

    def read(self) -> int:
        """The counter or the power now. May raise anything; the channel deals with it."""

    def alive(self) -> bool:
        """Whether a value that does not move is still the device's (reopens what was replaced)."""

    def close(self) -> None: ...


class Channel(ABC):
    """What counters and power readings have in common: bookkeeping of time, changes and failures."""

    def __init__(
        self, domain: Domain, sensor: Sensor, refresh: int, clock: Callable[[], int] = time.perf_counter_ns
    ) -> None:
        self.domain = domain
        self.sensor = sensor
        self.refresh = refresh  # upper bound on the time between two new values, as far as seen
        self.rare = refresh > FAST  # as the device is known to be, not as it happens to look
        self.longest = 10 * SECOND if self.rare else refresh  # the same, where nothing may be left to chance
        self.pace: tuple[int, int] | None = (
            None  # shortest and longest time between two values, once observed
        )
        self.known: int | None = None  # when a few values of a counter that is refreshed rarely had been seen
        self._gaps: deque[tuple[int, int]] = deque(maxlen=24)
        self._learnt = 0
        self.limit = MOST_MILLIWATTS  # milliwatts that the device cannot exceed
        self.unit = 0  # microjoules of a count
        self.clock = clock
        self.total = 0
        self.slack = 0  # microjoules that the total may be off by, beyond what interpolation knows
        self.before = self.after = clock()  # stamps around the last good reading
        self.moved = self.after  # when the value last changed
        self.changes: deque[Change] = deque(maxlen=4096)
        self.events: deque[tuple[int, str]] = deque(maxlen=4096)
        self.peak = 0  # milliwatts, the highest mean between two samples
        self.lost = False
        self._failures = 0
        self._failed_at = 0
        self._checked = self.after

    @property
    def slow(self) -> bool:
        """Whether new values come rarely, so that what was used at an edge lies between two of them."""
        return self.rare and self.domain.in_total

    def observe(self) -> None:
        """Learn how far apart new values of a counter that is refreshed rarely are: from the last 8 to 16 of them.

        A gap is measured from the last reading with the old value to the first with the next one, so that it is never
        too short.
        """
        if not self.rare or self.changes[-1][1] <= self._learnt:
            return
        self._learn_pace()
        if self.known is None and len(self.changes) > 4:
            self.known = self.changes[4][1]
        if len(self.changes) <= 8:
            return
        recent = [self.changes[i] for i in range(-min(len(self.changes) - 1, 16), 0)]
        self.refresh = max(two[1] - one[0] for one, two in pairwise(recent))
        self.longest = self.refresh * 3 // 2

    def _learn_pace(self) -> None:
        """Shortest and longest time between two values, from pairs that were both watched closely."""
        i = len(self.changes) - 1
        while i > 0 and self.changes[i][1] > self._learnt:
            (a, b, _), (c, d, _) = self.changes[i - 1], self.changes[i]
            if (b - a + d - c) * 4 <= d - a:
                self._gaps.append((c - b, d - a))
            i -= 1
        self._learnt = self.changes[-1][1]
        if len(self._gaps) < 3:
            return
        low, high = max(gap[0] for gap in self._gaps), min(gap[1] for gap in self._gaps)
        if low > high:  # not steady
            low, high = min(gap[0] for gap in self._gaps), max(gap[1] for gap in self._gaps)
        margin = high // 50
        self.pace = low - margin, high + margin

    @property
    def turn(self) -> int | None:
        """Microjoules after which the counter is back where it was, None where that is unknown or never."""
        return None

    @abstractmethod
    def poll(self, before: int) -> State:
        """Read once, not earlier than at the stamp ``before``; returns the state as of the last good reading."""

    def missed(self, before: int, problem: str) -> State:
        """A reading failed: skip it, flag it, and give the sensor up after two seconds of failures."""
        now = self.clock()
        self._failures += 1
        self.events.append((now, "gap"))
        if self._failures == 1:
            self._failed_at = before
        elif not self.lost and now - self._failed_at > 2 * SECOND:
            self.lose(now, problem)
        return self.after, self.total, self.slack

    def lose(self, now: int, problem: str) -> None:
        self.lost = True
        self._checked = now
        self.events.append((now, "lost_sensor"))
        self.domain = replace(self.domain, status="unavailable", reason=f"stopped answering: {problem}")

    def close(self) -> None:
        self.sensor.close()


class CounterChannel(Channel):
    """A device that counts its own joules.

    Args:
        unit: microjoules per count.
        modulus: counts in a turn, None where unknown.
        zero_is_fault: whether a 0 after a positive value is a failed reading (RAPL) or a value.
    """

    def __init__(
        self,
        domain: Domain,
        sensor: Sensor,
        refresh: int,
        *,
        modulus: int | None,
        unit: int = 1,
        zero_is_fault: bool = False,
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        super().__init__(domain, sensor, refresh, clock)
        self._zero_is_fault = zero_is_fault
        self._modulus = modulus
        self.unit = unit
        self._read = sensor.read
        self._raw = self._read()
        self.after = self.moved = clock()
        self.changes.append((self.after - self.longest, self.after, 0))

    @property
    def turn(self) -> int | None:
        return None if self._modulus is None else self._modulus * self.unit

    def poll(self, before: int) -> State:
        if self.lost:
            return self._retry(before)
        try:
            raw = self._read()
        except Exception as problem:  # whatever a sensor does, the run goes on
            return self.missed(before, str(problem))
        after = self.clock()
        step = raw - self._raw
        if step > 0:
            self._add(raw, step, after)
        elif step < 0:
            if raw == 0 and self._zero_is_fault:
                return self.missed(before, "reads 0")
            self._turned(raw, after)
        elif after - self.moved > self.refresh or after - self._checked > CHECK:
            self._stands_still(after)
            if self.lost:
                return self.after, self.total, self.slack
        if after - self.after > PAUSE:
            self._paused(after)
        if self._failures:
            self._failures = 0
        self.before, self.after = before, after
        return after, self.total, self.slack

    def _add(self, raw: int, counts: int, after: int) -> None:
        """The one place where counts add up. The sum and the reading that it rests on change together."""
        total = self.total + counts * self.unit
        self._raw, self.total = raw, total
        self.changes.append((self.before, after, total))
        self.moved = after

    def _turned(self, raw: int, after: int) -> None:
        """The counter went back: a wrap where the modulus explains it, else a step that cannot be known."""
        counts = difference(self._raw, raw, self._modulus)
        elapsed = after - self.after + self.refresh
        self._add(raw, counts or 0, after)
        if counts is None:
            self.events.append((after, "gap"))
            self.slack += elapsed * (self.peak or MOST_MILLIWATTS) // PER_MICROJOULE
            return
        self.events.append((after, "wrap"))
        if counts * self.unit > elapsed * 10 * MOST_MILLIWATTS // PER_MICROJOULE:
            # More than 10 kW: rather a counter that was reset. It counts, as a wrap would, but is not believed.
            self.events.append((after, "gap"))
            self.slack += counts * self.unit

    def _paused(self, after: int) -> None:
        """Nobody read for long (a suspended machine): turns may have gone by unseen."""
        turn = self.turn
        hidden = (after - self.after) * MOST_MILLIWATTS // PER_MICROJOULE // turn if turn else 0
        if turn and hidden:
            self.events.append((after, "gap"))
            self.slack += hidden * turn

    def _stands_still(self, after: int) -> None:
        """No new value for longer than the refresh known so far: a slower counter, or one that is gone."""
        if after - self.moved > self.refresh:
            self.refresh = (after - self.moved) * 5 // 4
            self.longest = max(self.longest, self.refresh)
        if after - self._checked > CHECK:
            self._checked = after
            if not self.sensor.alive():
                self.lose(after, "its file is gone")

    def _retry(self, before: int) -> State:
        """A lost sensor is asked again once a second; what it counted meanwhile cannot be known."""
        if before - self._checked >= SECOND:
            self._checked = before
            try:
                raw = self._read() if self.sensor.alive() else None
            except Exception:  # still gone
                raw = None
            if raw is not None:
                self._found(raw, before, self.clock())
        return self.after, self.total, self.slack

    def _found(self, raw: int, before: int, after: int) -> None:
        self.slack += (after - self.after) * (self.peak or MOST_MILLIWATTS) // PER_MICROJOULE
        self._raw = raw
        self.events.append((after, "gap"))
        self.lost, self._failures = False, 0
        self.domain = replace(self.domain, status="measured", reason=BACK)
        self.before, self.after, self.moved = before, after, after
        self.changes.append((before, after, self.total))


class PowerChannel(Channel):
    """A device that tells only its watts: integrated here, each value held until the next reading.

    Args:
        lag: nanoseconds that the device averages over.
        hole: a longer time without a reading is flagged as a gap.
    """

    def __init__(
        self,
        domain: Domain,
        sensor: Sensor,
        refresh: int,
        *,
        lag: int,
        hole: int,
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        super().__init__(domain, sensor, refresh, clock)
        self.rare = False
        self.lag = lag
        self._hole = hole
        self._read = sensor.read
        self._milliwatts = self._read()
        self._sum = 0  # milliwatts x nanoseconds: whole, so that adding up loses nothing
        self._highest = self._milliwatts
        self.after = self.moved = clock()
        self.changes.append((self.after, self.after, 0))

    def observe(self) -> None:
        """The integral is known at every reading."""

    def poll(self, before: int) -> State:
        if self.lost and before - self._checked < SECOND:
            return self.after, self.total, self.slack
        try:
            milliwatts = self._read()
        except Exception as problem:  # whatever a sensor does, the run goes on
            self._checked = before
            return self.missed(before, str(problem))
        after = self.clock()
        held = after - self.after
        swing = abs(milliwatts - self._milliwatts)
        if held > self._hole:
            self.events.append((after, "gap"))
            swing = max(swing, self._highest - min(milliwatts, self._milliwatts))
        if self.lost:
            self.lost = False
            self.domain = replace(self.domain, status="measured", reason=BACK)
        self._sum += self._milliwatts * held
        self.total = self._sum // PER_MICROJOULE
        self.slack += swing * held // PER_MICROJOULE
        self._milliwatts = milliwatts
        self._highest = max(self._highest, milliwatts)
        self._failures = 0
        self.changes.append((after, after, self.total))
        self.before, self.after, self.moved = before, after, after
        return after, self.total, self.slack


class CpuTime:
    """The estimate's sensor: this process's CPU time and that of the children it has waited for, as microjoules.

    ``CPU seconds x declared watts per busy core``. It sees neither other processes nor idle power.
    """

    def __init__(self, watts: float) -> None:
        self._milliwatts = round(watts * 1000)

    def read(self) -> int:
        times = os.times()
        children = round((times.children_user + times.children_system) * SECOND)
        return (time.process_time_ns() + children) * self._milliwatts // PER_MICROJOULE

    def alive(self) -> bool:
        return True

    def close(self) -> None:
        pass

"""One sensor being read: its joules so far, when they changed, and what went wrong with it.

Times are nanoseconds of `time.perf_counter_ns`, energies whole microjoules. A channel is polled under its
recorder's lock and nowhere else; what others read of it are single attributes or copies made under that lock.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from math import gcd
from typing import Protocol

from ..sensors.counter import difference
from ..sensors.domain import IN_TOTAL, Domain
from ..units import FAST, MOST_MILLIWATTS, PER_MICROJOULE, SECOND

PAUSE = 10 * SECOND
CHECK = SECOND // 20
STILL = SECOND  # whatever is switched on uses energy: a counter that stands still for so long is not believed
BACK = "lost for a while, then back"
GRACE = SECOND // 20  # a value may be late
DIFFERENT = 3  # steps that tell a coarse unit from a steady power
RESET = 3  # impossible readings in a row that agree with each other: a counter that began anew

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
        self,
        domain: Domain,
        sensor: Sensor,
        refresh: int,
        clock: Callable[[], int] = time.perf_counter_ns,
        limit: int = MOST_MILLIWATTS,
    ) -> None:
        self.domain = domain
        self.sensor = sensor
        self.refresh = refresh  # upper bound on the time between two new values, as far as seen
        self.declared = refresh
        self.rare = refresh > FAST  # as the device is known to be, not as it happens to look
        self.longest = 10 * SECOND if self.rare else refresh  # the same, where nothing may be left to chance
        self.pace: tuple[int, int] | None = (
            None  # shortest and longest time between two values, once observed
        )
        self.known: int | None = None  # when a few values of a counter that is refreshed rarely had been seen
        self._gaps: deque[tuple[int, int]] = deque(maxlen=24)
        self._learnt = 0
        self.limit = limit  # milliwatts that the device cannot exceed
        self.unit = 0  # microjoules of a count
        self.clock = clock
        self.total = 0
        self.slack = 0  # microjoules that the total may be off by, beyond what interpolation knows
        self.slacks: deque[tuple[int, int]] = deque(
            maxlen=256
        )  # when it grew, and to what, where energy is missing
        self.before = self.after = clock()  # stamps around the last good reading
        self.moved = self.after  # when the value last changed
        self.changes: deque[Change] = deque(maxlen=4096)
        self.events: deque[tuple[int, str]] = deque(maxlen=4096)
        self.peak = 0  # milliwatts, the highest mean between two samples
        self.lost = False
        self.dead = False  # has never moved, for so long that it is taken for out of order
        self._failures = 0
        self._failed_at = 0
        self._checked = self.after

    @property
    def slow(self) -> bool:
        """Whether new values come rarely, so that what was used at an edge lies between two of them."""
        return self.rare and self.domain.kind in IN_TOTAL

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
    def quantum(self) -> int:
        """Microjoules by which a value may be too low."""
        return self.unit

    @property
    def turn(self) -> int | None:
        """Microjoules after which the counter is back where it was, None where that is unknown or never."""
        return None

    def lacks(self, now: int, microjoules: int) -> None:
        """Up to so much was used that the sum does not have; values from ``now`` on lack it."""
        self.slack += microjoules
        self.slacks.append((now, self.slack))

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
        limit: int = MOST_MILLIWATTS,
    ) -> None:
        super().__init__(domain, sensor, refresh, clock, limit)
        self._zero_is_fault = zero_is_fault
        self._modulus = modulus
        self.unit = unit
        self._read = sensor.read
        self._raw = self._read()
        self._suspects: list[tuple[int, int]] = []  # readings in a row that cannot follow the last good one
        self._steps: set[int] = set()  # a few different ones, in counts
        self._divisor = 0  # of all of them
        self._certain = 2 * self.limit * GRACE // PER_MICROJOULE // unit  # counts that may come at any time
        self.after = self.moved = clock()
        self.changes.append((self.after - self.longest, self.after, 0))

    @property
    def raw(self) -> int:
        """The last good count."""
        return self._raw

    @property
    def modulus(self) -> int | None:
        """Counts in a turn, None where unknown."""
        return self._modulus

    @property
    def turn(self) -> int | None:
        return None if self._modulus is None else self._modulus * self.unit

    @property
    def quantum(self) -> int:
        """A count, or more where steps differ by multiples of more."""
        return self.unit * (self._divisor if len(self._steps) >= DIFFERENT else 1)

    def _learn_quantum(self, counts: int) -> None:
        self._divisor = gcd(self._divisor, counts)
        if len(self._steps) < DIFFERENT:
            self._steps.add(counts)

    def poll(self, before: int) -> State:
        if self.lost:
            return self._retry(before)
        try:
            raw = self._read()
        except Exception as problem:  # whatever a sensor does, the run goes on
            return self.missed(before, str(problem))
        after = self.clock()
        step = raw - self._raw
        if 0 < step <= self._certain and not self._suspects:
            if self._divisor != 1:
                self._learn_quantum(step)
            self._add(raw, step, after)
        elif step:
            if not self._accept(raw, step, before, after):
                return self.after, self.total, self.slack
        elif after - self.moved > self.refresh or after - self._checked > CHECK:
            self._stands_still(after)
            if self.lost:
                return self.after, self.total, self.slack
        if after - self.after > PAUSE:
            self._paused(after)
        if self._failures or self._suspects:
            self._failures = 0
            self._suspects = []
        self.before, self.after = before, after
        return after, self.total, self.slack

    def _add(self, raw: int, counts: int, after: int) -> None:
        """The one place where counts add up. The sum and the reading that it rests on change together."""
        total = self.total + counts * self.unit
        self._raw, self.total = raw, total
        self.changes.append((self.before, after, total))
        self.moved = after
        if self.dead:
            self._revive()

    def _accept(self, raw: int, step: int, before: int, after: int) -> bool:
        """Count a reading that is no small step forward, unless the device cannot have used that much since.

        One that is impossible is kept apart, and the last good one stays. The next reading that can follow the good one
        ends the glitch, at no cost to the sum. Three that follow each other but not it are a counter that was reset.
        """
        if raw == 0 and self._zero_is_fault:
            self.missed(before, "reads 0")
            return False
        counts = difference(self._raw, raw, self._modulus)
        if counts is None:
            counts = self._turned(raw, after)
        if counts is not None and self._possible(counts, after - self.moved):
            if step < 0:
                self.events.append((after, "wrap"))
            else:
                self._learn_quantum(counts)
            self._add(raw, counts, after)
            return True
        self.events.append((after, "glitch"))
        if counts is None:
            self.events.append((after, "gap"))
        if self._suspects:
            last, at = self._suspects[-1]
            if not (raw >= last and self._possible(raw - last, after - at)):
                self._suspects = []
        self._suspects.append((raw, after))
        if len(self._suspects) < RESET:
            return False
        self._reset(after)
        return True

    def _turned(self, raw: int, after: int) -> int | None:
        """Counts of a counter whose modulus is unknown, if it went back as one of 32 or 64 bits does at its end."""
        for bits in (32, 64):
            counts = difference(self._raw, raw, 1 << bits)
            if counts is not None and self._possible(counts, after - self.moved):
                return counts
        return None

    def _possible(self, counts: int, elapsed: int) -> bool:
        """Whether a device can use that much in the time since its last value, at twice its limit."""
        return counts * self.unit <= 2 * self.limit * (elapsed + self.refresh + GRACE) // PER_MICROJOULE

    def _reset(self, after: int) -> None:
        """The counter began anew: what it counted before the first reading of the new count cannot be known."""
        (first, at), (last, _) = self._suspects[0], self._suspects[-1]
        self.events.append((after, "gap"))
        self.lacks(after, (at - self.after + self.refresh) * self._most() // PER_MICROJOULE)
        self._raw = first
        self._add(last, last - first, after)

    def _most(self) -> int:
        """Milliwatts while nobody could read. A few values of a counter that is refreshed rarely tell no peak."""
        return self.limit if self.slow else min(2 * self.peak, self.limit) or self.limit

    def _paused(self, after: int) -> None:
        """Nobody read for long (a suspended machine): turns may have gone by unseen."""
        turn = self.turn
        hidden = (after - self.after) * self.limit // PER_MICROJOULE // turn if turn else 0
        if turn and hidden:
            self.events.append((after, "gap"))
            self.lacks(after, hidden * turn)

    def _stands_still(self, after: int) -> None:
        """No new value for longer than the refresh known so far: a slower counter, or one that is gone."""
        if after - self.moved > self.refresh:
            self.refresh = (after - self.moved) * 5 // 4
            self.longest = max(self.longest, self.refresh)
        if after - self._checked > CHECK:
            self._checked = after
            if not self.sensor.alive():
                self.lose(after, "its file is gone")
            elif (
                not self.dead
                and len(self.changes) == 1
                and after - self.moved > max(STILL, 3 * self.declared)
            ):
                self.dead = True
                reason = "its counter has not moved since the start"
                self.domain = replace(self.domain, status="unavailable", reason=reason)

    def _revive(self) -> None:
        """A counter taken for dead moves after all: it counts from the start, for its counter has missed nothing."""
        self.dead = False
        reason = "moved for the first time long after the start"
        self.domain = replace(self.domain, status="measured", reason=reason)

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
        self.lacks(after, (after - self.after + self.refresh) * self._most() // PER_MICROJOULE)
        self._raw = raw
        self.events.append((after, "gap"))
        self.lost, self._failures = False, 0
        self.domain = replace(self.domain, status="measured", reason=BACK)
        # The value may be as old as the last good reading.
        self.changes.append((self.before, after, self.total))
        self.before, self.after, self.moved = before, after, after

"""A sensor of power: integrated over time here."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from ..sensors.domain import Domain
from ..units import MOST_MILLIWATTS, PER_MICROJOULE, SECOND
from .channel import BACK, Channel, Sensor, State


class PowerChannel(Channel):
    """A device that reports only its power: integrated here, each value held until the next reading.

    A change is (milliwatts, when it was read, microjoules until then).

    Args:
        lag: nanoseconds that the device averages over, or that its value may be old.
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
        limit: int = MOST_MILLIWATTS,
    ) -> None:
        super().__init__(domain, sensor, refresh, clock, limit)
        self.rare = False
        self.lag = lag
        self._hole = hole
        self._read = sensor.read
        self._milliwatts = self._read()
        self.valid = self._believable(self._milliwatts)
        if not self.valid:
            self._milliwatts = 0
        self._sum = 0  # milliwatts x nanoseconds: whole, so that adding up loses nothing
        self._highest = self._milliwatts
        self.after = self.moved = clock()
        self.changes.append((self._milliwatts, self.after, 0))

    def _believable(self, milliwatts: int) -> bool:
        """Whatever is switched on draws power, and no more than a few times its limit even for a moment."""
        return 0 < milliwatts <= 4 * self.limit

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
        if not self._believable(milliwatts):
            self._checked = before
            self.events.append((after, "glitch"))
            return self.missed(before, f"reads {milliwatts / 1000:g} W")
        if not self.valid:  # nothing before was worth holding
            self.valid = True
            self._milliwatts = self._highest = milliwatts
            self.slack += milliwatts * (after - self.after) // PER_MICROJOULE
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
        self.changes.append((milliwatts, after, self.total))
        self.before, self.after, self.moved = before, after, after
        return after, self.total, self.slack

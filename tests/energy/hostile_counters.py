"""Simulated counters that misbehave, each in its own way, with the true energy known: measured by the real session.

The clock is virtual: it moves on when the session reads it, when a sensor is read, and when the simulation says so.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace

from energy_fakes import MS, S
from hidden_counters import BEGIN, GPU, LOADS, OTHER_LOADS, Trace, trace_of

from hitl_fast.energy.measuring.channel import Channel, CounterChannel
from hitl_fast.energy.measuring.power_channel import PowerChannel
from hitl_fast.energy.measuring.session import Session
from hitl_fast.energy.reporting.results import Window

KINDS = (
    "irregular",
    "wraps at 32 bits",
    "reset",
    "jumps back",
    "stands still",
    "milliwatt hours",
    "slow to read",
    "changes its pace",
    "shows an older value",
    "fails now and then",
    "vanishes",
    "wraps and is irregular",
)
# Sensors of power: (time between two values, what each is the mean of, what the meter is told).
POWERS = {
    "now": (MS, MS // 10, 100 * MS), "mean of 50 ms": (50 * MS, 50 * MS, 100 * MS),
    "mean of 100 ms": (100 * MS, 100 * MS, 100 * MS), "mean of a second": (100 * MS, S, S),
}  # fmt: skip
# Packages are said to show a new value every millisecond; here is what is true instead, as (period, microjoules).
PACKAGES = {
    "every millisecond": (MS, 1), "every 10 ms": (10 * MS, 1), "every 50 ms": (50 * MS, 1),
    "every 100 ms": (100 * MS, 1), "every second": (S, 1), "in joules": (MS, 1_000_000),
}  # fmt: skip


@dataclass(frozen=True)
class Result:
    """A window over one or two counters, and the joules that were used."""

    kind: str
    window: Window
    true: float

    @property
    def held(self) -> bool:
        """Whether the interval has the truth, within the counters' resolution."""
        total, doubt = self.window.total_joules, self.window.uncertainty_joules
        assert total is not None
        assert doubt is not None
        return abs(total - self.true) <= doubt + 0.005


class Hostile:
    """A counter of millijoules with a hidden refresh; `kind` says what is wrong with it."""

    def __init__(
        self, kind: str, trace: Trace, rng: random.Random, now: list[int], spell: tuple[int, int]
    ) -> None:
        self.kind, self._rng, self._now = kind, rng, now
        begin, end = spell
        # When it happens, if it happens once.
        self._at = max(rng.randint(begin - S // 2, end + S // 2), BEGIN + S // 10)
        self._lasts = round(rng.uniform(0.2, 2.5) * S)
        self._times, self._shown = self._refreshes(trace, end + 5 * S)

    def _refreshes(self, trace: Trace, stop: int) -> tuple[list[int], list[int]]:
        rng, kind = self._rng, self.kind
        period = rng.uniform(20, 300) * MS
        time, times = BEGIN - 3 * S - rng.random() * period, []
        while time < stop:
            times.append(round(time))
            step = period
            if "irregular" in kind:
                step = min(rng.expovariate(1 / period), 4 * period) + MS
            elif kind == "changes its pace" and time > self._at:
                step = 5 * period if self._lasts > S else period / 5
            time += step
        shown = [int(trace(u) // 1000) for u in times]
        if kind == "milliwatt hours":
            shown = [value // 3600 * 3600 for value in shown]
        if kind == "stands still":
            held = shown[bisect_right(times, self._at) - 1]
            until = self._at + self._lasts
            shown = [held if self._at <= u < until else value for u, value in zip(times, shown, strict=True)]
        base = 5_000_000
        if "wraps" in kind:
            base = 2**32 - shown[bisect_right(times, self._at) - 1]
        shown = [value + base for value in shown]
        if "wraps" in kind:
            shown = [value % 2**32 for value in shown]
        if kind in ("reset", "jumps back"):
            last = shown[bisect_right(times, self._at) - 1]
            down = last if kind == "reset" else min(last, rng.randint(2_000, 2_000_000))
            shown = [v - down if u > self._at else v for u, v in zip(times, shown, strict=True)]
        return times, shown

    def read(self) -> int:
        rng, now = self._rng, self._now
        now[0] += rng.randint(7_500, 30_000)
        if self.kind == "slow to read":
            now[0] += rng.randint(1, 25) * MS // 2
        fails = self.kind == "fails now and then" and now[0] > BEGIN + S // 10 and rng.random() < 0.1
        gone = self.kind == "vanishes" and now[0] > self._at
        away = self.kind == "reset" and self._at < now[0] < self._at + self._lasts // 4
        if fails or gone or away:
            raise OSError("GPU is lost")
        at = bisect_right(self._times, now[0]) - 1
        if self.kind == "shows an older value" and rng.random() < 0.03:
            at -= 1
        now[0] += rng.randint(7_500, 30_000)
        if self.kind == "slow to read":
            now[0] += rng.randint(1, 25) * MS // 2
        return self._shown[at]

    def alive(self) -> bool:
        return True

    def close(self) -> None: ...


def simulate(kind: str, rng: random.Random) -> Result:
    """One window of 20 ms to 4 s over a counter of that kind, and half of the time a well-behaved one beside it."""
    now = [BEGIN]

    def clock() -> int:
        now[0] += 200
        return now[0]

    warm = rng.choice([0, S // 2, 3 * S])
    length = round(10 ** rng.uniform(-1.7, 0.6) * S)
    begin = BEGIN + warm
    spell = begin, begin + length
    traces, channels = [], []
    for number in range(rng.choice([1, 2])):
        trace = trace_of(rng.choice([*LOADS, *OTHER_LOADS]), rng, *spell, 100 * MS)
        sensor = Hostile(kind if number == 0 else "well", trace, rng, now, spell)
        domain = replace(GPU, name=f"GPU-{number}")
        traces.append(trace)
        channels.append(CounterChannel(domain, sensor, 100 * MS, modulus=None, unit=1000, clock=clock))
    session = Session(channels, [], interval=round(S / rng.choice([5, 10, 20, 50])), clock=clock)
    session.watch_from_now()
    until = _runner(session, now, rng)
    until(begin)
    record = session.open("window")
    start = record.start
    until(now[0] + length)
    session.close(record)
    end = record.end
    until(now[0] + rng.choice([0, S // 2, 2 * S]))
    session.end()
    (window,) = session.windows()
    return Result(kind, window, sum(trace(end) - trace(start) for trace in traces) / 1e6)


def simulate_power(kind: str, rng: random.Random) -> Result:
    """The same over a GPU that shows only its power."""
    period, mean, lag = POWERS[kind]

    def channel(trace: Trace, now: list[int], interval: int, clock: Callable[[], int]) -> PowerChannel:
        phase = rng.randrange(period)

        class Sensor:
            def read(self) -> int:
                now[0] += rng.randint(20_000, 60_000)
                shown = (now[0] - phase) // period * period + phase
                return max(int((trace(shown) - trace(shown - mean)) * 1e6 / mean), 1)

            def alive(self) -> bool:
                return True

            def close(self) -> None: ...

        hole = 3 * interval + 50 * MS
        return PowerChannel(GPU, Sensor(), 100 * MS, lag=lag, hole=hole, clock=clock)

    return _simulate(kind, rng, channel)


def simulate_package(kind: str, rng: random.Random) -> Result:
    """One window of 5 ms to 4 s over a package's counter, with a sampler that may come late."""
    period, unit = PACKAGES[kind]

    def channel(trace: Trace, now: list[int], interval: int, clock: Callable[[], int]) -> CounterChannel:
        time, times = BEGIN - 3 * S - rng.random() * period, []
        while time < BEGIN + 12 * S:
            times.append(round(time))
            time += period * rng.uniform(0.95, 1.05)
        shown = [10**9 + int(trace(u)) // unit * unit for u in times]

        class Sensor:
            def read(self) -> int:
                now[0] += rng.randint(1000, 6000)
                return shown[bisect_right(times, now[0]) - 1]

            def alive(self) -> bool:
                return True

            def close(self) -> None: ...

        domain = replace(GPU, name="package-0", kind="package")
        return CounterChannel(domain, Sensor(), MS, modulus=None, zero_is_fault=True, clock=clock)

    return _simulate(kind, rng, channel)


def _simulate(kind: str, rng: random.Random, make: Callable[..., Channel]) -> Result:
    now = [BEGIN]

    def clock() -> int:
        now[0] += 200
        return now[0]

    begin, length = BEGIN + rng.choice([0, S // 2, 3 * S]), round(10 ** rng.uniform(-2.3, 0.6) * S)
    trace = trace_of(rng.choice([*LOADS, *OTHER_LOADS]), rng, begin, begin + length, 100 * MS)
    interval = S // rng.choice([1, 5, 10, 20, 50])
    session = Session([make(trace, now, interval, clock)], [], interval=interval, clock=clock)
    session.watch_from_now()
    until = _runner(session, now, rng, late=rng.choice([0, 0, 30 * MS]))
    until(begin)
    record = session.open("window")
    until(now[0] + length)
    session.close(record)
    until(now[0] + rng.choice([0, S // 2, 2 * S]))
    session.end()
    (window,) = session.windows()
    return Result(kind, window, (trace(record.end) - trace(record.start)) / 1e6)


def _runner(session: Session, now: list[int], rng: random.Random, late: int = 0) -> Callable[[int], None]:
    due = now[0]

    def until(moment: int) -> None:
        nonlocal due
        due = min(due, now[0] + 100_000)  # edges wake the sampler
        while due <= moment:
            now[0] = max(now[0], due + rng.randint(60_000, 200_000) + rng.randint(0, late))
            due = now[0] + session.tick()
        now[0] = max(now[0], moment)

    return until

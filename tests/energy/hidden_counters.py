"""Simulated GPUs whose true energy is known at every nanosecond, measured by the real session under a virtual clock.

Nothing waits: the clock moves on when the session reads it, when a sensor is read, and when the simulation says so.
"""

from __future__ import annotations

import math
import random
import statistics
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

from energy_fakes import MS, S

from hitl_fast.energy.measuring.channel import CounterChannel
from hitl_fast.energy.measuring.session import Session
from hitl_fast.energy.sensors.domain import Domain

GPU = Domain("GPU-1", "gpu", "measured", "counter")
BEGIN = 5 * S


class Trace:
    """Piecewise constant power, given as (from when in nanoseconds, watts); its energy in microjoules."""

    def __init__(self, steps: Sequence[tuple[int, float]]) -> None:
        self.times = [time for time, _ in steps]
        self.watts = [watts for _, watts in steps]
        self._energies = [0.0]
        for i in range(1, len(steps)):
            self._energies.append(
                self._energies[-1] + self.watts[i - 1] * (self.times[i] - self.times[i - 1]) / 1000
            )

    def __call__(self, time: int) -> float:
        i = bisect_right(self.times, time) - 1
        return self._energies[i] + self.watts[i] * (time - self.times[i]) / 1000


@dataclass(frozen=True)
class Case:
    """One simulated window; times in nanoseconds.

    Attributes:
        period: mean time between two values of the counter.
        jitter: how much that varies, as a share of it either way.
        rate: samples a second.
        length: of the window.
        load: name of a load, see `trace_of`.
        warm: how long the meter runs before the window.
        after: how long it runs on after the window; None if it is stopped at once.
        busy: how late the sampler may come, as beside a busy thread.
        declared: the period that the meter is told.
    """

    period: int = 100 * MS
    jitter: float = 0.0
    rate: float = 20
    length: int = 1030 * MS
    load: str = "constant"
    warm: int = 3 * S
    after: int | None = 1500 * MS
    busy: int = 0
    declared: int = 100 * MS


@dataclass(frozen=True)
class Outcome:
    """What was stated of a window and what was true, in joules."""

    value: float
    doubt: float
    true: float
    bound: float  # without interpolation: one period at the highest power
    flags: tuple[str, ...]
    refreshes: int  # values of the counter within the window

    @property
    def held(self) -> bool:
        """Whether the interval has the truth, within the counter's resolution of 1 mJ at either edge."""
        return abs(self.value - self.true) <= self.doubt + 0.002

    @property
    def width(self) -> float:
        return self.doubt / self.bound


def trace_of(load: str, rng: random.Random, begin: int, end: int, period: int) -> Trace:
    """A load around a window from ``begin`` to ``end``."""
    start, stop = begin - 5 * S, end + 4 * S
    if load == "constant":
        return Trace([(0, rng.uniform(30, 700))])
    idle, high = rng.uniform(20, 100), rng.uniform(200, 700)
    if load == "exactly the window":
        return Trace([(0, idle), (begin, high), (end, idle)])
    if load == "steps near the edges":
        first = begin + round(rng.uniform(-1, 1) * period)
        last = max(end + round(rng.uniform(-1, 1) * period), first + 1)
        return Trace([(0, idle), (first, high), (last, idle)])
    steps = [(0, idle)]
    time = float(start)
    if load == "training":
        turn, duty, low = rng.uniform(80, 400) * MS, rng.uniform(0.5, 0.95), rng.uniform(60, 200)
        while time < stop:
            steps += [(round(time), high), (round(time + duty * turn), low)]
            time += turn * rng.uniform(0.95, 1.05)
    elif load == "random levels":
        while time < stop:
            steps.append((round(time), rng.uniform(20, 700)))
            time += 10 ** rng.uniform(-2.3, 0.3) * S
    elif load == "spikes":
        steps = [(0, 80.0)]
        while time < stop:
            time += rng.expovariate(1 / 0.15) * S + 12 * MS
            steps += [(round(time), 700.0), (round(time + 10 * MS), 80.0)]
    elif load == "square wave":  # in step with the counter or nearly so: every mean is the same
        half = period * rng.choice([0.25, 0.5, 0.51, 1.0])
        while time < stop:
            steps += [(round(time), high), (round(time + half), 25.0)]
            time += 2 * half
    elif load == "sine":
        cycle = 10 ** rng.uniform(-1.5, 0.5) * S
        while time < stop:
            steps.append((round(time), 60 + high / 2 * (1 + math.sin(2 * math.pi * time / cycle))))
            time += max(cycle / 40, 2 * MS)
    elif load == "bursts":
        while time < stop:
            gap, length = rng.expovariate(1) * 0.4 * S, rng.expovariate(1) * 0.1 * S
            steps += [(round(time + gap), high), (round(time + gap + length), idle)]
            time += gap + length
    else:
        raise KeyError(load)
    return Trace(steps)


LOADS = ("constant", "exactly the window", "steps near the edges", "training", "random levels", "spikes")
OTHER_LOADS = ("square wave", "sine", "bursts")


def measure(case: Case, rng: random.Random, glitches: float = 0.0) -> Outcome:
    """Run a session over the window and compare. ``glitches``: share of readings that show nonsense."""
    now = [BEGIN]

    def clock() -> int:
        now[0] += 200
        return now[0]

    begin = BEGIN + case.warm
    trace = trace_of(case.load, rng, begin, begin + case.length, case.period)
    stop = begin + case.length + (2 * S if case.after is None else case.after) + 2 * S
    time = BEGIN - 2 * S - rng.random() * case.period
    times = []
    while time < stop:
        times.append(round(time))
        time += case.period * (1 + case.jitter * rng.uniform(-1, 1))
    shown = [int(trace(u) // 1000) for u in times]  # millijoules

    class Sensor:
        def read(self) -> int:
            now[0] += rng.randint(7_500, 30_000)
            value = shown[bisect_right(times, now[0]) - 1]
            now[0] += rng.randint(7_500, 30_000)
            if glitches and now[0] > BEGIN + MS and rng.random() < glitches:
                return rng.choice([0, 12345, 2**53])
            return value + 5_000_000

        def alive(self) -> bool:
            return True

        def close(self) -> None: ...

    channel = CounterChannel(GPU, Sensor(), case.declared, modulus=None, unit=1000, clock=clock)
    session = Session([channel], [], interval=round(S / case.rate), clock=clock)
    session.watch_from_now()
    due = now[0]

    def until(moment: int) -> None:
        nonlocal due
        while due <= moment:
            now[0] = max(now[0], due + rng.randint(60_000, 200_000) + rng.randint(0, case.busy))
            due = now[0] + session.tick()
        now[0] = max(now[0], moment)

    until(begin)
    record = session.open("window")
    start = record.start
    due = min(due, now[0] + 100_000)  # an edge wakes the sampler
    until(now[0] + case.length)
    session.close(record)
    end = record.end
    due = min(due, now[0] + 100_000)
    if case.after is None:
        wait = session.lingering()
        while now[0] < wait[1] and wait[0]():
            until(now[0] + 2 * MS)
    else:
        until(now[0] + case.after)
    session.end()
    (window,) = session.windows()
    assert window.total_joules is not None
    assert window.uncertainty_joules is not None
    return Outcome(
        value=window.total_joules,
        doubt=window.uncertainty_joules,
        true=(trace(end) - trace(start)) / 1e6,
        bound=max(trace.watts) * case.period * (1 + case.jitter) / 1e9,
        flags=window.flags,
        refreshes=bisect_right(times, end) - bisect_right(times, start),
    )


def mixed(rng: random.Random, loads: Sequence[str] = LOADS) -> Case:
    """A random case: period 15 to 600 ms, jitter to 30 %, 1 to 100 Hz, windows of 5 ms to 5 s."""
    return Case(
        period=round(rng.uniform(15, 600) * MS),
        jitter=rng.choice([0.0, rng.uniform(0, 0.3)]),
        rate=10 ** rng.uniform(0, 2),
        length=round(10 ** rng.uniform(-2.3, 0.7) * S),
        load=rng.choice(loads),
        warm=rng.choice([0, round(rng.uniform(0, 3) * S), 3 * S]),
        after=rng.choice([None, 1500 * MS]),
        busy=rng.choice([0, 0, 30 * MS]),
    )


@dataclass(frozen=True)
class Summary:
    """Of many windows: how many, the share whose interval held the truth, and the median width."""

    n: int
    coverage: float
    width: float

    @property
    def lower_limit(self) -> float:
        """Lower 95 % confidence limit of the coverage (Wilson, 1927)."""
        z, p, n = 1.645, self.coverage, self.n
        return (p + z * z / (2 * n) - z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))) / (1 + z * z / n)


def summary(outcomes: Sequence[Outcome]) -> Summary:
    return Summary(
        len(outcomes),
        sum(outcome.held for outcome in outcomes) / len(outcomes),
        statistics.median(outcome.width for outcome in outcomes),
    )


def table() -> dict[str, Case]:
    """One case a property, as varied one at a time."""
    base, rows = Case(), {}
    rows["1.03 s, meter and window together"] = replace(base, warm=0, after=None)
    for load in (*LOADS, *OTHER_LOADS):
        for period in (20, 50, 100, 500):
            rows[f"{load}, {period} ms"] = replace(base, load=load, period=period * MS)
        rows[f"{load}, 100 ms, stopped at once"] = replace(base, load=load, after=None)
        rows[f"{load}, 100 ms, window of 60 ms"] = replace(base, load=load, length=60 * MS)
    for period in (20, 50, 100, 500):
        rows[f"{period} ms, cold, stopped at once"] = replace(base, period=period * MS, warm=0, after=None)
    for jitter in (0.05, 0.1, 0.3):
        rows[f"jitter {jitter:.0%}"] = replace(base, jitter=jitter)
    for rate in (1, 10, 100):
        rows[f"{rate} Hz"] = replace(base, rate=rate)
    for length in (5, 20, 50, 100, 300, 3000):
        rows[f"{length} ms"] = replace(base, length=length * MS, warm=3 * S + 17 * MS)
        rows[f"{length} ms, cold, stopped at once"] = replace(base, length=length * MS, warm=0, after=None)
    rows["busy thread"] = replace(base, busy=30 * MS)
    rows["busy thread, steps near the edges"] = replace(base, busy=30 * MS, load="steps near the edges")
    return rows

"""Counters that are refreshed rarely: the true energy lies within the stated uncertainty, and that is small."""

import itertools

import pytest
from energy_fakes import MS, Clock, S, Source, energy
from hypothesis import given
from hypothesis import strategies as st

from hitl_fast.energy.measuring.channel import CounterChannel
from hitl_fast.energy.measuring.interpolation import energy_at
from hitl_fast.energy.measuring.session import Session
from hitl_fast.energy.reporting.results import Window
from hitl_fast.energy.sensors.domain import Domain

GPU = Domain("GPU-1", "gpu", "measured", "counter")
REFRESH = 100 * MS
STEPS = (100, 300, 50)  # watts


def measured(
    begin: int, length: int, profile: list[tuple[int, int]], phase: int, refresh: int = REFRESH, late: int = 0
) -> tuple[Window, int]:
    """A window as the sampler would take it, by a clock that stands still but for waiting: (result, true energy).

    ``late`` is by how much, in turn, the sampler comes too late, as beside a busy thread.
    """
    clock = Clock(start=S)
    shown = lambda time: energy((time - phase) // refresh * refresh + phase, profile)  # noqa: E731
    # The energy of before, so that the counter does not begin at 0.
    channel = CounterChannel(
        GPU, Source(clock, lambda t: 10**9 + shown(t)), refresh, modulus=None, clock=clock
    )
    session = Session([channel], [], interval=REFRESH, clock=clock)
    session._chase(clock())
    delays = 0

    def until(moment: int) -> None:
        nonlocal delays, due
        while due <= moment:
            clock.now = due
            delays += 1
            due = clock.now + session.tick() + late * (delays % 3) // 2
        clock.now = moment

    due = clock.now
    until(begin)
    record = session.open("window")
    due = min(due, clock.now + MS)  # the edge wakes the sampler
    until(begin + length)
    session.close(record)
    due = min(due, clock.now + MS)
    until(begin + length + 3 * refresh)
    session.end()
    (result,) = session.windows()
    return result, energy(begin + length, profile) - energy(begin, profile)


@pytest.mark.parametrize("phase", range(0, 100, 7))
@pytest.mark.parametrize("first", [-60, 0, 20, 45, 90, 150])
def test_step_profile_lies_within_a_third_of_the_bound_without_interpolation(phase: int, first: int) -> None:
    begin = 3 * S + 1_234_567
    rise = begin + first * MS
    profile = [(0, STEPS[0]), (rise, STEPS[1]), (rise + 210 * MS, STEPS[2])]
    result, true = measured(begin, 250 * MS, profile, phase * MS)
    assert result.total_joules is not None
    assert result.uncertainty_joules is not None
    assert abs(result.total_joules - true / 1e6) <= result.uncertainty_joules
    # Taken as shown, either edge lags by up to a refresh at full power: the difference is off by up to that.
    assert result.uncertainty_joules <= max(STEPS) * 0.1 / 3


@given(
    begin=st.integers(2 * S, 2 * S + REFRESH),
    length=st.integers(20 * MS, S),
    phase=st.integers(0, REFRESH - 1),
    rise=st.integers(-S, S),
    levels=st.lists(st.integers(20, 700), min_size=3, max_size=3),
    hold=st.integers(210 * MS, S),
)
def test_true_energy_lies_within_the_uncertainty(
    begin: int, length: int, phase: int, rise: int, levels: list[int], hold: int
) -> None:
    profile = [(0, levels[0]), (begin + rise, levels[1]), (begin + rise + hold, levels[2])]
    result, true = measured(begin, length, profile, phase)
    assert result.total_joules is not None
    assert result.uncertainty_joules is not None
    assert abs(result.total_joules - true / 1e6) <= result.uncertainty_joules
    assert ("short" in result.flags) == (length < REFRESH)


@given(phase=st.integers(0, REFRESH - 1), watts=st.integers(30, 700), late=st.integers(0, 30 * MS))
def test_steady_power_is_almost_exact_even_beside_a_busy_thread(phase: int, watts: int, late: int) -> None:
    result, true = measured(3 * S, 130 * MS, [(0, watts)], phase, late=late)
    assert result.total_joules is not None
    assert result.uncertainty_joules is not None
    assert abs(result.total_joules - true / 1e6) <= result.uncertainty_joules
    assert result.uncertainty_joules <= watts * 0.1  # without interpolation it would be that for either edge


def test_windows_in_a_row_add_up() -> None:
    """The energy at an edge depends on the edge's time alone, so neither counts what the other does."""
    changes = [(k * REFRESH - MS, k * REFRESH, 10_000_000 * k) for k in range(20)]
    values = [energy_at(t, changes, REFRESH, 0).value for t in range(300 * MS, 1500 * MS, 37 * MS)]
    parts = [b - a for a, b in itertools.pairwise(values)]
    assert sum(parts) == values[-1] - values[0]
    assert min(parts) > 0


def test_without_a_newer_value_the_bound_is_one_refresh_at_the_power_seen() -> None:
    changes = [(k * REFRESH - MS, k * REFRESH, 10_000_000 * k) for k in range(5)]
    now = energy_at(450 * MS, changes, REFRESH, 0)
    assert now.low == 40_000_000 <= 45_000_000 <= now.high <= 52_000_000
    much_later = energy_at(10 * S, changes, REFRESH, 0)
    assert much_later.high <= 52_000_000


def test_one_value_only() -> None:
    lone = energy_at(5 * S, [(4 * S, 4 * S, 7)], REFRESH, 200_000)
    assert lone.low == 7
    assert lone.high == 7 + 200 * 100_000


def test_steady_pace_is_learnt_from_eight_values() -> None:
    clock = Clock()
    source = Source(clock, lambda time: 1000 + time // REFRESH * 5000)
    channel = CounterChannel(GPU, source, REFRESH, modulus=None, clock=clock)
    learnt = []
    for _ in range(100):
        clock.now += 40 * MS
        channel.poll(clock())
        channel.observe()
        learnt.append(channel.slow)
    assert learnt == sorted(learnt)
    assert learnt.count(False) == 19  # nine values, the first of them the start


@pytest.mark.parametrize("pauses", [(10, 490), (100, 100)])
def test_counter_that_moves_whenever_it_is_read_is_taken_as_read(pauses: tuple[int, int]) -> None:
    """By fits and starts, or just as often as it is read: nothing to interpolate from."""
    clock = Clock()
    jumps = iter(range(0, 10**9, 1000))
    channel = CounterChannel(GPU, Source(clock, lambda time: next(jumps)), REFRESH, modulus=None, clock=clock)
    for turn in range(100):
        clock.now += pauses[turn % 2] * MS
        channel.poll(clock())
        channel.observe()
    assert not channel.slow


def test_fast_counter_that_stalls_says_so_in_its_uncertainty() -> None:
    clock = Clock()
    package = Domain("package-0", "package", "measured", "counter")
    stalls = Source(clock, lambda time: 1000 + 100 * (time // (80 * MS)) * 80_000)
    channel = CounterChannel(package, stalls, MS, modulus=None, clock=clock)
    session = Session([channel], [], interval=10 * MS, clock=clock)
    for _ in range(100):
        clock.now += session.tick()
    record = session.open("w")
    clock.now += S
    session.close(record)
    session.end()
    (window,) = session.windows()
    assert not channel.slow
    assert window.uncertainty_joules is not None
    assert 5 <= window.uncertainty_joules <= 12  # 80 ms at 100 W, not the 0.1 J of a millisecond
    assert abs((window.total_joules or 0) - 100) <= window.uncertainty_joules

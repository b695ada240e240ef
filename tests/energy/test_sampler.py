"""The sampler under a virtual clock: its grid, the timeline, and power that is integrated."""

import itertools

import numpy as np
import pytest
from energy_fakes import MS, RANGE, Clock, S, Source
from hypothesis import given
from hypothesis import strategies as st

from hitl_fast.energy.measuring.channel import CounterChannel
from hitl_fast.energy.measuring.power_channel import PowerChannel
from hitl_fast.energy.measuring.session import Session
from hitl_fast.energy.measuring.timeline import Timeline
from hitl_fast.energy.sensors.domain import Domain

PACKAGE = Domain("package-0", "package", "measured", "counter")


def virtual(clock: Clock, watts: int = 100, interval: int = 100 * MS) -> Session:
    source = Source(clock, lambda time: (1000 + watts * time // 1000) % (RANGE + 1))
    channel = CounterChannel(PACKAGE, source, MS, modulus=RANGE + 1, zero_is_fault=True, clock=clock)
    return Session([channel], [], interval=interval, clock=clock)


def test_sampler_keeps_to_its_grid_and_reports_gaps() -> None:
    clock = Clock()
    session = virtual(clock)
    assert session.tick() == 100 * MS
    for late, wait in ((0, 100 * MS), (30 * MS, 70 * MS), (650 * MS, 50 * MS), (0, 100 * MS)):
        clock.now = session._due + late
        assert session.tick() == wait
    assert session.recorder.longest_gap == 720 * MS
    assert len(session.recorder.timeline) == 5


def test_slow_rates_keep_the_heartbeat() -> None:
    """Twenty minutes at 250 W turn the counter over: sampled every 1000 s if one could ask for that, read every 30."""
    clock = Clock()
    session = virtual(clock, watts=250, interval=1000 * S)
    record = session.open("long")
    while clock.now < 3000 * S:
        clock.now += session.tick()
    session.close(record)
    session.end()
    (window,) = session.windows()
    assert window.total_joules == pytest.approx(250 * window.seconds)
    assert "wrap" in window.flags
    assert "gap" not in window.flags


def test_peaks_and_timeline() -> None:
    clock = Clock()
    session = virtual(clock, watts=70)
    record = session.open("w")
    for _ in range(50):
        clock.now += session.tick()
    session.close(record)
    session.end()
    (window,) = session.windows()
    assert window.peak_watts == {"package-0": pytest.approx(70, rel=1e-3)}
    assert window.uncertainty_joules == pytest.approx(
        1.5 * 70 * 0.001, rel=0.05
    )  # a millisecond at one and a half times the power there is


def test_long_timelines_get_coarser_not_longer() -> None:
    timeline = Timeline(1, capacity=8)
    for i in range(100):
        timeline.append(10 * i, [i], [1000 if i == 37 else 5])
        assert len(timeline) <= 8
    times = timeline.times()
    assert times[0] == 0
    assert times == sorted(times)
    apart = {b - a for a, b in itertools.pairwise(times)}
    assert len(apart) == 1
    assert timeline.energies(0) == [t // 10 for t in times]
    assert timeline.peak(0, 0, 1000) == 1000  # peaks survive the thinning
    assert timeline.peak(0, 0, 5) is None


def test_many_windows_are_settled_on_the_way() -> None:
    """Their readings are dropped, and the results are the same."""
    clock = Clock()
    session = virtual(clock, watts=100)
    outer = session.open("outer")
    for _ in range(200):
        record = session.open("step")
        clock.now += 25 * MS
        session.close(record)
        clock.now += session.tick()
    assert outer.anchors is not None
    assert sum(record.numbers is not None for record in session.records) >= 100
    assert session.records[1].opening is None
    session.close(outer)
    session.end()
    windows = session.windows()
    assert [w.total_joules for w in windows[1:]] == [pytest.approx(2.5)] * 200
    assert windows[0].counted_microjoules["package-0"] == 100 * (outer.end - outer.start) // 1000


def test_power_that_is_read_rarely_says_how_much_it_may_be_off() -> None:
    clock = Clock()
    source = Source(clock, lambda time: 100_000 if time < 12 * S else 300_000)
    channel = PowerChannel(PACKAGE, source, 100 * MS, lag=100 * MS, hole=350 * MS, clock=clock)
    session = Session([channel], [], interval=100 * MS, clock=clock)
    record = session.open("w")
    for step in (
        100,
        100,
        650,
        100,
        1200,
        100,
    ):  # twice the sampler comes late, the second time across the step
        clock.now += step * MS
        session.tick()
    session.close(record)
    for _ in range(3):  # what is shown later tells the power at the end
        clock.now += 100 * MS
        session.tick()
    session.end()
    (window,) = session.windows()
    assert window.flags == ("gap",)
    true = 100 * 2.0 + 300 * (window.seconds - 2.0)
    assert window.total_joules is not None
    assert window.uncertainty_joules is not None
    assert abs(window.total_joules - true) <= window.uncertainty_joules <= 200 * 1.5


def test_power_channel_that_fails_and_returns() -> None:
    clock = Clock()
    broken = [False]

    def power(time: int) -> int:
        if broken[0]:
            raise OSError("gone")
        return 50_000

    channel = PowerChannel(PACKAGE, Source(clock, power), MS, lag=MS, hole=S, clock=clock)
    broken[0] = True
    for _ in range(4):
        clock.now += S
        channel.poll(clock())
    assert channel.lost
    assert channel.poll(clock())[1] == 0  # asked once a second, not at every edge
    broken[0] = False
    clock.now += 2 * S
    assert channel.poll(clock())[1] == 50 * 6 * 10**6
    assert not channel.lost
    assert channel.domain.status == "measured"


@given(
    st.integers(1, 6),
    st.lists(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=40), max_size=5),
)
def test_many_samples_at_once_are_as_one_after_another(
    half: int, chunks: list[list[tuple[int, int]]]
) -> None:
    one, many = Timeline(2, 2 * half), Timeline(2, 2 * half)
    time = 0
    for chunk in chunks:
        times = np.arange(time, time + len(chunk))
        for now, powers in zip(times.tolist(), chunk, strict=True):
            one.append(now, [now * 2, now * 3], powers)
        many.extend(times, np.stack([times * 2, times * 3]), np.array(chunk).T)
        time += len(chunk)
        if chunk[0][0] == 0:  # both ways in turn
            for timeline in (one, many):
                timeline.append(time, [time * 2, time * 3], [7, 0])
            time += 1
    assert one.times() == many.times()
    for i in range(2):
        assert one.energies(i) == many.energies(i)
        for start in range(0, time, 3):
            assert one.peak(i, start, time) == many.peak(i, start, time)

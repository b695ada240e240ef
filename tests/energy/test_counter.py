"""Counters that wrap: every microjoule once, whenever and by whoever they are read."""

import itertools
import random
import threading

import pytest
from energy_fakes import MS, RANGE, Clock, S, Source
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hitl_fast.energy.measuring.channel import CounterChannel
from hitl_fast.energy.measuring.recorder import Recorder, heartbeat
from hitl_fast.energy.measuring.session import Session
from hitl_fast.energy.sensors.counter import difference
from hitl_fast.energy.sensors.domain import Domain

PACKAGE = Domain("package-0", "package", "measured", "counter")


@given(modulus=st.integers(2, 2**40), data=st.data())
def test_difference_is_modular(modulus: int, data: st.DataObject) -> None:
    before = data.draw(st.integers(0, modulus - 1))
    step = data.draw(st.integers(0, modulus - 1))
    assert difference(before, (before + step) % modulus, modulus) == step


def test_difference_that_nobody_can_know() -> None:
    assert difference(10, 9, None) is None
    assert difference(120, 9, 100) is None  # a reading above its own range
    assert difference(120, 130, 100) == 10


def channel(path: list[int], modulus: int | None, clock: Clock) -> CounterChannel:
    """A RAPL counter whose n-th reading shows the n-th point of a path, modulo."""
    points = iter(path)
    source = Source(clock, lambda time: next(points) if modulus is None else next(points) % modulus)
    return CounterChannel(PACKAGE, source, MS, modulus=modulus, zero_is_fault=True, clock=clock)


@st.composite
def paths(draw: st.DrawFn) -> tuple[int, list[int], list[int]]:
    """(modulus, true microjoules at each reading, nanoseconds between readings): less than a turn a step."""
    modulus = draw(st.sampled_from([1000, 65_536, RANGE + 1]))
    count = draw(st.integers(2, 40))
    steps = draw(st.lists(st.integers(0, modulus - 1), min_size=count, max_size=count))
    # As long as a kilowatt takes, at least: more than that in less time is no energy, but a glitch.
    pauses = [step * 1000 + draw(st.integers(0, 20 * MS)) for step in steps]
    start = draw(st.integers(1, modulus - 1))
    path = list(itertools.accumulate([start, *steps]))
    return modulus, [p + (p % modulus == 0) for p in path], pauses


@given(paths())
def test_any_path_with_wraps_sums_exactly(case: tuple[int, list[int], list[int]]) -> None:
    modulus, path, pauses = case
    if any(b - a >= modulus for a, b in itertools.pairwise(path)):
        path = path[:1]  # the correction of a reading of 0 made a step of a whole turn
    clock = Clock()
    counter = channel(path, modulus, clock)
    for point, pause in zip(path[1:], pauses, strict=False):
        clock.now += pause
        assert counter.poll(clock())[1] == point - path[0]
    assert all(kind in ("wrap", "gap") for _, kind in counter.events)


@settings(max_examples=60)
@given(st.data())
def test_nested_and_adjacent_windows_add_up(data: st.DataObject) -> None:
    modulus = RANGE + 1
    watts = data.draw(st.integers(1, 400))
    begin = data.draw(st.integers(1, RANGE))
    # Edges of three windows in a row, all within an outer one, each edge at a time of its own.
    pauses = iter(data.draw(st.lists(st.integers(MS, 300 * S), min_size=8, max_size=8)))
    clock = Clock()
    began = clock.now
    true = lambda time: begin + watts * (time - began) // 1000  # noqa: E731
    source = Source(clock, lambda time: true(time) % modulus)
    counter = CounterChannel(PACKAGE, source, MS, modulus=modulus, zero_is_fault=True, clock=clock)
    session = Session([counter], [], interval=100 * MS, clock=clock)
    edges = []

    def wait() -> None:
        clock.now += next(pauses)
        assume(true(clock.now) % modulus)  # a reading of exactly 0 is taken for a failed one
        edges.append(true(clock.now))

    wait()
    outer = session.open("outer")
    for name in "abc":
        wait()
        inner = session.open(name)
        wait()
        session.close(inner)
    wait()
    session.close(outer)
    session.end()
    parts = [w.counted_microjoules["package-0"] for w in session.windows()]
    assert parts == [edges[7] - edges[0], edges[2] - edges[1], edges[4] - edges[3], edges[6] - edges[5]]
    assert session.total().counted_microjoules["package-0"] == edges[7] - begin


def test_windows_that_share_edges_add_up_to_the_microjoule() -> None:
    clock = Clock()
    shows = lambda time: (RANGE - 10**6 + 123 * (time - 10 * S) // 1000) % (RANGE + 1)  # noqa: E731
    counter = CounterChannel(PACKAGE, Source(clock, shows), MS, modulus=RANGE + 1, clock=clock)
    session = Session([counter], [], interval=100 * MS, clock=clock)
    outer = session.open("outer")
    for _ in range(50):
        step = session.open("step")  # the clock stands still between one's end and the next one's beginning
        clock.now += 7_654_321
        session.close(step)
    session.close(outer)
    session.end()
    whole, *steps = session.windows()
    assert sum(w.counted_microjoules["package-0"] for w in steps) == whole.counted_microjoules["package-0"]
    assert whole.counted_microjoules["package-0"] == 123 * 50 * 7_654_321 // 1000
    assert [w.flags for w in steps].count(("wrap",)) == 1
    assert whole.flags == ("wrap",)


def test_a_million_reads_from_four_threads() -> None:
    """No error, nothing negative, nothing twice."""
    modulus = 4_294_967_296
    steps = [random.Random(0).randrange(100_000_000) for _ in range(997)]  # possible at any time
    position = itertools.count()
    true = [4_200_000_000]

    def show() -> int:
        # Moved and read under the recorder's lock, as the only one who may: any other order would be seen below.
        true[0] += steps[next(position) % 997]
        return true[0] % modulus or 1

    class Sensor:
        read = staticmethod(show)
        alive = staticmethod(lambda: True)
        close = staticmethod(lambda: None)

    recorder = Recorder([CounterChannel(PACKAGE, Sensor(), MS, modulus=modulus)], interval=100 * MS)
    start = true[0]
    problems: list[object] = []

    def reader() -> None:
        try:
            last = -1
            for _ in range(250_000):
                now = recorder.read().states[0][1]
                if now < last:
                    problems.append((last, now))
                last = now
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=reader) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert recorder.reads == 1_000_000
    assert recorder.channels[0].total == true[0] - start


@pytest.mark.parametrize(
    ("turns", "pause"),
    [((RANGE + 1,), 30 * S), ((RANGE + 1, 20_000_000_000), 10 * S), ((), 30 * S), ((10,), 10 * MS)],
)
def test_heartbeat_is_shorter_than_half_a_turn_at_a_kilowatt(turns: tuple[int, ...], pause: int) -> None:
    clock = Clock()
    channels = [
        CounterChannel(PACKAGE, Source(clock, lambda t: 1), MS, modulus=m, clock=clock) for m in turns
    ]
    assert heartbeat(channels) == pause

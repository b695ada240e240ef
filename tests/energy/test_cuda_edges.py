"""Edges on CUDA, against a stand-in for torch: this machine has no GPU, and hitl_fast.energy never imports torch."""

import sys
from types import SimpleNamespace

import pytest
from energy_fakes import MS, RANGE, Clock, S, Source

from hitl_fast.energy.measuring import cuda_events as cuda
from hitl_fast.energy.measuring.channel import CounterChannel
from hitl_fast.energy.measuring.session import Session
from hitl_fast.energy.sensors.domain import Domain


class Event:
    """Is reached ``lag`` nanoseconds after it was recorded."""

    def __init__(self, device: "Cuda") -> None:
        self._cuda = device
        self.time: int | None = None

    def record(self, stream: object) -> None:
        self.time = self._cuda.clock.now + self._cuda.lag

    def query(self) -> bool:
        return self.time is not None and self._cuda.clock.now >= self.time

    def synchronize(self) -> None:
        assert self.time is not None
        self._cuda.clock.now = max(self._cuda.clock.now, self.time)

    def elapsed_time(self, other: "Event") -> float:
        assert self.time is not None
        assert other.time is not None
        return (other.time - self.time) / MS


class Cuda:
    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.lag = 0
        self.initialized = True
        self.capturing = False
        self.synchronized: list[int] = []

    def is_initialized(self) -> bool:
        return self.initialized

    def is_current_stream_capturing(self) -> bool:
        return self.capturing

    def device_count(self) -> int:
        return 3

    def current_device(self) -> int:
        return 0

    def current_stream(self, device: int) -> int:
        return device

    def synchronize(self, device: int) -> None:
        self.synchronized.append(device)
        if self.lag < 0:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    def Event(self, enable_timing: bool) -> Event:  # noqa: N802 - torch's name
        assert enable_timing
        return Event(self)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def device(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Cuda:
    fake = Cuda(clock)
    core = SimpleNamespace(_cuda_hasPrimaryContext=lambda index: index != 1)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=fake, _C=core))  # type: ignore[arg-type]
    return fake


def session_of(clock: Clock, *, wait: bool) -> Session:
    source = Source(clock, lambda time: 10**6 + 200 * time // 1000)
    domain = Domain("package-0", "package", "measured", "counter")
    channel = CounterChannel(domain, source, MS, modulus=RANGE + 1, clock=clock)
    return Session([channel], [], interval=100 * MS, wait=wait, clock=clock)


def test_waits_for_the_devices_in_use_alone(device: Cuda, clock: Clock) -> None:
    session = session_of(clock, wait=True)
    session.close(session.open("w"))
    assert device.synchronized == [0, 2, 0, 2]  # device 1 has no context, and asking it would make one
    session.end()


@pytest.mark.parametrize("state", ["not initialised", "capturing", "no torch", "torch without cuda"])
def test_leaves_cuda_alone(state: str, device: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    device.initialized = state != "not initialised"
    device.capturing = state == "capturing"
    if state == "no torch":
        monkeypatch.delitem(sys.modules, "torch")
    if state == "torch without cuda":
        monkeypatch.setitem(sys.modules, "torch", SimpleNamespace())  # type: ignore[arg-type]
    cuda.synchronize()
    assert device.synchronized == []
    assert cuda.EventClock(Clock()).mark() is None


def test_older_torch_is_asked_for_the_current_device(device: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=device))  # type: ignore[arg-type]
    cuda.synchronize()
    assert device.synchronized == [0]


def test_error_of_an_earlier_kernel_is_not_ours_to_raise(device: Cuda) -> None:
    device.lag = -1
    cuda.synchronize()
    assert device.synchronized == [0]


def test_marked_edges_lie_where_the_gpu_reached_them(device: Cuda, clock: Clock) -> None:
    session = session_of(clock, wait=False)

    def sample(until: int) -> None:
        while clock.now < until:
            clock.now += session.tick()

    sample(11 * S)
    session.close(session.open("anchor"))  # the first mark of a run waits, to tie the clocks together
    device.lag = 700 * MS  # work is queued 0.7 s deep
    record = session.open("step")
    opened = clock.now
    clock.now += MS
    device.lag = 1300 * MS
    session.close(record)
    assert clock.now == opened + MS  # neither edge waited
    early = session.windows()[1]
    assert early.seconds < 0.1  # all that can be known before the GPU gets there
    sample(opened + 4 * S)
    session.end()
    (_, step) = session.windows()
    assert step.seconds == pytest.approx(0.601)
    assert step.start == pytest.approx((opened + 700 * MS - session.started) / S)
    assert step.total_joules is not None
    assert step.uncertainty_joules is not None
    assert abs(step.total_joules - 200 * 0.601) <= step.uncertainty_joules <= 200 * 0.005
    assert device.synchronized == []


def test_anchor_moves_along(device: Cuda, clock: Clock) -> None:
    events = cuda.EventClock(clock)
    first = events.mark()
    assert first is not None
    assert events.resolve(first) == clock.now
    for _ in range(5):
        clock.now += 7 * S
        mark = events.mark()
        assert mark is not None
        assert events.resolve(mark) == clock.now
    anchor, at = events._anchors[0]
    assert clock.now - at <= 10 * S
    assert anchor is not first.events[0]


def test_cuda_that_begins_or_ends_within_a_window(device: Cuda, clock: Clock) -> None:
    session = session_of(clock, wait=False)
    record = session.open("w")
    device.initialized = False
    clock.now += S
    session.close(record)
    session.end()
    (window,) = session.windows()
    assert window.seconds == pytest.approx(1.0)
    assert window.total_joules == pytest.approx(200, rel=1e-2)

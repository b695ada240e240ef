"""The compiled sampler: its rows reach the timeline, and what they say is what the channels count."""

import itertools
import sys
import threading
import time
from typing import Any

import pytest
from energy_fakes import RANGE, Tree

from hitl_fast.energy import EnergyMeter
from hitl_fast.energy.measuring import native_sampler as native
from hitl_fast.energy.measuring.channel import CounterChannel
from hitl_fast.energy.measuring.recorder import Recorder
from hitl_fast.energy.sensors import rapl
from hitl_fast.energy.sensors.domain import Domain
from hitl_fast.energy.units import MILLISECOND

PACKAGE = Domain("package-0", "package", "measured", "counter")


def channel(tree: Tree) -> CounterChannel:
    file = rapl.CounterFile(str(tree.files["intel-rapl:0"]))
    return CounterChannel(PACKAGE, file, MILLISECOND, modulus=RANGE + 1, zero_is_fault=True)


class Rows:
    """A loop of ours: writes the rows that a test puts, until it is stopped."""

    def __init__(self) -> None:
        self.started = threading.Event()

    def load(self) -> Any:
        return self.loop

    def loop(self, descriptors: Any, interval: int, rows: Any, control: Any, times: Any, text: Any) -> None:
        self.rows, self.control = rows, control
        self.started.set()
        while not control[0]:
            time.sleep(0.001)

    def put(self, moment: int, *raws: int) -> None:
        self.rows[self.control[1] % len(self.rows)] = (moment, *raws)
        self.control[1] += 1


def test_rows_become_samples(tree: Tree) -> None:
    """Wraps count, nonsense does not, samples of the past are left out, and the newest row waits."""
    tree.zone("intel-rapl:0", "package-0", RANGE - 1000)
    recorder = Recorder([channel(tree)], interval=10 * MILLISECOND)
    loop = Rows()
    sampler = native.NativeSampler(recorder, [0], 10 * MILLISECOND, loop.load)
    assert loop.started.wait(60)
    assert not sampler.running
    sampler.replay()
    begin = time.perf_counter_ns()
    raws = [RANGE - 500, -1, 0, 499_999, 150 * 10**9, 999_999, 1_000_999, 1_000_999]
    for k, raw in enumerate(raws):
        loop.put(begin + 10 * k * MILLISECOND, raw)
    assert sampler.running
    tree.set("intel-rapl:0", 999_999)
    recorder.read()
    sampler.replay()
    sampler.replay()
    # The last is more than was counted afterwards: a file that was read half written.
    assert recorder.timeline.energies(0) == [500, 500, 500, 501_000, 501_000, 1_001_000, 1_001_000]
    assert recorder.longest_gap == 10 * MILLISECOND
    assert recorder.timeline.peak(0, begin, begin + 10**9) == pytest.approx(25_000, rel=0.01)
    loop.put(begin - 1, 1_500_000)
    loop.put(begin, 1_500_000)
    sampler.replay()
    assert len(recorder.timeline) == 8  # the row that waited, and none of the past
    sampler.stop()
    assert sampler.cpu > 0
    recorder.close(recorder.read())


def test_rows_that_nobody_fetched_are_overwritten(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "CAPACITY", 32)
    tree.zone("intel-rapl:0", "package-0", 1000)
    recorder = Recorder([channel(tree)], interval=MILLISECOND)
    loop = Rows()
    sampler = native.NativeSampler(recorder, [0], MILLISECOND, loop.load)
    assert loop.started.wait(60)
    begin = time.perf_counter_ns()
    for k in range(100):
        loop.put(begin + k * MILLISECOND, 2000 + k)
    tree.set("intel-rapl:0", 5000)
    recorder.read()
    sampler.replay()
    sampler.stop()
    assert recorder.timeline.energies(0) == list(range(1084, 1099))
    recorder.close(recorder.read())


def test_without_a_compiler_python_samples(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Any:
        raise native.NoCompilerError("no compiler")

    monkeypatch.setattr(native, "load", none)
    monkeypatch.setattr(native, "_uncompiled", lambda: False)
    tree.zone("intel-rapl:0", "package-0", 1000)
    with EnergyMeter(rapl_root=tree.root, gpus="none", rate_hz=200) as meter:
        session = meter._session
        assert session is not None
        assert session._native is not None
        session._native._thread.join(60)
        before = len(session.recorder.timeline)
        while len(session.recorder.timeline) < before + 3:
            time.sleep(0.005)
        assert not session._native.running
    assert meter.total.total_joules == 0.0


@pytest.mark.parametrize("missing", ["numba", "hitl_fast.energy.measuring.native_loop"])
def test_what_stands_for_no_compiler(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name == missing:
                raise (
                    RuntimeError("cannot cache function: no locator available")
                    if "loop" in name
                    else ImportError
                )

    monkeypatch.delitem(sys.modules, missing, raising=False)
    if missing == "numba":
        monkeypatch.setitem(sys.modules, "numba.core.errors", None)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(native.NoCompilerError):
        native.load()


@pytest.mark.parametrize(
    ("rate", "compiled", "wanted"), [(20, True, False), (21, True, True), (100, False, False)]
)
def test_only_above_twenty_hertz_and_where_compiled(
    rate: int, compiled: bool, wanted: bool, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = Rows()
    monkeypatch.setattr(native, "load", loop.load)
    monkeypatch.setattr(native, "_uncompiled", lambda: not compiled)
    tree.zone("intel-rapl:0", "package-0", 1000)
    with EnergyMeter(rapl_root=tree.root, gpus="none", rate_hz=rate) as meter:
        session = meter._session
        assert session is not None
        assert (session._native is not None) == wanted
    assert not [thread for thread in threading.enumerate() if thread.name == "hitl-fast-energy-native"]


@pytest.mark.jit
def test_compiled_loop_beside_a_meter(tree: Tree) -> None:
    """Real files, the real loop: the timeline grows without Python, never falls, and ends at what was counted."""
    tree.socket(0)
    with EnergyMeter(rapl_root=tree.root, gpus="none", rate_hz=200) as meter:
        session = meter._session
        assert session is not None
        assert session._native is not None
        while not session._native.running:
            assert session._native._thread.is_alive()
            time.sleep(0.01)
        with meter.window("w"):
            for step in range(1, 40):
                tree.set("intel-rapl:0", 1000 + 50_000 * step)
                tree.set("intel-rapl:0:0", 1000 + 20_000 * step)
                time.sleep(0.01)
        written = int(session._native._control[1])
    (window,) = meter.windows
    report = meter.report()
    assert window.total_joules == pytest.approx(39 * 0.07)
    assert written > 0
    assert report.overhead.samples >= written
    for joules in report.timeline.joules.values():
        assert all(two >= one for one, two in itertools.pairwise(joules))
    assert report.timeline.joules["package-0"][-1] == pytest.approx(39 * 0.05)
    assert report.overhead.cpu_seconds > 0

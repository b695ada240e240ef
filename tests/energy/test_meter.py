"""The meter as a whole: windows, threads, forks, faults, and what it leaves behind."""

import gc
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from energy_fakes import MS, Clock, Source, Tree

from hitl_fast.energy import EnergyMeter
from hitl_fast.energy.measuring import meter as meter_module
from hitl_fast.energy.measuring.channel import CounterChannel
from hitl_fast.energy.measuring.session import Session
from hitl_fast.energy.sensors.domain import Domain

PACKAGE = Domain("package-0", "package", "measured", "counter")
ROOT = Path(__file__).parents[2]


def sampling() -> int:
    return sum(thread.name == "hitl-fast-energy" for thread in threading.enumerate())


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def meter(tree: Tree) -> EnergyMeter:
    tree.socket(0)
    return EnergyMeter(rapl_root=tree.root, gpus="none")


def test_nested_windows_in_the_order_of_their_beginning(meter: EnergyMeter, tree: Tree) -> None:
    with meter:
        with meter.window("outer"):
            tree.set("intel-rapl:0", 1_001_000)
            with meter.window("inner") as inner:
                tree.set("intel-rapl:0", 3_001_000)
            assert inner.result.total_joules == 2.0
            assert [w.name for w in meter.windows] == ["inner"]
        with meter.window("next"):
            pass
    assert [w.name for w in meter.windows] == ["outer", "inner", "next"]
    assert [w.total_joules for w in meter.windows] == [3.0, 2.0, 0.0]
    assert meter.total.total_joules == 3.0
    assert meter.windows[0].seconds > meter.windows[1].seconds > 0
    assert meter.windows[0].watts == pytest.approx(3.0 / meter.windows[0].seconds)


def test_windows_overlap_across_threads(meter: EnergyMeter, tree: Tree) -> None:
    opened, moved = threading.Event(), threading.Event()

    def other() -> None:
        with meter.window("other"):
            opened.set()
            moved.wait(60)

    with meter:
        thread = threading.Thread(target=other, name="worker")
        thread.start()
        opened.wait(60)
        with meter.window("main"):
            tree.set("intel-rapl:0", 5_001_000)
            moved.set()
            thread.join()
    by_name = {w.name: w for w in meter.windows}
    assert by_name["other"].total_joules == by_name["main"].total_joules == 5.0
    assert by_name["other"].thread == "worker"


def test_window_closed_in_another_thread_than_it_was_opened(meter: EnergyMeter) -> None:
    with meter:
        window = meter.window("w").start()
        thread = threading.Thread(target=window.stop)
        thread.start()
        thread.join()
        window.stop()  # closed already: nothing happens
    assert len(meter.windows) == 1


def test_exception_closes_the_window_and_goes_on(meter: EnergyMeter) -> None:
    with pytest.raises(ZeroDivisionError), meter, meter.window("w"):
        _ = 1 / 0
    assert meter.windows[0].error == "ZeroDivisionError"
    assert sampling() == 0


def test_a_thousand_starts_and_stops_leave_nothing(meter: EnergyMeter) -> None:
    meter.start()
    meter.stop()
    before = descriptors()
    for _ in range(1000):
        with meter, meter.window("w"):
            pass
    assert descriptors() == before
    assert sampling() == 0
    assert len(meter.windows) == 1  # each start begins a new run


def test_a_meter_that_is_dropped_takes_its_thread_and_files_along(tree: Tree) -> None:
    tree.socket(0)
    before = descriptors()
    dropped = EnergyMeter(rapl_root=tree.root, gpus="none").start()
    assert sampling() == 1
    assert descriptors() == before + 3
    del dropped
    gc.collect()
    assert sampling() == 0
    assert descriptors() == before


def test_states_and_arguments(meter: EnergyMeter) -> None:
    meter.stop()  # before the start: nothing
    assert meter.windows == ()
    with pytest.raises(RuntimeError, match="the meter is not running"):
        meter.window("w")
    with pytest.raises(RuntimeError, match="the meter is not running"):
        _ = meter.total
    with meter:
        with pytest.raises(RuntimeError, match="already running"):
            meter.start()
        with pytest.raises(TypeError, match="name must be a string, not int"):
            meter.window(3)  # type: ignore[arg-type]
        window = meter.window("w")
        with pytest.raises(RuntimeError, match="window 'w' is not closed yet"):
            _ = window.result
        window.stop()  # never opened: nothing
        with window, pytest.raises(RuntimeError, match="window 'w' is already open"):
            window.start()
    meter.stop()
    for rate in (0, -1, 1001, float("nan")):
        with pytest.raises(ValueError, match="rate_hz must be above 0"):
            EnergyMeter(rate_hz=rate)
    for watts in (0.0, -3.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="cpu_watts must be"):
            EnergyMeter(estimate=True, cpu_watts=watts)


def test_nothing_to_measure_is_said_once_and_seconds_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meter_module, "_said", set())
    for _ in range(3):
        with EnergyMeter(rapl_root=tmp_path / "none", gpus="none") as meter, meter.window("w"):
            pass
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "no energy can be measured here: package-0: unavailable" in caplog.text
    (window,) = meter.windows
    assert window.seconds > 0
    assert (window.joules, window.total_joules, window.uncertainty_joules) == (None, None, None)
    assert window.watts is None
    assert window.carbon(country="FRA") is None
    assert sampling() == 0
    assert "not measured" in str(meter.report())
    assert "does not exist" in str(meter.report())


def test_estimate_is_apart_and_marked(tmp_path: Path) -> None:
    meter = EnergyMeter(rapl_root=tmp_path / "none", gpus="none", estimate=True, cpu_watts=20.0)
    with meter, meter.window("busy"):
        begin = time.process_time()
        while time.process_time() - begin < 0.05:
            pass
    (window,) = meter.windows
    assert window.joules is None
    assert window.total_joules is None
    assert window.estimated_joules is not None
    assert window.estimated_joules["cpu-estimate"] >= 1.0  # 50 ms x 20 W
    assert window.flags == ("estimated",)
    domain = meter.domains["cpu-estimate"]
    assert (domain.status, domain.method, domain.in_total) == (
        "estimated", "cpu time x 20 W per busy core", False,
    )  # fmt: skip
    assert "not in the total, estimated" in str(meter.report())


FORKED = """
import os, sys, threading
from hitl_fast.energy import EnergyMeter
meter = EnergyMeter(rapl_root=sys.argv[1], gpus="none", run_dir=sys.argv[2]).start()
def put(value):
    with open(sys.argv[1] + "/intel-rapl:0/energy_uj", "r+b") as file:
        file.write(b"%020d" % value)
outer = meter.window("outer").start()
before = len(os.listdir("/proc/self/fd"))
read, write = os.pipe()
pid = os.fork()
if pid == 0:
    with meter.window("child") as window:
        pass
    outer.stop()
    meter.stop()
    fine = (
        window.result.joules is None and window.result.seconds > 0 and len(meter.windows) == 1
        and meter.domains["package-0"].status == "unavailable" and "forked" in meter.domains["package-0"].reason
        and threading.active_count() == 1 and meter.total.joules is None
        # its own ends of the pipe came, the counter's file and the claim went
        and len(os.listdir("/proc/self/fd")) == before + 2 - 2
    )
    # the child may measure for itself
    with EnergyMeter(rapl_root=sys.argv[1], gpus="none") as own, own.window("own"):
        put(3_000_000)
    fine = fine and own.windows[0].total_joules == 1.0
    os.write(write, b"fine" if fine else b"wrong")
    os._exit(0)
os.waitpid(pid, 0)
assert os.read(read, 10) == b"fine"
outer.stop()
print(meter.windows[0].total_joules)
meter.stop()
"""


def test_fork(tree: Tree, tmp_path: Path) -> None:
    """The parent goes on as if nothing had been; the child's windows have their seconds and do not hang."""
    tree.zone("intel-rapl:0", "package-0", 2_000_000)
    command = [sys.executable, "-W", "ignore", "-c", FORKED, str(tree.root), str(tmp_path / "run")]
    path = os.pathsep.join([str(ROOT), str(ROOT / "kernels")])
    run = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, timeout=120
    )
    assert run.stderr == ""
    assert run.stdout == "1.0\n"


def test_fork_in_this_process(meter: EnergyMeter) -> None:
    """What the child does, done here: so that it is seen by whoever counts lines."""
    meter.start()
    session = meter._session
    assert session is not None
    thread = session._thread
    session.orphan()
    with meter.window("w"):
        pass
    assert meter.windows[0].joules is None
    assert meter.domains["dram-0"].status == "unavailable"
    meter.stop()
    session.stopped = session.clock()  # ends the thread, which in a child would not be
    session._waking = threading.Lock()
    assert thread is not None
    thread.join(60)


LEFT = """
import sys
from hitl_fast.energy import EnergyMeter
meter = EnergyMeter(rapl_root=sys.argv[1], gpus="none").start()
meter.window("open").start()
print("end of the script")
"""


def test_a_program_that_forgets_its_meter_ends(tree: Tree) -> None:
    tree.socket(0)
    path = os.pathsep.join([str(ROOT), str(ROOT / "kernels")])
    command = [sys.executable, "-X", "dev", "-c", LEFT, str(tree.root)]
    run = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, timeout=120
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "end of the script\n", "")


def test_fault_in_the_sampler_reaches_nobody(meter: EnergyMeter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "tick", lambda self: 1 // 0)
    with meter, meter.window("w"):
        pass
    assert meter.windows[0].total_joules == 0.0


def test_overhead_is_told(meter: EnergyMeter) -> None:
    with meter, meter.window("w"):
        pass
    cost = meter.overhead
    assert cost.reads >= 4
    assert cost.samples >= 1
    assert cost.cpu_seconds > 0


def test_short_windows_wait_a_refresh_for_the_value_that_follows() -> None:
    clock = Clock(tick=MS)
    gpu = Domain("GPU-1", "gpu", "measured", "counter")
    source = Source(clock, lambda time: 10**9 + (time // (100 * MS)) * 10_000_000)
    channel = CounterChannel(gpu, source, 100 * MS, modulus=None, clock=clock)
    session = Session([channel], [], interval=100 * MS, clock=clock)
    for _ in range(300):
        clock.now += session.tick()
    record = session.open("short")
    clock.now += 30 * MS
    session.close(record)
    session._thread = threading.current_thread()
    real, session.recorder.clock = session.recorder.clock, clock
    assert real is clock
    session.clock = lambda: clock.now + 0 * session.recorder.read().end  # the sampler, in our place
    session._linger()
    session._thread = None
    assert channel.moved > record.end
    session.clock = clock
    session.end()
    (window,) = session.windows()
    assert window.total_joules is not None
    assert window.uncertainty_joules is not None
    assert abs(window.total_joules - 100 * window.seconds) <= window.uncertainty_joules < 100 * 0.1


def test_window_that_outlives_the_meter_ends_with_it(meter: EnergyMeter, tree: Tree, tmp_path: Path) -> None:
    """The numbers of closed files are given out again: reading them would count another file's contents."""
    other = tmp_path / "other"
    other.write_text("99999999999\n")
    meter.start()
    left, late = meter.window("left open").start(), meter.window("late")
    tree.set("intel-rapl:0", 1_001_000)
    meter.stop()
    strangers = [os.open(other, os.O_RDONLY) for _ in range(8)]
    try:
        left.stop()
    finally:
        for stranger in strangers:
            os.close(stranger)
    assert left.result.total_joules == meter.total.total_joules == 1.0
    assert left.result.seconds <= meter.total.seconds
    assert meter.windows == (left.result,)
    with pytest.raises(RuntimeError, match="window 'late' cannot begin: the meter has been stopped"):
        late.start()


def test_counter_that_has_not_moved_yet_is_not_certain_to_be_at_rest(meter: EnergyMeter) -> None:
    """A window shorter than a refresh, and no power known: a millisecond at a kilowatt is a joule a counter."""
    with meter, meter.window("short") as short:
        pass
    assert short.result.total_joules == 0.0
    assert min(short.result.uncertainties.values()) >= 1.0
    assert short.result.uncertainty_joules is not None
    assert (
        short.result.uncertainty_joules >= 2.0
    )  # more if the counters stood still for longer than a refresh


@pytest.mark.parametrize("gpus", [0, None, 1.5])
def test_one_gpu_is_a_list_of_one(gpus: object) -> None:
    with pytest.raises(TypeError, match=r"gpus must be .* a list of indices and UUIDs, not .*; one is \["):
        EnergyMeter(gpus=gpus)  # type: ignore[arg-type]


@pytest.mark.parametrize("gpus", ["visble", "0,x", "", [-1], [1.5], [True], [None], ["all"], [b"GPU-1"]])
def test_misspelt_gpus_are_refused_where_there_are_none(gpus: object) -> None:
    with pytest.raises(ValueError, match="gpus must be .* is none of them"):
        EnergyMeter(gpus=gpus)  # type: ignore[arg-type]


@pytest.mark.parametrize("watts", ["15", 0, float("inf"), float("nan")])
def test_watts_that_cannot_be(watts: object) -> None:
    with pytest.raises(ValueError, match="cpu_watts must be the watts of one busy core"):
        EnergyMeter(estimate=True, cpu_watts=watts)  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", ["10", None, 0, -1, 1001, float("nan")])
def test_rates_that_cannot_be(rate: object) -> None:
    with pytest.raises(ValueError, match="rate_hz must be above 0 and at most 1000 samples a second, not"):
        EnergyMeter(rate_hz=rate)  # type: ignore[arg-type]

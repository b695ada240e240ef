"""What measuring costs: edges of windows, the sampling thread, import and start, beside the tools that people use.

Sensors are stand-ins: four RAPL files in shared memory, moved on by another process every millisecond, and two GPUs of
a libnvidia-ml.so.1 compiled here, both from tests/energy. Reading a real file costs an MSR read more, and a real GPU
what its driver takes; both are the same for all tools.
"""

from __future__ import annotations

import ctypes
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from race import race, record

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests" / "energy"))
import hidden_counters  # noqa: E402
import test_comparison  # noqa: E402
from energy_fakes import DRAM_RANGE, Gpus, Tree, build_nvml  # noqa: E402

from hitl_fast.energy import EnergyMeter, OpenWindow  # noqa: E402
from hitl_fast.energy.measuring.session import Session  # noqa: E402

GPU_A, GPU_B = "GPU-aaaa", "GPU-bbbb"
FILES = "2 packages + 2 dram"
SHAPE = f"{FILES} + 2 GPUs"


class Machine:
    """Two sockets with memory and two GPUs, none of them real."""

    def __init__(self, folder: Path) -> None:
        self.powercap = folder / "powercap"
        self.powercap.mkdir()
        self.library = build_nvml(folder / "lib")
        self.gpus = folder / "gpus"
        can = "counter+power+instant"
        Gpus(self.gpus, (GPU_A, "H100", can, 0), (GPU_B, "H100", can, 0))
        tree = Tree(self.powercap)
        for socket in (0, 1):
            package = f"intel-rapl/intel-rapl:{socket}"
            tree.zone(package, f"package-{socket}", 10**9 + socket)
            tree.zone(f"{package}/intel-rapl:{socket}:0", "dram", 10**8 + socket, DRAM_RANGE)
        (self.powercap / "intel-rapl" / "subsystem").symlink_to(
            self.powercap
        )  # as in sysfs; codecarbon looks there
        self.files = list(tree.files.values())


@contextmanager
def running(machine: Machine) -> Iterator[None]:
    """Another process moves the counters on, at 1 kHz."""
    code = (
        "import os, sys, time\n"
        "files = [os.open(p, os.O_WRONLY) for p in sys.argv[1:]]\nvalue = 2_000_000_000\n"
        "while os.getppid() != 1:\n"
        "    value += 100_000\n"
        "    for f in files: os.pwrite(f, b'%020d\\n' % value, 0)\n"
        "    time.sleep(0.001)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, *map(str, machine.files)])
    try:
        time.sleep(0.3)
        yield
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    shared = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        machine = Machine(Path(folder))
        ctypes.CDLL(str(machine.library / "libnvidia-ml.so.1"))
        os.environ["FAKE_NVML"] = str(machine.gpus)
        with running(machine):
            yield machine


def redirect(machine: Machine) -> Callable[[], None]:
    """Send whoever looks into /sys/class/powercap to the stand-in; returns what takes that back."""
    import builtins

    def moved(path: object) -> object:
        known = isinstance(path, (str, os.PathLike))
        return str(path).replace("/sys/class/powercap", str(machine.powercap)) if known else path

    places = [(builtins, "open"), *((os.path, n) for n in ("exists", "isdir", "isfile", "realpath"))]
    places += [(os, name) for name in ("listdir", "access", "stat", "scandir")]
    before = [(module, name, getattr(module, name)) for module, name in places]
    for module, name, real in before:
        setattr(module, name, lambda path, *a, real=real, **k: real(moved(path), *a, **k))
    return lambda: [setattr(*entry) for entry in before] and None  # type: ignore[func-returns-value]


def peers(machine: Machine) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Edges of each tool that runs here: (open, close)."""
    found: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {}
    back = redirect(machine)
    try:
        import zeus.device.cpu.rapl
        from zeus.monitor import ZeusMonitor

        zeus.device.cpu.rapl.RAPL_DIR = str(machine.powercap / "intel-rapl")
        monitor = ZeusMonitor()
        assert (monitor.gpu_indices, monitor.cpu_indices) == ([0, 1], [0, 1])
        found["zeus"] = (
            lambda: monitor.begin_window("w", sync_execution=False),
            lambda: monitor.end_window("w", sync_execution=False),
        )
        from pyRAPL import device_api

        device_api.cpu_ids = device_api.get_socket_ids = lambda: [0, 1]
        package, dram = device_api.PkgAPI(), device_api.DramAPI()
        found["pyRAPL (no GPUs)"] = (lambda: (package.energy(), dram.energy()),) * 2
        from codecarbon import OfflineEmissionsTracker

        tracker = OfflineEmissionsTracker(
            country_iso_code="FRA", save_to_file=False, log_level="critical", allow_multiple_runs=True
        )
        tracker.start_task("first")
        tracker.stop_task("first")
        counted = [type(part).__name__ for part in tracker._hardware]
        names = iter(range(10**9))
        current = [""]

        def begin() -> None:
            current[0] = f"w{next(names)}"  # a task's name may be used once
            tracker.start_task(current[0])

        found[f"codecarbon ({'+'.join(counted)})"] = (begin, lambda: tracker.stop_task(current[0]))
    finally:
        back()
    return found


def both(open_: Callable[[], object], close: Callable[[], object]) -> Callable[[], None]:
    def window() -> None:
        open_()
        close()

    return window


def timed(open_: Callable[[], object], close: Callable[[], object], edge: int) -> Callable[[], float]:
    """Microseconds of one of the two edges."""

    def once() -> float:
        begin = time.perf_counter_ns()
        open_()
        middle = time.perf_counter_ns()
        close()
        end = time.perf_counter_ns()
        return (end - middle if edge else middle - begin) / 1e3

    return once


def measure(edges: dict[str, Callable[[], float]], metric: str) -> None:
    values: dict[str, list[float]] = {name: [] for name in edges}
    for _ in range(20):
        for name, edge in edges.items():
            values[name] += [edge() for _ in range(20 if "codecarbon" in name else 100)]
    for name, found in values.items():
        record("energy", name, metric, found, unit="us", shape=SHAPE, dtype="")


@pytest.mark.parametrize("rate", [10])
def test_sampler_beside_a_busy_thread(rate: int, machine: Machine) -> None:
    """CPU of the sampling thread, and what the main thread loses: short slices of work, in turn with it and without.

    Before the peers are loaded, whose threads and processes would be in the way.
    """

    def speed() -> float:
        """Loops a second of the main thread, over a fifth of a second."""
        begin = time.perf_counter()
        until = begin + 0.2
        loops = 0
        while time.perf_counter() < until:
            total = 0
            for i in range(2000):
                total += i
            loops += 1
        return loops / (time.perf_counter() - begin)

    nothing = [sleeper(rate, speed) for _ in range(10)]
    lost, busy = [], []
    with EnergyMeter(rapl_root=machine.powercap, gpus="none", rate_hz=rate) as meter:
        time.sleep(0.5)  # past the start, in which the sampler learns each counter's pace
        session = meter._session
        assert session is not None
        for turn in range(60):
            found = {}
            for sampled in (turn % 2 == 0, turn % 2 == 1):
                session._due = time.perf_counter_ns() + (10**8 // rate if sampled else 10**10)
                session._wake()
                time.sleep(0.01)
                before, reads, begin = cpu_time(session), session.recorder.reads, time.perf_counter()
                found[sampled] = speed()
                if sampled:
                    busy.append(100 * (cpu_time(session) - before) / (time.perf_counter() - begin))
                    assert session.recorder.reads > reads
            lost.append(100 * (1 - found[True] / found[False]))
        session._due = time.perf_counter_ns()
    assert (meter.total.total_joules or 0) > 0
    shape = f"{FILES}, {rate} Hz, busy Python main thread"
    record("energy", "hitl_fast sampler", "CPU of one core", busy, unit="%", shape=shape, dtype="")
    record("energy", "a thread that only sleeps", "CPU of one core", nothing, unit="%", shape=shape, dtype="")
    middle, error = statistics.median(lost), 1.25 * statistics.stdev(lost) / len(lost) ** 0.5
    interval = [middle - error, middle, middle + error]  # the median and its standard error
    record("energy", "hitl_fast sampler", "main thread loses", interval, unit="%", shape=shape, dtype="")


SECONDS = float(os.environ.get("HITL_BENCH_SECONDS", "10"))


def test_compiled_sampler_at_100_hz_beside_a_busy_thread(machine: Machine) -> None:
    """CPU of both sampling threads, Python's and the compiled one, and how many samples a second arrive."""
    rate, cpu, delivered = 100, [], []
    with EnergyMeter(rapl_root=machine.powercap, gpus="none", rate_hz=rate) as meter:
        session = meter._session
        assert session is not None
        native = session._native
        assert native is not None
        while not native.running:
            assert native._thread.is_alive(), "the loop does not compile here"
            time.sleep(0.05)
        time.sleep(0.5)
        for _ in range(5):
            begin, spent = time.perf_counter(), cpu_time(session) + native.cpu / 1e9
            written = int(native._control[1])
            while time.perf_counter() - begin < SECONDS:
                sum(range(2000))
            elapsed = time.perf_counter() - begin
            cpu.append(100 * (cpu_time(session) + native.cpu / 1e9 - spent) / elapsed)
            delivered.append((int(native._control[1]) - written) / elapsed)
        nothing = [sleeper(rate, lambda: float(sum(range(10**7)))) for _ in range(3)]
    assert (meter.total.total_joules or 0) > 0
    assert meter.overhead.samples >= sum(delivered) * SECONDS * 0.99
    shape = f"{FILES}, {rate} Hz, busy Python main thread"
    record("energy", "hitl_fast sampler", "CPU of one core", cpu, unit="%", shape=shape, dtype="")
    record("energy", "hitl_fast sampler", "delivered", delivered, unit="Hz", shape=shape, dtype="")
    record("energy", "a thread that only sleeps", "CPU of one core", nothing, unit="%", shape=shape, dtype="")
    assert statistics.median(cpu) <= 0.4
    assert statistics.median(delivered) >= 98


def cpu_time(session: Session) -> float:
    """Seconds of CPU of a session's sampling thread, which is running."""
    assert session._thread is not None
    assert session._thread.ident is not None
    return time.clock_gettime(time.pthread_getcpuclockid(session._thread.ident))


def sleeper(rate: int, work: Callable[[], float]) -> float:
    """Percent of a core for waking up and asking for the GIL alone: no thread can sample for less."""
    stop = threading.Event()
    found = []

    def sleep() -> None:
        begin, cpu = time.perf_counter(), time.thread_time()
        due = begin
        while not stop.is_set():
            due = max(due + 1 / rate, time.perf_counter())
            time.sleep(max(due - time.perf_counter(), 0.0))
        found.append(100 * (time.thread_time() - cpu) / (time.perf_counter() - begin))

    thread = threading.Thread(target=sleep)
    thread.start()
    for _ in range(5):
        work()
    stop.set()
    thread.join()
    return found[0]


STARTS = {
    "hitl_fast": (
        "import hitl_fast.energy",
        "m = hitl_fast.energy.EnergyMeter(rapl_root=ROOT); m.start()",
    ),
    "pyRAPL": (
        "import pyRAPL",
        "from pyRAPL import device_api as d; d.cpu_ids = d.get_socket_ids = lambda: [0, 1]; (d.PkgAPI(), d.DramAPI())",
    ),
    "zeus": (
        "import zeus.monitor",
        "import zeus.device.cpu.rapl as r; r.RAPL_DIR = ROOT + '/intel-rapl'; zeus.monitor.ZeusMonitor()",
    ),
    "codecarbon": (
        "import codecarbon",
        "codecarbon.OfflineEmissionsTracker(country_iso_code='FRA', save_to_file=False, log_level='critical',"
        " allow_multiple_runs=True).start()",
    ),
}  # fmt: skip

FRESH = """
import sys, time, os
sys.path.insert(0, sys.argv[3]); ROOT = sys.argv[4]
import bench_energy_redirect
begin = time.perf_counter(); exec(sys.argv[1]); first = time.perf_counter()
bench_energy_redirect.redirect(ROOT)
second = time.perf_counter(); exec(sys.argv[2]); end = time.perf_counter()
sys.stderr.close()
print((first - begin) * 1e3, (end - second) * 1e3, flush=True)
os._exit(0)
"""

REDIRECT = """
import builtins, os
def redirect(root):
    def moved(path):
        return str(path).replace("/sys/class/powercap", root) if isinstance(path, (str, os.PathLike)) else path
    for module, name in ((builtins, "open"), (os.path, "exists"), (os.path, "isdir"), (os.path, "isfile"),
                         (os.path, "realpath"), (os, "listdir"), (os, "access"), (os, "stat"), (os, "scandir")):
        setattr(module, name, lambda path, *a, real=getattr(module, name), **k: real(moved(path), *a, **k))
"""


def test_import_and_first_start(machine: Machine, tmp_path: Path) -> None:
    """Each in a fresh process, in turn, with the files of all of them warm."""
    (tmp_path / "bench_energy_redirect.py").write_text(REDIRECT)
    environment = {
        **os.environ, "LD_LIBRARY_PATH": str(machine.library), "FAKE_NVML": str(machine.gpus),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels")]), "PYTHONWARNINGS": "ignore",
    }  # fmt: skip
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in STARTS}
    for turn in range(9):
        for name, (imports, starts) in STARTS.items():
            command = [sys.executable, "-c", FRESH, imports, starts, str(tmp_path), str(machine.powercap)]
            run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            assert run.returncode == 0, (name, run.stderr[-2000:])
            if turn:  # the first brings the files into memory
                first, second = map(float, run.stdout.split()[-2:])
                times[name].append((first, second))
    for name, found in times.items():
        record("energy", name, "import", [t[0] for t in found], unit="ms", shape="fresh process", dtype="")
        record("energy", name, "first start", [t[1] for t in found], unit="ms", shape=SHAPE, dtype="")


def test_stated_interval_over_simulated_gpus() -> None:
    """2,000 windows over hidden counters, and 500 of each load: no clock is measured, so that any machine will do."""
    rng = random.Random(2026)
    mixed = [hidden_counters.measure(hidden_counters.mixed(rng), rng) for _ in range(2000)]
    spanning = [outcome for outcome in mixed if outcome.refreshes >= 2]
    interval(mixed, "2,000 mixed windows")
    interval(spanning, f"{len(spanning)} mixed windows that span two values or more")
    assert hidden_counters.summary(mixed).coverage >= 0.97
    assert hidden_counters.summary(spanning).width <= 0.40
    for name, case in hidden_counters.table().items():
        rng = random.Random(name)
        outcomes = [hidden_counters.measure(case, rng) for _ in range(500)]
        interval(outcomes, name)
        assert hidden_counters.summary(outcomes).lower_limit >= 0.93, name


def test_false_claims_of_comparisons() -> None:
    """1,000 simulated comparisons without a difference of each kind."""
    for kind in ("normal", "outliers", "drift ABBA", "drift ABAB", "drift that settles", "drift in blocks"):
        for n in (5, 10, 20):
            share = 100 * test_comparison.false_claims(kind, n, 1000, seed=2027)
            record(
                "energy",
                "hitl_fast",
                "false claims",
                share,
                unit="%",
                shape=f"{kind}, {n} runs a side",
                dtype="",
            )
            assert share <= 6 or kind == "drift in blocks"


def interval(outcomes: list[hidden_counters.Outcome], shape: str) -> None:
    """Rows: how often the interval held the truth, and its half width over the bound without interpolation."""
    held = hidden_counters.summary(outcomes).coverage * 100
    widths = [outcome.width for outcome in outcomes]
    record("energy", "hitl_fast", "interval held the truth", held, unit="%", shape=shape, dtype="")
    record("energy", "hitl_fast", "half width / bound", widths, unit="x", shape=shape, dtype="")


@pytest.mark.filterwarnings("ignore")
def test_edges(machine: Machine) -> None:
    back = redirect(machine)
    try:
        others = peers(machine)
        with EnergyMeter(rapl_root=machine.powercap, rate_hz=10) as meter:
            time.sleep(0.5)
            with meter.window("check") as window:
                time.sleep(0.05)
            assert {"package-0", "package-1", "dram-0", "dram-1"} <= (window.result.joules or {}).keys()
            assert GPU_A in window.result.counted_microjoules
            assert (window.result.total_joules or 0) > 0
            opened: list[OpenWindow] = []
            ours = {
                "hitl_fast": (
                    lambda: opened.append(meter.window("w").start()),
                    lambda: opened.pop().stop(),
                )
            }
            for edge, title in ((0, "opening"), (1, "closing")):
                edges = {}
                for name, (open_, close) in {**ours, **others}.items():
                    edges[name] = timed(open_, close, edge)
                measure(edges, f"{title} edge")
            provider = {name: both(*pair) for name, pair in {**ours, **others}.items()}
            race(
                "energy", provider, shape=f"window of nothing, {SHAPE}", dtype="", unit="us", rounds=20,
                inner={"hitl_fast": 200, "zeus": 50, "pyRAPL (no GPUs)": 200},
            )  # fmt: skip
    finally:
        back()

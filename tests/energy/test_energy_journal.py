"""A run that is killed leaves a whole file that lacks at most five seconds."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from energy_fakes import Tree

from hitl_fast import cli
from hitl_fast.energy import EnergyMeter, EnergyReport
from hitl_fast.energy.measuring.journal import Journal

ROOT = Path(__file__).parents[2]
PATH = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels")])}

INSIDE = """
import sys, time
from hitl_fast.energy import EnergyMeter
from hitl_fast.energy.measuring import journal
journal.SECONDS = 0.05
meter = EnergyMeter(rapl_root=sys.argv[1], gpus="none", journal=sys.argv[2], rate_hz=50)
with meter:
    print("ready", flush=True)
    value = 1_000_000
    while True:
        with meter.window("step"):
            value += 10_000
            with open(sys.argv[1] + "/intel-rapl:0/energy_uj", "r+b") as file:
                file.write(b"%020d" % value)
            time.sleep(0.001)
"""


def killed(folder: Path, sent: signal.Signals, seed: int) -> None:
    """One run that is killed at a random moment: the file is whole, and as new as the one that was there before."""
    tree = Tree(folder / "powercap")
    tree.zone("intel-rapl:0", "package-0", 1_000_000)
    path = folder / "run.json"
    command = [sys.executable, "-c", INSIDE, str(tree.root), str(path)]
    with subprocess.Popen(command, env=PATH, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        wanted = random.Random(seed).uniform(0, 0.5)
        while (before := joules_of(EnergyReport.from_json(path))) < wanted:  # it is written again and again
            assert process.poll() is None
            time.sleep(0.02)
        time.sleep(random.Random(seed).uniform(0, 0.05))
        process.send_signal(sent)
    report = EnergyReport.from_json(path)
    assert process.returncode == -sent
    assert report.complete is False
    assert joules_of(report) >= before


def joules_of(report: EnergyReport) -> float:
    assert report.total.total_joules is not None
    return report.total.total_joules


@pytest.mark.jit
@pytest.mark.parametrize(("sent", "times"), [(signal.SIGKILL, 20), (signal.SIGTERM, 2)])
def test_killed_at_a_random_moment(sent: signal.Signals, times: int, tmp_path: Path) -> None:
    """Twenty runs, a few at a time."""
    folders = [tmp_path / str(seed) for seed in range(times)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(killed, folders, [sent] * times, range(times)))


def test_journal_of_a_command_is_read_again(
    tree: Tree, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tree.zone("intel-rapl:0", "package-0", 1_000_000)
    path = tmp_path / "run.json"
    line = [
        sys.executable,
        "-m",
        "hitl_fast",
        "energy",
        "--rapl-root",
        str(tree.root),
        "--gpus",
        "none",
        "--json",
        str(path),
    ]
    with subprocess.Popen([*line, "--", "cat"], env=PATH, stdin=subprocess.PIPE) as process:
        while not path.exists():
            time.sleep(0.01)
        process.kill()
    assert cli.main(["energy", "--read", str(path)]) == 0
    out = capfd.readouterr().out
    assert "package-0" in out
    assert "did not end" in out


def test_report_of_a_run_that_ended_is_complete(tree: Tree, tmp_path: Path) -> None:
    tree.socket(0)
    path = tmp_path / "run.json"
    with EnergyMeter(rapl_root=tree.root, gpus="none", journal=path) as meter:
        assert EnergyReport.from_json(path).complete is False
        with meter.window("w"):
            tree.set("intel-rapl:0", 1_001_000)
    report = EnergyReport.from_json(path)
    assert report.complete
    assert report.windows == meter.windows
    assert list(tmp_path.glob("*.json")) == [path]


def test_journal_that_cannot_be_written_is_an_error_at_the_start(tree: Tree, tmp_path: Path) -> None:
    tree.socket(0)
    meter = EnergyMeter(rapl_root=tree.root, gpus="none", journal=tmp_path / "none" / "run.json")
    with pytest.raises(FileNotFoundError):
        meter.start()
    meter.stop()


def test_journal_that_fails_later_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    texts = iter(["one"])
    asked = threading.Semaphore(0)

    def text() -> str:
        asked.release()
        return next(texts)

    journal = Journal(tmp_path / "x", text, seconds=0.01)
    for _ in range(4):  # the first, and three that fail
        assert asked.acquire(timeout=60)
    journal.stop()
    assert (tmp_path / "x").read_text() == "one"
    assert caplog.text.count("cannot write") == 1


WITHOUT = """
import os, sys, signal
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name in ("fcntl", "resource", "pwd", "grp", "termios"):
            raise ModuleNotFoundError(name)
for name in ("fcntl", "resource"):
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Blocker())
for module, name in ((os, "register_at_fork"), (os, "fork"), (os, "getuid"), (os, "pread"), (signal, "sigwaitinfo"),
                     (signal, "sigtimedwait"), (signal, "pthread_sigmask"), (signal, "SIGHUP"), (signal, "SIGTSTP")):
    if hasattr(module, name):
        delattr(module, name)
import importlib, pkgutil
import hitl_fast.energy
for found in pkgutil.walk_packages(hitl_fast.energy.__path__, "hitl_fast.energy."):
    importlib.import_module(found.name)
os.environ |= {"LOCAL_WORLD_SIZE": "2", "MASTER_PORT": "1"}
with hitl_fast.energy.EnergyMeter(rapl_root="/none", gpus="none", estimate=True, cpu_watts=5.0) as meter:
    with meter.window("w"):
        pass
from hitl_fast import cli
raise SystemExit(cli.main(["energy", "--quiet", "--", sys.executable, "-c", "raise SystemExit(3)"]))
"""


def test_windows_and_macos_import_and_run(tmp_path: Path) -> None:
    """What those lack is taken away: file locks, fork hooks, signals that can be waited for."""
    environment = {**PATH, "TMPDIR": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT], env=environment, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 3, run.stderr
    assert "Traceback" not in run.stderr

"""Several ranks on one node: each socket and GPU counted once."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from energy_fakes import Tree

from hitl_fast.energy import EnergyMeter
from hitl_fast.energy.measuring import device_locks
from hitl_fast.energy.measuring.device_locks import DeviceLocks, run_directory

ROOT = Path(__file__).parents[2]

RANK = """
import json, sys
from hitl_fast.energy import EnergyMeter
meter = EnergyMeter(rapl_root=sys.argv[1], gpus="none", run_dir=sys.argv[2] or None).start()
print("ready", flush=True)
sys.stdin.readline()
with meter.window("w"):
    print("open", flush=True)
    sys.stdin.readline()
window = meter.windows[0]
meter.stop()
print(json.dumps([window.total_joules, {n: [d.status, d.reason] for n, d in meter.domains.items()}]), flush=True)
sys.stdin.readline()
"""


def ranks(tree: Tree, directory: Path | str, environments: list[dict[str, str]]) -> list[list[object]]:
    """What each rank reports of a run in which the package uses 2 J."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "kernels")])
    command = [sys.executable, "-c", RANK, str(tree.root), str(directory)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    started = []
    for environment in environments:
        full = {**os.environ, "PYTHONPATH": path, **environment}
        started.append(subprocess.Popen(command, env=full, **pipes))  # type: ignore[call-overload]
        assert started[-1].stdout.readline() == "ready\n"  # one after the other: the first is the leader
    results = []
    for step in range(3):
        if step == 1:
            tree.set("intel-rapl:0", 3_000_000)
        for process in started:
            print(file=process.stdin, flush=True)
            line = process.stdout.readline() if step < 2 else ""
            if step == 1:
                results.append(json.loads(line))
    for process in started:
        process.communicate(timeout=60)
    return results


def test_each_domain_is_counted_by_one_rank(tree: Tree, tmp_path: Path) -> None:
    tree.zone("intel-rapl:0", "package-0", 1_000_000)
    first, second = ranks(tree, tmp_path / "run", [{"RANK": "0"}, {"RANK": "1"}])
    assert first[0] == 2.0
    assert second[0] is None
    status, reason = second[1]["package-0"]  # type: ignore[index]
    assert status == "unavailable"
    assert reason.startswith("counted by rank 0 (process ")


def test_launched_ranks_meet_by_themselves_and_lone_processes_do_not(tree: Tree, tmp_path: Path) -> None:
    tree.zone("intel-rapl:0", "package-0", 1_000_000)
    launched = {"LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "a/b", "TMPDIR": str(tmp_path)}
    totals = [result[0] for result in ranks(tree, "", [launched, launched])]
    assert totals == [2.0, None]
    tree.set("intel-rapl:0", 1_000_000)
    assert [result[0] for result in ranks(tree, "", [{}, {}])] == [2.0, 2.0]


def test_programs_of_one_job_and_nested_meters_all_measure(tree: Tree, tmp_path: Path) -> None:
    """Without srun both programs have the batch script's rank; a measured command inherits its meter's surroundings."""
    tree.zone("intel-rapl:0", "package-0", 1_000_000)
    job = {"SLURM_NTASKS": "8", "SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "TMPDIR": str(tmp_path)}
    assert [result[0] for result in ranks(tree, "", [job, job])] == [2.0, 2.0]
    tree.set("intel-rapl:0", 1_000_000)
    step = {**job, "SLURM_STEP_ID": "0"}
    assert [result[0] for result in ranks(tree, "", [step, step])] == [2.0, 2.0]
    tree.set("intel-rapl:0", 1_000_000)
    other = {**step, "SLURM_PROCID": "1"}
    assert [result[0] for result in ranks(tree, "", [step, other])] == [2.0, None]
    locks = DeviceLocks(tmp_path / "nested")
    assert locks.acquire("package-0") == ""
    code = "import sys; import hitl_fast.energy.measuring.device_locks as d; "
    code += "print(d.DeviceLocks(sys.argv[1]).acquire('package-0'))"
    path = os.pathsep.join([str(ROOT), str(ROOT / "kernels")])
    child = [sys.executable, "-c", code, str(tmp_path / "nested")]
    run = subprocess.run(
        child, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    locks.release()
    assert run.stdout == "\n"


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({}, None),
        ({"LOCAL_WORLD_SIZE": "1", "MASTER_PORT": "29500"}, None),
        ({"LOCAL_WORLD_SIZE": "4", "MASTER_ADDR": "host", "MASTER_PORT": "29500"}, "host-29500"),
        ({"OMPI_COMM_WORLD_LOCAL_SIZE": "2", "PMIX_NAMESPACE": "prte@1"}, "prte-1"),
        ({"SLURM_NTASKS": "8", "SLURM_JOB_ID": "77", "SLURM_STEP_ID": "0"}, "77-0"),
    ],
)
def test_run_directory(environment: dict[str, str], name: str | None) -> None:
    directory = run_directory(environment)
    if name is None:
        assert directory is None
    else:
        assert directory is not None
        assert directory.endswith(f"hitl-fast-energy-{os.getuid()}-{name}")


def test_meters_of_one_process_share_a_lock(tree: Tree, tmp_path: Path) -> None:
    tree.zone("intel-rapl:0", "package-0", 1000)
    one, two = (EnergyMeter(rapl_root=tree.root, gpus="none", run_dir=tmp_path / "run") for _ in range(2))
    with one, two:
        assert one.domains["package-0"].status == two.domains["package-0"].status == "measured"
        one.stop()
        assert next(iter(device_locks._held.values()))[1] == 1
    assert device_locks._held == {}


def test_holder_that_wrote_nothing(tmp_path: Path) -> None:
    """Another process holds the lock: done here with a second descriptor, which flock treats as a stranger's."""
    locks = DeviceLocks(tmp_path)
    assert locks.acquire("package-0") == ""
    (path,) = device_locks._held
    Path(path).write_text("")
    held = device_locks._held.pop(path)
    try:
        assert DeviceLocks(tmp_path).acquire("package-0") == "another process"
    finally:
        device_locks._held[path] = held
        locks.release()


def test_nobody_looks_who_has_a_lock_before_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file still names the last run's holder, and the new one is about to write."""
    path = str(tmp_path / "x.lock")
    Path(path).write_text("rank 9 (process 1)")
    locked, looked, found = threading.Event(), threading.Event(), []
    truncate, read = os.truncate, os.pread

    def late(descriptor: int, length: int) -> None:
        locked.set()
        looked.wait(1)  # where another can look meanwhile, it does
        truncate(descriptor, length)

    def look(*arguments: int) -> bytes:
        looked.set()
        return read(*arguments)

    monkeypatch.setattr(os, "truncate", late)
    monkeypatch.setattr(os, "pread", look)
    monkeypatch.setenv("RANK", "3")
    first = threading.Thread(target=lambda: found.append(device_locks._locked(path)))
    first.start()
    assert locked.wait(60)
    held = device_locks._locked(path)
    first.join()
    assert held == f"rank 3 (process {os.getpid()})"
    os.close(found[0])


def test_forked_child_closes_what_is_the_parents(tmp_path: Path) -> None:
    locks = DeviceLocks(tmp_path)
    assert locks.acquire("x") == ""
    ((descriptor, _),) = device_locks._held.values()
    device_locks.close_inherited()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
    assert device_locks._held == {}


def test_unusable_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given by the user it is an error; from a launcher's variables it must not end the run."""
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(OSError, match="file"):
        EnergyMeter(rapl_root="/nonexistent", gpus="none", run_dir=file / "run").start()
    monkeypatch.setattr("hitl_fast.energy.measuring.sensor_set.run_directory", lambda: str(file / "run"))
    with EnergyMeter(rapl_root="/nonexistent", gpus="none") as meter:
        assert meter.domains


@pytest.mark.parametrize("problem", ["no file", "no locks"])
def test_ranks_that_cannot_share_out_count_and_say_so(
    problem: str,
    tree: Tree,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Somebody else's folder, or a file system without locks: never a run that ends, nor one that nobody counts."""
    tree.zone("intel-rapl:0", "package-0", 1000)
    real = os.open

    def no_file(path: str, *arguments: int, **options: int) -> int:
        if str(path).endswith(".lock"):
            raise PermissionError(13, "Permission denied", path)
        return real(path, *arguments, **options)

    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(37, "No locks available")

    if problem == "no file":
        monkeypatch.setattr(os, "open", no_file)
    else:
        monkeypatch.setattr("hitl_fast.energy.measuring.device_locks.fcntl.flock", no_locks)
    with EnergyMeter(rapl_root=tree.root, gpus="none", run_dir=tmp_path / "run") as meter:
        assert meter.domains["package-0"].status == "measured"
    assert device_locks._held == {}
    assert "each counts all of them" in caplog.text

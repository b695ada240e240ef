import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import grid_of_numbers as grid
import numpy as np
import pytest
import torch

from hitl_fast.experiments.common.journal import Journal, deterministic, read
from hitl_fast.experiments.common.runner import WorkerDiedError, run_grid


def run(path, work=grid.work, jobs=grid.JOBS, workers=0):
    with Journal(path, "numbers", grid.SETTINGS) as journal:
        return run_grid(work, jobs, journal, workers=workers, progress=False)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "results.jsonl"
    run(path)
    return deterministic(path)


def start(path, workers, work):
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "kernels")])}
    return subprocess.Popen(
        [sys.executable, grid.__file__, str(path), str(workers), work.__name__], env=environment
    )


def lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_records_stand_in_the_order_of_the_grid(tmp_path):
    records = run(tmp_path / "r.jsonl")
    assert [record["key"] for record in records] == [job["key"] for job in grid.JOBS]
    assert records[7]["mean"] == float(np.random.default_rng(7).normal(size=100).mean())
    assert set(records[7]["measured"]) == {"seconds", "cpu_seconds", "n"}
    assert read(tmp_path / "r.jsonl")[1] == records


def test_threads_are_as_before(tmp_path):
    import numba
    from hitl_kernels import policy

    threads = policy.numba_threads()
    before = torch.get_num_threads(), threads
    seen = []

    def work(job):
        seen.append((torch.get_num_threads(), numba.get_num_threads()))
        return {}

    run(tmp_path / "r.jsonl", work, grid.JOBS[:2])
    assert seen == [(1, 1)] * 2
    assert (torch.get_num_threads(), numba.get_num_threads()) == before


@pytest.mark.jit
def test_any_number_of_workers_gives_the_same_file(tmp_path, uninterrupted):
    run(tmp_path / "r.jsonl", workers=2)
    assert deterministic(tmp_path / "r.jsonl") == uninterrupted


def test_what_is_done_is_not_done_again(tmp_path):
    path = tmp_path / "r.jsonl"
    first = run(path, jobs=grid.JOBS[:5])
    done = []
    run(path, lambda job: done.append(job["n"]) or grid.work(job), grid.JOBS[:8])
    assert done == [5, 6, 7]
    assert read(path)[1][:5] == first


@pytest.mark.parametrize("workers", [0, 2])
def test_a_job_that_fails_is_named_and_the_rest_kept(tmp_path, workers):
    path = tmp_path / "r.jsonl"
    with pytest.raises(RuntimeError, match="'n3' failed: ArithmeticError: three is too much"):
        run(path, grid.fail_at_three, grid.JOBS[:6], workers)
    kept = {record["key"] for record in read(path)[1]}
    assert kept >= ({"n0", "n1", "n2"} if workers == 0 else set())
    assert "n3" not in kept
    run(path, jobs=grid.JOBS[:6])


def test_a_worker_that_dies_is_said(tmp_path):
    with pytest.raises(WorkerDiedError, match="a worker died"):
        run(tmp_path / "r.jsonl", grid.die_at_three, grid.JOBS[:6], workers=1)
    run(tmp_path / "r.jsonl", jobs=grid.JOBS[:6])


@pytest.mark.jit
def test_killed_twenty_times_and_resumed_is_as_uninterrupted(tmp_path, uninterrupted, server):
    path = tmp_path / "r.jsonl"
    generator = np.random.default_rng(0)
    for _ in range(20):
        # The moment is random, and late enough for some to have been written.
        done = lines(path)
        until = done + int(generator.integers(0, 5))
        process = server.Process(
            target=grid.until, args=(path, done + 3)
        )  # four lines more, however late it is killed
        process.start()
        while lines(path) < until and process.is_alive():
            time.sleep(0.001)
        time.sleep(float(generator.uniform(0, 0.01)))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    assert 0 < lines(path) < len(grid.JOBS)
    run(path)
    assert deterministic(path) == uninterrupted


@pytest.mark.jit
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_workers_do_not_outlive_a_killed_parent(tmp_path, sent):
    path = tmp_path / "r.jsonl"
    process = start(path, 2, grid.stuck_at_three)
    while lines(path) < 3 and process.poll() is None:
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) >= 2
    process.send_signal(sent)
    process.wait()
    gone(children)


@pytest.mark.jit
def test_an_interrupt_of_the_parent_alone_waits_for_no_job(tmp_path):
    path = tmp_path / "r.jsonl"
    process = start(path, 2, grid.stuck_at_three)
    while lines(path) < len(grid.JOBS) and process.poll() is None:
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=120) == -signal.SIGINT  # the job that is stuck takes an hour
    gone(children)
    # The one that was being written may have been taken back.
    assert len(read(path)[1]) in (len(grid.JOBS) - 2, len(grid.JOBS) - 1)


@pytest.mark.jit
def test_a_full_disk_stops_the_workers(tmp_path, monkeypatch):
    with Journal(tmp_path / "r.jsonl", "numbers", grid.SETTINGS) as journal:
        workers = []

        def full(record):
            workers.extend(process.pid for process in multiprocessing.active_children())
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(journal, "append", full)
        with pytest.raises(OSError, match="No space left") as caught:
            run_grid(grid.stuck_at_three, grid.JOBS, journal, workers=2, progress=False)
        assert caught.tb is not None  # its frames, and so the generator of records, are there still
        assert len(workers) == 2
        gone(workers)


def gone(processes):
    deadline = time.monotonic() + 60
    while any(map(alive, processes)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not list(filter(alive, processes))


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("jobs", "workers", "message"),
    [
        ([{"n": 1}], 0, r"jobs\[0\] needs a key"),
        ([{"key": "a"}, {"key": "a"}], 0, r"jobs\[1\] needs a key of its own"),
        ([{"key": "a"}], -1, "workers must be 0 or more, not -1"),
    ],
)
def test_bad_grids_are_refused(tmp_path, jobs, workers, message):
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "r.jsonl", jobs=jobs, workers=workers)


def test_a_journal_of_a_larger_grid_is_refused(tmp_path):
    run(tmp_path / "r.jsonl", jobs=grid.JOBS[:3])
    with pytest.raises(ValueError, match=r"not in this grid: \['n2'\]"):
        run(tmp_path / "r.jsonl", jobs=grid.JOBS[:2])

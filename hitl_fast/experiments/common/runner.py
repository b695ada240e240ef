"""Run a grid of jobs over processes; finished jobs are in the journal, so that a run resumes where it stopped."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from multiprocessing.connection import wait
from typing import Any

from hitl_fast._common.errors import InputError

from .journal import Journal, Record


class WorkerDiedError(RuntimeError):
    """A process of a grid ended without a result: killed, or out of memory."""


Work = Callable[[dict[str, Any]], dict[str, Any]]


def run_grid(
    work: Work,
    jobs: Sequence[dict[str, Any]],
    journal: Journal,
    *,
    workers: int | None = None,
    progress: bool = True,
) -> list[Record]:
    """Run each job that is not in the journal, append its record, and sort the journal into the grid's order.

    A record is the job, what ``work`` returned, and under "measured" the seconds and CPU seconds that it took
    (beside what ``work`` put there itself). Each job runs on one thread, so that its result depends neither on
    the number of workers nor on the machine's cores.

    Args:
        work: a function of a module, since it goes to other processes; takes a job, returns its results in JSON's
            types.
        jobs: dicts in JSON's types, each with its own string under "key".
        journal: open for writing; a job whose key it holds is not done again.
        workers: processes; the number of cores by default, 0 works in this process.
        progress: a bar with the time left, on a terminal.

    Returns:
        The records in the order of ``jobs``.

    Raises:
        ValueError: a key is missing or there twice, or the journal holds jobs that are not in the grid.
        RuntimeError: a job failed; the message names it. What was done before is kept.
        WorkerDiedError: a process of the grid ended without a result. What was done before is kept.
        KeyboardInterrupt: what was done is kept; the same call goes on from there.
    """
    keys = [job.get("key") for job in jobs]
    wrong = next((i for i, key in enumerate(keys) if not isinstance(key, str) or key in keys[:i]), None)
    if wrong is not None:
        raise InputError(f"jobs[{wrong}] needs a key of its own, a string; it has {keys[wrong]!r}")
    strange = journal.done.keys() - set(keys)
    if strange:
        raise InputError(f"{journal.path} holds jobs that are not in this grid: {sorted(strange)[:3]}")
    if workers is not None and workers < 0:
        raise InputError(f"workers must be 0 or more, not {workers}")
    left = [job for job in jobs if job["key"] not in journal.done]
    count = min(len(left), _cores() if workers is None else workers)
    finished = _here(work, left) if count == 0 else _spread(work, left, count)
    # Closed even where the disk is full, or the interrupt comes, while a record is written.
    with closing(finished):
        for record in _shown(finished, len(jobs), len(left), progress):
            journal.append(record)
    journal.finish([job["key"] for job in jobs])
    return [journal.done[job["key"]] for job in jobs]


def _shown(records: Iterator[Record], total: int, left: int, progress: bool) -> Iterator[Record]:
    from tqdm import tqdm

    with tqdm(total=total, initial=total - left, unit=" jobs", disable=None if progress else True) as bar:
        for record in records:
            yield record
            bar.update()


def _here(work: Work, jobs: Sequence[dict[str, Any]]) -> Generator[Record, None, None]:
    with _one_thread():
        for job in jobs:
            try:
                yield _measured(work, job)
            except Exception as problem:
                raise _failed(job, problem) from problem


def _spread(work: Work, jobs: Sequence[dict[str, Any]], workers: int) -> Generator[Record, None, None]:
    # Spawned, not forked: the threads of OpenMP and Numba do not survive a fork.
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_worker)
    try:
        futures: dict[Future[Record], dict[str, Any]] = {
            pool.submit(_measured, work, job): job for job in jobs
        }
        for future in as_completed(futures):
            try:
                yield future.result()
            except BrokenProcessPool:
                raise WorkerDiedError(
                    "a worker died (out of memory, or killed); what was done is kept, run again to go on"
                ) from None
            except Exception as problem:
                raise _failed(futures[future], problem) from problem
            del futures[future]
    except BaseException:
        # What runs would be thrown away, and waited for when Python exits.
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _failed(job: dict[str, Any], problem: Exception) -> RuntimeError:
    return RuntimeError(f"the job {job['key']!r} failed: {type(problem).__name__}: {problem}")


def _measured(work: Work, job: dict[str, Any]) -> Record:
    wall, cpu = time.perf_counter(), time.process_time()
    result = dict(work(dict(job)))
    measured = {
        "seconds": round(time.perf_counter() - wall, 6),
        "cpu_seconds": round(time.process_time() - cpu, 6),
        **result.pop("measured", {}),
    }
    return {**job, **result, "measured": measured}


def _worker() -> None:
    # Ctrl-C reaches the whole group: a worker dies of it without a word, the parent says what happened.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_die_with, args=(parent.sentinel,), daemon=True).start()
    _set_threads(1)


def _die_with(sentinel: int) -> None:
    """A parent that was killed cannot stop its workers, so they watch it."""
    wait([sentinel])
    os._exit(1)


@contextmanager
def _one_thread() -> Iterator[None]:
    import numba
    import torch

    before = torch.get_num_threads(), numba.get_num_threads()
    _set_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        numba.set_num_threads(before[1])


def _set_threads(count: int) -> None:
    import numba
    import torch

    numba.set_num_threads(count)
    torch.set_num_threads(count)  # last: Numba's threads, when they start, set its number in OpenMP


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

"""A grid that another process can run: `python grid_of_numbers.py JOURNAL WORKERS WORK`."""

import functools
import signal
import sys
import time
from pathlib import Path

import numpy as np

from hitl_fast.experiments.common.journal import Journal
from hitl_fast.experiments.common.runner import run_grid

JOBS = [{"key": f"n{n}", "n": n} for n in range(100)]
SETTINGS = {"jobs": len(JOBS)}


def work(job):
    time.sleep(0.005)
    return {"mean": float(np.random.default_rng(job["n"]).normal(size=100).mean()), "measured": {"n": 1}}


def fail_at_three(job):
    if job["n"] == 3:
        raise ArithmeticError("three is too much")
    return work(job)


def die_at_three(job):
    if job["n"] == 3:
        import os

        os._exit(9)
    return work(job)


def stuck_at_three(job):
    if job["n"] == 3:
        time.sleep(3600)
    return work(job)


def stuck_from(first, job):
    if job["n"] >= first:
        time.sleep(3600)
    return work(job)


def main(path, workers, does):
    with Journal(Path(path), "numbers", SETTINGS) as journal:
        return run_grid(does, JOBS, journal, workers=workers, progress=False)


def until(path, first):
    """In this process, as far as the job that takes an hour: whoever ends it need not be fast."""
    main(path, 0, functools.partial(stuck_from, first))


if __name__ == "__main__":
    # A job in the background inherits that interrupts are ignored, and whoever runs these tests may be one.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main(sys.argv[1], int(sys.argv[2]), globals()[sys.argv[3]])

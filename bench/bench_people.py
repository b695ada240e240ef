"""Signals, questions and propagation at the sizes that people use: time, and memory of each in a process of its own."""

import resource
import subprocess
import sys
import time

import numpy as np
import pytest
from race import record

from hitl_fast.ratings.priorities import Priorities
from hitl_fast.ratings.questions import ask_next
from hitl_fast.ratings.signals import COLUMNS, Signals

CLASSES, WIDTH = 100, 512


def features(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    truth = generator.integers(0, CLASSES, n)
    x = generator.normal(size=(CLASSES, WIDTH)).astype(np.float32)[truth]
    x += generator.normal(size=(n, WIDTH)).astype(np.float32)
    labels = truth.copy()
    wrong = generator.choice(n, n // 10, replace=False)
    labels[wrong] = (labels[wrong] + 1) % CLASSES
    return x, labels, wrong


def many(n: int) -> Signals:
    """Signals of as many samples, without computing them."""
    generator = np.random.default_rng(0)
    return Signals(
        generator.integers(0, CLASSES, n), tuple(range(CLASSES)), generator.uniform(0.01, 0.99, n),
        np.ones(n, np.int64),
        np.clip(generator.normal(size=(n, len(COLUMNS))), -4, 4).astype(np.float32),
        generator.normal(size=(n, 16)).astype(np.float32), 1.0, 1e-3, 0.1,
    )  # fmt: skip


def measured(what: str, n: int) -> tuple[float, float]:
    """Seconds and the largest resident memory, in bytes, of one step in a fresh process."""
    run = subprocess.run(
        [sys.executable, __file__, what, str(n)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    seconds, memory = map(float, run.stdout.split())
    return seconds, memory


def step(what: str, n: int) -> float:
    if what == "signals":
        x, labels, wrong = features(n)
        begin = time.perf_counter()
        found = Signals.of(x, labels)
        seconds = time.perf_counter() - begin
        assert np.median(found.quality[wrong]) < 0.5 < np.median(np.delete(found.quality, wrong))
        return seconds
    signals = many(n)
    if what == "questions":
        begin = time.perf_counter()
        items = ask_next(signals, 54)
        seconds = time.perf_counter() - begin
        assert len(set(items.tolist())) == 54
        return seconds
    items = np.arange(500) * (n // 500)
    score = np.clip(3 + signals.table[items, 0], 1, 5).astype(np.float64)
    given = Priorities(items, score, np.zeros(500), np.ones(500, np.int64), (1.0, 5.0), "mean", n)
    begin = time.perf_counter()
    result = given.propagate(signals)
    seconds = time.perf_counter() - begin
    assert np.corrcoef(result.score, signals.table[:, 0])[0, 1] > 0.8
    return seconds


@pytest.mark.parametrize(
    ("what", "n"), [("signals", 50_000), ("questions", 1_000_000), ("propagate", 1_000_000)]
)
def test_time_and_memory(what: str, n: int) -> None:
    runs = [measured(what, n) for _ in range(3)]
    width = f" d={WIDTH} classes={CLASSES}" if what == "signals" else ""
    shape = f"n={n}{width}"
    record("people", what, "time", np.array([s for s, _ in runs]), unit="s", shape=shape)
    record("people", what, "memory", np.array([m for _, m in runs]) / 1e9, unit="GB", shape=shape)


if __name__ == "__main__":
    spent = step(sys.argv[1], int(sys.argv[2]))
    print(spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)

"""Interleaved timing: every provider once a round, in one process, so that a drifting machine hits all alike.

Rows are appended to ``bench/results/<op>.csv``; a ratio is taken round by round and its median recorded.
"""

from __future__ import annotations

import csv
import datetime
import gc
import importlib.metadata
import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).parent / "results"
COLUMNS = (
    "op", "provider", "mode", "metric", "unit", "shape", "dtype", "p50", "p20", "p80",
    "device", "torch", "triton", "numba", "commit", "date",
)  # fmt: skip


def race(
    op: str,
    providers: Mapping[str, Callable[[], object]],
    *,
    shape: str,
    dtype: str = "float32",
    mode: str = "cpu",
    rounds: int = 10,
    warmup: int = 2,
    inner: Mapping[str, int] | None = None,
    work: Mapping[str, float] | None = None,
    unit: str = "ms",
) -> dict[str, float]:
    """Time each provider ``rounds`` times in turn and record the rows.

    Args:
        op: operation; names the CSV.
        providers: name -> call to time, the one under test first. The caller checks its result before.
        shape: the problem, as text.
        inner: calls a round for providers too short for the clock; 1 if not named.
        work: units of work in one call (e.g. row pairs), so that the recorded time is per unit; 1 if not named.
        unit: "s", "ms" or "us" for the recorded times.

    Returns:
        For each other provider the median over rounds of its time over the first provider's: how many
        times as fast the first one is.
    """
    names = list(providers)
    scale = {"s": 1.0, "ms": 1e3, "us": 1e6}[unit]
    repeats = {name: (inner or {}).get(name, 1) for name in names}
    units = {name: (work or {}).get(name, 1.0) for name in names}
    for _ in range(warmup):
        for call in providers.values():
            call()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    gc.collect()
    gc.disable()
    try:
        for number in range(rounds):
            for name in names if number % 2 == 0 else reversed(names):
                start = time.perf_counter()
                for _ in range(repeats[name]):
                    providers[name]()
                seconds[name].append((time.perf_counter() - start) / repeats[name] / units[name])
    finally:
        gc.enable()
    first = np.array(seconds[names[0]])
    ratios = {}
    for name in names:
        record(
            op, name, "time", np.array(seconds[name]) * scale, unit=unit, shape=shape, dtype=dtype, mode=mode
        )
        if name != names[0]:
            ratio = np.array(seconds[name]) / first
            record(op, f"{name} / {names[0]}", "ratio", ratio, unit="x", shape=shape, dtype=dtype, mode=mode)
            ratios[name] = float(np.median(ratio))
    return ratios


def record(
    op: str,
    provider: str,
    metric: str,
    values: np.ndarray | float,
    *,
    unit: str,
    shape: str,
    dtype: str = "float32",
    mode: str = "cpu",
) -> None:
    """Append one row with the median, 20 % and 80 % quantile of the values, and print it."""
    p20, p50, p80 = np.quantile(np.atleast_1d(values), [0.2, 0.5, 0.8])
    row = {
        "op": op, "provider": provider, "mode": mode, "metric": metric, "unit": unit, "shape": shape,
        "dtype": dtype, "p50": f"{p50:.5g}", "p20": f"{p20:.5g}", "p80": f"{p80:.5g}", "device": device(mode),
        "torch": _version("torch"), "triton": _version("triton"), "numba": _version("numba"),
        "commit": _commit(), "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
    }  # fmt: skip
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{op}.csv"
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)
    print(
        f"{op:>24} {provider:<32} {metric:<8} {p50:>10.4g} {unit:<4} [{p20:.4g}, {p80:.4g}]  {shape} {dtype}"
    )


def device(mode: str) -> str:
    """The hardware that the numbers are of, as the README quotes it."""
    if mode == "gpu":
        import torch

        return str(torch.cuda.get_device_name())
    model = next(
        (line.split(":")[1].strip() for line in _read("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor() or platform.machine(),
    )
    return f"{len(os.sched_getaffinity(0))} cores of a shared {model}, load {os.getloadavg()[0]:.1f}"


def _read(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _commit() -> str:
    """The commit that was measured, with a ``+`` where the tree had changes on top of it (results aside)."""
    root = Path(__file__).parent.parent

    def git(*arguments: str) -> str:
        run = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
        return run.stdout.strip()

    changed = git("status", "--porcelain", "--", "hitl_fast", "kernels")
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")

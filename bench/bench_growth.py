"""How k-means and the cold start grow: one axis at a time, beside the rate of a matrix product of the same run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hitl_kernels.lloyd import lloyd
from problems import cluster_rows
from race import race, record

# One axis at a time from (20,000, 256, 10); the last is the E-step that 1,000 classes need.
BASE = (20_000, 256, 10)
GROWTH = [
    BASE,
    (20_000, 256, 100), (20_000, 256, 1_000), (20_000, 256, 10_000),
    (20_000, 1_024, 10), (20_000, 4_096, 10), (20_000, 16_384, 10),
    (100_000, 256, 10), (1_000_000, 256, 10),
    (50_000, 512, 1_000),
]  # fmt: skip


@pytest.mark.parametrize(("n", "d", "k"), GROWTH)
def test_lloyd_grows_with_its_operations(n: int, d: int, k: int) -> None:
    """Two iterations and their last E-step beside three matrix products of the same size, in blocks of rows."""
    x = cluster_rows(n, d, min(k, 100), "blobs")
    starts = x[:k].copy()
    result = lloyd(x, starts, max_iter=2, tol=0.0)
    assert result.iterations == 2
    own = ((x - result.centroids[result.labels]) ** 2).sum(1)
    other = ((x - result.centroids[(result.labels + 1) % k]) ** 2).sum(1)
    assert (own <= other * 1.0001).all()
    rows, points = torch.from_numpy(x), torch.from_numpy(starts)
    block = max(1, min(n, (1 << 24) // k))
    out = torch.empty(block, k)

    def products() -> None:
        for _ in range(3):
            for start in range(0, n, block):
                part = rows[start : start + block]
                torch.mm(part, points.T, out=out[: len(part)])

    race(
        "growth",
        {"lloyd": lambda: lloyd(x, starts, max_iter=2, tol=0.0), "three matrix products": products},
        shape=f"N={n} D={d} K={k}",
        rounds=3,
        warmup=1,
    )


COLD = """
import time
import numpy as np
import torch
from hitl_kernels.lloyd import lloyd
from hitl_kernels.rand_index import rand_index
from hitl_kernels.shift_distances import shift_distances
rows = torch.rand(64, 100)
assert shift_distances(rows, rows.clone(), per_row=True).distances.max() == 0
x = np.random.default_rng(0).random((256, 16), dtype=np.float32)
assert rand_index(lloyd(x, x[:10]).labels, np.zeros(256, int)) == 0
print(time.process_time())
"""


@pytest.mark.parametrize("cache", ["empty", "warm"])
def test_cold_start(cache: str, tmp_path: Path) -> None:
    """CPU seconds of a process that uses what `preindex` uses of the core, imports included."""
    root = Path(__file__).parent.parent
    path = os.pathsep.join([str(root), str(root / "kernels")])
    seconds = []
    for number in range(4):
        folder = tmp_path / (f"cache{number}" if cache == "empty" else "cache")
        run = subprocess.run(
            [sys.executable, "-c", COLD], capture_output=True, text=True, check=True,
            env=os.environ | {"PYTHONPATH": path, "NUMBA_CACHE_DIR": str(folder)},
        )  # fmt: skip
        seconds.append(float(run.stdout))
    record(
        "cold_start",
        "kernels of preindex",
        "CPU time",
        np.array(seconds[1:]),
        unit="s",
        shape=f"{cache} cache",
    )

"""What a second rank brings: two ranks of one thread beside one of one thread, on this machine.

RANKS_SAMPLES, RANKS_SIDE, RANKS_CLASSES: another size than that of the table, to try the file out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from race import record

ROOT = Path(__file__).parent.parent
SAMPLES, SIDE, CLASSES = (
    int(os.environ.get(f"RANKS_{name}", default))
    for name, default in (("SAMPLES", "10000"), ("SIDE", "32"), ("CLASSES", "100"))
)
ROUNDS = int(os.environ.get("RANKS_ROUNDS", "5"))

RANK = """
import json, os, sys, time, torch
from bench_preindex import paired, resnet18
import hitl_fast as hf

samples, side, classes = map(int, sys.argv[1:])
torch.set_num_threads(1)
if "RANK" in os.environ:
    torch.distributed.init_process_group("gloo")
torch.manual_seed(0)
model = resnet18(classes)
clean, shifted = paired(samples, (3, side, side), 64, classes)

def run(n, **given):
    loaders = (hf.sharded(clean[:n]), hf.sharded(shifted[:n]))
    return hf.preindex(model, *loaders, group="world", progress=False, **given)

run(4, effort_samples=16)  # loads what is compiled
ended = [0.0]  # when the model last gave something: what follows is the after-pass, exchange and waiting included
model.register_forward_hook(lambda *_: ended.__setitem__(0, time.perf_counter()))
report = run(None)
after = time.perf_counter() - ended[0]
if os.environ.get("RANK", "0") == "0":
    seconds = {"forward": report.seconds["forward"], "after-pass": after}
    print(json.dumps({"index": report.index, "samples": report.samples, "seconds": seconds}))
if "RANK" in os.environ:
    torch.distributed.destroy_process_group()
"""


def measured(ranks: int, script: Path) -> dict[str, float]:
    """Seconds of the parts, and the index, of one run."""
    launcher = (
        ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"] if ranks > 1 else []
    )
    path = os.pathsep.join(str(folder) for folder in (ROOT, ROOT / "kernels", ROOT / "bench"))
    run = subprocess.run(
        [sys.executable, *launcher, str(script), str(SAMPLES), str(SIDE), str(CLASSES)],
        capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"},
    )  # fmt: skip
    found = json.loads(run.stdout.splitlines()[-1])
    assert found["samples"] == SAMPLES
    return {"index": found["index"], **found["seconds"]}


def test_a_second_rank(tmp_path: Path) -> None:
    """Interleaved runs; ratios are taken round by round."""
    script = tmp_path / "rank.py"
    script.write_text(RANK)
    runs: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    for number in range(ROUNDS):
        for ranks in (1, 2) if number % 2 == 0 else (2, 1):
            runs[ranks].append(measured(ranks, script))
    one, two = runs[1], runs[2]
    for a, b in zip(one, two, strict=True):
        assert abs(a["index"] - b["index"]) < 1e-8
    shape = f"ResNet-18 {SIDE}x{SIDE} N={SAMPLES} K={CLASSES}, one thread a rank"
    for part in ("forward", "after-pass"):
        for ranks in (1, 2):
            seconds = np.array([run[part] for run in runs[ranks]])
            record(
                "ranks", f"{part}, {ranks} rank{'s' * (ranks > 1)}", "time", seconds, unit="s", shape=shape
            )
        ratio = np.array([a[part] / b[part] for a, b in zip(one, two, strict=True)])
        record("ranks", f"{part}, 1 rank / 2 ranks", "ratio", ratio, unit="x", shape=shape)

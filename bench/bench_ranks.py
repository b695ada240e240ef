"""What a second rank brings: two ranks of one thread against one rank of one thread, forward and after-pass ratios.

The processes start once and take turns, so that one call ends in two minutes on two cores. The model is small and its
embedding wide: of the time of a ResNet-18 the after-pass would be too small a part to be compared.

RANKS_SAMPLES, RANKS_SIDE, RANKS_CLASSES, RANKS_ROUNDS: another size than that of the table, to try the file out.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from race import record

ROOT = Path(__file__).parent.parent
SAMPLES, SIDE, CLASSES, ROUNDS = (
    int(os.environ.get(f"RANKS_{name}", default))
    for name, default in (("SAMPLES", "10000"), ("SIDE", "16"), ("CLASSES", "100"), ("ROUNDS", "4"))
)

RANK = """
import json, os, sys, time, torch
from bench_preindex import paired
from torch import nn
import hitl_fast as hf

samples, side, classes = map(int, sys.argv[1:])
torch.set_num_threads(1)
if os.environ["WORLD_SIZE"] != "1":
    torch.distributed.init_process_group("gloo")
torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 128, 3, 2), nn.ReLU(), nn.Conv2d(128, 512, 3, 2), nn.ReLU(),
    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes),
).eval()
clean, shifted = paired(samples, (3, side, side), 64, classes)
ended = [0.0]  # when the model last gave something: what follows is the after-pass, exchange and waiting included
model.register_forward_hook(lambda *_: ended.__setitem__(0, time.perf_counter()))

def run(n):
    loaders = (hf.sharded(clean[:n]), hf.sharded(shifted[:n]))
    return hf.preindex(model, *loaders, group="world", progress=False)

run(4)  # loads what is compiled
for _ in sys.stdin:
    report = run(None)
    after = time.perf_counter() - ended[0]
    seconds = {"forward": report.seconds["forward"], "after-pass": after}
    print(json.dumps({"index": report.index, "samples": report.samples, **seconds}), flush=True)
if os.environ["WORLD_SIZE"] != "1":
    torch.distributed.destroy_process_group()
"""


class Ranks:
    """Processes of one thread each, which wait between runs without using a core."""

    def __init__(self, size: int, script: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        path = os.pathsep.join(str(folder) for folder in (ROOT, ROOT / "kernels", ROOT / "bench"))
        shared = {
            "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "WORLD_SIZE": str(size),
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_WORLD_SIZE": str(size),
        }  # fmt: skip
        command = [sys.executable, str(script), str(SAMPLES), str(SIDE), str(CLASSES)]
        self.processes = [
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            )
            for rank in range(size)
        ]  # fmt: skip

    def run(self) -> dict[str, Any]:
        """What rank 0 reports: index, samples and the seconds of the parts."""
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write("run\n")
            process.stdin.flush()
        lines = [process.stdout.readline() for process in self.processes if process.stdout is not None]
        assert all(lines), "a rank has ended, see its traceback above"
        found: dict[str, Any] = json.loads(lines[0])
        assert found["samples"] == SAMPLES
        return found

    def close(self) -> None:
        for process in self.processes:
            if process.stdin is not None:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


@contextlib.contextmanager
def started(script: Path) -> Iterator[dict[int, Ranks]]:
    """One rank, and two."""
    with contextlib.ExitStack() as stack:
        teams = {}
        for size in (1, 2):
            teams[size] = Ranks(size, script)
            stack.callback(teams[size].close)
        yield teams


def test_a_second_rank(tmp_path: Path) -> None:
    """Interleaved runs; ratios are taken round by round."""
    script = tmp_path / "rank.py"
    script.write_text(RANK)
    runs: dict[int, list[dict[str, Any]]] = {1: [], 2: []}
    with started(script) as teams:
        for number in range(ROUNDS):
            for ranks in (1, 2) if number % 2 == 0 else (2, 1):
                runs[ranks].append(teams[ranks].run())
    one, two = runs[1], runs[2]
    for a, b in zip(one, two, strict=True):
        assert abs(a["index"] - b["index"]) < 1e-8
    shape = f"CNN {SIDE}x{SIDE} N={SAMPLES} D=512 K={CLASSES}, one thread a rank"
    for part in ("forward", "after-pass"):
        for ranks in (1, 2):
            seconds = np.array([run[part] for run in runs[ranks]])
            record(
                "ranks", f"{part}, {ranks} rank{'s' * (ranks > 1)}", "time", seconds, unit="s", shape=shape
            )
        ratio = np.array([a[part] / b[part] for a, b in zip(one, two, strict=True)])
        record("ranks", f"{part}, 1 rank / 2 ranks", "ratio", ratio, unit="x", shape=shape)

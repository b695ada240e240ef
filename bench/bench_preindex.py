"""What preindex costs over the model alone: time, memory, import."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from race import race, record
from torch import Tensor, nn

import hitl_fast as hf

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "shift")]
from test_golden import golden  # noqa: E402

Batches = list[tuple[Tensor, Tensor]]


class Block(nn.Module):
    """The basic block of a ResNet."""

    def __init__(self, entering: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(entering, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        straight = stride == 1 and entering == width
        down = nn.Sequential(nn.Conv2d(entering, width, 1, stride, bias=False), nn.BatchNorm2d(width))
        self.down = nn.Identity() if straight else down

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (y + self.down(x)).relu()


def resnet18(classes: int = 10) -> nn.Module:
    """ResNet-18 as it is used on 32x32 images: a 3x3 stem without pooling, 11 million parameters."""
    widths = [64, 64, 64, 128, 128, 256, 256, 512, 512]
    blocks = [Block(widths[i], widths[i + 1], 2 if i in (2, 4, 6) else 1) for i in range(8)]
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(), *blocks,
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes),
    ).eval()  # fmt: skip


def paired(n: int, shape: tuple[int, ...], batch_size: int, classes: int = 10) -> tuple[Batches, Batches]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % classes
    clean = torch.randn(n, *shape, generator=generator) + labels.view(-1, *[1] * len(shape)) / classes
    shifted = clean + 0.5 * torch.randn(n, *shape, generator=generator)
    y = labels.split(batch_size)
    return list(zip(clean.split(batch_size), y, strict=True)), list(
        zip(shifted.split(batch_size), y, strict=True)
    )


@torch.no_grad()
def bare(model: nn.Module, *loaders: Batches) -> None:
    for loader in loaders:
        for x, _ in loader:
            model(x)


def overhead(name: str, model: nn.Module, clean: Batches, shifted: Batches, rounds: int) -> None:
    n = sum(len(y) for _, y in clean)
    report = hf.preindex(model, clean, shifted, progress=False)
    assert report.samples == n
    assert report.distance > 0
    providers = {
        "bare forward": lambda: bare(model, clean, shifted),
        "preindex": lambda: hf.preindex(model, clean, shifted, progress=False),
    }
    race("preindex", providers, shape=f"{name} N={n} batch=64", unit="s", rounds=rounds, warmup=1)


def test_resnet18() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = resnet18()
    overhead("ResNet-18 32x32", model, *paired(256, (3, 32, 32), 64), rounds=10)


def test_resnet18_with_every_score() -> None:
    """1,024 pairs with the effort score and the check of rows, and without the two, each beside the model alone.

    The check cannot be left out: its seconds, which the report states, are taken off.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = resnet18()
    loaders = paired(1024, (3, 32, 32), 64)
    seconds: dict[str, list[float]] = {"bare forward": [], "preindex": [], "preindex without the two": []}

    def timed(name: str, call: Callable[[], Any]) -> None:
        start = time.perf_counter()
        report = call()
        checking = 0.0 if name != "preindex without the two" else report.seconds["checking"]
        seconds[name].append(time.perf_counter() - start - checking)

    calls: list[tuple[str, Callable[[], Any]]] = [
        ("bare forward", lambda: bare(model, *loaders)),
        ("preindex", lambda: hf.preindex(model, *loaders, progress=False)),
        (
            "preindex without the two",
            lambda: hf.preindex(model, *loaders, progress=False, effort_samples=0),
        ),
    ]
    for _, call in calls:
        call()
    for number in range(6):
        for name, call in calls if number % 2 == 0 else reversed(calls):
            timed(name, call)
    shape = "ResNet-18 32x32 N=1024 batch=64"
    alone = np.array(seconds["bare forward"])
    for name, times in seconds.items():
        record("preindex", name, "time", np.array(times), unit="s", shape=shape)
        if name != "bare forward":
            record(
                "preindex", f"{name} / bare forward", "ratio", np.array(times) / alone, unit="x", shape=shape
            )


def test_checking() -> None:
    """What the check of arrangements costs: a few samples that go alone, of a run of 1,000 pairs."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = resnet18()
    report = hf.preindex(model, *paired(1000, (3, 32, 32), 64), progress=False)
    assert report.samples == 1000
    assert not report.notes
    share = report.seconds["checking"] / sum(report.seconds.values())
    record("preindex", "checking", "share", 100 * share, unit="%", shape="ResNet-18 32x32 N=1000 batch=64")


def test_small_resnet() -> None:
    """The trained model and the real digits of the golden values: a model so small that statistics show."""
    model, clean, shifted, _ = golden("digits_resnet_gauss", batch_size=64)
    overhead("SmallResNet 8x8", model.eval(), clean, shifted, rounds=20)


PEAK = """
import json, sys, torch
sys.path[:0] = {paths!r}
from torch import nn
from bench_preindex import streamed, bare
import hitl_fast as hf

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(3, 64, 3, 2, 1), nn.ReLU(), nn.Conv2d(64, 512, 3, 2, 1), nn.AdaptiveAvgPool2d(1),
                      nn.Flatten(), nn.Linear(512, 10)).eval()
n = {n}
hf.preindex(model, streamed(256, 0), streamed(256, 1), max_memory=0, progress=False)  # compiles, fills caches
with torch.no_grad():
    for x, _ in streamed(2048, 0):
        model(torch.cat([x, x]))
before = peak()
report = hf.preindex(model, streamed(n, 0), streamed(n, 1), max_memory=0, progress=False)
print(json.dumps(dict(before=before, after=peak(), samples=report.samples, mode=report.mode)))
"""


def streamed(n: int, seed: int):  # type: ignore[no-untyped-def]
    """Batches made when they are read, so that the data take no memory."""
    for start in range(0, n, 64):
        size = min(64, n - start)
        generator = torch.Generator().manual_seed(start)
        labels = (torch.arange(size) + start) % 10
        x = torch.randn(size, 3, 16, 16, generator=generator) + labels.view(-1, 1, 1, 1) / 5
        if seed:
            x = x + 0.5 * torch.randn(x.shape, generator=generator)
        yield x, labels


def test_peak_memory_does_not_grow_with_samples() -> None:
    paths = [str(ROOT / "bench"), str(ROOT), str(ROOT / "kernels")]
    over = {}
    shape = "D=512 embeddings in a file"
    for n in (10_000, 100_000):
        run = subprocess.run(
            [sys.executable, "-c", PEAK.format(paths=paths, n=n)], capture_output=True, text=True, check=True
        )
        found = json.loads(run.stdout)
        assert found["samples"] == n
        assert "embeddings in a file" in found["mode"]
        record("preindex", f"peak, N={n}", "memory", found["after"] / 1024, unit="MiB", shape=shape)
        over[n] = (found["after"] - found["before"]) / 1024
        record("preindex", f"peak over bare, N={n}", "memory", over[n], unit="MiB", shape=shape)
    # A few MiB over the bare model are noise of the allocator: the growth is told beside the ratio of whole peaks.
    grown = over[100_000] - over[10_000]
    record(
        "preindex",
        "growth of peak over bare, N=100,000 over 10,000",
        "memory",
        grown,
        unit="MiB",
        shape=shape,
    )


def test_import() -> None:
    def run(code: str) -> float:
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
        )
        return float(run.stdout)

    environment = dict(os.environ, PYTHONPATH=f"{ROOT}:{ROOT / 'kernels'}")
    code = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"
    for package in ("hitl_fast", "numpy", "torch"):
        seconds = np.array([run(code.format(package)) for _ in range(11)][1:])
        record("import", package, "time", 1e3 * seconds, unit="ms", shape="fresh interpreter")

"""What follows the forward pass of preindex, as a share of it: many classes, and many samples of a small model.

AFTER_PASS_SCALE: a share of the samples and classes of the table, to try the file out.
"""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
import torch
from bench_preindex import Batches, paired, resnet18
from race import record
from torch import nn

import hitl_fast as hf

SCALE = float(os.environ.get("AFTER_PASS_SCALE", "1"))


def small_cnn(classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(32, 128), nn.ReLU(), nn.Linear(128, classes),
    ).eval()  # fmt: skip


CASES = {
    "ResNet-18 32x32": (resnet18, (3, 32, 32), 50_000, 1_000),
    "small CNN 8x8": (small_cnn, (1, 8, 8), 100_000, 10),
}


def _timed(model: nn.Module, loaders: tuple[Batches, Batches]) -> tuple[float, float]:
    """Seconds of the forward pass of both sides, and of what follows it."""
    clean, shifted = loaders
    hf.preindex(model, clean[:1], shifted[:1], progress=False)
    ended = [0.0]  # when the model last gave something
    handle = model.register_forward_hook(lambda *_: ended.__setitem__(0, time.perf_counter()))
    report = hf.preindex(model, clean, shifted, progress=False)
    after = time.perf_counter() - ended[0]
    handle.remove()
    assert report.samples == sum(len(y) for _, y in clean)
    assert report.classes == max(int(y.max()) for _, y in clean) + 1
    assert report.clusters["clean_kmeans++"] is None
    return report.seconds["forward"], after


@pytest.mark.parametrize("name", CASES)
def test_after_pass(name: str) -> None:
    """One run, long for ResNet-18, after a short one that loads what is compiled; the effort score is included."""
    make, shape, samples, classes = CASES[name]
    n, k = max(64, int(samples * SCALE)), max(2, int(classes * SCALE))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make(k)
    forward, after = _timed(model, paired(n, shape, 64, k))
    where = f"{name} N={n} K={k}"
    record("after_pass", "forward of both sides", "time", forward, unit="s", shape=where)
    record("after_pass", "after-pass", "time", after, unit="s", shape=where)
    record("after_pass", "after-pass / forward", "ratio", np.array([after / forward]), unit="x", shape=where)


def test_after_pass_in_parts() -> None:
    """The ResNet-18 of the table without its long forward pass, which grows with the samples alone.

    The forward pass is that of 2,048 pairs, as many as the effort score takes, times the rest. The after-pass is that
    of these pairs, with every layer's inputs, and that of embeddings of all samples: more than that of a whole run.
    """
    samples, classes, few = int(50_000 * SCALE), max(2, int(1_000 * SCALE)), 2_048
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, head = resnet18(classes), nn.Sequential(nn.Linear(512, 512), nn.Linear(512, classes)).eval()
    forward, of_few = _timed(model, paired(few, (3, 32, 32), 64, classes))
    _, of_all = _timed(head, paired(samples, (512,), 64, classes))
    where = f"ResNet-18 32x32 N={samples} K={classes}, in parts"
    whole, after = forward * samples / few, of_few + of_all
    record("after_pass", f"forward of {few} pairs", "time", forward, unit="s", shape=where)
    record("after_pass", f"after-pass of {few} pairs, all layers", "time", of_few, unit="s", shape=where)
    record("after_pass", "after-pass of all embeddings", "time", of_all, unit="s", shape=where)
    record("after_pass", "after-pass / forward", "ratio", np.array([after / whole]), unit="x", shape=where)

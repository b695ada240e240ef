"""What the effort score and the other after-pass statistics cost beside the forward pass."""

import os
import time
import warnings

import numpy as np
import pytest
import torch
from race import race, record
from torch import nn

from hitl_fast.shift.after_pass import scores_of_embeddings
from hitl_fast.shift.effort_score import effort_score
from hitl_fast.shift.embedding_scores import Embedding, class_sums, linear_cka, probe_error

# Widths of the inputs of ResNet-18's 21 layers.
RESNET18 = (3, *[64] * 5, *[128] * 4, 64, *[256] * 4, 128, *[512] * 4, 256)
SMALL = os.environ.get("HITL_BENCH_SMALL") == "1"  # sizes that only show that the file runs


def layer_inputs(
    n: int, widths: tuple[int, ...], classes: int
) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = generator.integers(classes, size=n)
    clean = [
        (generator.standard_normal((classes, w))[labels] + generator.standard_normal((n, w))).astype(
            np.float32
        )
        for w in widths
    ]
    shifted = [X + generator.standard_normal(X.shape).astype(np.float32) for X in clean]
    weights = generator.standard_normal((widths[-1], classes)).astype(np.float32) / 8
    logits = [side[-1] @ weights + 4 * np.eye(classes, dtype=np.float32)[labels] for side in (clean, shifted)]
    return clean, shifted, logits[0], logits[1], labels


def forward_seconds(pairs: int, side: int) -> float:
    """CPU time of a bare ResNet-18 over both sides, from some batches of 50."""
    from bench_preindex import resnet18

    model = resnet18(1000)
    model[0] = nn.Sequential(nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.MaxPool2d(3, 2, 1))
    images = torch.randn(10 if SMALL else 50, 3, side, side, generator=torch.Generator().manual_seed(0))
    times = []
    with torch.inference_mode():
        model(images)
        for _ in range(1 if SMALL else 4):
            start = time.perf_counter()
            assert model(images).shape == (len(images), 1000)
            times.append(time.perf_counter() - start)
    return float(np.median(times)) * 2 * pairs / len(images)


@pytest.mark.filterwarnings("ignore:effort score")
def test_effort_score_against_a_bare_forward() -> None:
    pairs, side = (60, 64) if SMALL else (1000, 224)
    given = layer_inputs(pairs, RESNET18, 1000)
    found = effort_score(*given)
    assert found.samples == pairs
    assert found.effort_score == np.sqrt(found.path_excess) + 4 * found.probe_increase
    shape = f"ResNet-18 at {side} px, {pairs} pairs"
    forward = forward_seconds(pairs, side)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        effort_score(*given)
        times.append(time.perf_counter() - start)
    record("effort_score", "effort score", "time", np.array(times), unit="s", shape=shape)
    record("effort_score", "bare forward of both sides", "time", forward, unit="s", shape=shape)
    record(
        "effort_score",
        "effort score / bare forward",
        "ratio",
        np.array(times) / forward,
        unit="x",
        shape=shape,
    )


@pytest.mark.filterwarnings("ignore:effort score")
@pytest.mark.parametrize(("n", "classes", "width"), [(1000, 10, 512), (2048, 1000, 512), (2048, 1000, 128)])
def test_effort_score_by_size(n: int, classes: int, width: int) -> None:
    if SMALL:
        n, classes, width = n // 20, classes // 10, width // 8
    given = layer_inputs(n, (width,) * 4, classes)
    assert 0 <= effort_score(*given).path_excess <= 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        race(
            "effort_score",
            {"effort score": lambda: effort_score(*given)},
            shape=f"n = {n}, 4 layers of {width}, {classes} classes",
            rounds=3,
            warmup=1,
            unit="s",
        )


@pytest.mark.parametrize(
    ("n", "width", "classes"),
    [
        (50_000, 512, 1000), (100_000, 128, 10),
        (20_000, 256, 10), (20_000, 256, 1000), (20_000, 256, 10_000),
        (20_000, 2048, 10), (20_000, 16_384, 10), (1_000_000, 256, 10),
    ],
)  # fmt: skip
def test_after_pass(n: int, width: int, classes: int) -> None:
    """Class sums, CKA, probe error, and all of it with the three Lloyd runs that the report needs."""
    if SMALL:
        n, width, classes = n // 100, width // 8, max(classes // 100, 2)
    generator = np.random.default_rng(0)
    labels = generator.permutation(np.arange(n) % classes)
    centres = generator.standard_normal((classes, width), np.float32)
    clean = torch.from_numpy(generator.standard_normal((n, width), np.float32)).add_(
        torch.from_numpy(centres)[labels]
    )
    shifted = clean + torch.from_numpy(generator.standard_normal((n, width), np.float32))
    sides = Embedding(clean, labels, classes), Embedding(shifted, labels, classes)
    assert class_sums(sides[0])[0, 0] == pytest.approx(float(clean[labels == 0, 0].double().sum()), rel=1e-9)
    parts = {
        "class sums": lambda: class_sums(sides[0]),
        "linear CKA": lambda: linear_cka(*sides),
        "probe error": lambda: probe_error(sides[1]),
        "all after the pass": lambda: scores_of_embeddings(clean, shifted, labels, restarts=0),
    }
    for name, part in parts.items():
        start = time.perf_counter()
        assert part() is not None
        seconds = time.perf_counter() - start
        record("after_pass", name, "time", seconds, unit="s", shape=f"N = {n}, D = {width}, K = {classes}")

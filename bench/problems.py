"""The problems that benchmarks time: the interleaved comparisons (`bench_*.py`) and `microbench/` use the same ones."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

# rows, columns, clusters, iterations
LLOYD = [(50_000, 512, 100, 10), (300_000, 64, 10, 20), (1_792, 128, 10, 20), (5_000, 8_192, 100, 5)]
SHIFT = (4096, 256, (16, 32, 64))  # rows, columns, bins
RAND_INDEX_SAMPLES = 1_000_000
# classes, whether their names are random 64-bit integers
RAND_INDEX = [(2, False), (10, False), (100, False), (1000, False), (100, True), (RAND_INDEX_SAMPLES, True)]
WEIGHTS = [10**5, 10**6, 10**7]
TREE_BATCH = 256
CROSS_ENTROPY = [(8192, 10), (8192, 1000), (2048, 50257)]  # rows, classes
RATINGS = (50_000, 100, 20)  # items, raters, ratings of each item


def cluster_rows(n: int, d: int, k: int, kind: str) -> Float32:
    """Gaussian noise without clusters (``noise``), or ``k`` overlapping clusters (``blobs``)."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal((n, d), dtype=np.float32)
    if kind == "blobs":
        x += generator.standard_normal((k, d), dtype=np.float32)[generator.integers(k, size=n)]
    return x


def partitions(n: int, classes: int, hashed: bool, agreement: float = 0.7) -> tuple[Int64, Int64]:
    """Labels and clusters of ``n`` samples, equal for a share ``agreement`` of them."""
    generator = np.random.default_rng(0)
    labels = generator.integers(classes, size=n)
    clusters = np.where(generator.random(n) < agreement, labels, generator.integers(classes, size=n))
    if hashed:
        names = generator.integers(-(2**63), 2**63 - 1, size=classes)
        labels, clusters = names[labels], names[clusters]
    return labels, clusters


def shifted_rows(rows: int, width: int) -> tuple[Float32, Float32]:
    """Activations before and after a shift: Gaussian, with added noise of 0.3 standard deviations."""
    generator = np.random.default_rng(0)
    clean = generator.standard_normal((rows, width)).astype(np.float32)
    return clean, clean + 0.3 * generator.standard_normal((rows, width)).astype(np.float32)


def sample_weights(n: int) -> Float64:
    """Uniform weights in [0.01, 1.01)."""
    return np.random.default_rng(0).random(n) + 0.01


def weight_updates(n: int, batch: int, count: int = 64) -> list[tuple[Int64, Float64]]:
    """Batches of (indices, new weights) to apply one after the other."""
    generator = np.random.default_rng(1)
    return [(generator.integers(n, size=batch), generator.random(batch)) for _ in range(count)]


def classification(
    rows: int, classes: int, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, ...]:
    """Logits that require a gradient, targets, and a weight for each row."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(rows, classes, generator=generator).to(device, dtype).requires_grad_()
    target = torch.randint(classes, (rows,), generator=generator).to(device)
    return logits, target, torch.rand(rows, generator=generator).to(device) + 0.01


def language_head(rows: int, width: int, words: int) -> tuple[torch.Tensor, ...]:
    """Hidden states, the weight and bias of the last layer (all require gradients), targets, and a weight per row."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(rows, width, generator=generator).requires_grad_()
    table = (torch.randn(words, width, generator=generator) * width**-0.5).requires_grad_()
    bias = torch.randn(words, generator=generator).requires_grad_()
    target, weight = (
        torch.randint(words, (rows,), generator=generator),
        torch.rand(rows, generator=generator) + 0.01,
    )
    return hidden, table, bias, target, weight


def rating_columns(items: int, raters: int, each: int) -> tuple[Float64, Int64, Int64, Float64]:
    """The true scores of the items, and the columns item, rater and score of their shuffled ratings."""
    from hitl_fast.ratings import simulated_ratings

    truth = np.random.default_rng(0).uniform(1, 5, items)
    frame = simulated_ratings(truth, raters=raters, each=each).frame.sample(frac=1, random_state=0)
    item, rater, score = (frame[name].to_numpy() for name in ("item", "rater", "score"))
    return truth, item, rater, score

"""Time per call of every core operation at every size, grouped by operation: ``make microbench``.

Each test asserts the result that it times. ``bench_*.py`` times the same problems interleaved with other libraries.
Store a run with ``--benchmark-save=NAME`` and compare another with it with ``--benchmark-compare``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import problems
import pytest
import torch
from hitl_kernels.alias_table import alias_table, draw
from hitl_kernels.dawid_skene import dawid_skene
from hitl_kernels.exponential_keys import exponential_keys, smallest
from hitl_kernels.leave_one_out_ridge import leave_one_out_labels
from hitl_kernels.lloyd import kmeans, lloyd
from hitl_kernels.philox import Purpose, Stream, uniforms
from hitl_kernels.rand_index import rand_index
from hitl_kernels.rater_model import rater_model
from hitl_kernels.shift_distances import row_histograms, shift_distances
from hitl_kernels.systematic import systematic

from hitl_fast import (
    PriorityTree,
    weighted_bce_with_logits,
    weighted_cross_entropy,
    weighted_linear_cross_entropy,
    weighted_mse,
)

Benchmark = Callable[..., Any]


@pytest.mark.benchmark(group="shift_distances")
@pytest.mark.parametrize("bins", [(32,), problems.SHIFT[2]], ids=str)
def test_shift_distances(benchmark: Benchmark, bins: tuple[int, ...]) -> None:
    clean, shifted = problems.shifted_rows(*problems.SHIFT[:2])
    result = benchmark(shift_distances, clean, shifted, bins)
    assert bool((result.distances > 0).all())


@pytest.mark.benchmark(group="shift_distances")
def test_row_histograms(benchmark: Benchmark) -> None:
    clean, _ = problems.shifted_rows(*problems.SHIFT[:2])
    assert int(benchmark(row_histograms, clean, 64).sum()) == clean.size


@pytest.mark.benchmark(group="lloyd")
@pytest.mark.parametrize(("n", "d", "k", "iterations"), problems.LLOYD)
def test_lloyd(benchmark: Benchmark, n: int, d: int, k: int, iterations: int) -> None:
    x = problems.cluster_rows(n, d, k, "noise")
    result = benchmark(lloyd, x, x[:k].copy(), max_iter=iterations, tol=0.0)
    assert result.iterations <= iterations
    assert int(np.bincount(result.labels).sum()) == n


@pytest.mark.benchmark(group="lloyd")
def test_kmeans(benchmark: Benchmark) -> None:
    x = problems.cluster_rows(1_792, 128, 10, "blobs")
    assert benchmark(kmeans, x, 10, n_init=10, random_state=0).labels.max() == 9


@pytest.mark.benchmark(group="rand_index")
@pytest.mark.parametrize(("classes", "hashed"), problems.RAND_INDEX)
def test_rand_index(benchmark: Benchmark, classes: int, hashed: bool) -> None:
    labels, clusters = problems.partitions(problems.RAND_INDEX_SAMPLES, classes, hashed)
    assert 0 < benchmark(rand_index, labels, clusters) < 1


@pytest.mark.benchmark(group="leave_one_out_ridge")
@pytest.mark.parametrize(("n", "d"), [(2_000, 128), (2_000, 2_048)])
def test_leave_one_out(benchmark: Benchmark, n: int, d: int) -> None:
    labels, _ = problems.partitions(n, 10, False)
    x = problems.cluster_rows(n, d, 10, "noise")
    x[np.arange(n), labels] += 6
    found = benchmark(leave_one_out_labels, labels, 1e-3, features=x)
    assert np.mean(found == labels) > 0.7


@pytest.mark.benchmark(group="sampling")
@pytest.mark.parametrize("n", problems.WEIGHTS)
def test_alias_table(benchmark: Benchmark, n: int) -> None:
    table = benchmark(alias_table, problems.sample_weights(n))
    assert len(table) == n


@pytest.mark.benchmark(group="sampling")
@pytest.mark.parametrize("n", problems.WEIGHTS)
def test_draw(benchmark: Benchmark, n: int) -> None:
    table = alias_table(problems.sample_weights(n))
    found = benchmark(draw, table, Stream(1, 0, Purpose.DRAW), 0, n)
    assert 0 <= found.min() <= found.max() < n


@pytest.mark.benchmark(group="sampling")
@pytest.mark.parametrize("n", problems.WEIGHTS[:2])
def test_without_replacement(benchmark: Benchmark, n: int) -> None:
    weights, stream = problems.sample_weights(n), Stream(1, 0, Purpose.ORDER)
    found = benchmark(lambda: smallest(exponential_keys(weights, stream), n // 2))
    assert len(np.unique(found)) == n // 2


@pytest.mark.benchmark(group="sampling")
@pytest.mark.parametrize("n", problems.WEIGHTS[:2])
def test_systematic(benchmark: Benchmark, n: int) -> None:
    assert len(benchmark(systematic, problems.sample_weights(n), n, 0, 0)) == n


@pytest.mark.benchmark(group="sampling")
def test_uniforms(benchmark: Benchmark) -> None:
    found = np.asarray(benchmark(uniforms, Stream(1, 0, Purpose.DRAW), 0, 10**6))
    assert abs(float(found.mean()) - 0.5) < 0.01


@pytest.mark.benchmark(group="priority_tree")
@pytest.mark.parametrize("n", problems.WEIGHTS)
@pytest.mark.parametrize("operation", ["update", "sample"])
def test_priority_tree(benchmark: Benchmark, operation: str, n: int) -> None:
    tree = PriorityTree(problems.sample_weights(n))
    batches = problems.weight_updates(n, problems.TREE_BATCH)
    turn = iter(range(10**9))
    if operation == "update":
        benchmark(lambda: tree.update(*batches[next(turn) % len(batches)]))
        assert tree.total > 0
    else:
        found = benchmark(lambda: tree.sample(problems.TREE_BATCH, seed=1, step=next(turn))[0])
        assert len(found) == problems.TREE_BATCH


@pytest.mark.benchmark(group="rater_model")
def test_rater_model(benchmark: Benchmark) -> None:
    truth, items, raters, scores = problems.rating_columns(*problems.RATINGS)
    model = benchmark(rater_model, items, raters, scores)
    assert np.corrcoef(model.score, truth)[0, 1] > 0.95


@pytest.mark.benchmark(group="rater_model")
def test_dawid_skene(benchmark: Benchmark) -> None:
    _, items, raters, scores = problems.rating_columns(*problems.RATINGS)
    labels = scores.astype(np.int64) - 1
    found = benchmark(dawid_skene, items, raters, labels, max_steps=20, tolerance=0)
    np.testing.assert_allclose(found.posterior.sum(1), 1, atol=1e-9)


@pytest.mark.benchmark(group="losses")
@pytest.mark.parametrize("shape", problems.CROSS_ENTROPY, ids=str)
def test_weighted_cross_entropy(benchmark: Benchmark, shape: tuple[int, int]) -> None:
    logits, target, weight = problems.classification(*shape)

    def step() -> torch.Tensor:
        logits.grad = None
        weighted_cross_entropy(logits, target, weight).backward()
        return logits.grad

    gradient = benchmark(step)
    assert float(gradient.sum(1).abs().max()) < 1e-5  # the gradient of a row sums to 0


@pytest.mark.benchmark(group="losses")
def test_weighted_linear_cross_entropy(benchmark: Benchmark) -> None:
    hidden, table, bias, target, weight = problems.language_head(512, 256, 50_257)

    def step() -> torch.Tensor:
        hidden.grad = table.grad = bias.grad = None
        weighted_linear_cross_entropy(hidden, table, target, weight, bias).backward()
        return bias.grad

    assert float(benchmark(step).sum().abs()) < 1e-4


@pytest.mark.benchmark(group="losses")
@pytest.mark.parametrize("loss", [weighted_bce_with_logits, weighted_mse], ids=lambda loss: loss.__name__)
def test_elementwise_losses(benchmark: Benchmark, loss: Callable[..., torch.Tensor]) -> None:
    logits, _, weight = problems.classification(*problems.CROSS_ENTROPY[1])
    target = (logits.detach() > 0).to(logits.dtype)

    def step() -> torch.Tensor:
        logits.grad = None
        loss(logits, target, weight).backward()
        return logits.grad

    assert bool(torch.isfinite(benchmark(step)).all())

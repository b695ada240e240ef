"""PriorityTree: what it gives, in which kind, and what it refuses."""

import math

import numpy as np
import pytest
import torch

from hitl_fast import PriorityTree


@pytest.mark.parametrize("kind", [np.asarray, torch.tensor])
def test_gives_what_it_was_given(kind) -> None:
    tree = PriorityTree(kind([1.0, 0.0, 3.0]))
    index, probability = tree.sample(4, seed=0)
    assert type(index) is type(probability) is type(tree.weights) is type(kind([1.0]))
    assert index.tolist() == [0, 2, 2, 2]
    assert probability.tolist() == [0.25, 0.75, 0.75, 0.75]
    tree.update(kind([1, 1]), kind([7.0, 4.0]))
    assert tree.weights.tolist() == [1.0, 4.0, 3.0]
    assert (len(tree), tree.total) == (3, 8.0)
    assert repr(tree) == "PriorityTree(items=3, total=8)"


def test_draws_are_a_function_of_seed_and_step() -> None:
    tree = PriorityTree(np.random.default_rng(0).random(1000))
    first = tree.sample(50, seed=1)[0]
    assert np.array_equal(tree.sample(50, seed=1)[0], first)
    assert not np.array_equal(tree.sample(50, seed=2)[0], first)
    assert not np.array_equal(tree.sample(50, seed=1, step=1)[0], first)
    updated = PriorityTree(np.ones(1000))
    updated.update(np.arange(1000), tree.weights)
    assert np.array_equal(updated.sample(50, seed=1)[0], first)


def test_a_sample_is_stratified() -> None:
    weights = np.random.default_rng(1).random(40)
    tree = PriorityTree(weights)
    expected = 500 * weights / weights.sum()
    for seed in range(20):
        counts = np.bincount(tree.sample(500, seed=seed)[0], minlength=40)
        assert (counts >= np.floor(expected) - 1).all()
        assert (counts <= np.ceil(expected) + 1).all()


def test_totals_beyond_float64() -> None:
    tree = PriorityTree(np.array([1.7e308, 1.7e308, 0.0]))
    assert tree.total == math.inf
    assert tree.sample(2, seed=0)[1].tolist() == [0.5, 0.5]


def test_memory_is_what_the_docstring_says() -> None:
    tree = PriorityTree(np.ones(100_000))._tree
    assert (tree.leaves.nbytes + tree._nodes.nbytes) / 100_000 == pytest.approx(9.2, abs=0.1)


@pytest.mark.parametrize(
    ("indices", "weights", "error", "message"),
    [
        ([3], [1.0], ValueError, r"indices\[0\] is 3, expected 0 to 2; the update is refused as a whole"),
        ([0, 1], [1.0, math.nan], ValueError, r"weights\[1\] is nan"),
        ([0, 1], [1.0], ValueError, "2 indices but 1 weights"),
        ([0.5], [1.0], TypeError, "indices must hold integers, not float64"),
        ([[0]], [[1.0]], ValueError, r"indices must have shape \(n,\), not \(1, 1\)"),
        ([0, 2], [0.0, 0.0], ValueError, "every item at 0"),
    ],
)
def test_a_bad_update_is_refused(indices: list, weights: list, error: type, message: str) -> None:
    tree = PriorityTree(np.array([1.0, 0.0, 3.0]))
    with pytest.raises(error, match=message):
        tree.update(np.array(indices), np.array(weights))
    assert tree.weights.tolist() == [1.0, 0.0, 3.0]
    assert tree.total == 4.0


def test_bad_arguments_are_refused() -> None:
    for weights in ([math.nan], [-1.0], [0.0], []):
        with pytest.raises(ValueError, match="weights"):
            PriorityTree(weights)
    tree = PriorityTree([1.0])
    with pytest.raises(ValueError, match="n is 0, expected at least 1"):
        tree.sample(0, seed=0)
    with pytest.raises(ValueError, match="seed is -1"):
        tree.sample(1, seed=-1)
    with pytest.raises(TypeError, match="seed must be an integer, not float"):
        tree.sample(1, seed=1.0)  # type: ignore[arg-type]


@pytest.mark.gpu
def test_a_tree_on_a_gpu_draws_the_same() -> None:
    weights = np.random.default_rng(0).random(100_003)
    here, there = PriorityTree(weights), PriorityTree(torch.from_numpy(weights).cuda())
    here.update(np.arange(500), weights[-500:])
    there.update(torch.arange(500).cuda(), torch.from_numpy(weights[-500:]).cuda())
    for ours, theirs in zip(here.sample(4096, seed=3), there.sample(4096, seed=3), strict=True):
        assert theirs.is_cuda
        assert np.array_equal(theirs.cpu().numpy(), ours)


def test_updates_of_any_real_numbers() -> None:
    tree = PriorityTree(np.ones(3))
    tree.update(torch.tensor([0]), torch.tensor([2.0], requires_grad=True))
    tree.update(torch.tensor([1]), torch.tensor([3.0], dtype=torch.bfloat16))
    tree.update([2], [True])
    assert tree.weights.tolist() == [2.0, 3.0, 1.0]
    for wrong in (["2.5"], [2.5 + 1j]):
        with pytest.raises(TypeError, match="weights must hold real numbers, not"):
            tree.update([0], wrong)
    with pytest.raises(TypeError, match="indices must hold integers, not float64"):
        tree.update([0.0], [1.0])
    assert tree.weights.tolist() == [2.0, 3.0, 1.0]

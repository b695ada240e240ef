"""The tree of sums: bits equal to the definition, no drift, no item of weight 0, nothing half done."""

import math

import numpy as np
import pytest
from hitl_kernels.philox import Purpose, Stream
from hitl_kernels.priority_tree import priority_tree, reference

TOTAL = 1e-12  # relative

STREAM = Stream(1, 0, Purpose.TREE)
SIZES = [1, 2, 8, 9, 64, 65, 97, 700]


def some_weights(n: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng([n, seed])
    weights = generator.random(n) * (generator.random(n) < 0.7)
    weights[generator.integers(n)] = 1.0
    return weights


@pytest.mark.parametrize("n", SIZES)
def test_equals_the_definition(n: int) -> None:
    weights = some_weights(n)
    tree = priority_tree(weights)
    levels = reference.levels(weights * tree.scale)
    assert tree.total == levels[-1][0]
    assert tree.total / tree.scale == pytest.approx(math.fsum(weights), rel=TOTAL)
    ends = np.cumsum(weights * tree.scale)
    targets = np.concatenate([np.random.default_rng(n).random(50) * tree.total, ends, [0.0, tree.total]])
    found = tree.find(targets)
    assert np.array_equal(found, reference.find(levels, targets))
    assert (weights[found] > 0).all()


@pytest.mark.parametrize("n", SIZES)
def test_an_updated_tree_is_a_new_tree(n: int) -> None:
    generator = np.random.default_rng(n)
    tree = priority_tree(some_weights(n))
    weights = some_weights(n).copy()
    for turn in range(12):
        size = [1, 3, 40][turn % 3]
        indices = generator.integers(n, size=size)  # some of them twice
        values = generator.random(size) * (generator.random(size) < 0.8)
        expected = weights.copy()
        for i, value in zip(indices, values, strict=True):
            expected[i] = value
        if not expected.any():
            continue
        tree.update(indices, values)
        weights = expected
    fresh = priority_tree(weights)
    targets = generator.random(60) * fresh.total
    assert np.array_equal(tree.leaves, fresh.leaves)
    assert tree.total / tree.scale == fresh.total / fresh.scale
    assert np.array_equal(tree.find(targets / fresh.scale * tree.scale), fresh.find(targets))


def test_draws_depend_on_their_number_alone() -> None:
    tree = priority_tree(some_weights(97))
    whole = tree.draw(STREAM, 0, 60, 1)
    assert np.array_equal(tree.draw(STREAM, 2, 20, 3), whole[2::3])
    numbers = reference_numbers(60)
    assert np.array_equal(whole, tree.find(numbers * tree.total))


def reference_numbers(n: int) -> np.ndarray:
    from hitl_kernels.philox import uniforms

    return uniforms(STREAM, 0, n)[0]


def test_a_sample_takes_one_draw_from_each_part() -> None:
    weights = some_weights(97)
    tree = priority_tree(weights)
    items, probabilities = tree.sample(STREAM, 64)
    assert np.array_equal(items, tree.find((np.arange(64) + reference_numbers(64)) * (tree.total / 64)))
    np.testing.assert_allclose(probabilities, weights[items] / math.fsum(weights), rtol=TOTAL)
    assert (np.diff(items) >= 0).all()


def test_weights_of_any_size() -> None:
    for weights in ([1e308] * 20, [5e-324, 1e-323, 0.0], [1.7e308, 5e-324]):
        tree = priority_tree(np.array(weights))
        assert math.isfinite(tree.total)
        items = tree.draw(STREAM, 0, 50, 1)
        assert (np.array(weights)[items] > 0).all()
    tree = priority_tree(np.array([5e-324, 1e-323]))
    assert np.bincount(tree.draw(STREAM, 0, 300, 1)).tolist() == pytest.approx([100, 200], abs=30)


def test_the_scale_follows_the_weights() -> None:
    tree = priority_tree(np.full(20, 1e-300))
    tree.update(np.array([3]), np.array([1.5e308]))
    assert tree.find(np.array([0.5]) * tree.total).tolist() == [3]
    tree.update(np.array([3, 4]), np.array([0.0, 5e-324]))
    tree.update(np.delete(np.arange(20), 4), np.zeros(19))
    assert tree.total == pytest.approx(5e-324 * tree.scale)
    assert tree.total > 0
    assert tree.find(np.array([0.5]) * tree.total).tolist() == [4]


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_an_update_is_made_as_a_whole_or_not_at_all(value: float) -> None:
    tree = priority_tree(np.array([1.0, 2.0, 0.0, 4.0]))
    before, total = tree.leaves.copy(), tree.total
    with pytest.raises(ValueError, match=rf"weights\[1\] is {value}"):
        tree.update(np.array([0, 1]), np.array([9.0, value]))
    for index in (-1, 4):
        with pytest.raises(ValueError, match=rf"indices\[1\] is {index}, expected 0 to 3"):
            tree.update(np.array([0, index]), np.array([9.0, 1.0]))
    with pytest.raises(ValueError, match="every item at 0"):
        tree.update(np.array([0, 1, 3, 3, 0]), np.array([9.0, 0.0, 1.0, 0.0, 0.0]))
    assert np.array_equal(tree.leaves, before)
    assert tree.total == total


def test_rounding_never_leads_to_a_weight_of_zero() -> None:
    """The target of a last draw may round up to the total, and a subtree's end may be all zeros."""
    weights = np.zeros(600)
    weights[[3, 70, 500]] = [0.1, 0.3, 0.7]
    tree = priority_tree(weights)
    at_ends = [np.nextafter(x * tree.total, s) for x in (0.1 / 1.1, 0.4 / 1.1, 1.0) for s in (0, 9)]
    found = tree.find(np.array([*at_ends, tree.total, 2 * tree.total]))
    assert set(found.tolist()) <= {3, 70, 500}
    assert found[-1] == 500


@pytest.mark.jit
def test_a_hundred_thousand_updates_leave_no_drift() -> None:
    generator = np.random.default_rng(5)
    n = 10_007
    tree = priority_tree(generator.random(n))
    for _ in range(400):
        scale = 10.0 ** generator.uniform(-8, 8)
        indices = generator.integers(n, size=250)
        tree.update(indices, generator.random(250) * scale)
    fresh = priority_tree(tree.leaves[:n].copy())
    assert tree.total / tree.scale == fresh.total / fresh.scale
    assert tree.total / tree.scale == pytest.approx(math.fsum(tree.leaves), rel=TOTAL)


@pytest.mark.interpreter
@pytest.mark.parametrize("n", [1, 8, 97, 700])
def test_triton_builds_updates_and_draws_the_same(n: int) -> None:
    import torch
    from hitl_kernels.priority_tree import gpu

    weights = some_weights(n)
    tree, twin = priority_tree(weights), gpu.Tree(torch.from_numpy(weights))
    generator = np.random.default_rng(n)
    for turn in range(4):
        indices = generator.integers(n, size=[1, 200, 3, 1][turn])
        values = generator.random(indices.size) * [1.0, 1.0, 1e300, 1e-300][turn] + 1e-290
        tree.update(indices, values)
        twin.update(torch.from_numpy(indices), torch.from_numpy(values))
        assert np.array_equal(twin.leaves.numpy(), tree.leaves)
        assert (twin.total, twin.scale) == (tree.total, tree.scale)
        for count in (0, 1, 150):
            items, probabilities = tree.sample(STREAM, count)
            same, alike = twin.sample(STREAM, count)
            assert np.array_equal(same.numpy(), items)
            assert np.array_equal(alike.numpy(), probabilities)
        assert np.array_equal(twin.draw(STREAM, 2**32, 140, 3).numpy(), tree.draw(STREAM, 2**32, 140, 3))
    targets = np.array([0.0, tree.total, 2 * tree.total])
    assert np.array_equal(twin.find(torch.from_numpy(targets)).numpy(), tree.find(targets))


@pytest.mark.interpreter
def test_triton_refuses_as_the_cpu_does() -> None:
    import torch
    from hitl_kernels.priority_tree import gpu

    tree = gpu.Tree(torch.tensor([1.0, 0.0, 2.0], dtype=torch.float64))
    for index, weight, message in [(1, math.nan, r"weights\[1\] is nan"), (3, 1.0, r"indices\[1\] is 3")]:
        with pytest.raises(ValueError, match=message):
            tree.update(torch.tensor([0, index]), torch.tensor([5.0, weight], dtype=torch.float64))
    with pytest.raises(ValueError, match="every item at 0"):
        tree.update(torch.tensor([0, 2]), torch.zeros(2, dtype=torch.float64))
    assert tree.leaves[:3].tolist() == [1.0, 0.0, 2.0]
    assert tree.total / tree.scale == 3.0
    tree.update(torch.tensor([], dtype=torch.int64), torch.tensor([], dtype=torch.float64))
    assert tree.total / tree.scale == 3.0


@pytest.mark.gpu
def test_a_gpu_builds_updates_and_draws_the_same() -> None:
    import torch

    weights = some_weights(100_003)
    tree, twin = priority_tree(weights), priority_tree(torch.from_numpy(weights).cuda())
    indices = np.random.default_rng(0).integers(100_003, size=5000)
    values = np.random.default_rng(1).random(5000)
    tree.update(indices, values)
    twin.update(torch.from_numpy(indices).cuda(), torch.from_numpy(values).cuda())
    assert twin.total == tree.total
    assert np.array_equal(twin.sample(STREAM, 4096)[0].cpu().numpy(), tree.sample(STREAM, 4096)[0])

"""Importance weights of draws, and batches of tensors."""

import itertools
import math

import numpy as np
import pytest
import torch
from samplers import sampler_of, some_weights
from torch.utils.data import DataLoader, TensorDataset

from hitl_fast import PriorityBatchSampler, PrioritySampler


def test_importance_weights_undo_the_draws() -> None:
    weights = np.array([1.0, 0.0, 3.0, 4.0])
    sampler = PrioritySampler(weights)
    where = np.array([0, 2, 3, 3])
    p = weights / 8
    for beta in (0.0, 0.4, 1.0):
        expected = (4 * p[where]) ** -beta
        np.testing.assert_allclose(
            sampler.importance_weights(where, beta), expected / expected.mean(), rtol=1e-12
        )
    found = sampler.importance_weights(torch.tensor([3, 0]))
    assert isinstance(found, torch.Tensor)
    assert found.dtype == torch.float64
    assert found.mean() == pytest.approx(1)
    floored = sampler.importance_weights(where[:2] * 0 + [0, 1], 1.0, floor=0.25)
    np.testing.assert_allclose(floored, np.array([2.0, 4.0]) / 3)
    assert sampler.importance_weights(np.array([], int)).size == 0


def test_importance_weights_survive_extreme_priorities() -> None:
    sampler = PrioritySampler(np.array([1e308, 1e308, 5e-324]))
    found = sampler.importance_weights(np.array([0, 1, 2]), beta=1.0)
    assert np.isfinite(found).all()
    assert found.mean() == pytest.approx(1)
    tempered = sampler.importance_weights(np.array([0, 1, 2]), beta=1.0, floor=0.5)
    np.testing.assert_allclose(tempered, np.array([1 / 1.5, 1 / 1.5, 2]) * 3 / (2 / 1.5 + 2))


def test_importance_weights_are_of_the_weights_that_the_epoch_draws_from() -> None:
    sampler = PrioritySampler(np.array([1.0, 3.0]), 10)
    iterator = iter(sampler)
    next(iterator)
    sampler.update([0], [3.0])
    assert sampler.importance_weights(np.array([0, 1])).tolist() == pytest.approx([1.5, 0.5])
    sampler.update([0], [3.0], live=True)
    assert sampler.importance_weights(np.array([0, 1])).tolist() == pytest.approx([1.0, 1.0])


def test_importance_weights_refuse_what_was_never_drawn() -> None:
    sampler = PrioritySampler(np.array([1.0, 0.0]))
    with pytest.raises(ValueError, match=r"indices\[1\] is item 1 of weight 0, which is never drawn"):
        sampler.importance_weights(np.array([0, 1]))
    with pytest.raises(ValueError, match=r"indices\[0\] is 2, expected 0 to 1"):
        sampler.importance_weights(np.array([2]))
    with pytest.raises(TypeError, match="indices must hold integers, not float64"):
        sampler.importance_weights(np.array([0.5]))
    with pytest.raises(ValueError, match=r"indices must have shape \(n,\), not \(1, 1\)"):
        sampler.importance_weights(np.array([[0]]))
    with pytest.raises(ValueError, match="beta is nan"):
        sampler.importance_weights(np.array([0]), math.nan)
    with pytest.raises(ValueError, match="floor is 2"):
        sampler.importance_weights(np.array([0]), floor=2)


def test_batches_of_tensors() -> None:
    sampler = PriorityBatchSampler(some_weights(), 8, 37, seed=11)
    batches = list(sampler)
    assert [len(batch) for batch in batches] == [8, 8, 8, 8, 5]
    assert len(sampler) == 5
    assert batches[0].dtype == torch.int64
    assert torch.cat(batches).tolist() == list(sampler_of("independent"))
    dropping = PriorityBatchSampler(some_weights(), 8, 37, seed=11, drop_last=True)
    assert [batch.tolist() for batch in dropping] == [batch.tolist() for batch in batches[:4]]
    assert len(dropping) == 4
    assert dropping.state_dict()["position"] == 32
    resumed = PriorityBatchSampler(some_weights(), 8, 37, seed=11, drop_last=True)
    resumed.load_state_dict(dropping.state_dict())
    assert list(resumed) == []
    assert len(list(resumed)) == 4


@pytest.mark.parametrize("cut", [0, 2, 4, 5])
def test_batches_resume(cut: int) -> None:
    sampler = PriorityBatchSampler(some_weights(), 8, 37, seed=11)
    iterator = iter(sampler)
    head = list(itertools.islice(iterator, cut))
    resumed = PriorityBatchSampler(some_weights(), 8, 37, seed=11)
    resumed.load_state_dict(sampler.state_dict())
    rest = list(resumed)
    assert [b.tolist() for b in rest] == [b.tolist() for b in iterator]
    assert torch.cat([*head, *rest]).tolist() == list(sampler_of("independent"))


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_inside_a_loader(workers: int) -> None:
    data = TensorDataset(torch.arange(60) * 10)
    sampler = PriorityBatchSampler(some_weights(), 8, 37, seed=11)
    expected = [batch.tolist() for batch in sampler], [batch.tolist() for batch in sampler]
    sampler.set_epoch(0)
    loader = DataLoader(data, batch_size=None, sampler=sampler, num_workers=workers)
    for epoch in expected:
        assert [(rows // 10).tolist() for (rows,) in loader] == epoch

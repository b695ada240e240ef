"""Weights that change between epochs and within one."""

import math

import numpy as np
import pytest
import torch
from samplers import METHODS, sampler_of, some_weights

from hitl_fast import PriorityBatchSampler, PrioritySampler


@pytest.mark.parametrize("method", METHODS)
def test_an_update_waits_for_the_next_epoch(method: str) -> None:
    sampler = sampler_of(method)
    expected = list(sampler)
    sampler.set_epoch(0)
    iterator = iter(sampler)
    head = [next(iterator) for _ in range(10)]
    changed = some_weights()
    changed[[0, 5]] = 0.0, 9.0
    sampler.update([0, 5], [0.0, 9.0])
    assert np.array_equal(sampler.weights, changed)
    assert np.array_equal(sampler.epoch_weights, some_weights())
    middle = sampler.state_dict()
    assert head + list(iterator) == expected
    other = PrioritySampler(changed, 37, method, seed=11)
    other.set_epoch(1)
    end = sampler.state_dict()
    assert list(sampler) == list(other)
    # Between epochs a state goes with the weights as updated, within one with those it draws from.
    resumed = PrioritySampler(changed, 37, method, seed=11)
    resumed.load_state_dict(end)
    assert list(resumed) == []
    resumed.set_epoch(1)
    other.set_epoch(1)
    assert list(resumed) == list(other)
    with pytest.raises(ValueError, match="build the sampler from the weights that the epoch draws from"):
        resumed.load_state_dict(middle)
    from_old = sampler_of(method)
    from_old.load_state_dict(middle)
    from_old.update([0, 5], [0.0, 9.0])
    assert list(from_old) == expected[10:]
    other.set_epoch(1)
    assert list(from_old) == list(other)


def test_an_update_before_the_first_draw_is_for_this_epoch() -> None:
    sampler = PrioritySampler(np.ones(4), 50)
    iterator = iter(sampler)
    sampler.update(torch.tensor([0, 1, 2, 0]), torch.tensor([5.0, 0.0, 0.0, 0.0]))
    assert set(iterator) == {3}
    sampler.update(0, 1.0)
    assert set(sampler) == {0, 3}


@pytest.mark.parametrize("batch_size", [1, 7])
def test_a_live_update_holds_from_the_next_draw_on(batch_size: int) -> None:
    sampler = PrioritySampler(np.ones(50), 300, seed=2, live=True)
    batches = PriorityBatchSampler(np.ones(50), batch_size, 300, seed=2, live=True)
    whole = list(PrioritySampler(np.ones(50), 300, seed=2, live=True))
    assert torch.cat(list(batches)).tolist() == whole
    batches.set_epoch(0)
    one_by_one, by_batch = iter(sampler), iter(batches)
    drawn = [next(one_by_one) for _ in range(3 * batch_size)]
    assert torch.cat([next(by_batch) for _ in range(3)]).tolist() == drawn == whole[: 3 * batch_size]
    for which in (sampler, batches):
        which.update(np.arange(49), np.zeros(49))
    assert set(one_by_one) == {49} == set(torch.cat(list(by_batch)).tolist())
    assert set(sampler) == {49}


def test_a_single_update_can_be_live() -> None:
    sampler = PrioritySampler(np.ones(10), 400)
    iterator = iter(sampler)
    alone = list(PrioritySampler(np.ones(10), 400))
    assert [next(iterator) for _ in range(100)] == alone[:100]
    sampler.update([3], [0.0])
    sampler.update([0, 1], [0.0, 0.0], live=True)
    state = sampler.state_dict()
    tail = list(iterator)
    assert len(tail) == 300
    assert set(tail) == {2, 3, 4, 5, 6, 7, 8, 9}  # item 3 waits for the next epoch
    assert set(sampler) == {2, 4, 5, 6, 7, 8, 9}
    weights = np.ones(10)
    weights[[0, 1]] = 0
    resumed = PrioritySampler(weights, 400)
    resumed.load_state_dict(state)
    assert list(resumed) == tail
    assert not sampler.state_dict()["live"]


def test_a_live_epoch_resumes_with_the_weights_of_the_moment() -> None:
    sampler = PrioritySampler(np.ones(20), 200, seed=4, live=True)
    iterator = iter(sampler)
    generator = np.random.default_rng(0)
    for _ in range(30):
        next(iterator)
        sampler.update(generator.integers(20, size=2), generator.random(2))
    resumed = PrioritySampler(sampler.weights, 200, seed=4, live=True)
    resumed.load_state_dict(sampler.state_dict())
    resumed.update([7], [0.0])
    sampler.update([7], [0.0])
    rest = list(iterator)
    assert list(resumed) == rest
    assert len(rest) == 170
    assert 7 not in rest


@pytest.mark.jit
def test_a_thousand_live_updates() -> None:
    """No draw of an item of weight 0 at that moment, and totals exact: a second's worth in one epoch."""
    generator = np.random.default_rng(0)
    items = 5000
    sampler = PrioritySampler(generator.random(items), 2000, live=True)
    for step, item in enumerate(sampler):
        assert sampler.weights[item] > 0
        if step % 2 == 0:
            indices = generator.integers(items, size=16)
            values = generator.random(16) * (generator.random(16) < 0.5) * 10.0 ** generator.uniform(-6, 6)
            sampler.update([*indices, item], [*values, 0.0])
            tree = sampler._running.tree
            assert tree.total / tree.scale == pytest.approx(math.fsum(sampler.weights), rel=1e-12)
    assert step == 1999

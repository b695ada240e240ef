"""PrioritySampler and PriorityBatchSampler: one global sequence, resumable anywhere, whoever reads it."""

import copy
import itertools
import json
import math

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from hitl_fast import PriorityBatchSampler, PrioritySampler
from hitl_fast.sampling import state
from hitl_fast.sampling.state import STATE_VERSION

METHODS = ("independent", "systematic", "without_replacement")


class Identity(Dataset):
    """Item i is i, so that a loader gives back what its sampler said."""

    def __init__(self, items: int) -> None:
        self.items = items

    def __len__(self) -> int:
        return self.items

    def __getitem__(self, index: int) -> int:
        return index


def some_weights(n: int = 60) -> np.ndarray:
    generator = np.random.default_rng(n)
    weights = generator.random(n) * (generator.random(n) < 0.8)
    weights[0] = 3.0
    return weights


def sampler_of(method: str, **arguments: object) -> PrioritySampler:
    defaults = {"num_samples": 37, "seed": 11}
    return PrioritySampler(some_weights(), method=method, **{**defaults, **arguments})


@pytest.mark.parametrize("method", METHODS)
def test_an_epoch_is_a_function_of_seed_and_epoch(method: str) -> None:
    sampler = sampler_of(method)
    epochs = [list(sampler) for _ in range(3)]
    assert [len(epoch) for epoch in epochs] == [37] * 3 == [len(sampler)] * 3
    assert epochs[0] != epochs[1] != epochs[2]
    assert all(type(item) is int for item in epochs[0])
    again = sampler_of(method)
    for number in (2, 0, 1):
        again.set_epoch(number)
        assert list(again) == epochs[number]
    assert list(sampler_of(method, seed=12)) != epochs[0]
    assert list(sampler_of(method, seed=11 + 2**32)) != epochs[0]


@pytest.mark.parametrize("method", METHODS)
def test_no_item_of_weight_zero(method: str) -> None:
    weights = some_weights()
    sampler = sampler_of(method)
    drawn = [item for _ in range(5) for item in sampler]
    assert (weights[drawn] > 0).all()
    if method == "without_replacement":
        sampler.set_epoch(0)
        assert len(set(sampler)) == 37
        everything = PrioritySampler(weights, method=method)
        assert sorted(everything) == np.flatnonzero(weights).tolist()


@pytest.mark.parametrize("method", METHODS)
def test_global_random_state_is_left_alone(method: str) -> None:
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = list(sampler_of(method))
    torch.manual_seed(4)
    np.random.seed(4)  # noqa: NPY002
    assert list(sampler_of(method)) == first
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    list(sampler_of(method))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


# Every world size with every batch size in this process; worker processes, which start slowly, for a set in
# which each number of workers meets each batch size.
WITH_WORKERS = [(1, 4, 7), (2, 1, 1), (3, 1, 64), (1, 4, 64), (2, 1, 7), (1, 4, 1)]
WITHOUT = [(size, 0, batch) for size, batch in itertools.product((1, 2, 3, 8), (1, 7, 64))]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("world_size", "workers", "batch_size"), WITHOUT)
def test_ranks_and_batches_make_no_difference(
    method: str, world_size: int, workers: int, batch_size: int
) -> None:
    same_global_sequence(method, world_size, workers, batch_size)


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")
@pytest.mark.parametrize(("world_size", "workers", "batch_size"), WITH_WORKERS)
def test_workers_make_no_difference(world_size: int, workers: int, batch_size: int) -> None:
    same_global_sequence("independent", world_size, workers, batch_size)


def same_global_sequence(method: str, world_size: int, workers: int, batch_size: int) -> None:
    whole = list(sampler_of(method))
    padded = -(-37 // world_size) * world_size
    found = np.full(padded, -1)
    for rank in range(world_size):
        sampler = sampler_of(method, rank=rank, world_size=world_size)
        loader = DataLoader(Identity(60), batch_size, sampler=sampler, num_workers=workers)
        items = [item for batch in loader for item in batch.tolist()]
        assert len(items) == len(sampler) == padded // world_size
        found[rank::world_size] = items
        batches = PriorityBatchSampler(
            some_weights(), batch_size, 37, method, seed=11, rank=rank, world_size=world_size
        )
        assert torch.cat(list(batches)).tolist() == items
    assert found[:37].tolist() == whole
    # Padding is drawn, not the head again.
    assert (some_weights()[found] > 0).all()
    if method == "without_replacement":
        assert len(set(found.tolist())) == padded


def test_padding_goes_on_where_nothing_is_left_to_draw() -> None:
    slices = [list(PrioritySampler([1.0] * 5, 5, "without_replacement", 0, r, 4)) for r in range(4)]
    assert [len(s) for s in slices] == [2] * 4
    sequence = [slices[i % 4][i // 4] for i in range(8)]
    assert sorted(sequence[:5]) == list(range(5))
    assert len(set(sequence[5:])) == 3


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("cut", [0, 1, 20, 36, 37])
def test_resume_anywhere(method: str, cut: int) -> None:
    sampler = sampler_of(method)
    first, second = list(sampler), list(sampler)
    sampler.set_epoch(0)
    iterator = iter(sampler)
    assert list(itertools.islice(iterator, cut)) == first[:cut]
    state = json.loads(json.dumps(sampler.state_dict()))
    fresh = sampler_of(method)
    fresh.load_state_dict(state)
    assert list(fresh) == first[cut:]
    assert list(fresh) == second
    # The usual loop calls set_epoch with the epoch it resumes.
    fresh.load_state_dict(state)
    fresh.set_epoch(0)
    assert list(fresh) == first[cut:]
    fresh.set_epoch(1)
    assert list(fresh) == second
    # And the sampler that was asked goes on undisturbed.
    assert list(iterator) == first[cut:]


@pytest.mark.parametrize("method", METHODS)
def test_resume_twice_in_one_epoch(method: str) -> None:
    first = list(sampler_of(method))
    taken: list[int] = []
    state = None
    for steps in (5, 0, 17, 15):
        sampler = sampler_of(method)
        if state is not None:
            sampler.load_state_dict(state)
        taken += itertools.islice(iter(sampler), steps)
        state = sampler.state_dict()
    assert taken == first
    last = sampler_of(method)
    last.load_state_dict(state)
    assert list(last) == []
    assert len(list(last)) == 37


def test_rewinding_to_an_earlier_state() -> None:
    sampler = sampler_of("independent")
    iterator = iter(sampler)
    head = list(itertools.islice(iterator, 10))
    state = sampler.state_dict()
    tail = list(iterator)
    sampler.load_state_dict(state)
    assert list(sampler) == tail
    sampler.set_epoch(0)
    assert list(sampler) == head + tail


def test_resume_with_another_number_of_ranks() -> None:
    whole = list(sampler_of("independent", num_samples=36))
    sampler = sampler_of("independent", num_samples=36, rank=1, world_size=3)
    list(itertools.islice(iter(sampler), 4))
    found = np.full(24, -1)
    for rank in range(4):
        other = sampler_of("independent", num_samples=36, rank=rank, world_size=4)
        other.load_state_dict(sampler.state_dict())
        found[rank::4] = list(other)
    assert found.tolist() == whole[12:]


def test_a_state_is_small_and_says_what_was_consumed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hitl_fast.sampling.sequence.CHUNK", 64)
    sampler = PrioritySampler(np.ones(300), seed=1)
    iterator = iter(sampler)
    list(itertools.islice(iterator, 70))
    assert len(json.dumps(sampler.state_dict())) < 300
    assert sampler.state_dict()["position"] == 70
    assert sampler.state_dict(consumed=60)["position"] == 60
    with pytest.raises(ValueError, match="consumed is 71, expected 0 to 70"):
        sampler.state_dict(consumed=71)
    rest = PrioritySampler(np.ones(300), seed=1)
    rest.load_state_dict(sampler.state_dict(consumed=60))
    assert list(itertools.islice(iter(rest), 50))[10:] == list(itertools.islice(iterator, 40))
    assert rest.state_dict(consumed=100)["position"] == 100
    with pytest.raises(ValueError, match="consumed is 59, expected 60 to 110"):
        rest.state_dict(consumed=59)


def test_iterators_that_are_not_drawn_from_count_for_nothing() -> None:
    """Loaders with workers ask twice for an iterator at the start of each epoch."""
    sampler = sampler_of("independent")
    first, second = list(sampler), list(sampler)
    sampler = sampler_of("independent")
    iter(sampler)
    kept, dropped = iter(sampler), iter(sampler)
    assert list(kept) == first
    assert list(dropped) == first
    iter(sampler)
    assert sampler.state_dict()["epoch"] == 1
    assert list(sampler) == second


def test_a_copy_goes_on_where_the_original_is() -> None:
    sampler = sampler_of("independent")
    iterator = iter(sampler)
    next(iterator)
    twin = sampler_of("independent")
    twin.load_state_dict(copy.deepcopy(sampler).state_dict())
    assert list(twin) == list(iterator)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 12}, "seed 12.*11"),
        ({"version": STATE_VERSION + 1}, f"version {STATE_VERSION + 1}.*up to {STATE_VERSION}.*newer"),
        ({"version": 0}, "version 0"),
        ({"version": "1"}, "version '1'"),
        ({"method": "systematic"}, "method 'systematic'"),
        ({"num_items": 61}, "num_items 61.*60"),
        ({"num_samples": 36}, "num_samples 36"),
        ({"weights": "0" * 16}, "other weights"),
        ({"position": -1}, "position is -1"),
        ({"epoch": 2**32}, "epoch is 4294967296"),
    ],
)
def test_a_state_of_something_else_is_refused(change: dict[str, object], message: str) -> None:
    sampler = sampler_of("independent")
    list(itertools.islice(iter(sampler), 5))
    before = sampler.state_dict()
    with pytest.raises(ValueError, match=message):
        sampler.load_state_dict({**before, **change})
    assert sampler.state_dict() == before


def test_a_state_of_an_older_version_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler, twin = sampler_of("systematic"), sampler_of("systematic")
    expected = list(sampler)
    twin_iterator = iter(twin)
    head = list(itertools.islice(twin_iterator, 5))
    # As if the next version added a field: a state of today lacks it.
    old = {name: value for name, value in twin.state_dict().items() if name != "live"}
    monkeypatch.setattr(state, "ADDED", {"live": (STATE_VERSION + 1, False)})
    again = sampler_of("systematic")
    again.load_state_dict(old)
    assert head + list(again) == expected


def test_a_state_that_is_none_is_refused() -> None:
    sampler = sampler_of("independent")
    with pytest.raises(ValueError, match="version None.*state_dict"):
        sampler.load_state_dict({"yielded": 3})
    with pytest.raises(ValueError, match="'method'.*state_dict"):
        sampler.load_state_dict({"version": 1})
    with pytest.raises(TypeError, match="state must be a dictionary"):
        sampler.load_state_dict([1])  # type: ignore[arg-type]


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


def test_ranks_come_from_torch_distributed(tmp_path: object) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        sampler = sampler_of("independent")
        assert (sampler.rank, sampler.world_size) == (0, 1)
    finally:
        torch.distributed.destroy_process_group()


def test_ranks_are_those_of_the_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 2)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 3)
    assert list(sampler_of("independent")) == list(sampler_of("independent", rank=2, world_size=3))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, math.nan], r"weights\[1\] is nan, expected a finite number of at least 0"),
        ([math.inf, 1.0], r"weights\[0\] is inf"),
        ([1.0, -0.5], r"weights\[1\] is -0.5"),
        ([0.0, 0.0], "weights are all 0"),
        ([], r"weights must have shape \(items,\) with items >= 1"),
        ([[1.0]], r"weights must have shape \(n,\), not \(1, 1\)"),
    ],
)
def test_bad_weights_are_refused(weights: list[float], message: str) -> None:
    for build in (PrioritySampler, lambda w: PriorityBatchSampler(w, 1)):
        with pytest.raises(ValueError, match=message):
            build(np.array(weights))
        with pytest.raises(ValueError, match=message):
            build(torch.tensor(weights, dtype=torch.float64))


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match="weights must hold real numbers, not complex128"):
        PrioritySampler(np.array([1j]))
    with pytest.raises(ValueError, match="method is 'uniform', expected one of independent"):
        PrioritySampler([1.0], method="uniform")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="num_samples is 3, but only 2 items have a positive weight"):
        PrioritySampler([1.0, 0.0, 2.0], 3, "without_replacement")
    with pytest.raises(ValueError, match="num_samples is 0"):
        PrioritySampler([1.0], 0)
    with pytest.raises(TypeError, match="num_samples must be an integer, not float"):
        PrioritySampler([1.0], 1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"seed is -1, expected 0 to 2\*\*64 - 1"):
        PrioritySampler([1.0], seed=-1)
    with pytest.raises(ValueError, match="give both, or neither"):
        PrioritySampler([1.0], rank=1)
    with pytest.raises(ValueError, match="rank is 2, expected 0 to world_size - 1 = 1"):
        PrioritySampler([1.0], rank=2, world_size=2)
    with pytest.raises(ValueError, match="live=True needs method='independent'"):
        PrioritySampler([1.0], method="systematic", live=True)
    with pytest.raises(ValueError, match="batch_size is 0"):
        PriorityBatchSampler([1.0], 0)
    with pytest.raises(ValueError, match="epoch is -1"):
        PrioritySampler([1.0]).set_epoch(-1)
    with pytest.raises(ValueError, match="live=True needs method='independent'"):
        PrioritySampler([1.0], method="systematic").update([0], [1.0], live=True)


@pytest.mark.parametrize(
    ("indices", "weights", "message"),
    [
        ([0, 9], [1.0, 1.0], r"indices\[1\] is 9, expected 0 to 2"),
        ([0, -1], [1.0, 1.0], r"indices\[1\] is -1"),
        ([0, 1], [7.0, math.nan], r"weights\[1\] is nan"),
        ([0, 1], [7.0, -1.0], r"weights\[1\] is -1"),
        ([0, 1], [7.0], "2 indices but 1 weights"),
        ([0, 1, 2], [0.0, 0.0, 0.0], "would leave 0 items of positive weight, 1 are needed"),
    ],
)
@pytest.mark.parametrize("live", [False, True])
def test_an_update_is_made_as_a_whole_or_not_at_all(
    indices: list[int], weights: list[float], message: str, live: bool
) -> None:
    sampler = PrioritySampler([1.0, 2.0, 3.0], 100, live=live)
    twin = list(PrioritySampler([1.0, 2.0, 3.0], 100, live=live))
    iterator = iter(sampler)
    head = [next(iterator) for _ in range(5)]
    before = sampler.state_dict()
    with pytest.raises(ValueError, match=message):
        sampler.update(indices, weights)
    assert sampler.weights.tolist() == [1.0, 2.0, 3.0]
    assert sampler.state_dict() == before
    assert head + list(iterator) == twin


def test_an_update_may_not_leave_too_few_to_draw() -> None:
    sampler = PrioritySampler([1.0, 2.0, 3.0], 2, "without_replacement")
    sampler.update([0], [0.0])
    with pytest.raises(ValueError, match="would leave 1 items of positive weight, 2 are needed"):
        sampler.update([1], [0.0])
    assert set(sampler) == {1, 2}
    sampler.update([], [])
    with pytest.raises(TypeError, match="indices must hold integers, not float64"):
        sampler.update([0.5], [1.0])


def test_weights_can_be_read_and_not_written() -> None:
    mine = np.ones(3)
    sampler = PrioritySampler(mine)
    mine[0] = 0.0
    assert sampler.weights.tolist() == [1.0, 1.0, 1.0]
    with pytest.raises(ValueError, match="read-only"):
        sampler.weights[0] = 2.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_weights_of_any_real_type(dtype: torch.dtype) -> None:
    weights = torch.tensor([1, 0, 1, 1]).to(dtype)
    assert list(PrioritySampler(weights, 30)) == list(PrioritySampler([1.0, 0.0, 1.0, 1.0], 30))


def test_it_says_what_it_is() -> None:
    assert repr(PrioritySampler([1.0, 2.0])) == (
        "PrioritySampler(items=2, num_samples=2, method='independent', seed=0, epoch=0, rank=0 of 1)"
    )
    assert "batch_size=3" in repr(PriorityBatchSampler([1.0, 2.0], 3))


@pytest.mark.gpu
@pytest.mark.parametrize("method", METHODS)
def test_batches_on_a_gpu_are_the_same(method: str) -> None:
    weights = np.random.default_rng(0).random(100_003)
    for live in {False, method == "independent"}:
        there = PriorityBatchSampler(weights, 999, 50_000, method, seed=1, device="cuda", live=live)
        here = PriorityBatchSampler(weights, 999, 50_000, method, seed=1, live=live)
        batches = list(there)
        assert batches[0].is_cuda
        assert torch.equal(torch.cat(batches).cpu(), torch.cat(list(here)))

"""The sequence of an epoch, its independence of ranks, batches and workers, and bad arguments."""

import itertools
import math

import numpy as np
import pytest
import torch
from samplers import METHODS, Identity, sampler_of, some_weights
from torch.utils.data import DataLoader

from hitl_fast import PriorityBatchSampler, PrioritySampler


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

"""Ranks of a group report what one process does, refuse together, and end together (gloo on this machine)."""

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hitl_kernels.shift_distances import MEASURES
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import hitl_fast as hf
from hitl_fast.shift import ranks
from hitl_fast.shift.distributed import fingerprint

WORKER = Path(__file__).parent / "ranks_at_work.py"
AS_ONE = {
    "contiguous": "plain", "strided": "plain", "workers": "plain", "list": "plain", "stream": "plain",
    "own parts": "plain", "file": "plain", "sorted": "sorted", "sorted strided": "sorted", "nan": "nan",
    "nan strided": "nan", "empty": "empty", "empty contiguous": "empty contiguous", "half": "half",
    "reference": "reference",
}  # fmt: skip
# Batches of other samples than in one process: the model's own arithmetic differs in the last bits.
OTHER_BATCHES = ("own parts", "dealt")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("ranks")
    run = subprocess.run(
        [sys.executable, str(WORKER), str(folder)], capture_output=True, text=True, timeout=550, check=False
    )
    assert run.returncode == 0, run.stderr[-4000:]
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}


def ranks_of(found: dict[str, Any], size: int, case: str) -> list[dict[str, Any]]:
    return [found[f"{size}.{rank}"][case] for rank in range(size)]


@pytest.mark.jit
@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("case", AS_ONE)
def test_as_one_process(found: dict[str, Any], size: int, case: str) -> None:
    expected = found["expected"][AS_ONE[case]]
    for got in ranks_of(found, size, case):
        assert "value" in got, got
        assert got["value"]["close"] == pytest.approx(
            expected["value"]["close"], rel=1e-5 if case in OTHER_BATCHES else 1e-8, abs=1e-12
        )
        if case not in OTHER_BATCHES:
            assert got["value"]["exact"] == expected["value"]["exact"]
            assert got["warnings"] == expected["warnings"]
        assert got["value"]["exact"]["samples"] == expected["value"]["exact"]["samples"]


@pytest.mark.jit
def test_the_first_row_that_is_not_finite_is_named_by_its_global_position(found: dict[str, Any]) -> None:
    for got in ranks_of(found, 3, "nan strided"):
        (message,) = got["warnings"]
        assert "sample 171" in message


@pytest.mark.jit
@pytest.mark.parametrize(
    ("case", "kind", "says"),
    [
        ("label", "InputError", ["sample 179"]),
        ("options", "InputError", ["bins differs", "[16, 32]", "[8, 32]"]),
        ("bad option", "InputError", ["measure must be one of", "'lengths'"]),
        ("embedding", "InputError", ["embedding differs", "'3'"]),
        ("weights", "InputError", ["model differs", "'3.weight'"]),
        ("copies", "InputError", ["equal data", "sharded"]),
        ("orders", "InputError", ["different ways", "contiguous", "strided"]),
        ("lengths", "InputError", ["different ways", "batches"]),
        ("gap", "InputError", ["sharded for rank 0 of", "group"]),
        ("strange", "InputError", ["batch 0", "KeyError", "disk"]),
        ("nothing", "InputError", ["no batch"]),
        ("padded", "InputError", ["DistributedSampler", "179", "sharded"]),
        ("reduced options", "InputError", ["bins differs", "[8]", "[4]"]),
    ],
)
@pytest.mark.parametrize("size", [2, 3])
def test_what_one_rank_refuses_all_refuse(
    found: dict[str, Any], size: int, case: str, kind: str, says: list[str]
) -> None:
    if case == "padded" and (179 % size) == 0:
        raise AssertionError("choose a number of samples that is padded")
    for rank, got in enumerate(ranks_of(found, size, case)):
        assert "error" in got, got
        if case == "strange" and rank == size - 1:
            assert "KeyError" in got["kinds"]  # its own error
        assert kind in got["kinds"]
        for word in says:
            assert word in got["error"]


@pytest.mark.jit
def test_a_sampler_that_deals_without_padding_is_understood(found: dict[str, Any]) -> None:
    expected = found["expected"]["plain"]["value"]
    for size in (2, 3):
        for got in ranks_of(found, size, "dealt"):
            assert got["value"]["close"] == pytest.approx(expected["close"], rel=1e-5, abs=1e-9)
            assert got["value"]["exact"]["accuracy"] == expected["exact"]["accuracy"]
            assert got["value"]["exact"]["samples"] == 180


@pytest.mark.jit
def test_a_killed_rank_ends_the_others_with_its_number(found: dict[str, Any]) -> None:
    for rank in (0, 1):
        got = found[f"killed.{rank}"]["killed"]
        assert "ConnectionError" in got["kinds"]
        assert "rank 2" in got["error"]


@pytest.mark.jit
def test_accumulators_add_up(found: dict[str, Any]) -> None:
    whole = found["1.0"]["reduced"]["value"]["layers"]
    for size in (2, 3):
        for got in ranks_of(found, size, "reduced"):
            layers = got["value"]["layers"]
            assert list(layers) == ["a", "last"]
            assert layers["a"]["counts"] == whole["a"]["counts"]
            assert layers["a"]["rows"] == 12
            assert layers["last"]["rows"] == 12 // size
            for ours, theirs in zip(layers["a"]["distances"], whole["a"]["distances"], strict=True):
                assert ours == pytest.approx(theirs, rel=1e-12)


def batches(n: int = 7) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(torch.full((2, 3), float(i)), torch.arange(2)) for i in range(n)]


def kinds() -> dict[str, Any]:
    data = TensorDataset(torch.cat([x for x, _ in batches()]), torch.cat([y for _, y in batches()]))
    return {"list": batches(), "loader": DataLoader(data, 2), "generator": (batch for batch in batches())}


@pytest.mark.parametrize("order", [None, "contiguous", "strided"])
@pytest.mark.parametrize("size", [1, 2, 3, 9])
@pytest.mark.parametrize("kind", ["list", "loader", "generator"])
def test_every_batch_goes_to_one_rank(kind: str, size: int, order: str | None) -> None:
    if kind == "generator" and order == "contiguous":
        with pytest.raises(ValueError, match="contiguous.*strided"):
            hf.sharded(kinds()[kind], order=order, rank=0, world_size=size)
        return
    seen: list[int] = []
    for rank in range(size):
        part = hf.sharded(kinds()[kind], order=order, rank=rank, world_size=size)
        mine = [int(x[0, 0]) for x, _ in part]
        assert mine == part.numbers
        if kind != "generator":
            assert len(part) == len(mine)
            assert len(mine) in (7 // size, -(-7 // size))
        seen += mine
    assert sorted(seen) == list(range(7))


def test_messages_name_the_place_among_all_samples() -> None:
    part = hf.sharded(kinds()["loader"], rank=1, world_size=2)
    next(iter(part))
    assert part.where(1) == "sample 7"
    of_list = hf.sharded(batches(), rank=1, world_size=2)
    next(iter(of_list))
    assert of_list.where(1) == "sample 1 of batch 3"


def test_refusals() -> None:
    with pytest.raises(TypeError, match="loader must yield batches"):
        hf.sharded(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="rank is 1 and world_size None"):
        hf.sharded(batches(), rank=1)
    with pytest.raises(ValueError, match="expected 0 to world_size - 1 = 1"):
        hf.sharded(batches(), rank=2, world_size=2)
    with pytest.raises(ValueError, match="order must be one of"):
        hf.sharded(batches(), order="random")
    with pytest.raises(TypeError, match="group must be"):
        hf.sharded(batches(), group="node")
    data = TensorDataset(torch.zeros(4, 1), torch.zeros(4))
    dealt = DataLoader(data, sampler=DistributedSampler(data, num_replicas=2, rank=0))
    with pytest.raises(ValueError, match="DistributedSampler"):
        hf.sharded(dealt)
    with pytest.raises(ValueError, match="RandomSampler.*shuffle=False"):
        hf.sharded(DataLoader(data, shuffle=True), rank=0, world_size=2)
    with pytest.raises(ValueError, match="sharded already, rank 1 of 2"):
        hf.sharded(hf.sharded(batches(), rank=1, world_size=2), rank=1, world_size=2)
    with pytest.raises(TypeError, match="no length"):
        len(hf.sharded(kinds()["generator"]))


def test_processes_without_a_group_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(hf.sharded(batches())) == 7
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="init_process_group"):
        hf.sharded(batches())


def test_one_rank_says_that_its_report_is_of_a_part() -> None:
    data = TensorDataset(torch.randn(40, 3), torch.arange(40) % 2)
    sides = [DataLoader(data, 10, sampler=DistributedSampler(data, 2, 0, shuffle=False)) for _ in range(2)]
    model = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    with pytest.warns(UserWarning, match="one rank's part"):
        assert hf.preindex(model, *sides, kmeans=False).samples == 20


def test_parts_that_do_not_fit() -> None:
    model = torch.nn.Linear(3, 2)
    part = hf.sharded(batches(), rank=0, world_size=2)
    with pytest.raises(ValueError, match="both be sharded"):
        hf.preindex(model, part, batches(), group="world")
    other = hf.sharded(batches(), rank=1, world_size=2)
    with pytest.raises(ValueError, match="sharded by"):
        hf.preindex(model, part, other, group="world")
    with pytest.raises(ValueError, match="sharded for rank 0 of 2, but this is rank 0 of 1"):
        hf.preindex(model, part, part, group="world")


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))


def test_without_a_process_group_the_world_is_this_process() -> None:
    found = [
        hf.preindex(network(), hf.sharded(batches()), hf.sharded(batches()), group=group)
        for group in (None, "world")
    ]
    assert found[0].layers == found[1].layers
    accumulator = hf.PreIndexAccumulator()
    accumulator.update("a", torch.arange(6.0).reshape(2, 3), torch.ones(2, 3))
    before = accumulator.result()
    accumulator.all_reduce()
    assert accumulator.result() == before


def test_a_group_of_one(request: pytest.FixtureRequest) -> None:
    """All of the exchange, in this process."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    request.addfinalizer(torch.distributed.destroy_process_group)
    alone, grouped = (
        hf.preindex(network(), hf.sharded(batches()), hf.sharded(batches()), group=group, effort_samples=8)
        for group in (None, "world")
    )
    assert grouped.layers == alone.layers
    assert grouped.clusters == alone.clusters
    assert grouped.effort_score == alone.effort_score
    assert grouped.mode == f"{alone.mode}, 1 ranks"


@pytest.mark.parametrize(
    ("signs", "dead"),
    [([True, False, True] * 20, False), ([False] * 30, False), ([True] + [False] * 33, True)],
)
def test_a_rank_is_dead_when_this_one_has_long_been_alive_alone(
    signs: list[bool], dead: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a job was stopped and goes on, every rank has been silent for long, and each goes on at its own time."""
    store = torch.distributed.HashStore()
    given = iter(signs)

    class Closed:
        def wait(self, seconds: float) -> bool:
            sign = next(given, None)
            if sign:
                store.add("job/beat 1", 1)
            return sign is None

    clock = itertools.count(step=1000.0)
    monkeypatch.setattr(ranks.time, "monotonic", lambda: next(clock))
    first = ranks.Ranks.__new__(ranks.Ranks)
    first.rank, first.size, first._names, first._prefix, first._failed = 0, 2, [4, 7], "job", None
    first._store, first._closed = store, Closed()  # type: ignore[assignment]
    first._beat()
    assert (first._failed is not None) == dead
    if dead:
        with pytest.raises(ConnectionError, match="rank 7 has given no sign of life for 30 s"):
            first.check()


def test_states_are_exact_and_plain() -> None:
    parts = []
    for seed in range(2):
        accumulator = hf.PreIndexAccumulator(bins=(4, 8))
        rows = torch.randn((5, 7), generator=torch.Generator().manual_seed(seed))
        accumulator.update("a", rows, rows**2)
        parts.append(accumulator)
    states = [json.loads(json.dumps(part.state())) for part in parts]
    whole = hf.PreIndexAccumulator.of_states(states)
    parts[0].merge(parts[1])
    assert whole.result() == parts[0].result()
    assert len(states[0]["layers"]["a"]["distances"][0]) == len(MEASURES)
    with pytest.raises(ValueError, match="one state or more"):
        hf.PreIndexAccumulator.of_states([])
    with pytest.raises(ValueError, match="cannot merge"):
        hf.PreIndexAccumulator.of_states([states[0], hf.PreIndexAccumulator(bins=(4,)).state()])


@pytest.mark.parametrize(
    "change",
    [
        {"rows": 5.5}, {"rows": True}, {"rows": "5"}, {"rows": 10**30}, {"rows": 10**6}, {"left_out": 6}, {"units": 0},
        {"counts": [[1.5] * 8] * 2}, {"counts": [[1] * 8, [2] * 8]}, {"counts": [[-1] * 8] * 2},
        {"distances": [[float("nan")] * 5] * 2}, {"distances": "x"},
    ],
)  # fmt: skip
def test_a_state_that_no_accumulator_gave_is_refused(change: dict[str, Any]) -> None:
    accumulator = hf.PreIndexAccumulator(bins=(4, 8))
    accumulator.update("a", torch.ones(5, 7), torch.rand(5, 7))
    state = accumulator.state()
    state["layers"]["a"] |= change
    with pytest.raises(ValueError, match=r"states\[1\] is not what state"):
        hf.PreIndexAccumulator.of_states([accumulator.state(), state])
    with pytest.raises(TypeError, match="other must be a PreIndexAccumulator, not a dict"):
        accumulator.merge(state)  # type: ignore[arg-type]


def test_fingerprints_see_every_weight() -> None:
    first, other = network(), network()
    assert fingerprint(first) == fingerprint(other)
    for name, parameter in other.named_parameters():
        with torch.no_grad():
            kept = parameter.flatten()[-1].item()
            parameter.view(-1)[-1] += 1e-6 + abs(kept) * 1e-6
        differ = {key for key, value in fingerprint(other).items() if fingerprint(first)[key] != value}
        assert differ == {name}
        with torch.no_grad():
            parameter.view(-1)[-1] = kept
    odd = torch.nn.Module()
    odd.register_buffer("scale", torch.ones(3, dtype=torch.float16))
    odd.register_buffer("count", torch.tensor(3))
    assert list(fingerprint(odd)) == ["scale"]

"""Models that a library wraps (adapters, sharded and replicated weights), recurrent ones and graphs, against the same
weights without the wrapper or samples that go through them one at a time."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import peft
import pytest
import torch
import torch.distributed as dist
from hitl_kernels.shift_distances import reference
from test_zoo import CLASSES, LABELS, N, text_model, texts
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard

import hitl_fast as hf
from hitl_fast.shift.distributed import refuse_sharded

pytestmark = [pytest.mark.jit, pytest.mark.filterwarnings("ignore")]


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make()


@pytest.mark.parametrize(
    ("name", "targets"),
    [
        ("Bert", "all-linear"),
        ("Bert", ["query", "value"]),
        ("Llama", "all-linear"),
        ("Llama", ["q_proj", "v_proj"]),
        ("GPT2", ["c_attn"]),
    ],
)
def test_adapters_count_as_the_weights_that_they_change(name: str, targets: Any) -> None:
    """The oracle is the model with its adapters merged into the weights."""
    config = peft.LoraConfig(
        r=2,
        target_modules=targets,
        task_type="SEQ_CLS",
        init_lora_weights=False,
        fan_in_fan_out=name == "GPT2",
    )
    adapted = seeded(lambda: peft.get_peft_model(text_model(name), config).double().eval())
    sides = [[texts(seed) | {"labels": LABELS}] for seed in (0, 1)]
    report = hf.preindex(adapted, *sides)
    merged = hf.preindex(adapted.merge_and_unload(), *sides)  # type: ignore[operator]
    assert [layer.removeprefix("base_model.model.") for layer in report.layers] == list(merged.layers)
    assert report.embedding.startswith("input of base_model.model.")
    for ours, theirs in zip(report.layers.values(), merged.layers.values(), strict=True):
        assert ours.distances[32] == pytest.approx(theirs.distances[32], abs=1e-9)
    assert report.cka == pytest.approx(merged.cka, abs=1e-6)
    assert report.probe_error == merged.probe_error


@pytest.fixture
def lone_rank() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def network() -> nn.Sequential:
    inner = nn.Sequential(nn.Linear(16, 16), nn.ReLU())
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), inner, nn.Linear(16, CLASSES))


def sharded(model: nn.Sequential) -> nn.Module:
    mesh = init_device_mesh("cpu", (1,))
    fully_shard(model[3], mesh=mesh)
    return fully_shard(model, mesh=mesh)


WRAPPERS: dict[str, Callable[[Any], nn.Module]] = {
    "fully_shard": sharded,
    "FullyShardedDataParallel": lambda m: FullyShardedDataParallel(m, device_id=torch.device("cpu")),
    "DistributedDataParallel": nn.parallel.DistributedDataParallel,
    "DataParallel": nn.DataParallel,
    "compile": lambda m: torch.compile(m, backend="eager"),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrapped_weights_give_what_bare_ones_give(wrapper: str, lone_rank: None) -> None:
    generator = torch.Generator().manual_seed(0)
    clean, shifted = (torch.randn(12, 6, generator=generator) for _ in range(2))
    labels = torch.arange(12) % CLASSES
    sides = [list(zip(side.split(5), labels.split(5), strict=True)) for side in (clean, shifted)]
    bare = hf.preindex(seeded(network), *sides)
    report = hf.preindex(WRAPPERS[wrapper](seeded(network)), *sides)
    assert (list(report.layers), report.embedding) == (["0", "3.0"], "input of 4")
    assert report.distances == bare.distances
    assert (report.index, report.probe_error, report.effort_score) == (
        bare.index, bare.probe_error, bare.effort_score,
    )  # fmt: skip


@pytest.mark.parametrize("wrapper", ["fully_shard", "FullyShardedDataParallel"])
def test_sharded_weights_are_refused_where_ranks_have_their_own_batches(
    wrapper: str, lone_rank: None
) -> None:
    """Their forward passes wait for each other, and ranks run different many."""
    model = WRAPPERS[wrapper](seeded(network))
    with pytest.raises(ValueError, match="sharded over ranks.*group="):
        refuse_sharded(model, SimpleNamespace(size=2))  # type: ignore[arg-type]
    refuse_sharded(seeded(network), SimpleNamespace(size=2))  # type: ignore[arg-type]
    refuse_sharded(model, SimpleNamespace(size=1))  # type: ignore[arg-type]


class Recurrent(nn.Module):
    """The last state of a recurrent layer, batch or time first, in one or both directions."""

    def __init__(self, kind: type[nn.RNNBase], batch_first: bool, both: bool, deep: int) -> None:
        super().__init__()
        self.rnn = kind(6, 8, deep, batch_first=batch_first, bidirectional=both)  # type: ignore[call-arg, arg-type]
        self.head = nn.Linear(16 if both else 8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        first = self.rnn.batch_first
        states, _ = self.rnn(x if first else x.transpose(0, 1))
        made: Tensor = self.head(states[:, -1] if first else states[-1])
        return made


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize(
    ("batch_first", "both", "deep"), [(True, False, 1), (False, True, 1), (False, False, 2)]
)
def test_recurrent_layers(kind: type[nn.RNNBase], batch_first: bool, both: bool, deep: int) -> None:
    model = seeded(lambda: Recurrent(kind, batch_first, both, deep).double())
    generator = torch.Generator().manual_seed(0)
    clean, shifted = (torch.randn(N, 5, 6, generator=generator, dtype=torch.float64) for _ in range(2))

    def rows(side: Tensor) -> np.ndarray:
        with torch.no_grad():
            alone = (model.rnn(x[None] if batch_first else x[:, None])[0] for x in side)  # type: ignore[operator]
            return np.stack([states.mean((0, 1)).numpy() for states in alone])

    expected = reference.shift_distances(rows(clean), rows(shifted), (32,))[0][:, 0, 0].mean()
    for size in (1, 4, N):
        sides = [list(zip(side.split(size), LABELS.split(size), strict=True)) for side in (clean, shifted)]
        found = hf.preindex(model, *sides).layers["rnn"]
        assert found.distances[32]["jensen_shannon"] == pytest.approx(expected, abs=1e-6)


class Graphs(nn.Module):
    """Nodes of all graphs of a batch in one dimension, edges between them, and which graph each node is of."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(5, 16), nn.Linear(16, 16), nn.Linear(16, CLASSES)

    def forward(self, nodes: Tensor, edges: Tensor, graph: Tensor) -> Tensor:
        hidden = nodes
        for layer in (self.first, self.second):
            sent = layer(hidden)
            hidden = sent.index_add(0, edges[1], sent[edges[0]]).relu()
        sums = hidden.new_zeros(int(graph.max()) + 1, 16).index_add(0, graph, hidden)
        made: Tensor = self.head(sums / torch.bincount(graph).unsqueeze(1))
        return made


def graphs(sizes: list[int], shift: float) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Each alone, with its label."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for number, size in enumerate(sizes):
        nodes = torch.randn(size, 5, generator=generator, dtype=torch.float64)
        edges = torch.randint(0, size, (2, 2 * size), generator=generator)
        nodes = nodes + shift * torch.randn(size, 5, generator=generator, dtype=torch.float64)
        found.append((nodes, edges, torch.zeros(size, dtype=torch.long), torch.tensor([number % CLASSES])))
    return found


def joined(parts: list[tuple[Tensor, Tensor, Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As graph libraries join a batch."""
    starts = np.cumsum([0, *(len(part[0]) for part in parts[:-1])]).tolist()
    return (
        torch.cat([part[0] for part in parts]),
        torch.cat([part[1] + start for part, start in zip(parts, starts, strict=True)], 1),
        torch.cat([part[2] + i for i, part in enumerate(parts)]),
        torch.cat([part[3] for part in parts]),
    )


@pytest.mark.parametrize("sizes", [[3, 5, 4, 6], [3, 5, 4, 4], [4, 4, 4, 4], [3, 5, 4, 7, 2, 6, 3, 6]])
def test_graphs_alone_are_right_and_joined_ones_are_refused(sizes: list[int]) -> None:
    model = seeded(lambda: Graphs().double())
    clean, shifted = graphs(sizes, 0), graphs(sizes, 0.5)
    with pytest.raises(ValueError, match="batch size of 1"):
        hf.preindex(model, [joined(clean)], [joined(shifted)])
    report = hf.preindex(model, clean, shifted)
    with torch.no_grad():
        rows = [
            np.stack([model.first(part[0]).mean(0).numpy() for part in side])  # type: ignore[operator]
            for side in (clean, shifted)
        ]
    expected = reference.shift_distances(rows[0], rows[1], (32,))[0][:, 0, 0].mean()
    assert report.layers["first"].distances[32]["jensen_shannon"] == pytest.approx(expected, abs=1e-6)

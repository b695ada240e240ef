"""Inside StatefulDataLoader, accelerate and Lightning, as their users write it."""

import itertools
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import hitl_fast as hf
from hitl_fast import PriorityBatchSampler, PrioritySampler

pytestmark = [
    pytest.mark.jit,  # nothing compiled is looked at here that other tests do not look at
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated"),  # torchdata of torch
]

WEIGHTS = np.random.default_rng(0).random(50)
DATA = TensorDataset(torch.arange(50))


def sampler(**arguments: int) -> PrioritySampler:
    return PrioritySampler(WEIGHTS, 45, seed=6, **arguments)


def epochs_of(count: int, **arguments: int) -> list[list[int]]:
    alone = sampler(**arguments)
    return [list(alone) for _ in range(count)]


def items(batches: object) -> list[int]:
    return [item for (batch,) in batches for item in batch.tolist()]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batches", [0, 1, 5, 11, 12])
def test_stateful_loader_resumes(workers: int, batches: int) -> None:
    from torchdata.stateful_dataloader import StatefulDataLoader

    def loader() -> StatefulDataLoader:
        return StatefulDataLoader(DATA, batch_size=4, sampler=sampler(), num_workers=workers)

    expected = epochs_of(3)
    first = loader()
    assert items(first) == expected[0]
    head = items(itertools.islice(iter(first), batches))
    assert head == expected[1][: 4 * batches]
    state = first.state_dict()
    second = loader()
    second.load_state_dict(state)
    assert items(second) == expected[1][4 * batches :]
    assert items(second) == expected[2]
    # Of an epoch that its loop has seen the end of, the loader goes on to the next one.
    third = loader()
    third.load_state_dict(second.state_dict())
    assert items(third) == epochs_of(4)[3]


@pytest.mark.parametrize("workers", [0, 2])
def test_stateful_loader_resumes_twice_in_one_epoch(workers: int) -> None:
    from torchdata.stateful_dataloader import StatefulDataLoader

    expected = epochs_of(2)
    state, taken = None, []
    for batches in (2, 3, 100):
        loader = StatefulDataLoader(DATA, batch_size=4, sampler=sampler(), num_workers=workers)
        if state is not None:
            loader.load_state_dict(state)
        taken += items(itertools.islice(iter(loader), batches))
        state = loader.state_dict()
    assert taken == expected[0]
    assert items(loader) == expected[1]


def test_stateful_loader_of_batches() -> None:
    from torchdata.stateful_dataloader import StatefulDataLoader

    def loader() -> StatefulDataLoader:
        batches = PriorityBatchSampler(WEIGHTS, 4, 45, seed=6)
        return StatefulDataLoader(DATA, batch_size=None, sampler=batches)

    expected = epochs_of(2)
    first = loader()
    assert items(itertools.islice(iter(first), 3)) == expected[0][:12]
    second = loader()
    second.load_state_dict(first.state_dict())
    assert items(second) == expected[0][12:]
    assert items(second) == expected[1]


def test_accelerate_prepares_a_loader() -> None:
    from accelerate import Accelerator

    loader = Accelerator(cpu=True).prepare(DataLoader(DATA, batch_size=4, sampler=sampler()))
    assert [items(loader) for _ in range(3)] == epochs_of(3)
    loader.set_epoch(1)
    assert items(loader) == epochs_of(2)[1]


@pytest.mark.parametrize("processes", [2, 3])
def test_accelerate_deals_one_sequence_to_all_processes(processes: int) -> None:
    """It deals batches of the sampler it is given, so that sampler must be the whole one."""
    from accelerate import Accelerator
    from accelerate.data_loader import prepare_data_loader

    Accelerator(cpu=True)
    dealt = []
    for process in range(processes):
        loader = DataLoader(DATA, batch_size=5, sampler=sampler(rank=0, world_size=1))
        prepared = prepare_data_loader(
            loader, num_processes=processes, process_index=process, put_on_device=False, rng_types=[]
        )
        dealt.append([batch.tolist() for (batch,) in prepared])
    sequence = [item for step in zip(*dealt, strict=True) for batch in step for item in batch]
    assert sequence[:45] == epochs_of(1)[0]


def seen_by_lightning(folder: object, epochs: int, data: Any, **options: Any) -> list[tuple[int, int]]:
    """(epoch, item) of every draw that a training sees; ``data`` makes what it trains on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own, on import and about logging
        import pytorch_lightning

        class Seen(pytorch_lightning.LightningModule):
            def __init__(self) -> None:
                super().__init__()
                self.layer = torch.nn.Linear(1, 1)
                self.seen: list[tuple[int, int]] = []

            def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
                self.seen += [(self.current_epoch, item) for item in batch[0].tolist()]
                return self.layer(batch[0].float()[:, None]).mean()

            def configure_optimizers(self) -> torch.optim.Optimizer:
                return torch.optim.SGD(self.parameters(), lr=1e-3)

        module = Seen()
        trainer = pytorch_lightning.Trainer(
            max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, default_root_dir=str(folder), **options,
        )  # fmt: skip
        trainer.fit(module, data())
    return module.seen


def test_lightning_trains_on_it(tmp_path: object) -> None:
    found = seen_by_lightning(
        tmp_path, 3, lambda: DataLoader(DATA, batch_size=4, sampler=sampler()), use_distributed_sampler=False
    )
    assert found == [(epoch, item) for epoch, items in enumerate(epochs_of(3)) for item in items]


def test_a_data_module_draws_by_weight(tmp_path: object) -> None:
    weights = np.where(np.arange(len(DATA)) % 2, 1.0, 0.0)
    found = seen_by_lightning(
        tmp_path,
        2,
        lambda: hf.integrations.PriorityDataModule(DATA, weights, num_samples=30, seed=7, batch_size=4),
    )
    expected = hf.PrioritySampler(weights, num_samples=30, seed=7)
    assert found == [(epoch, item) for epoch in (0, 1) for item in expected]
    assert {item % 2 for _, item in found} == {1}


@pytest.mark.parametrize(
    ("dataset", "weights", "options", "error", "named"),
    [
        (range(4), [1.0] * 3, {}, ValueError, "3 values for 4 samples"),
        (range(4), [1.0] * 4, {"shuffle": True}, ValueError, "shuffle="),
        (range(4), [1.0] * 4, {"sampler": [0]}, ValueError, "sampler="),
        (iter(range(4)), [1.0] * 4, {}, TypeError, "length"),
        (range(4), [1.0, -1.0, 1.0, 1.0], {}, ValueError, "weights"),
    ],
)
@pytest.mark.filterwarnings("ignore")  # Lightning's own, on import
def test_what_a_data_module_refuses(
    dataset: object, weights: list[float], options: dict[str, Any], error: type[Exception], named: str
) -> None:
    with pytest.raises(error, match=named):
        hf.integrations.PriorityDataModule(dataset, weights, **options)

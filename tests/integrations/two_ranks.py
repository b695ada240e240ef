"""Run by torchrun on two ranks with gloo: draws and gradients under accelerate, Lightning and the Trainer.

Usage: two_ranks.py FOLDER; writes results.json there.
"""

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
import numpy as np
import tiny_models as tiny
import torch
from torch.utils.data import DataLoader, TensorDataset

import hitl_fast as hf

ITEMS = 48
WEIGHTS = np.random.default_rng(0).random(ITEMS) + 0.1
torch.set_num_threads(1)


def sampler(**given: Any) -> hf.PrioritySampler:
    return hf.PrioritySampler(WEIGHTS, method="systematic", seed=5, **given)


def gathered(items: list[int]) -> list[list[int]]:
    everything: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(everything, items)
    return everything


def refusal(action: Any) -> str:
    try:
        action()
    except ValueError as problem:
        return str(problem)
    return "not refused"


def loader(**given: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.arange(ITEMS)), batch_size=4, sampler=sampler(**given))


def data_module() -> Any:
    weights = np.random.default_rng(0).random(ITEMS) + 0.1
    data = TensorDataset(torch.arange(ITEMS))
    return hf.integrations.PriorityDataModule(data, weights, method="systematic", seed=5, batch_size=4)


def accelerated() -> dict[str, Any]:
    from accelerate import Accelerator, DataLoaderConfiguration

    found: dict[str, Any] = {}
    for name, options in (
        ("shard", {}),
        ("dispatch", {"dispatch_batches": True}),
        ("split", {"split_batches": True}),
    ):
        accelerator = Accelerator(cpu=True, dataloader_config=DataLoaderConfiguration(**options))
        prepared = accelerator.prepare(loader())
        found[name] = gathered([item for (batch,) in prepared for item in batch.tolist()])
        found[f"{name} batches"] = len(prepared)
    rank = torch.distributed.get_rank()
    prepared = Accelerator(cpu=True).prepare(loader(rank=rank, world_size=2))
    found["refusal"] = refusal(lambda: list(prepared))
    return found


def lightning(
    folder: Path, distributed_sampler: bool, rank: int | None = None, as_module: bool = False
) -> list[list[int]]:
    import pytorch_lightning

    class Seen(pytorch_lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)
            self.seen: list[int] = []

        def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
            self.seen += batch[0].tolist()
            return self.layer(batch[0].float()[:, None]).mean()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=1e-3)

    module = Seen()
    trainer = pytorch_lightning.Trainer(
        max_epochs=1, accelerator="cpu", devices=2, strategy="ddp", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=distributed_sampler,
        default_root_dir=str(folder),
    )  # fmt: skip
    given = {} if rank is None else {"rank": rank, "world_size": 2}
    if as_module:
        trainer.fit(module, datamodule=data_module())
    else:
        trainer.fit(module, loader(**given))
    return gathered(module.seen)


def trained(folder: Path, **own: Any) -> Any:
    from datasets import Dataset, disable_progress_bars
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    disable_progress_bars()
    trainer = hf.integrations.weighted_trainer(Trainer)(
        model=tiny.gpt2(),
        args=tiny.arguments(
            TrainingArguments, folder, per_device_train_batch_size=4, gradient_accumulation_steps=2, max_steps=1,
            ddp_backend="gloo", train_sampling_strategy="sequential",
        ),
        train_dataset=Dataset.from_list(tiny.token_rows()),
        weights=tiny.weights(),
        data_collator=DataCollatorForSeq2Seq(tiny.tokenizer()),
        **own,
    )  # fmt: skip
    trainer.train()
    return tiny.parameters(trainer.model)


def tuned(folder: Path, **more: Any) -> torch.Tensor:
    """SFTTrainer after one step of two accumulated batches on each rank."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    trainer = hf.integrations.weighted_trainer(SFTTrainer)(
        model=tiny.gpt2(),
        args=tiny.arguments(SFTConfig, folder, **{**tiny.SPLIT, **more}),
        train_dataset=Dataset.from_dict({"text": tiny.texts()}),
        processing_class=tiny.tokenizer(),
        weights=tiny.weights(),
    )
    trainer.train()
    return tiny.parameters(trainer.model)


def rewarded(folder: Path) -> torch.Tensor:
    """RewardTrainer after one step of two accumulated batches on each rank."""
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    trainer = hf.integrations.weighted_trainer(RewardTrainer)(
        model=tiny.scorer(),
        args=tiny.arguments(RewardConfig, folder, **tiny.SPLIT),
        train_dataset=Dataset.from_dict(tiny.whole_pairs()),
        processing_class=tiny.tokenizer(),
        weights=tiny.weights(),
    )
    trainer.train()
    return tiny.parameters(trainer.model)


def preferred(folder: Path) -> torch.Tensor:
    """DPOTrainer after one step of two accumulated batches on each rank."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    trainer = hf.integrations.weighted_trainer(DPOTrainer)(
        model=tiny.gpt2(),
        ref_model=tiny.gpt2(seed=4),
        args=tiny.arguments(DPOConfig, folder, **tiny.SPLIT),
        train_dataset=Dataset.from_dict(tiny.pairs()),
        processing_class=tiny.tokenizer(),
        weights=tiny.weights(),
    )
    trainer.train()
    return tiny.parameters(trainer.model)


def sampled(folder: Path) -> list[list[int]]:
    from transformers import Trainer, TrainingArguments

    class Items(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return ITEMS

        def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
            return {"x": torch.tensor([float(index)]), "labels": torch.tensor(0)}

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(1, 2)
            self.seen: list[int] = []

        def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
            self.seen += x[:, 0].long().tolist()
            logits = self.layer(x)
            return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}

    model = Model()
    args = tiny.arguments(TrainingArguments, folder, num_train_epochs=1, max_steps=-1, ddp_backend="gloo")
    trainer_class = hf.integrations.weighted_trainer(Trainer)
    trainer_class(model=model, args=args, train_dataset=Items(), weights=WEIGHTS, sample=True).train()
    return gathered(model.seen)


def main(folder: Path) -> None:
    warnings.simplefilter("ignore")
    rank = int(os.environ["RANK"])
    # Before there is a process group, as Lightning's users build their loaders.
    found: dict[str, Any] = {"lightning": lightning(folder, True), "lightning own": lightning(folder, False)}
    found |= {f"data module {on}": lightning(folder, on, as_module=True) for on in (True, False)}
    found["lightning refusal"] = refusal(lambda: lightning(folder, True, rank))
    found["accelerate"] = accelerated()
    found["trainer"] = sampled(folder)
    found["parameters"] = trained(folder).tolist()
    found["parameters fused"] = trained(folder, fused=True).tolist()
    if sys.version_info >= (3, 11):  # trl needs it
        found["sft"], found["dpo"] = tuned(folder).tolist(), preferred(folder).tolist()
        found["packed"] = tuned(folder, **tiny.PACKED_SPLIT).tolist()
        found["reward"] = rewarded(folder).tolist()
    if rank == 0:
        (folder / "results.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

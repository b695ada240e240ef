"""Two processes with gloo: every draw of the sampler reaches one of them, and gradients are those of one process."""

import json
import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hitl_fast as hf

pytestmark = [pytest.mark.jit, pytest.mark.filterwarnings("ignore")]
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("two_ranks")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    run = subprocess.run(
        [*command, str(HERE / "two_ranks.py"), str(folder)],
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    result: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return result


def expected() -> list[int]:
    weights = np.random.default_rng(0).random(48) + 0.1
    return list(hf.PrioritySampler(weights, method="systematic", seed=5))


@pytest.mark.parametrize("way", ["lightning", "lightning own", "data module True", "data module False"])
def test_lightning(found: dict[str, Any], way: str) -> None:
    ranks = found[way]
    assert [len(rank) for rank in ranks] == [24, 24]
    assert sorted(chain(*ranks)) == sorted(expected())


@pytest.mark.parametrize("way", ["shard", "dispatch", "split"])
def test_accelerate(found: dict[str, Any], way: str) -> None:
    ranks = found["accelerate"][way]
    assert [len(rank) for rank in ranks] == [24, 24]
    assert sorted(chain(*ranks)) == sorted(expected())
    batches = {"shard": 6, "dispatch": 6, "split": 12}[way]
    assert found["accelerate"][f"{way} batches"] == batches


def test_a_sampler_of_one_rank_is_refused(found: dict[str, Any]) -> None:
    for message in (found["accelerate"]["refusal"], found["lightning refusal"]):
        assert "world_size=2" in message
        assert "use_distributed_sampler=False" in message


def test_trainer(found: dict[str, Any]) -> None:
    weights = np.random.default_rng(0).random(48) + 0.1
    counts = np.bincount(list(chain(*found["trainer"])), minlength=48)
    share = 48 * weights / weights.sum()
    assert [len(rank) for rank in found["trainer"]] == [24, 24]
    assert (counts >= np.floor(share)).all()
    assert (counts <= np.ceil(share)).all()


@pytest.mark.parametrize("way", ["parameters", "parameters fused"])
def test_two_ranks_train_as_one(found: dict[str, Any], tmp_path: Path, way: str) -> None:
    import tiny_models as tiny
    from datasets import Dataset
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    trainer = hf.integrations.weighted_trainer(Trainer)(
        model=tiny.gpt2(),
        args=tiny.arguments(TrainingArguments, tmp_path, per_device_train_batch_size=16, max_steps=1),
        train_dataset=Dataset.from_list(tiny.token_rows()),
        weights=tiny.weights(),
        data_collator=DataCollatorForSeq2Seq(tiny.tokenizer()),
    )
    trainer.train()
    torch.testing.assert_close(
        torch.tensor(found[way], dtype=torch.float64), tiny.parameters(trainer.model), atol=1e-6, rtol=1e-5
    )


@pytest.mark.parametrize("kind", ["sft", "packed", "dpo", "reward"])
def test_two_ranks_of_trl_train_as_one(found: dict[str, Any], tmp_path: Path, kind: str) -> None:
    import tiny_models as tiny
    import trl
    from datasets import Dataset

    name = {"dpo": "DPO", "reward": "Reward"}.get(kind, "SFT")
    base, config = getattr(trl, f"{name}Trainer"), getattr(trl, f"{name}Config")
    data = {"dpo": tiny.pairs, "reward": tiny.whole_pairs}.get(kind, lambda: {"text": tiny.texts()})()
    model = tiny.scorer() if kind == "reward" else tiny.gpt2()
    before = tiny.parameters(model)
    trainer = hf.integrations.weighted_trainer(base)(
        model=model,
        args=tiny.arguments(config, tmp_path, **tiny.WHOLE, **(tiny.PACKED if kind == "packed" else {})),
        train_dataset=Dataset.from_dict(data),
        processing_class=tiny.tokenizer(),
        weights=tiny.weights(),
        **({"ref_model": tiny.gpt2(seed=4)} if kind == "dpo" else {}),
    )
    if kind == "packed":
        assert len(trainer.train_dataset) == tiny.PACKED_ROWS
    trainer.train()
    after = torch.tensor(found[kind], dtype=torch.float64)
    assert (after - before).abs().max() > 1e-5
    torch.testing.assert_close(after, tiny.parameters(trainer.model), atol=1e-6, rtol=1e-5)

"""weighted_trainer on tiny random models: the base class at weights of 1, the weighted gradient otherwise."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

os.environ["HF_HUB_OFFLINE"] = "1"

import tiny_models as tiny

import hitl_fast as hf

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # what these frameworks warn of is their own affair
]


@pytest.fixture(autouse=True)
def quiet() -> None:
    import datasets

    datasets.disable_progress_bars()


def plain(folder: Path, weights: Any = None, rows: Any = None, model: Any = None, **more: Any) -> Any:
    """A trained causal model of the plain Trainer, weighted unless weights are None."""
    from datasets import Dataset
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    own = {name: more.pop(name) for name in ("fused", "sample") if name in more}
    kind = Trainer if weights is None and rows is None else hf.integrations.weighted_trainer(Trainer)
    rows = Dataset.from_list(tiny.token_rows() if rows is None else rows)
    if weights is not None:
        own["weights"] = weights
    trainer = kind(
        model=tiny.gpt2() if model is None else model,
        args=tiny.arguments(TrainingArguments, folder, **more),
        train_dataset=rows,
        data_collator=DataCollatorForSeq2Seq(tiny.tokenizer()),
        **own,
    )
    trainer.train()
    return trainer


def change(trainer: Any) -> torch.Tensor:
    return tiny.parameters(trainer.model) - tiny.parameters(tiny.gpt2())


def reference_step(rows: list[dict[str, Any]], weights: np.ndarray, rate: float) -> torch.Tensor:
    """One step of plain SGD in float64 over all rows: the mean over labels of weight above 0, weighted."""
    model = tiny.gpt2(dtype=torch.float64)
    total, count = torch.zeros((), dtype=torch.float64), 0
    for row, weight in zip(rows, weights, strict=True):
        tokens = torch.tensor([row["input_ids"]])
        of_tokens = torch.as_tensor(row.get("token_weight", np.ones(tokens.shape[1]))) * weight
        logits = model(tokens).logits[0, :-1]
        losses = torch.nn.functional.cross_entropy(logits, tokens[0, 1:], reduction="none")
        total = total + (losses * of_tokens[1:]).sum()
        count += int((of_tokens != 0).sum())  # transformers counts the first label of GPT-2 too
    (total / count).backward()
    return torch.cat([-rate * p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("fused", [False, True])
def test_plain_trainer_equals_its_base_and_the_reference(tmp_path: Path, fused: bool) -> None:
    once = {"per_device_train_batch_size": 16, "max_steps": 1}
    four = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4, "max_steps": 1}
    ones = plain(tmp_path, np.ones(16), fused=fused, **four)
    torch.testing.assert_close(change(ones), change(plain(tmp_path, **four)), atol=1e-6, rtol=1e-4)
    weights, rows = tiny.weights(), tiny.token_rows()
    expected = reference_step(rows, weights, rate=0.1)
    for split in (once, four):
        found = change(plain(tmp_path, weights, fused=fused, **split))
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)


def test_token_weights_multiply_those_of_samples(tmp_path: Path) -> None:
    rows = tiny.token_rows()
    generator = np.random.default_rng(4)
    for row in rows:
        row["token_weight"] = (generator.random(len(row["input_ids"])) * (generator.random() < 0.8)).tolist()
    split = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2, "max_steps": 1}
    found = change(plain(tmp_path, tiny.weights(), rows=rows, **split))
    torch.testing.assert_close(found, reference_step(rows, tiny.weights(), 0.1), atol=1e-6, rtol=1e-4)


def test_resume_gives_the_same_parameters(tmp_path: Path) -> None:
    for own in ({}, {"sample": True}):
        folder = tmp_path / str(len(own))
        steps = {"max_steps": 6, "save_strategy": "steps", "save_steps": 3}
        whole = plain(folder, tiny.weights(), **steps, **own)
        from transformers import Trainer

        trainer_class = hf.integrations.weighted_trainer(Trainer)
        again = trainer_class(
            model=tiny.gpt2(seed=9), args=whole.args, train_dataset=whole.train_dataset,
            data_collator=whole.data_collator.collate, **own,
        )  # fmt: skip
        again.train(resume_from_checkpoint=str(folder / "checkpoint-3"))
        torch.testing.assert_close(change(again), change(whole), atol=1e-7, rtol=1e-5)


def test_sample_draws_by_weight(tmp_path: Path) -> None:
    weights = tiny.weights()
    trainer = plain(tmp_path, weights, sample=True, max_steps=1)
    sampler = trainer._get_train_sampler()
    drawn = np.bincount(list(sampler), minlength=16)
    expected = 16 * weights / weights.sum()
    assert (drawn >= np.floor(expected)).all()
    assert (drawn <= np.ceil(expected)).all()


def test_evaluation_is_unweighted(tmp_path: Path) -> None:
    trainer = plain(tmp_path, tiny.weights(), max_steps=1)
    from datasets import Dataset
    from transformers import Trainer

    rows = Dataset.from_list(tiny.token_rows(8, seed=5))
    base = Trainer(model=trainer.model, args=trainer.args, data_collator=trainer.data_collator.collate)
    expected = base.evaluate(rows)["eval_loss"]
    assert trainer.evaluate(rows)["eval_loss"] == pytest.approx(expected, rel=1e-6)
    weighted = rows.add_column("sample_weight", [0.0] * 4 + [5.0] * 4)
    assert trainer.evaluate(weighted)["eval_loss"] == pytest.approx(expected, rel=1e-6)
    unrated = rows.add_column("sample_weight", [1.0, None, -1.0, float("nan"), *[0.0] * 4])
    assert trainer.evaluate(unrated)["eval_loss"] == pytest.approx(expected, rel=1e-6)
    assert trainer.predict(unrated).metrics["test_loss"] == pytest.approx(expected, rel=1e-6)
    with pytest.raises(ValueError, match="sample 1 .*'sample_weight'"):
        trainer.data_collator(unrated.to_list())  # in training


@pytest.mark.parametrize("labels", ["classes", "numbers"])
def test_classification_and_regression(tmp_path: Path, labels: str) -> None:
    from transformers import GPT2ForSequenceClassification, Trainer, TrainingArguments

    def model() -> Any:
        torch.manual_seed(0)
        settings = tiny.gpt2().config
        settings.num_labels = 3 if labels == "classes" else 1
        torch.manual_seed(0)
        return GPT2ForSequenceClassification(settings)

    def trained(weights: Any, rows: Any, steps: int = 1) -> torch.Tensor:
        kind = Trainer if weights is None else hf.integrations.weighted_trainer(Trainer)
        network = model()
        more = {
            "per_device_train_batch_size": len(rows) // steps,
            "gradient_accumulation_steps": steps,
            "max_steps": 1,
        }
        kind(
            model=network,
            args=tiny.arguments(TrainingArguments, tmp_path, **more),
            train_dataset=rows,
            **({} if weights is None else {"weights": weights}),
        ).train()
        return tiny.parameters(network)

    generator = np.random.default_rng(0)
    rows = [
        {
            "input_ids": torch.tensor(generator.integers(3, 43, 6)),
            "labels": int(y) if labels == "classes" else float(y),
        }
        for y in generator.integers(0, 3, 8)
    ]
    # Of the base class one batch only: transformers 5.23 steps twice as far where this model accumulates two.
    base, half = trained(None, rows), trained(None, rows[::2])
    for steps in (1, 2):
        torch.testing.assert_close(trained(np.ones(8), rows, steps), base, atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(trained(np.array([1.0, 0.0] * 4), rows, steps), half, atol=1e-6, rtol=1e-4)


def sft(folder: Path, weights: Any, rows: Any = None, model: Any = None, **more: Any) -> Any:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    kind = SFTTrainer if weights is None and rows is None else hf.integrations.weighted_trainer(SFTTrainer)
    extra = {name: more.pop(name) for name in ("peft_config",) if name in more}
    trainer = kind(
        model=tiny.gpt2() if model is None else model,
        args=tiny.arguments(SFTConfig, folder, **{"bf16": False, **more}),
        train_dataset=Dataset.from_dict({"text": tiny.texts()}) if rows is None else Dataset.from_list(rows),
        processing_class=tiny.tokenizer(),
        **extra,
        **({} if weights is None else {"weights": weights}),
    )
    trainer.train()
    return trainer


@pytest.mark.parametrize("more", [{}, {"packing": True, "max_length": 16}])
def test_sft(tmp_path: Path, more: dict[str, Any]) -> None:
    """Weights of 1 are SFTTrainer, also packed; four batches are one; weight 0 leaves a sample out."""
    once = {"per_device_train_batch_size": 16, "max_steps": 1, **more}
    four = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 16, "max_steps": 1, **more}
    ones = change(sft(tmp_path, np.ones(16), **once))
    torch.testing.assert_close(ones, change(sft(tmp_path, None, **once)), atol=1e-6, rtol=1e-5)
    weights = tiny.weights()
    whole = change(sft(tmp_path, weights, **once))
    torch.testing.assert_close(change(sft(tmp_path, weights, **four)), whole, atol=1e-6, rtol=1e-4)
    assert (whole - ones).abs().max() > 1e-4


def test_sft_gradient_is_the_weighted_one(tmp_path: Path) -> None:
    rows = tiny.token_rows()
    generator = np.random.default_rng(4)
    for row in rows:
        row["token_weight"] = generator.random(len(row["input_ids"])).tolist()
    weights = tiny.weights()
    trainer = sft(tmp_path, weights, rows=rows, per_device_train_batch_size=16, max_steps=1)
    found, expected = change(trainer), reference_step(rows, weights, 0.1)
    # The same up to SFTTrainer's denominator, which leaves out first labels where the model says so.
    ratio = (found @ expected) / (expected @ expected)
    torch.testing.assert_close(found, ratio * expected, atol=1e-6, rtol=1e-3)
    counted = sum(len(row["input_ids"]) for row, w in zip(rows, weights, strict=True) if w)
    first = int((weights != 0).sum())
    assert ratio.item() == pytest.approx(1.0, rel=1e-4) or ratio.item() == pytest.approx(
        counted / (counted - first), rel=1e-4
    )


def test_sft_with_lora_and_bf16(tmp_path: Path) -> None:
    from peft import LoraConfig

    for more in (
        {"peft_config": LoraConfig(r=2, target_modules=["c_attn"], lora_dropout=0.0)},
        {"bf16": True},
    ):
        once = {"per_device_train_batch_size": 16, "max_steps": 2, **more}
        base, ones = sft(tmp_path, None, **once), sft(tmp_path, np.ones(16), **once)
        torch.testing.assert_close(
            tiny.parameters(ones.model), tiny.parameters(base.model), atol=1e-6, rtol=1e-5
        )
        weighted = sft(tmp_path, tiny.weights(), **once)
        assert (tiny.parameters(weighted.model) - tiny.parameters(base.model)).abs().max() > 1e-6


def pairs(kind: str, folder: Path, weights: Any, keep: Any = slice(None), **more: Any) -> torch.Tensor:
    import trl
    from datasets import Dataset
    from transformers import GPT2ForSequenceClassification

    base, config = getattr(trl, f"{kind}Trainer"), getattr(trl, f"{kind}Config")
    prompts, chosen, rejected = tiny.texts(8, 1), tiny.texts(8, 2), tiny.texts(8, 3)
    columns = {"chosen": [f" {text}" for text in chosen], "rejected": [f" {text}" for text in rejected]}
    extra = {}
    if kind == "DPO":
        columns["prompt"] = prompts
        extra["ref_model"] = tiny.gpt2(seed=4)
    else:
        columns = {
            name: [a + b for a, b in zip(prompts, texts, strict=True)] for name, texts in columns.items()
        }
    model = tiny.gpt2()
    if kind == "Reward":
        settings = model.config
        settings.num_labels = 1
        torch.manual_seed(0)
        model = GPT2ForSequenceClassification(settings)
    before = tiny.parameters(model)
    rows = {name: values[keep] for name, values in columns.items()}
    trainer = (base if weights is None else hf.integrations.weighted_trainer(base))(
        model=model,
        **extra,
        args=tiny.arguments(config, folder, **{"bf16": False, "max_steps": 1, **more}),
        train_dataset=Dataset.from_dict(rows),
        processing_class=tiny.tokenizer(),
        **({} if weights is None else {"weights": np.asarray(weights, dtype=float)}),
    )
    trainer.train()
    return tiny.parameters(model) - before


@pytest.mark.parametrize("kind", ["DPO", "Reward"])
def test_pairs(tmp_path: Path, kind: str) -> None:
    """Weights of 1 are the base class, weight 0 leaves a pair out, and weights scale each pair's gradient."""
    every = {"per_device_train_batch_size": 8}
    base = pairs(kind, tmp_path, None, **every)
    assert base.abs().max() > 1e-5
    close = {"atol": 1e-6, "rtol": 1e-3}
    torch.testing.assert_close(pairs(kind, tmp_path, np.ones(8), **every), base, **close)
    torch.testing.assert_close(pairs(kind, tmp_path, np.full(8, 3.0), **every), 3 * base, **close)
    half = pairs(kind, tmp_path, None, slice(0, None, 2), per_device_train_batch_size=4)
    kept = pairs(kind, tmp_path, [1.0, 0.0] * 4, per_device_train_batch_size=2, gradient_accumulation_steps=4)
    torch.testing.assert_close(kept, half, **close)
    other = pairs(kind, tmp_path, None, slice(1, None, 2), per_device_train_batch_size=4)
    mixed = pairs(kind, tmp_path, [0.5, 2.0] * 4, **every)
    torch.testing.assert_close(mixed, 0.25 * half + 1.0 * other, **close)


@pytest.mark.jit
@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("DPO", {"loss_type": ["ipo", "sigmoid_norm"], "loss_weights": [1.0, 0.5]}),
        ("DPO", {"use_weighting": True, "ld_alpha": 0.5}),
        ("Reward", {"center_rewards_coefficient": 0.1}),
    ],
)
def test_variants_of_pairs(tmp_path: Path, kind: str, more: dict[str, Any]) -> None:
    half = pairs(kind, tmp_path, None, slice(0, None, 2), per_device_train_batch_size=4, **more)
    split = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    found = pairs(kind, tmp_path, [1.0, 0.0] * 4, **split, **more)
    assert half.abs().max() > 1e-4
    torch.testing.assert_close(found, half, atol=1e-6, rtol=1e-3)


class Odd(torch.nn.Module):
    """A model whose own loss is no cross entropy."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 3)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = self.layer(x)
        return {"loss": logits.square().mean(), "logits": logits}


def test_what_is_refused(tmp_path: Path) -> None:
    from transformers import Trainer, TrainingArguments

    weighted = hf.integrations.weighted_trainer(Trainer)
    assert hf.integrations.weighted_trainer(Trainer) is weighted
    with pytest.raises(TypeError, match="int"):
        hf.integrations.weighted_trainer(3)
    with pytest.raises(TypeError, match="Odd.*Trainer"):
        hf.integrations.weighted_trainer(Odd)
    rows = [{"x": torch.ones(2), "labels": 1} for _ in range(4)]
    given = {"model": Odd(), "args": tiny.arguments(TrainingArguments, tmp_path), "train_dataset": rows}
    with pytest.raises(ValueError, match="3 weights for 4 samples"):
        weighted(**given, weights=np.ones(3))
    with pytest.raises(ValueError, match=r"weights\[1\] is nan"):
        weighted(**given, weights=np.array([1, np.nan, 1, 1]))
    with pytest.raises(ValueError, match="sample_weight.*labels, x"):
        weighted(**given)
    with pytest.raises(ValueError, match="compute_loss_func"):
        weighted(**given, weights=np.ones(4), compute_loss_func=print)
    with pytest.raises(ValueError, match="train_dataset"):
        weighted(given["model"], given["args"])
    with pytest.raises(ValueError, match="fused=True.*Odd"):
        weighted(**given, weights=np.ones(4), fused=True)
    with pytest.raises(ValueError, match="Odd computes a loss"):
        weighted(**given, weights=np.ones(4)).train()
    bad = [{**row, "sample_weight": -1.0} for row in rows]
    with pytest.raises(ValueError, match="sample_weight.*-1"):
        weighted(**{**given, "train_dataset": bad}).train()


def test_what_is_refused_of_trl(tmp_path: Path) -> None:
    import trl

    with pytest.raises(TypeError, match="GRPOTrainer"):
        hf.integrations.weighted_trainer(trl.GRPOTrainer)
    with pytest.raises(ValueError, match="loss_type='dft'"):
        sft(tmp_path, np.ones(16), loss_type="dft")
    rows = tiny.token_rows(4)
    for row in rows:
        row["token_weight"] = [1.0, 2.0]
    with pytest.raises(ValueError, match="tokens.*token_weight"):
        sft(tmp_path, None, rows=rows)

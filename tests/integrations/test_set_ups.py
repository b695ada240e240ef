"""Set-ups that people have: half of the samples at weight 0 train as the other half alone, or they are refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models as tiny
import torch

import hitl_fast as hf

# What these frameworks warn of is their own affair.
pytestmark = [pytest.mark.jit, pytest.mark.filterwarnings("ignore")]
HALF = np.array([1.0, 0.0] * 8)
TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }} {% endgeneration %}"
    "{% else %}{{ m['content'] }} {% endif %}{% endfor %}"
)


def trained(
    folder: Path, rows: Any, weights: Any, base: Any = None, model: Any = None, more: Any = (), own: Any = ()
) -> Any:
    """The parameters after one step of all rows; of the base class where weights are None."""
    import datasets
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments
    from trl import SFTConfig, SFTTrainer

    datasets.disable_progress_bars()
    base = Trainer if base is None else base
    sft = issubclass(base, SFTTrainer)
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = TEMPLATE
    tools = {"processing_class": tokenizer} if sft else {"data_collator": DataCollatorForSeq2Seq(tokenizer)}
    settings: dict[str, Any] = {
        "per_device_train_batch_size": 16 if weights is not None else 8,
        "max_steps": 1,
    }
    settings |= {"bf16": False} if sft else {}
    trainer = (base if weights is None else hf.integrations.weighted_trainer(base))(
        model=tiny.gpt2() if model is None else model(),
        args=tiny.arguments(SFTConfig if sft else TrainingArguments, folder, **{**settings, **dict(more)}),
        train_dataset=rows, **{**tools, **dict(own)}, **({} if weights is None else {"weights": weights}),
    )  # fmt: skip
    trainer.train()
    return tiny.parameters(trainer.model)


def token_data() -> Any:
    from datasets import Dataset

    return Dataset.from_list([{**row, "id": f"s{i}"} for i, row in enumerate(tiny.token_rows())])


def half_is_half(folder: Path, data: Any, weighted: Any = None, weights: Any = HALF, **given: Any) -> None:
    found = trained(folder, data if weighted is None else weighted, weights, **given)
    expected = trained(folder, data.select(range(0, 16, 2)), None, **given)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("shards", [1, 4])
def test_a_stream_by_ids(tmp_path: Path, shards: int) -> None:
    by_id = {f"s{i}": weight for i, weight in enumerate(HALF.tolist())}
    stream = token_data().to_iterable_dataset(num_shards=shards)
    half_is_half(tmp_path, token_data(), stream, by_id)


@pytest.mark.parametrize(
    "more",
    [
        {"label_smoothing_factor": 0.1},
        {"train_sampling_strategy": "group_by_length"},
        {"gradient_checkpointing": True},
        {"average_tokens_across_devices": False},
    ],
    ids=lambda more: next(iter(more)),
)
def test_settings_of_the_trainer(tmp_path: Path, more: dict[str, Any]) -> None:
    half_is_half(tmp_path, token_data(), more=more)


def sft_data(kind: str) -> Any:
    from datasets import Dataset

    first, second = tiny.texts(), tiny.texts(16, 3)
    if kind == "chat":
        roles = [
            [{"role": "user", "content": a}, {"role": "assistant", "content": b}]
            for a, b in zip(first, second, strict=True)
        ]
        return Dataset.from_dict({"messages": roles})
    if kind == "completion":
        return Dataset.from_dict({"prompt": first, "completion": [f" {text}" for text in second]})
    return Dataset.from_dict({kind: first})


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("chat", {"assistant_only_loss": True}),
        ("completion", {}),
        ("completion", {"completion_only_loss": False}),
        ("text", {"padding_free": True, "max_length": None}),
        ("text", {"max_length": 4}),
        ("text", {"shuffle_dataset": True}),
        ("question", {}),
    ],
)
def test_sft_set_ups(tmp_path: Path, kind: str, more: dict[str, Any]) -> None:
    from trl import SFTTrainer

    own = {"formatting_func": lambda sample: sample["question"]} if kind == "question" else {}
    half_is_half(tmp_path, sft_data(kind), base=SFTTrainer, more=more, own=own)


def prompt_tuned() -> Any:
    from peft import PromptTuningConfig, get_peft_model

    model = tiny.gpt2()
    torch.manual_seed(0)
    return get_peft_model(model, PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"))


@pytest.mark.parametrize("fused", [False, True])
def test_virtual_tokens_of_prompt_tuning_count_for_nothing(tmp_path: Path, fused: bool) -> None:
    data = token_data()
    expected = trained(tmp_path, data.select(range(0, 16, 2)), None, model=prompt_tuned)
    found = trained(tmp_path, data, HALF, model=prompt_tuned, own={"fused": fused})
    assert (expected - tiny.parameters(prompt_tuned())).abs().max() > 1e-5
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)


def test_a_loss_of_a_derived_class_is_refused_unless_samples_are_drawn(tmp_path: Path) -> None:
    """It would have been left out without a word."""
    import transformers
    from trl.experimental.gkd import GKDTrainer

    class Trainer(transformers.Trainer):
        def compute_loss(self, model: Any, inputs: Any, *given: Any, **named: Any) -> Any:
            return 5 * super().compute_loss(model, inputs, *given, **named)

    with pytest.raises(ValueError, match="Trainer has a compute_loss of its own.*sample=True"):
        trained(tmp_path, token_data(), HALF, base=Trainer)
    with pytest.raises(ValueError, match="GKDTrainer has a compute_loss of its own"):
        hf.integrations.weighted_trainer(GKDTrainer)(weights=HALF)
    drawn = trained(tmp_path, token_data(), HALF, base=Trainer, own={"sample": True})
    plain = trained(tmp_path, token_data(), HALF, own={"sample": True})
    start = tiny.parameters(tiny.gpt2())
    torch.testing.assert_close(drawn - start, 5 * (plain - start), atol=1e-6, rtol=1e-4)


def test_a_class_derived_from_the_weighted_one_may_alter_its_loss(tmp_path: Path) -> None:
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    class Doubled(hf.integrations.weighted_trainer(Trainer)):  # type: ignore[misc]
        def compute_loss(self, *given: Any, **named: Any) -> Any:
            return 2 * super().compute_loss(*given, **named)

    trainer = Doubled(
        model=tiny.gpt2(), train_dataset=token_data(), weights=HALF,
        data_collator=DataCollatorForSeq2Seq(tiny.tokenizer()),
        args=tiny.arguments(TrainingArguments, tmp_path, per_device_train_batch_size=16, max_steps=1),
    )  # fmt: skip
    trainer.train()
    once, start = trained(tmp_path, token_data(), HALF), tiny.parameters(tiny.gpt2())
    torch.testing.assert_close(
        tiny.parameters(trainer.model) - start, 2 * (once - start), atol=1e-6, rtol=1e-4
    )


def test_a_training_step_that_makes_its_own_loss_is_refused(tmp_path: Path) -> None:
    import transformers

    class Own(transformers.Trainer):
        def training_step(self, model: Any, inputs: Any, *given: Any, **named: Any) -> Any:
            inputs.pop("sample_weight", None)
            loss = model(**inputs).loss
            loss.backward()
            return loss.detach()

    class Kept(transformers.Trainer):
        def training_step(self, *given: Any, **named: Any) -> Any:
            return super().training_step(*given, **named)

    for steps in (1, 2):
        with pytest.raises(ValueError, match="training_step makes another loss"):
            trained(tmp_path, token_data(), HALF, base=Own, more={"max_steps": steps})
    trained(tmp_path, token_data(), HALF, base=Kept)


def test_a_loader_of_its_own_must_draw(tmp_path: Path) -> None:
    """With another sampler sample=True would have been without effect."""
    import transformers
    from torch.utils.data import DataLoader

    class Own(transformers.Trainer):
        draws = False

        def get_train_dataloader(self) -> Any:
            sampler = self._get_train_sampler() if self.draws else None
            return DataLoader(
                self.train_dataset, batch_size=16, sampler=sampler, collate_fn=self.data_collator
            )

    class Drawn(Own):
        draws = True

    data = token_data().remove_columns("id")
    with pytest.raises(ValueError, match="sample=True.*get_train_dataloader"):
        trained(tmp_path, data, HALF, base=Own, own={"sample": True})
    expected = trained(tmp_path, data, HALF, own={"sample": True})
    found = trained(tmp_path, data, HALF, base=Drawn, own={"sample": True})
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)


def test_a_collator_that_joins_samples_to_one_row(tmp_path: Path) -> None:
    from transformers import DataCollatorWithFlattening

    own = {"data_collator": DataCollatorWithFlattening()}
    half_is_half(tmp_path, token_data(), own=own)


def test_weights_that_a_transform_drops_are_missed(tmp_path: Path) -> None:
    data = token_data().with_transform(
        lambda batch: {name: [list(row) for row in batch[name]] for name in ("input_ids", "labels")}
    )
    with pytest.raises(ValueError, match="transform"):
        trained(tmp_path, data, HALF, more={"remove_unused_columns": False})


def test_a_model_made_by_every_training_has_the_fused_loss(tmp_path: Path) -> None:
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    trainer = hf.integrations.weighted_trainer(Trainer)(
        model_init=lambda: tiny.gpt2(), train_dataset=token_data(), weights=HALF, fused=True,
        data_collator=DataCollatorForSeq2Seq(tiny.tokenizer()),
        args=tiny.arguments(TrainingArguments, tmp_path, per_device_train_batch_size=16, max_steps=1),
    )  # fmt: skip
    expected = trained(tmp_path, token_data(), HALF)
    for _ in range(2):
        trainer.train()
        torch.testing.assert_close(tiny.parameters(trainer.model), expected, atol=1e-6, rtol=1e-4)

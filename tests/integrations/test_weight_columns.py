"""What weighted_trainer refuses when it is made, with the first position, and nothing trained."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"

import tiny_models as tiny

import hitl_fast as hf

pytestmark = pytest.mark.filterwarnings("ignore")  # what these frameworks warn of is their own affair


def rows(name: str, values: list[Any]) -> list[dict[str, Any]]:
    found = tiny.token_rows(len(values))
    for row, value in zip(found, values, strict=True):
        row[name] = value
    return found


def made(folder: Path, data: Any, **more: Any) -> Any:
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    return hf.integrations.weighted_trainer(Trainer)(
        model=tiny.gpt2(),
        args=tiny.arguments(TrainingArguments, folder),
        train_dataset=data,
        data_collator=DataCollatorForSeq2Seq(tiny.tokenizer()),
        **more,
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, 1.0, 1.0, float("nan")], r"sample_weight\[3\].*nan"),
        ([1.0, 1.0, -0.5, 1.0], r"sample_weight\[2\].*-0.5"),
        ([1.0, float("inf"), 1.0, 1.0], r"sample_weight\[1\].*inf"),
        ([1.0, 1.0, 1e39, 1.0], r"sample_weight\[2\].*1e\+39"),
        ([1.0, None, 1.0, 1.0], r"sample_weight\[1\].*missing"),
        (["1.0", "2.0", "3.0", "4.0"], r"'sample_weight'.*real numbers.*string.*'1.0'"),
        ([[1.0], [1.0], [1.0], [1.0]], r"'sample_weight'.*real numbers.*list"),
        ([0.0, 0.0, 0.0, 0.0], r"'sample_weight'.*all 0 in float32"),
        ([1e-50, 1e-50, 0.0, 1e-46], r"'sample_weight'.*all 0 in float32"),
    ],
)
def test_a_column_of_samples(tmp_path: Path, values: list[Any], message: str) -> None:
    from datasets import Dataset

    with pytest.raises(ValueError, match=message):
        made(tmp_path, Dataset.from_list(rows("sample_weight", values)))


def test_positions_are_those_of_a_shuffled_dataset(tmp_path: Path) -> None:
    from datasets import Dataset

    data = Dataset.from_list(rows("sample_weight", [1.0, 1.0, -1.0, 1.0])).select([2, 1, 0])
    with pytest.raises(ValueError, match=r"sample_weight\[0\].*-1"):
        made(tmp_path, data)
    assert made(tmp_path, data.select([1, 2])).train_dataset.num_rows == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda numbers: numbers[:-1], "sample 2 .*tokens.*token_weight"),
        (lambda numbers: [*numbers[:1], float("nan"), *numbers[2:]], r"token_weight\[2\]\[1\].*nan"),
        (lambda numbers: [-1.0, *numbers[1:]], r"token_weight\[2\]\[0\].*-1"),
        (lambda numbers: [*numbers[:1], None, *numbers[2:]], r"token_weight\[2\]\[1\].*missing"),
        (lambda numbers: None, r"token_weight\[2\].*missing"),
    ],
)
def test_a_column_of_tokens(tmp_path: Path, change: Any, message: str) -> None:
    from datasets import Dataset

    found = tiny.token_rows(4)
    for position, row in enumerate(found):
        numbers = [1.0] * len(row["input_ids"])
        row["token_weight"] = change(numbers) if position == 2 else numbers
    with pytest.raises(ValueError, match=message):
        made(tmp_path, Dataset.from_list(found))


def test_tokens_of_another_kind(tmp_path: Path) -> None:
    from datasets import Dataset

    words = [["high"] * len(row["input_ids"]) for row in tiny.token_rows(4)]
    for values, message in ((words, "'token_weight'.*real numbers"), ([1.0] * 4, "'token_weight'.*list")):
        with pytest.raises(ValueError, match=message):
            made(tmp_path, Dataset.from_list(rows("token_weight", values)))


def test_a_list_of_samples_is_checked_in_its_batches(tmp_path: Path) -> None:
    for value in ("high", -1.0, None):
        data = rows("sample_weight", [1.0, 1.0, 1.0, value])
        with pytest.raises(ValueError, match="sample.*'sample_weight'|'sample_weight' of sample"):
            made(tmp_path, data).train()


@pytest.mark.parametrize("kind", [list, tuple])
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.0, 0, 1e-50, False], "'sample_weight' of train_dataset is all 0 in float32"),
        ([1.0, 1.0, None, 1.0], "sample 2 of train_dataset has no 'sample_weight'"),
        ([1.0, 1e39, 1.0, 1.0], "'sample_weight' of sample 1 of train_dataset is 1e.39"),
    ],
)
def test_a_list_of_samples_is_checked_before_the_training(
    tmp_path: Path, kind: Any, values: list[Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        made(tmp_path, kind(rows("sample_weight", values)))


def test_token_weights_of_a_list_of_samples(tmp_path: Path) -> None:
    for position, value, message in (
        (1, None, "'token_weight' of sample 2 of train_dataset is missing at 1"),
        (0, -1.0, "'token_weight' of sample 2 of train_dataset is -1.0 at 0"),
    ):
        found = tiny.token_rows(4)
        for row in found:
            row["token_weight"] = [1.0] * len(row["input_ids"])
        found[2]["token_weight"][position] = value
        with pytest.raises(ValueError, match=message):
            made(tmp_path, found)
    zeros = [[0.0] * len(row["input_ids"]) for row in tiny.token_rows(4)]
    from datasets import Dataset

    for data in (rows("token_weight", zeros), Dataset.from_list(rows("token_weight", zeros))):
        with pytest.raises(ValueError, match="'token_weight' of train_dataset is all 0"):
            made(tmp_path, data)


class Rows:
    """A map-style dataset whose samples are made when they are read."""

    def __init__(self, samples: list[Any]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, position: int) -> Any:
        return self.samples[position]


@pytest.mark.parametrize(("value", "message"), [(None, "has no"), ("high", "is 'high'"), (-1.0, "is -1.0")])
def test_draws_name_the_sample_without_a_weight(tmp_path: Path, value: Any, message: str) -> None:
    data = rows("sample_weight", [1.0, 1.0, 1.0, value])
    if value is None:
        del data[3]["sample_weight"]
    with pytest.raises(ValueError, match=f"sample 3 of train_dataset {message}"):
        made(tmp_path, Rows(data), sample=True)._get_train_sampler()
    assert len(made(tmp_path, Rows(data[:3]), sample=True)._get_train_sampler()) == 3


def test_weights_that_are_0_in_float32(tmp_path: Path) -> None:
    for data in (tiny.token_rows(4), Rows(tiny.token_rows(4))):
        with pytest.raises(ValueError, match="weights is all 0 in float32"):
            made(tmp_path, data, weights=np.full(4, 1e-50))
        assert made(tmp_path, data, weights=np.full(4, 1e-50), sample=True)  # which draws in float64


def test_an_iterable_dataset_has_no_draws(tmp_path: Path) -> None:
    """Its batches come in its own order, so that sample=True would train without weights."""
    from datasets import Dataset

    data = Dataset.from_list(rows("sample_weight", [1.0] * 4)).to_iterable_dataset()
    with pytest.raises(ValueError, match="sample=True.*IterableDataset"):
        made(tmp_path, data, sample=True)


def test_a_column_and_weights(tmp_path: Path) -> None:
    from datasets import Dataset

    data = Dataset.from_list(rows("sample_weight", [1.0] * 4))
    with pytest.raises(ValueError, match="column 'sample_weight' already"):
        made(tmp_path, data, weights=np.ones(4))


@pytest.mark.parametrize("kind", ["aot", "aot_unpaired", "sft", "of_tomorrow"])
def test_losses_that_are_no_mean_over_pairs(tmp_path: Path, kind: str) -> None:
    import trl
    from datasets import Dataset

    given = {
        "model": tiny.gpt2(), "processing_class": tiny.tokenizer(), "weights": np.ones(16),
        "train_dataset": Dataset.from_dict(tiny.pairs()),
    }  # fmt: skip
    weighted = hf.integrations.weighted_trainer(trl.DPOTrainer)
    args = tiny.arguments(trl.DPOConfig, tmp_path, bf16=False, loss_type=["sigmoid", kind])
    with pytest.raises(ValueError, match=f"loss_type='{kind}'"):
        weighted(args=args, **given)
    with pytest.raises(ValueError, match="fused=True"):
        weighted(args=tiny.arguments(trl.DPOConfig, tmp_path, bf16=False), fused=True, **given)

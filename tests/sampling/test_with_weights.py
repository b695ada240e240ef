"""with_weights: the weight of each sample reaches the batch, through workers and collators, or the call is refused."""

from collections import namedtuple
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import hitl_fast as hf

WEIGHTS = np.array([0.5, 2.0, 0.0, 1.0])


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20).filter(any), st.integers(1, 5))
def test_weights_stay_with_their_samples(weights: list[float], size: int) -> None:
    rows = [{"x": position} for position in range(len(weights))]
    loader = DataLoader(hf.with_weights(rows, np.array(weights)), size, shuffle=True)
    for batch in loader:
        expected = torch.tensor(weights, dtype=torch.float32)[batch["x"]]
        assert torch.equal(batch["sample_weight"], expected)
        assert batch["sample_weight"].dtype == torch.float32


@pytest.mark.parametrize("workers", [0, 2])
def test_tuples_gain_a_last_element(workers: int) -> None:
    dataset = hf.with_weights(TensorDataset(torch.arange(4), torch.arange(4) * 2), torch.tensor(WEIGHTS))
    (batch,) = DataLoader(dataset, 4, num_workers=workers)
    assert [part.tolist() for part in batch] == [[0, 1, 2, 3], [0, 2, 4, 6], WEIGHTS.tolist()]
    assert len(dataset) == 4
    assert dataset[-1][-1].item() == 1.0


def test_anything_else_becomes_a_pair() -> None:
    assert hf.with_weights([torch.zeros(2)] * 4, WEIGHTS)[1][1].item() == 2.0


def test_hugging_face_datasets_gain_a_column() -> None:
    import datasets

    dataset = hf.with_weights(datasets.Dataset.from_dict({"x": [1, 2, 3, 4]}), WEIGHTS)
    assert isinstance(dataset, datasets.Dataset)
    assert dataset["sample_weight"][:] == WEIGHTS.tolist()
    with pytest.raises(ValueError, match="sample_weight"):
        hf.with_weights(dataset, WEIGHTS)
    stream = datasets.Dataset.from_dict({"id": ["a", "b"]}).to_iterable_dataset()
    found = hf.with_weights(stream, {"a": 0.5, "b": 2.0})
    assert [row["sample_weight"] for row in found] == [0.5, 2.0]


class Stream(IterableDataset):
    def __init__(self, samples: list[Any]) -> None:
        self.samples = samples

    def __iter__(self) -> Iterator[Any]:
        return iter(self.samples)


def test_iterable_datasets_take_weights_by_id() -> None:
    samples = [{"id": "b", "x": 1.0}, {"id": "a", "x": 2.0}]
    (batch,) = DataLoader(hf.with_weights(Stream(samples), {"a": 0.5, "b": 2.0}), 2)
    assert batch["sample_weight"].tolist() == [2.0, 0.5]
    pairs = hf.with_weights(Stream([(7, "x")]), {7: 3.0}, key=lambda sample: sample[0])
    assert [weight.item() for *_, weight in pairs] == [3.0]
    with pytest.raises(ValueError, match="sample 1.*'a'"):
        list(hf.with_weights(Stream(samples), {"b": 1.0}))
    with pytest.raises(ValueError, match="sample 0.*'uid'"):
        list(hf.with_weights(Stream(samples), {"b": 1.0}, key="uid"))


Named = namedtuple("Named", "x y")
Weighted = namedtuple("Weighted", "x sample_weight")


@pytest.mark.parametrize(
    ("dataset", "weights", "error", "names"),
    [
        ([1, 2], WEIGHTS, ValueError, "4 weights for 2 samples"),
        ([1, 2, 3, 4], np.array([1, -1, 1, 1.0]), ValueError, r"weights\[1\] is -1"),
        ([1, 2, 3, 4], np.zeros(4), ValueError, "all 0"),
        (Stream([1]), np.ones(1), TypeError, "Stream.*mapping"),
        (3, np.ones(1), TypeError, "int"),
        (3, {"a": 1.0}, TypeError, "iterable.*int"),
        (Stream([1]), {"a": float("nan")}, ValueError, "'a'"),
    ],
)
def test_what_is_refused(dataset: Any, weights: Any, error: type, names: str) -> None:
    with pytest.raises(error, match=names):
        hf.with_weights(dataset, weights)


def test_a_sample_that_has_a_weight_is_refused() -> None:
    with pytest.raises(ValueError, match="sample_weight"):
        hf.with_weights([{"sample_weight": 1.0}], np.ones(1))[0]


def test_a_series_in_another_order_than_its_index_is_refused() -> None:
    """By position its values would go to other samples than its index says."""
    import pandas as pd

    series = pd.Series([1.0, 3.0, 2.0])
    for wrong in (series.sort_values(), series[::-1]):
        for take in (lambda: hf.with_weights([1, 2, 3], wrong), lambda: hf.PrioritySampler(wrong)):  # noqa: B023
            with pytest.raises(ValueError, match=r"Series.*sort_index.*to_numpy"):
                take()
    for right in (series, series.sort_values().sort_index(), series.set_axis([5, 9, 7])):
        assert [float(weight) for _, weight in hf.with_weights([1, 2, 3], right)] == [1.0, 3.0, 2.0]


def test_dictionaries_of_datasets_and_slices_of_lists_are_refused() -> None:
    from datasets import Dataset, DatasetDict

    splits = DatasetDict(train=Dataset.from_dict({"x": [1, 2]}))
    for weights in (np.ones(1), {"a": 1.0}):
        with pytest.raises(TypeError, match="DatasetDict.*'train'"):
            hf.with_weights(splits, weights)
    with pytest.raises(TypeError, match=r"slice\(0, 2.*list"):
        hf.with_weights([(1,), (2,)], np.ones(2))[0:2]
    columns = TensorDataset(torch.arange(3))
    assert [part.tolist() for part in hf.with_weights(columns, np.arange(3.0))[1:3]] == [[1, 2], [1.0, 2.0]]


@pytest.mark.parametrize("workers", [0, 1])
def test_named_tuples_keep_their_names(workers: int) -> None:
    rows = [Named(torch.tensor(float(x)), x % 2) for x in range(4)]
    (batch,) = DataLoader(hf.with_weights(rows, WEIGHTS), 4, num_workers=workers)
    assert batch.x.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert batch.y.tolist() == [0, 1, 0, 1]
    assert batch.sample_weight.tolist() == WEIGHTS.tolist()
    with pytest.raises(ValueError, match="'sample_weight' already"):
        hf.with_weights([Weighted(1, 2.0)], np.ones(1))[0]


Renamed = namedtuple("Renamed", ["class", "x", "_2"], rename=True)


@pytest.mark.parametrize("workers", [0, 1])
def test_named_tuples_with_names_by_position(workers: int) -> None:
    """Of pandas too, whose types workers cannot send, so that ours must not need them."""
    table = pd.DataFrame({"two words": [1.0, 2.0, 3.0, 4.0], "y": [0, 1, 0, 1]})
    (batch,) = DataLoader(hf.with_weights(list(table.itertuples()), WEIGHTS), 4, num_workers=workers)
    assert batch._fields == ("Index", "_1", "y", "sample_weight")
    assert [part.tolist() for part in batch] == [[0, 1, 2, 3], [1, 2, 3, 4], [0, 1, 0, 1], WEIGHTS.tolist()]
    sample = hf.with_weights([Renamed(1, 2, 3)], np.ones(1))[0]
    assert sample._asdict() == {"_0": 1, "x": 2, "_2": 3, "sample_weight": 1}


class Shuffled(Stream):
    """A stream whose order follows the epoch, as streams of transformers' and accelerate's users do."""

    def set_epoch(self, epoch: int) -> None:
        self.samples = self.samples[epoch:] + self.samples[:epoch]


def test_a_stream_is_told_its_epoch() -> None:
    stream = hf.with_weights(Shuffled([{"id": 1}, {"id": 2}]), {1: 0.5, 2: 2.0})
    stream.set_epoch(1)
    assert [sample["sample_weight"].item() for sample in stream] == [2.0, 0.5]
    assert not hasattr(hf.with_weights(Stream([]), {1: 1.0}), "set_epoch")


def test_an_id_that_no_mapping_can_hold() -> None:
    with pytest.raises(ValueError, match=r"sample 0.*\[1\].*list.*key"):
        list(hf.with_weights(Stream([{"id": [1]}]), {1: 1.0}))

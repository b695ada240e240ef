"""Datasets whose samples carry their weight."""

from __future__ import annotations

import functools
from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset

from hitl_fast._common.errors import InputError, InputTypeError

from .weights import Array, as_weights

COLUMN = "sample_weight"


def with_weights(
    dataset: Any, weights: Array | Mapping[Any, float], *, key: str | Callable[[Any], Any] = "id"
) -> Any:
    """The dataset with ``"sample_weight"`` in every sample, so that any sampler, worker and collator keeps it.

    A mapping gains the key ``"sample_weight"``, a named tuple a field of that name, a tuple or list a last element,
    anything else becomes a pair. The
    weight is a float32 tensor of shape (), which PyTorch's and Hugging Face's collators stack to (batch,). A Hugging
    Face ``Dataset`` gains a column and stays a ``Dataset``.

    Args:
        dataset: map-style (``__getitem__`` and ``__len__``), a Hugging Face ``Dataset``, or iterable.
        weights: (samples,) finite, non-negative, not all 0. For an iterable dataset a mapping from a sample's id to
            its weight, as such a dataset has no positions.
        key: where an iterable dataset's samples keep their id: a key, or a function of the sample.

    Raises:
        TypeError: no dataset, or weights of the wrong kind.
        ValueError: another number of weights than samples, a weight that is invalid (its position is named), samples
            that have a ``"sample_weight"`` already; in iteration, a sample without a weight.

    >>> dataset = with_weights([{"x": 1}, {"x": 2}], np.array([0.5, 2.0]))
    >>> dataset[1]
    {'x': 2, 'sample_weight': tensor(2.)}
    >>> with_weights([(1, 0), (2, 1)], np.array([0.5, 2.0]))[0]
    (1, 0, tensor(0.5000))
    """
    if isinstance(dataset, Mapping):
        raise InputTypeError(
            f"dataset is a {type(dataset).__name__} with {', '.join(map(repr, list(dataset)[:5]))}: give one of them"
        )
    if isinstance(weights, Mapping):
        return _by_id(dataset, _checked_mapping(weights), key)
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise InputTypeError(
            f"{type(dataset).__name__} has no positions: give weights as a mapping from a sample's id to its weight"
        )
    values = as_weights(weights)
    if len(dataset) != values.size:
        raise InputError(f"{values.size} weights for {len(dataset)} samples: one weight a sample")
    if _is_hugging_face(dataset):
        if COLUMN in dataset.column_names:
            raise InputError(f"the dataset has a column {COLUMN!r} already: remove it, or leave out weights")
        return dataset.add_column(COLUMN, values.astype(np.float32).tolist())
    return WeightedDataset(dataset, values)


class WeightedDataset(Dataset[Any]):
    """A map-style dataset beside the weights of its samples; see `with_weights`."""

    def __init__(self, dataset: Any, weights: np.ndarray) -> None:
        self.dataset = dataset
        self.weights = weights
        self._tensors = torch.from_numpy(weights.astype(np.float32))

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        sample, weight = self.dataset[index], self._tensors[index]
        if weight.dim() and not isinstance(sample, (tuple, Mapping, torch.Tensor, np.ndarray)):
            raise InputTypeError(
                f"index {index!r} gives a {type(sample).__name__}, of samples or of columns: take one sample at a time"
            )
        return with_weight(sample, weight)


class WeightedIterable(IterableDataset[Any]):
    """An iterable dataset whose samples are given the weight of their id; see `with_weights`."""

    def __init__(self, dataset: Any, weights: dict[Any, float], key: str | Callable[[Any], Any]) -> None:
        self.dataset = dataset
        self.weights = weights
        self.key = key

    def __iter__(self) -> Iterator[Any]:
        for position, sample in enumerate(self.dataset):
            yield with_weight(sample, torch.tensor(_weight_of(sample, self.key, self.weights, position)))

    def __getattr__(self, name: str) -> Any:
        # What trainers and loaders call where a stream has it: its order of an epoch, and its place.
        if name in ("set_epoch", "state_dict", "load_state_dict"):
            return getattr(self.dataset, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


def with_weight(sample: Any, weight: Any) -> Any:
    """The sample with its weight inside."""
    if isinstance(sample, Mapping):
        if COLUMN in sample:
            raise InputError(f"the samples have a {COLUMN!r} already: remove it, or leave out weights")
        return {**sample, COLUMN: weight}
    if isinstance(sample, tuple) and hasattr(sample, "_fields"):
        return _with_field(type(sample).__name__, sample._fields)(*sample, weight)
    if isinstance(sample, (tuple, list)):
        return (*sample, weight)
    return sample, weight


@functools.cache
def _with_field(name: str, fields: tuple[str, ...]) -> Any:
    """A named tuple with the fields of another and the weight, which workers can send.

    ``rename`` leaves pandas' ``_1`` at position 1 as it is. Made by names, since pandas makes a type for every table.
    """
    if COLUMN in fields:
        raise InputError(f"the samples have a {COLUMN!r} already: remove it, or leave out weights")
    base: Any = namedtuple(name, (*fields, COLUMN), rename=True)  # type: ignore[misc]
    return type(
        name, (base,), {"__slots__": (), "__reduce__": lambda self: (_again, (name, fields, tuple(self)))}
    )


def _again(name: str, fields: tuple[str, ...], values: tuple[Any, ...]) -> Any:
    return _with_field(name, fields)(*values)


def _by_id(dataset: Any, weights: dict[Any, float], key: str | Callable[[Any], Any]) -> Any:
    if not hasattr(dataset, "__iter__"):
        raise InputTypeError(
            f"weights by id are for iterable datasets, not for {type(dataset).__name__}: where samples have positions, "
            "give an array in their order"
        )
    if _is_hugging_face(dataset):
        return dataset.map(
            lambda sample, position: {COLUMN: _weight_of(sample, key, weights, position)}, with_indices=True
        )
    return WeightedIterable(dataset, weights, key)


def _weight_of(
    sample: Any, key: str | Callable[[Any], Any], weights: dict[Any, float], position: int
) -> float:
    if callable(key):
        found = key(sample)
    elif isinstance(sample, Mapping) and key in sample:
        found = sample[key]
    else:
        raise InputError(
            f"sample {position} has no {key!r}: name the key of its id, or give a function as key"
        )
    if isinstance(found, (torch.Tensor, np.ndarray, np.generic)):
        found = found.item()
    try:
        known = found in weights
    except TypeError:
        raise InputError(
            f"sample {position} has the id {found!r}, a {type(found).__name__}, which no mapping can hold: give a "
            "function as key that makes a number or a text of it"
        ) from None
    if not known:
        raise InputError(f"sample {position} has the id {found!r}, for which there is no weight")
    return weights[found]


def _checked_mapping(weights: Mapping[Any, float]) -> dict[Any, float]:
    names = list(weights)
    try:
        values = as_weights(np.array([weights[name] for name in names]))
    except InputError as problem:
        bad = [name for name in names if not 0 <= float(weights[name]) < np.inf]
        where = f" (id {bad[0]!r})" if bad else ""
        raise InputError(f"{problem}{where}") from None
    return dict(zip(names, values.tolist(), strict=True))


def _is_hugging_face(dataset: Any) -> bool:
    return type(dataset).__module__.partition(".")[0] == "datasets"

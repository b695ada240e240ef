"""Two loaders as one stream of paired batches, or a refusal that says where they part."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from hitl_fast._common.errors import InputError, InputTypeError

LABEL_KEYS = ("labels", "label", "targets", "target", "y")


@dataclass(frozen=True)
class Inputs:
    """What the model is called with: ``model(*args, **kwargs)``, tensors in mappings, tuples and lists included."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def map(self, function: Callable[[Any], Any]) -> Inputs:
        kwargs = {k: _mapped(function, v) for k, v in self.kwargs.items()}
        return Inputs(tuple(_mapped(function, v) for v in self.args), kwargs)

    def values(self) -> list[Any]:
        return [leaf for v in (*self.args, *self.kwargs.values()) for leaf in _leaves(v)]

    def wanted(self, names: frozenset[str] | None) -> Inputs:
        """Without what a batch carries beside its tensors (paths, ids) and the model does not ask for by name."""
        if names is None:
            return self
        return Inputs(
            self.args, {k: v for k, v in self.kwargs.items() if k in names or isinstance(v, Tensor)}
        )

    def to(self, device: torch.device) -> Inputs:
        return self.map(lambda v: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v)


@dataclass(frozen=True)
class Pair:
    """The same samples before and after the shift, with their classes."""

    clean: Inputs
    shifted: Inputs
    labels: np.ndarray  # (n,) int64


def check_loaders(clean: object, shifted: object) -> None:
    """Refuse what cannot be paired, before anything is computed.

    Raises:
        TypeError: not iterable in batches.
        ValueError: one of them shuffles, their lengths differ, or both are the same iterator.
    """
    for name, loader in (("clean", clean), ("shifted", shifted)):
        if isinstance(loader, Dataset | Tensor | np.ndarray) or not isinstance(loader, Iterable):
            raise InputTypeError(
                f"{name} must yield batches (a DataLoader, or a list of (inputs, labels)), not {type(loader).__name__}"
            )
        sampler = _shuffling_sampler(loader)
        if sampler:
            raise InputError(
                f"{name} shuffles (its sampler is a {sampler}): sample i must be the same in both; use shuffle=False"
            )
    if clean is shifted and isinstance(clean, Iterator):
        raise InputError("clean and shifted are the same iterator: each would see half of the batches")
    for unit, length in (("samples", expected_samples), ("batches", _batches)):
        ours, theirs = length(clean), length(shifted)
        if ours is not None and theirs is not None and ours != theirs:
            raise InputError(f"clean has {ours} {unit} but shifted {theirs}: they must hold the same samples")


def expected_samples(loader: object) -> int | None:
    """Samples that a DataLoader will give, before any is read; None if it cannot tell."""
    if not isinstance(loader, DataLoader) or type(loader.batch_sampler) is not BatchSampler:
        return None
    if isinstance(loader.dataset, IterableDataset) or not isinstance(loader.sampler, Sized):
        return None
    samples, size = len(loader.sampler), loader.batch_sampler.batch_size
    return samples - samples % size if loader.drop_last else samples


def pairs(clean: Iterable[Any], shifted: Iterable[Any], labels: str | int | None) -> Iterator[Pair]:
    """The batches of both loaders side by side.

    Raises:
        ValueError: one ends before the other, batch sizes or labels differ (the position is named), no batch.
        TypeError: a batch is not (inputs, labels) or a mapping with labels, or labels are not classes.
    """
    position = 0
    ends = object()
    mine, theirs = iter(clean), iter(shifted)
    if mine is theirs:
        raise InputError(
            "clean and shifted give the same iterator, so each would see half of the batches: one DataLoader with"
            " persistent_workers cannot be read twice at once; make two"
        )
    for ours in mine:
        other = next(theirs, ends)
        if other is ends:
            raise InputError(
                f"shifted ends after {position} samples, clean does not: they must hold the same samples"
            )
        clean_inputs, classes = _split(ours, labels, "clean")
        shifted_inputs, shifted_classes = _split(other, labels, "shifted")
        if classes.size != shifted_classes.size:
            raise InputError(
                f"after {position} samples, clean has a batch of {classes.size} but shifted one of "
                f"{shifted_classes.size}: use the same batch size for both"
            )
        differ = np.flatnonzero(classes != shifted_classes)
        if differ.size:
            first = differ[0]
            raise InputError(
                f"labels differ at sample {position + first}: {classes[first]} in clean, {shifted_classes[first]} in "
                f"shifted ({differ.size} of {classes.size} differ in this batch): both must hold the same samples"
            )
        yield Pair(clean_inputs, _in_order(shifted_inputs, clean_inputs, position), classes)
        position += classes.size
    if next(theirs, ends) is not ends:
        raise InputError(
            f"clean ends after {position} samples, shifted does not: they must hold the same samples"
        )
    if position == 0:
        raise InputError("clean and shifted hold no batch")


def joined(clean: Inputs, shifted: Inputs, n: int) -> Inputs | None:
    """One batch of the clean samples and then the shifted ones; None if some input is not a tensor of samples."""
    ours, theirs = clean.values(), shifted.values()
    for a, b in zip(ours, theirs, strict=True):
        if not (isinstance(a, Tensor) and isinstance(b, Tensor)):
            return None
        if a.ndim == 0 or len(a) != n or a.shape != b.shape or a.dtype != b.dtype:
            return None
    both = iter([torch.cat([a, b]) for a, b in zip(ours, theirs, strict=True)])
    return clean.map(lambda _: next(both))


def undecided(inputs: Inputs, n: int) -> bool:
    """Some input has n samples and n of something else, and its shape does not tell which is which."""
    return any(isinstance(v, Tensor) and v.shape[:2] == (n, n) for v in inputs.values())


def same(clean: Inputs, shifted: Inputs) -> bool:
    """Both hold the same values, so that one forward pass serves both."""
    return all(
        isinstance(a, Tensor) and isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
        for a, b in zip(clean.values(), shifted.values(), strict=True)
    )


def squared_changes(clean: Inputs, shifted: Inputs, n: int) -> np.ndarray | None:
    """Mean squared change of each sample's floating point inputs, (n,) float64; None where there are none."""
    total, size = np.zeros(n), 0
    for a, b in zip(clean.values(), shifted.values(), strict=True):
        if (
            isinstance(a, Tensor)
            and isinstance(b, Tensor)
            and a.is_floating_point()
            and a.shape == b.shape
            and a.ndim
        ):
            change = (b - a if a.element_size() > 2 else b.float() - a.float()).reshape(n, -1)
            total += change.square().sum(1, dtype=torch.float64).cpu().numpy()
            size += change.shape[1]
    return total / size if size else None


def _in_order(shifted: Inputs, clean: Inputs, position: int) -> Inputs:
    """The shifted inputs in the order of the clean ones."""
    if len(shifted.args) != len(clean.args) or shifted.kwargs.keys() != clean.kwargs.keys():
        ours, theirs = (sorted(side.kwargs) or f"{len(side.args)} inputs" for side in (clean, shifted))
        raise InputError(f"after {position} samples, a batch of clean has {ours} but one of shifted {theirs}")
    ordered = Inputs(shifted.args, {key: shifted.kwargs[key] for key in clean.kwargs})
    if len(ordered.values()) != len(clean.values()):
        raise InputError(
            f"after {position} samples, a batch of clean holds {len(clean.values())} values but one of shifted"
            f" {len(ordered.values())}"
        )
    return ordered


def _mapped(function: Callable[[Any], Any], value: Any) -> Any:
    """The value with the function applied to every leaf; containers are new ones, of the same types."""
    if isinstance(value, MutableMapping):
        held = copy.copy(value)
        for key, inner in value.items():
            held[key] = _mapped(function, inner)
        return held
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_mapped(function, inner) for inner in value))
    if type(value) in (tuple, list):
        return type(value)(_mapped(function, inner) for inner in value)
    return function(value)


def _leaves(value: Any) -> Iterator[Any]:
    """What ``_mapped`` applies a function to, in the same order."""
    if isinstance(value, MutableMapping):
        value = tuple(value.values())
    if type(value) in (tuple, list) or (isinstance(value, tuple) and hasattr(value, "_fields")):
        for inner in value:
            yield from _leaves(inner)
    else:
        yield value


def _split(batch: Any, labels: str | int | None, name: str) -> tuple[Inputs, np.ndarray]:
    if isinstance(batch, Mapping):
        key = next((k for k in LABEL_KEYS if k in batch), None) if labels is None else labels
        if key is None or key not in batch:
            wanted = repr(labels) if labels is not None else f"any of {', '.join(LABEL_KEYS)}"
            raise InputTypeError(
                f"a batch of {name} has the keys {sorted(map(str, batch))}, not {wanted}: name it by labels="
            )
        return Inputs((), {str(k): v for k, v in batch.items() if k != key}), _classes(batch[key], name)
    if isinstance(batch, tuple | list) and len(batch) >= 2:
        at = len(batch) - 1 if labels is None else labels
        if not isinstance(at, int) or not -len(batch) <= at < len(batch):
            raise InputTypeError(
                f"a batch of {name} is a {type(batch).__name__} of {len(batch)}: labels={labels!r} is not in it"
            )
        at %= len(batch)
        return Inputs(tuple(v for i, v in enumerate(batch) if i != at), {}), _classes(batch[at], name)
    raise InputTypeError(
        f"a batch of {name} must be (inputs, ..., labels) or a mapping with labels, not {_describe(batch)}: "
        "PreIndex needs each sample's class"
    )


def _classes(labels: Any, name: str) -> np.ndarray:
    array = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if array.dtype.kind not in "iub" or array.ndim != 1 or array.size == 0:
        raise InputTypeError(
            f"labels of {name} must be (n,) integer classes, n >= 1, not {array.dtype} of shape {array.shape}"
        )
    return array.astype(np.int64)


def _describe(batch: Any) -> str:
    if isinstance(batch, Tensor):
        return f"a tensor of shape {tuple(batch.shape)}"
    return f"a {type(batch).__name__}" + (f" of {len(batch)}" if isinstance(batch, Sized) else "")


def _shuffling_sampler(loader: object) -> str | None:
    if not isinstance(loader, DataLoader):
        return None
    for sampler in (loader.sampler, getattr(loader.batch_sampler, "sampler", None)):
        if isinstance(sampler, RandomSampler | WeightedRandomSampler | SubsetRandomSampler) or (
            isinstance(sampler, DistributedSampler) and sampler.shuffle
        ):
            return type(sampler).__name__
    return None


def _batches(loader: object) -> int | None:
    try:
        return len(loader)  # type: ignore[arg-type]
    except (TypeError, NotImplementedError):
        return None

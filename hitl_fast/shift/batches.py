"""Two loaders as one stream of paired batches, or an error that reports the first mismatch."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
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
)

from hitl_fast._common.errors import InputError, InputTypeError

from .inputs import Inputs
from .labelling import Labelling
from .masks import given_mask
from .sharding import Sharded, length_of, shuffling_sampler

COMPLETE = Labelling()
UNKNOWN = -1  # the label of a sample that has none
LABEL_KEYS = ("labels", "label", "targets", "target", "y")


@dataclass(frozen=True)
class Pair:
    """The same samples before and after the shift, with their classes."""

    clean: Inputs
    shifted: Inputs
    labels: np.ndarray  # (n,) int64
    clean_mask: Tensor | None = None  # (n, positions) bool, as ``mask=`` picks it
    shifted_mask: Tensor | None = None
    known: np.ndarray | None = None  # (n,) bool: the shifted label is known; None: all are


IGNORED = -100  # as cross_entropy ignores it


@dataclass(frozen=True)
class Splitting:
    """Where a batch has its labels, its inputs and its mask: the arguments of ``hitl_fast.preindex`` of these names."""

    labels: str | int | None = None
    inputs: str | int | Sequence[str | int] | Callable[[Any], Any] | None = None
    mask: str | int | Callable[[Any], Any] | None = None
    needs: str = (
        "PreIndex compares clusters with one class for each sample"  # why labels are needed, in messages
    )


def check_loaders(clean: object, shifted: object, *, grouped: bool = False, paired: bool = True) -> None:
    """Refuse what cannot be paired (or, where that is not wanted, read), before anything is computed.

    Args:
        clean: a loader.
        shifted: the other.
        grouped: each rank of a group reads its part, and the parts are put together.
        paired: sample i is the same in both.

    Raises:
        TypeError: not iterable in batches.
        ValueError: one of them shuffles, their lengths differ, or both are the same iterator.
    """
    for name, loader in (("clean", clean), ("shifted", shifted)):
        check_batches(loader, name)
        if isinstance(loader, Sharded) and not grouped and loader.world_size > 1:
            warnings.warn(
                f"{name} is sharded, but group= is not given: this report is of one rank's part of the data",
                stacklevel=3,
            )
        sampler = getattr(loader, "sampler", None)
        if isinstance(sampler, DistributedSampler):
            if not grouped:
                warnings.warn(
                    f"{name} is read through a DistributedSampler: this report is of one rank's part of the data"
                    " (group='world' puts the parts together)",
                    stacklevel=3,
                )
            elif len(sampler.dataset) % sampler.num_replicas:  # type: ignore[arg-type]
                raise InputError(
                    f"{name} is read through a DistributedSampler, which repeats or drops some of its"
                    f" {len(sampler.dataset)} samples so that {sampler.num_replicas} ranks have equally many: use"  # type: ignore[arg-type]
                    " hf.sharded(loader) of a loader without it"
                )
        shuffling = shuffling_sampler(loader)
        if shuffling and paired:
            raise InputError(
                f"{name} shuffles (its sampler is a {shuffling}): sample i must be the same in both; use shuffle=False"
            )
    if isinstance(clean, Sharded) != isinstance(shifted, Sharded):
        raise InputError("clean and shifted must both be sharded, or neither")
    if isinstance(clean, Sharded) and isinstance(shifted, Sharded):
        cuts = [(each.order, each.rank, each.world_size) for each in (clean, shifted)]
        if cuts[0] != cuts[1]:
            raise InputError(f"clean is sharded by (order, rank, world_size) {cuts[0]}, shifted by {cuts[1]}")
        check_loaders(clean.loader, shifted.loader, grouped=True, paired=paired)
    if clean is shifted and isinstance(clean, Iterator):
        raise InputError("clean and shifted are the same iterator: each would see half of the batches")
    if not paired:
        return
    for unit, length in (("samples", expected_samples), ("batches", length_of)):
        ours, theirs = length(clean), length(shifted)
        if ours is not None and theirs is not None and ours != theirs:
            raise InputError(f"clean has {ours} {unit} but shifted {theirs}: they must hold the same samples")


def check_batches(loader: object, name: str) -> None:
    """Refuse what does not yield batches.

    Raises:
        TypeError: it is a data set, a tensor, a text or nothing iterable.
    """
    if isinstance(loader, Dataset | Tensor | np.ndarray | str) or not isinstance(loader, Iterable):
        raise InputTypeError(
            f"{name} must yield batches (a DataLoader, or a list of (inputs, labels)), not {type(loader).__name__}"
        )


def expected_samples(loader: object) -> int | None:
    """Samples that a DataLoader will give, before any is read; None if it cannot tell."""
    if not isinstance(loader, DataLoader) or type(loader.batch_sampler) is not BatchSampler:
        return None
    if isinstance(loader.dataset, IterableDataset) or not isinstance(loader.sampler, Sized):
        return None
    samples, size = len(loader.sampler), loader.batch_sampler.batch_size
    return samples - samples % size if loader.drop_last else samples


def pairs(
    clean: Iterable[Any],
    shifted: Iterable[Any],
    splitting: Splitting,
    labelling: Labelling = COMPLETE,
    *,
    may_be_empty: bool = False,
    first: int = 0,
) -> Iterator[Pair]:
    """The batches of both loaders side by side.

    Labels of shifted samples are not read under labels_for="clean"; under a budget, those below 0 are unknown. Messages
    count samples from ``first``.

    Raises:
        ValueError: one ends before the other, batch sizes or labels differ (the position is named), labels below 0
            where these are unknown, no batch.
        TypeError: a batch is not (inputs, labels) or a mapping with labels, or labels are not classes.
    """
    position = first
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
        clean_inputs, classes = split(ours, splitting, "clean")
        if labelling.shifted_known:
            shifted_inputs, shifted_classes = split(other, splitting, "shifted")
        else:
            shifted_inputs = without_labels(other, splitting, "shifted", clean_inputs)
            shifted_classes = classes
        known = None if labelling.complete else _known(shifted_classes, labelling, position)
        _refuse_ignored(classes, "clean", position)
        if known is None:
            _refuse_ignored(shifted_classes, "shifted", position)
        if labelling.label_budget is not None:
            _refuse_unknown_clean(classes, position)
        if classes.size != shifted_classes.size:
            raise InputError(
                f"after {position} samples, clean has a batch of {classes.size} but shifted one of "
                f"{shifted_classes.size}: use the same batch size for both"
            )
        differ = np.flatnonzero((classes != shifted_classes) & (True if known is None else known))
        if differ.size:
            at = int(differ[0])
            where = clean.where(at) if isinstance(clean, Sharded) else f"sample {position + at}"
            raise InputError(
                f"labels differ at {where}: {classes[at]} in clean, {shifted_classes[at]} in "
                f"shifted ({differ.size} of {classes.size} differ in this batch): both must hold the same samples"
            )
        mask, shifted_mask = (
            None if splitting.mask is None else given_mask(batch, splitting.mask, name)
            for batch, name in ((ours, "clean"), (other, "shifted"))
        )
        yield Pair(
            clean_inputs,
            _in_order(shifted_inputs, clean_inputs, position),
            classes,
            mask,
            shifted_mask,
            known,
        )
        position += classes.size
    if next(theirs, ends) is not ends:
        raise InputError(
            f"clean ends after {position} samples, shifted does not: they must hold the same samples"
        )
    if position == first and not may_be_empty:
        raise InputError("clean and shifted hold no batch")


def one_side(
    loader: Iterable[Any],
    splitting: Splitting,
    name: str,
    labelling: Labelling | None = None,
    clean: tuple[Inputs, Callable[[Inputs], int]] | None = None,
) -> Iterator[Pair]:
    """The batches of one loader, each as its own pair.

    Args:
        labelling: of the shifted side; None: all are labelled.
        clean: of the shifted side: inputs of the clean one, and how many samples inputs hold; both are needed where
            there are no labels.

    Raises:
        ValueError, TypeError: as ``pairs``.
    """
    position = 0
    for batch in loader:
        if labelling is None or labelling.shifted_known:
            inputs, classes = split(batch, splitting, name)
        else:
            assert clean is not None
            inputs = without_labels(batch, splitting, name, clean[0])
            classes = np.full(clean[1](inputs), UNKNOWN)
        mask = None if splitting.mask is None else given_mask(batch, splitting.mask, name)
        if labelling is None:
            _refuse_ignored(classes, name, position)
        known = np.ones(classes.size, bool) if labelling is None else _known(classes, labelling, position)
        yield Pair(inputs, inputs, classes, mask, mask, known)
        position += classes.size
    if not position:
        raise InputError(f"{name} holds no batch")


def all_numbered(batches: Iterable[Pair]) -> Iterator[Pair]:
    """The batches of a clean side whose shifted one may have unknown labels, which are those below 0.

    Raises:
        ValueError: a clean label is below 0.
    """
    position = 0
    for pair in batches:
        _refuse_unknown_clean(pair.labels, position)
        yield pair
        position += pair.labels.size


def _refuse_ignored(classes: np.ndarray, name: str, position: int) -> None:
    found = np.flatnonzero(classes == IGNORED)
    if found.size:
        raise InputError(
            f"the label of sample {position + int(found[0])} of {name} is {IGNORED}: PyTorch's losses leave it out, so"
            f" it is no class: leave these samples out{_without(name)}"
        )


def _refuse_unknown_clean(classes: np.ndarray, position: int) -> None:
    below = np.flatnonzero(classes < 0)
    if below.size:
        first = int(below[0])
        raise InputError(
            f"labels of clean must be at least 0 here, but that of sample {position + first} is {classes[first]}: a"
            " shifted label below 0 is an unknown one; number the classes from 0"
        )


def _known(classes: np.ndarray, labelling: Labelling, position: int) -> np.ndarray:
    if not labelling.shifted_known:
        return np.zeros(classes.size, bool)
    below = np.flatnonzero(classes < 0)
    if below.size and labelling.label_budget is None:
        first = int(below[0])
        raise InputError(
            f"the label of sample {position + first} of shifted is {classes[first]}; labels below 0 are unknown: give"
            " label_budget= or labels_for='clean' (or number the classes from 0)"
        )
    return np.asarray(classes >= 0)


def without_labels(batch: Any, splitting: Splitting, name: str, clean: Inputs) -> Inputs:
    """The inputs of a batch that may have labels, which are not read; ``clean`` are inputs that have none.

    Raises:
        TypeError: it holds neither as many values as the clean inputs, nor labels beside them.
    """
    batch = _stacked(batch)
    if callable(splitting.inputs) or (splitting.inputs is not None and not isinstance(batch, Tensor)):
        return _chosen(batch, Inputs((), {}), splitting.inputs, name)
    if isinstance(batch, Mapping):
        key = splitting.labels
        if key is None:
            key = next((k for k in LABEL_KEYS if k in batch and k not in clean.kwargs), None)
        return Inputs((), {str(k): _tensor(v) for k, v in batch.items() if k != key})
    if isinstance(batch, Tensor | np.ndarray):
        return Inputs((_tensor(batch),), {})
    if isinstance(batch, tuple | list):
        values = list(batch)
        if len(values) == len(clean.args) + 1:
            at = len(values) - 1 if splitting.labels is None else splitting.labels
            if isinstance(at, int) and -len(values) <= at < len(values):
                del values[at]
        if values and len(values) == len(clean.args):
            return Inputs(tuple(map(_tensor, values)), {})
    raise InputTypeError(
        f"a batch of {name} must hold {len(clean.args) or sorted(clean.kwargs)} inputs, as those of clean do, with or"
        f" without labels, not {_describe(batch)}"
    )


def same(clean: Inputs, shifted: Inputs) -> bool:
    """Whether both hold the same values, so that one forward pass serves both."""
    return clean is shifted or all(
        isinstance(a, Tensor) and isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
        for a, b in zip(clean.values(), shifted.values(), strict=True)
    )


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


def split(batch: Any, splitting: Splitting, name: str) -> tuple[Inputs, np.ndarray]:
    """The inputs of a batch and its classes."""
    batch = _stacked(batch)
    if isinstance(batch, Mapping):
        key = splitting.labels
        if key is None:
            key = next((k for k in LABEL_KEYS if k in batch), None)
        if key is None or key not in batch:
            wanted = (
                repr(splitting.labels) if splitting.labels is not None else f"any of {', '.join(LABEL_KEYS)}"
            )
            raise InputTypeError(
                f"a batch of {name} has the keys {sorted(map(str, batch))}, not {wanted}: name it by labels="
                + _without(name)
            )
        rest = Inputs((), {str(k): _tensor(v) for k, v in batch.items() if k != key})
        return _chosen(batch, rest, splitting.inputs, name), _classes(batch[key], name, splitting.needs)
    if isinstance(batch, tuple | list) and len(batch) >= 2:
        at = len(batch) - 1 if splitting.labels is None else splitting.labels
        if not isinstance(at, int) or not -len(batch) <= at < len(batch):
            raise InputTypeError(
                f"a batch of {name} is a {type(batch).__name__} of {len(batch)}: labels={splitting.labels!r} is not"
                " in it"
            )
        at %= len(batch)
        rest = Inputs(tuple(_tensor(v) for i, v in enumerate(batch) if i != at), {})
        return _chosen(batch, rest, splitting.inputs, name), _classes(batch[at], name, splitting.needs)
    raise InputTypeError(
        f"a batch of {name} must be (inputs, ..., labels) or a mapping with labels, not {_describe(batch)}: "
        f"{splitting.needs}{_without(name)}"
    )


def _without(name: str) -> str:
    """What to do about samples without labels."""
    return "; where shifted samples have no labels, give labels_for='clean'" if name == "shifted" else ""


def _chosen(batch: Any, rest: Inputs, wanted: Any, name: str) -> Inputs:
    """What the model is called with: all but the labels, or what ``inputs=`` picks."""
    if wanted is None:
        return rest
    if callable(wanted):
        found = wanted(batch)
        if isinstance(found, Mapping):
            return Inputs((), {str(k): _tensor(v) for k, v in found.items()})
        return Inputs(tuple(map(_tensor, found)) if isinstance(found, tuple) else (_tensor(found),), {})
    picked = [wanted] if isinstance(wanted, str | int) else list(wanted)
    try:
        return Inputs(tuple(_tensor(batch[key]) for key in picked), {})
    except (KeyError, IndexError, TypeError):
        held = sorted(map(str, batch)) if isinstance(batch, Mapping) else f"{len(batch)} entries"
        raise InputTypeError(f"a batch of {name} has {held}, not inputs={wanted!r}") from None


def _stacked(batch: Any) -> Any:
    """A list of one mapping for each sample as one mapping of stacked values."""
    if not (isinstance(batch, list | tuple) and batch and all(isinstance(one, Mapping) for one in batch)):
        return batch
    first = batch[0]
    if any(one.keys() != first.keys() for one in batch):
        return batch
    return {key: _collated([one[key] for one in batch]) for key in first}


def _collated(values: list[Any]) -> Any:
    tensors = [_tensor(v) for v in values]
    if all(isinstance(v, Tensor) and v.shape == tensors[0].shape for v in tensors):
        return torch.stack(tensors)
    if all(isinstance(v, int | float | bool) for v in values):
        return torch.tensor(values)
    return values


def _tensor(value: Any) -> Any:
    """NumPy arrays of numbers as tensors."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        return torch.from_numpy(np.array(value))  # a copy: arrays may be read-only
    return value


def _classes(labels: Any, name: str, needs: str) -> np.ndarray:
    if labels is None:
        raise InputTypeError(f"labels of {name} are None: {needs}{_without(name)}")
    try:
        array = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    except ValueError:  # of parts that are not equally long, as mixed samples have
        array = np.empty((), object)
    if array.dtype.kind not in "iub" or array.ndim != 1 or array.size == 0:
        what = (
            "floating point targets"
            if array.dtype.kind == "f"
            else "labels for every position or several classes"
        )
        raise InputTypeError(
            f"labels of {name} must be (n,) integer classes, n >= 1, not {array.dtype} of shape {array.shape}: "
            f"{needs}, and {what} have none{_without(name)}"
        )
    return array.astype(np.int64)


def _describe(batch: Any) -> str:
    if isinstance(batch, Tensor):
        return f"a tensor of shape {tuple(batch.shape)}"
    return f"a {type(batch).__name__}" + (f" of {len(batch)}" if isinstance(batch, Sized) else "")

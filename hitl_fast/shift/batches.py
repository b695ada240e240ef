"""Two loaders as one stream of paired batches, or an error that reports the first mismatch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hitl_fast._common.errors import InputError

from .inputs import Inputs
from .labelling import Labelling
from .masks import given_mask
from .sharding import Sharded
from .splitting import Splitting, advice, split, without_labels

COMPLETE = Labelling()
UNKNOWN = -1  # the label of a sample that has none
IGNORED = -100  # as cross_entropy ignores it


@dataclass(frozen=True)
class Pair:
    """The same samples before and after the shift, with their classes."""

    clean: Inputs
    shifted: Inputs
    labels: np.ndarray  # (n,) int64
    clean_mask: Tensor | None = None  # (n, positions) bool, as ``mask=`` picks it
    shifted_mask: Tensor | None = None
    known: np.ndarray | None = None  # (n,) bool: the shifted label is known; None: all are
    only: str = ""  # the name of the loader that serves as both sides


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
        yield Pair(inputs, inputs, classes, mask, mask, known, name)
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
            f" it is no class: leave these samples out{advice(name)}"
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

"""One batch of a loader: what the model is called with, and the classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hitl_fast._common.errors import InputTypeError

from .inputs import Inputs

LABEL_KEYS = ("labels", "label", "targets", "target", "y")


@dataclass(frozen=True)
class Splitting:
    """Where a batch has its labels, its inputs and its mask: the arguments of ``hitl_fast.preindex`` of these names."""

    labels: str | int | None = None
    inputs: str | int | Sequence[str | int] | Callable[[Any], Any] | None = None
    mask: str | int | Callable[[Any], Any] | None = None
    needs: str = (
        "PreIndex compares clusters with one class for each sample"  # why labels are needed, in messages
    )


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
                + advice(name)
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
        f"{splitting.needs}{advice(name)}"
    )


def advice(name: str) -> str:
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
        raise InputTypeError(f"labels of {name} are None: {needs}{advice(name)}")
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
            f"{needs}, and {what} have none{advice(name)}"
        )
    return array.astype(np.int64)


def _describe(batch: Any) -> str:
    if isinstance(batch, Tensor):
        return f"a tensor of shape {tuple(batch.shape)}"
    return f"a {type(batch).__name__}" + (f" of {len(batch)}" if isinstance(batch, Sized) else "")

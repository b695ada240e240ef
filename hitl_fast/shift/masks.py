"""Which positions of a sample are padding: by what the batch carries, or by what the caller names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hitl_fast._common.errors import InputError, InputTypeError

from .inputs import Inputs

# By their conventions: True or 1 for what counts; True for padding; the number of positions that count.
KEPT = ("attention_mask", "mask")
PADDING = ("src_key_padding_mask", "key_padding_mask", "padding_mask")
LENGTHS = ("lengths",)


@dataclass(frozen=True)
class Mask:
    """Where a batch has something else than padding."""

    name: str  # as the report has it
    kept: Tensor  # (n, T) bool, True for what counts
    input: int | None = None  # which of the inputs it was made of


def named_mask(inputs: Inputs, positional: tuple[str, ...], n: int) -> Mask | None:
    """The mask among the inputs, if there is one.

    Inputs that are given by position have the names of the arguments of the model's ``forward``.
    """
    named: Mapping[str, Any] = dict(zip(positional, inputs.args, strict=False)) | inputs.kwargs
    for name in (*KEPT, *PADDING, *LENGTHS):
        values = named.get(name)
        if isinstance(values, Tensor):
            mask = _lengths(values, named, n) if name in LENGTHS else _binary(values, n)
            if mask is not None:
                place = next((i for i, v in enumerate(inputs.values()) if v is values), None)
                return Mask(name, ~mask if name in PADDING else mask, place)
    return None


def given_mask(batch: Any, wanted: str | int | Callable[[Any], Any], name: str) -> Tensor:
    """The mask that ``mask=`` picks from a batch as its loader gives it: (n, T) bool.

    Raises:
        ValueError, TypeError: there is none, or it is not (n, T) of zeros and ones.
    """
    try:
        found = wanted(batch) if callable(wanted) else batch[wanted]
    except (KeyError, IndexError, TypeError):
        raise InputError(f"a batch of {name} has no mask at mask={wanted!r}") from None
    values = torch.as_tensor(found)
    if values.ndim != 2 or not _is_binary(values):
        raise InputTypeError(
            f"mask= must give (n, positions) of True or 1 for what counts and False or 0 for padding, not"
            f" {values.dtype} of shape {tuple(values.shape)}"
        )
    return values != 0


def with_padding(mask: Tensor | None) -> Tensor | None:
    """The mask, if it leaves anything out; a sample of nothing but padding keeps all of it."""
    if mask is None or bool(mask.all()):
        return None
    return mask | ~mask.any(1, keepdim=True)


def _binary(values: Tensor, n: int) -> Tensor | None:
    return values != 0 if values.ndim == 2 and len(values) == n and _is_binary(values) else None


def _is_binary(values: Tensor) -> bool:
    return values.dtype == torch.bool or bool(((values == 0) | (values == 1)).all())


def _lengths(values: Tensor, named: Mapping[str, Any], n: int) -> Tensor | None:
    if values.shape != (n,) or values.is_floating_point():
        return None
    widths = [v.shape[1] for v in named.values() if isinstance(v, Tensor) and v.ndim >= 2 and len(v) == n]
    if not widths or int(values.max()) > widths[0]:
        return None
    return torch.arange(widths[0], device=values.device) < values.unsqueeze(1)

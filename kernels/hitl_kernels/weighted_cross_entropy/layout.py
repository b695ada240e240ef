"""Tensors of any strides as matrices of rows, without a copy."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch


def matrices(*tensors: torch.Tensor) -> Iterator[tuple[slice, tuple[torch.Tensor, ...]]]:
    """Each run of rows that all tensors (..., classes) can show as a matrix, and those matrices.

    One run for most; ``logits[:, :-1]`` of a language model cannot be a matrix and gives one a sequence.
    """
    yield from _from(0, tensors)


def _from(start: int, tensors: tuple[torch.Tensor, ...]) -> Iterator[tuple[slice, tuple[torch.Tensor, ...]]]:
    if all(tensor.dim() == 2 for tensor in tensors):
        yield slice(start, start + len(tensors[0])), tensors
        return
    leading, classes = tensors[0].shape[:-1], tensors[0].shape[-1]
    rows = math.prod(leading)
    try:
        yield slice(start, start + rows), tuple(tensor.view(rows, classes) for tensor in tensors)
    except RuntimeError:
        inner = rows // leading[0]
        for index in range(leading[0]):
            yield from _from(start + index * inner, tuple(tensor[index] for tensor in tensors))


def position(row: int, shape: torch.Size) -> str:
    """``[2, 5]``, where a flat position lies in the caller's tensor."""
    index = []
    for size in reversed(shape):
        row, place = divmod(row, size)
        index.append(place)
    return str(index[::-1]) if index else ""

"""Exponential keys: draws without replacement, by one independent number an item."""

from __future__ import annotations

import numpy as np
import torch

from .._dispatch import implementation
from ..philox.stream import Stream
from . import cpu
from .cpu import NEVER

__all__ = ["NEVER", "exponential_keys", "smallest"]


def exponential_keys(weights: np.ndarray | torch.Tensor, stream: Stream) -> np.ndarray | torch.Tensor:
    """An integer for each item that sorts as E[i] / w[i], with E[i] exponential of mean 1.

    The k items of smallest key, in order, are the k first of drawing one after another, each in proportion
    to the weights that are left (the sequential law). Item i takes uniform i % 2 of draw i // 2.

    Args:
        weights: (items,) float64, finite and non-negative, any range: the exponents are subtracted as
            integers, so no quotient overflows. On a CUDA device the keys are made there, the same bit for bit.
        stream: which random numbers.

    Returns:
        int64 [items]; NEVER for a weight of 0.

    Source: Efraimidis and Spirakis, Weighted random sampling with a reservoir, 2006.

    >>> from hitl_kernels.philox import Purpose, Stream
    >>> keys = exponential_keys(np.array([1.0, 0.0, 1e-300]), Stream(0, 0, Purpose.ORDER))
    >>> smallest(keys, 2).tolist()
    [0, 2]
    """
    if isinstance(weights, torch.Tensor) and not weights.is_cuda:
        return torch.from_numpy(cpu.exponential_keys(weights.numpy(), stream))
    keys: np.ndarray | torch.Tensor = implementation(__name__, weights).exponential_keys(weights, stream)
    return keys


def smallest(keys: np.ndarray | torch.Tensor, k: int) -> np.ndarray | torch.Tensor:
    """The k items of smallest key, the smallest first, equal keys by item: int64 [items] -> int64 [k]."""
    if isinstance(keys, torch.Tensor):
        return torch.sort(keys, stable=True).indices[:k]
    return cpu.smallest(keys, k)

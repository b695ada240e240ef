"""Alias table: draws with replacement, each in constant time."""

from __future__ import annotations

import numpy as np
import torch

from .._dispatch import implementation
from ..philox.stream import Stream
from . import cpu

__all__ = ["alias_table", "draw"]


def alias_table(weights: np.ndarray) -> np.ndarray:
    """The table from which :func:`draw` draws item i with probability weights[i] / sum(weights).

    One bucket an item, each of the mean weight: row i is (threshold, alias), item i takes the share of its
    bucket below the threshold and its alias the rest. Built in one pass, the same on any number of threads.

    Args:
        weights: (items,) float64, items >= 1, finite, non-negative, not all 0.

    Returns:
        float64 [items, 2]; the alias is an index, which float64 holds exactly. Move it to a CUDA device
        (``torch.from_numpy(table).cuda()``) to draw there. No row leads to an item of weight 0 (or of
        less than about 2**-1022 of the largest).

    Source: Walker, 1977; the linear-time construction of Hübschle-Schneider and Sanders, 2019, section 4.1.

    >>> alias_table(np.array([1.0, 0.0, 5.0])).tolist()
    [[0.5, 2.0], [0.0, 2.0], [1.0, 2.0]]
    """
    return cpu.build(weights)


def draw(
    table: np.ndarray | torch.Tensor, stream: Stream, start: int, count: int, stride: int = 1
) -> np.ndarray | torch.Tensor:
    """The items of draws start, start + stride, ...; draw i takes both uniforms of its block.

    Args:
        table: from :func:`alias_table`; a CUDA tensor to draw there, the same items.
        stream: which random numbers.
        start: the first draw number.
        count: how many draws.
        stride: from one draw number to the next, for ranks that each take every stride-th draw.

    Returns:
        int64 [count], an array or a tensor like the table.

    >>> from hitl_kernels.philox import Purpose, Stream
    >>> table = alias_table(np.array([1.0, 0.0, 1.0]))
    >>> items = draw(table, Stream(seed=0, epoch=0, purpose=Purpose.DRAW), 0, 1000)
    >>> np.unique(items).tolist()
    [0, 2]
    """
    if isinstance(table, torch.Tensor) and not table.is_cuda:
        return torch.from_numpy(cpu.draw(table.numpy(), stream, start, count, stride))
    items: np.ndarray | torch.Tensor
    items = implementation(__name__, table).draw(table, stream, start, count, stride)
    return items

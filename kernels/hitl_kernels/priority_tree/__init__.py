"""A tree of sums over weights that change: batched update and draw in time logarithmic in the items."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from .._dispatch import implementation
from . import cpu

if TYPE_CHECKING:
    from . import gpu

__all__ = ["priority_tree"]


def priority_tree(weights: np.ndarray | torch.Tensor) -> cpu.Tree | gpu.Tree:
    """The sums of eight, of eight times eight ... weights, up to their total.

    Both trees have ``items``, ``leaves`` (the weights, padded with zeros), ``scale`` (a power of two),
    ``total`` (of the weights times the scale) and

    - ``update(indices, weights)``: set leaves and sum again what is above them, the last of equal indices
      wins. Sums are never adjusted by differences, so an updated tree equals a new one bit for bit.
      Out of range, negative, not finite, or nothing left to draw: ValueError, and nothing has changed.
    - ``find(targets)``: the item below each target in [0, total).
    - ``draw(stream, start, count, stride)``: the items of independent draws; draw i depends on nothing but
      the stream, i and the weights.
    - ``sample(stream, count)``: items and their probabilities, one draw from each of ``count`` equal parts
      of the total.

    An item whose weight is 0 (or below 2**-1022 of the largest) is never found.

    Args:
        weights: (items,) float64, items >= 1, finite, non-negative, not all 0. On a CUDA device the tree
            lives there, and every array given to it and got from it does too. The same items on both.

    >>> tree = priority_tree(np.array([1.0, 0.0, 3.0]))
    >>> tree.find(np.array([0.0, 0.2, 0.9]) * tree.total)
    array([0, 0, 2])
    """
    if isinstance(weights, torch.Tensor) and not weights.is_cuda:
        weights = weights.numpy()
    tree: cpu.Tree | gpu.Tree = implementation(__name__, weights).Tree(weights)
    return tree

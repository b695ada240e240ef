"""Systematic draws: each item as often as expected, rounded down or up."""

from __future__ import annotations

import numpy as np

from . import cpu

__all__ = ["systematic"]


def systematic(weights: np.ndarray, n: int, seed: int, epoch: int) -> np.ndarray:
    """N draws in which item i is drawn floor(n p[i]) or ceil(n p[i]) times, in random order.

    Each is drawn n p[i] times on average. Which of the fractional draws an item gets is decided by equally
    spaced marks on the line of all fractions, so of neighbours with small fractions never two are drawn. The
    order is a Fisher-Yates shuffle: every permutation as likely as every other to within n 2**-53.

    Args:
        weights: (items,) float64, items >= 1, finite, non-negative, not all 0.
        n: how many draws, at least 1.
        seed: below 2**64.
        epoch: below 2**32.

    Returns:
        int64 [n], the same on any number of threads. On the CPU alone: both steps are one after another.

    Source: Madow, On the theory of systematic sampling II, 1949.

    >>> np.bincount(systematic(np.array([1.0, 0.0, 3.0]), 8, seed=0, epoch=0)).tolist()
    [2, 0, 6]
    """
    return cpu.systematic(weights, n, seed, epoch)

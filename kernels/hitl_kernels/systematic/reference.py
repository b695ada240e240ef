"""Systematic draws: each item as often as expected, rounded down or up, in random order.

Madow (1949); the fractions alone are drawn, so that rounding cannot cost an item a whole draw.
"""

import math

import numpy as np

from ..philox.reference import uniforms
from ..philox.stream import Purpose, Stream


def counts(weights: np.ndarray, n: int, offset: float) -> np.ndarray:
    """How often each item is drawn: floor or ceil of n w[i] / sum(w): [items] -> int64 [items]."""
    scaled = weights / weights.max()
    expected = n * scaled / math.fsum(scaled)
    nearest = np.rint(expected)
    within_rounding = np.abs(expected - nearest) <= 2**-48 * nearest  # of a whole number: it is that number
    expected = np.where(within_rounding, nearest, expected)
    drawn = np.floor(expected)
    fractions = expected - drawn
    missing = n - int(drawn.sum())
    # Marks at offset, offset + 1, ... on a line where the fractions lie end to end, stretched to whole length.
    line = np.cumsum(fractions) * (missing / max(fractions.sum(), 2**-1022))
    given = 0
    candidates = np.flatnonzero(fractions)
    for item, left in zip(candidates, range(len(candidates), 0, -1), strict=True):
        passed = (
            math.floor(line[item] + offset) > given or left == missing - given
        )  # the line's end is rounded
        if passed and given < missing:
            drawn[item] += 1
            given += 1
    return np.asarray(drawn, np.int64)


def systematic(weights: np.ndarray, n: int, seed: int, epoch: int) -> np.ndarray:
    """The n items in random order: Fisher and Yates, with draw i of the stream for position i."""
    offset = uniforms(Stream(seed, epoch, Purpose.OFFSET), np.zeros(1, np.uint64))[0, 0]
    items = np.repeat(np.arange(len(weights)), counts(weights, n, offset))
    numbers = uniforms(Stream(seed, epoch, Purpose.SHUFFLE), np.arange(n, dtype=np.uint64))[0]
    for i in range(n - 1, 0, -1):
        j = min(int(numbers[i] * (i + 1)), i)
        items[i], items[j] = items[j], items[i]
    return items

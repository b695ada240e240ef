"""Systematic draws in Numba."""

import math

import numpy as np

from .. import policy
from ..philox import cpu as philox
from ..philox.stream import Purpose, Stream
from ..sums import power_of_two, total

CHUNK = 1024
NEAR = 2.0**-48  # of a whole number: what rounding may add to an expectation that is one


def systematic(weights: np.ndarray, n: int, seed: int, epoch: int) -> np.ndarray:
    offset = philox.uniforms(Stream(seed, epoch, Purpose.OFFSET), 0, 1, 1)[0, 0]
    items = np.repeat(np.arange(weights.size), counts(weights, n, offset))
    _shuffle(items, philox.words(Stream(seed, epoch, Purpose.SHUFFLE)))
    return items


def counts(weights: np.ndarray, n: int, offset: float) -> np.ndarray:
    scale = power_of_two(float(weights.max()))
    drawn, fractions = np.empty(weights.size, np.int64), np.empty(weights.size)
    missing, candidates, length = _expect(weights, scale, n / total(weights, scale), n, drawn, fractions)
    _give(drawn, fractions, missing, candidates, length, offset)
    return drawn


@policy.compiled
def _expect(
    weights: np.ndarray, scale: float, per_weight: float, n: int, drawn: np.ndarray, fractions: np.ndarray
) -> tuple[int, np.int64, float]:
    """Whole draws and fractions of each item; draws still missing, items with a fraction, sum of fractions."""
    missing, candidates, length = n, np.int64(0), 0.0
    for i in range(weights.size):
        expected = weights[i] * scale * per_weight
        nearest = np.rint(expected)
        if abs(expected - nearest) <= NEAR * nearest:
            expected = nearest
        whole = math.floor(expected)
        drawn[i] = whole
        fractions[i] = expected - whole
        missing -= drawn[i]
        candidates += np.int64(fractions[i] > 0.0)
        length += fractions[i]
    return missing, candidates, length


@policy.compiled
def _give(
    drawn: np.ndarray, fractions: np.ndarray, missing: int, candidates: np.int64, length: float, offset: float
) -> None:
    """The missing draws, one each, where a mark at offset, offset + 1, ... meets the item's fraction."""
    if missing == 0:
        return
    stretch = missing / length
    line, given = 0.0, 0
    for i in range(drawn.size):
        if fractions[i] > 0.0 and given < missing:
            line += fractions[i]
            if math.floor(line * stretch + offset) > given or candidates == missing - given:
                drawn[i] += 1
                given += 1
            candidates -= 1


@policy.compiled
def _shuffle(items: np.ndarray, words: philox.Words) -> None:
    """Fisher and Yates from the last position down, with draw i of the stream for position i."""
    first, second = np.empty(CHUNK), np.empty(CHUNK)
    for chunk in range((items.size - 1) // CHUNK, -1, -1):
        begin = chunk * CHUNK
        philox.fill(words, np.uint64(begin), np.uint64(1), first, second)
        for i in range(min(begin + CHUNK, items.size) - 1, max(begin, 1) - 1, -1):
            j = min(int(first[i - begin] * (i + 1)), i)
            items[i], items[j] = items[j], items[i]

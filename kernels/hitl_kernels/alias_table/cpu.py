"""Alias table in Numba. Threshold and alias lie side by side: a draw costs one cache line."""

import numba
import numpy as np

from .. import policy
from ..philox import cpu as philox
from ..philox.stream import Stream
from ..sums import power_of_two, total, two_sum

CHUNK = 1024  # draws whose uniforms are made ahead: they stay in the first-level cache
WORK_PER_DRAW = 8.0  # nanoseconds, about


def build(weights: np.ndarray) -> np.ndarray:
    table = np.empty((weights.size, 2))
    order, shares = np.empty(weights.size, np.int64), np.empty(weights.size)
    lights = _share(weights, power_of_two(float(weights.max())), order, shares)
    _pair(table, order, shares, lights)
    return table


def draw(table: np.ndarray, stream: Stream, start: int, count: int, stride: int) -> np.ndarray:
    out = np.empty(count, np.int64)
    _draw(WORK_PER_DRAW * count, table, philox.words(stream), np.uint64(start), np.uint64(stride), out)
    return out


@policy.compiled
def _share(weights: np.ndarray, scale: float, order: np.ndarray, shares: np.ndarray) -> np.int64:
    """Items and shares in new order: light items from the front, heavy ones from the back; counts the light."""
    n = weights.size
    to_share = n / total(weights, scale)  # 1 is a full bucket
    lights = np.int64(0)
    for i in range(n):
        share = weights[i] * scale * to_share
        # Written to both ends, kept at one: a branch on a random weight is mispredicted half of the time.
        other = n - 1 - i + lights
        order[lights], order[other] = i, i
        shares[lights], shares[other] = share, share
        lights += np.int64(share <= 1.0)
    return lights


@policy.compiled
def _pair(table: np.ndarray, order: np.ndarray, shares: np.ndarray, lights: np.int64) -> None:
    light, heavy = 0, order.size - 1
    giver = order[heavy]
    # What the giver has left, and apart from it what rounding took: an item that holds nearly all weight
    # gives to millions of others, and the error of that sum could be as large as a bucket.
    left, lost = shares[heavy], 0.0
    while heavy >= lights:
        if left > 1.0:
            if light == lights:
                break
            table[order[light], 0], table[order[light], 1] = shares[light], giver
            left, error = two_sum(left, shares[light] - 1.0)
            lost += error
            light += 1
        else:
            left, lost = two_sum(left, lost)
            if left > 1.0:
                continue
            if heavy == lights:
                break
            heavy -= 1
            table[giver, 0], table[giver, 1] = left, order[heavy]
            giver = order[heavy]
            left, error = two_sum(shares[heavy], left - 1.0)
            lost += error
    # Whoever is left over has a full bucket, but for rounding.
    for i in range(lights, heavy + 1):
        table[order[i], 0], table[order[i], 1] = 1.0, order[i]
    for i in range(light, lights):
        # A weight of zero is never its own alias, however the sums were rounded.
        table[order[i], 0], table[order[i], 1] = shares[i], giver if shares[i] == 0.0 else order[i]


@policy.compiled_by_size
def _draw(
    table: np.ndarray, words: philox.Words, start: np.uint64, stride: np.uint64, out: np.ndarray
) -> None:
    n, count = table.shape[0], out.size
    for chunk in numba.prange((count + CHUNK - 1) // CHUNK):
        begin = chunk * CHUNK
        size = min(CHUNK, count - begin)
        first, second = np.empty(size), np.empty(size)
        philox.fill(words, start + np.uint64(begin) * stride, stride, first, second)
        buckets = np.empty(size, np.int64)
        for i in range(size):
            buckets[i] = min(np.int64(first[i] * n), n - 1)
        for i in range(size):
            bucket = buckets[i]
            own = np.int64(second[i] < table[bucket, 0])
            # Arithmetic, not a branch: mispredicted half of the time, it takes longer than the memory.
            out[begin + i] = own * bucket + (1 - own) * np.int64(table[bucket, 1])

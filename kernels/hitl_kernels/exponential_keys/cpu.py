"""Exponential keys and their order in Numba."""

import numba
import numpy as np

from .. import policy
from ..philox import cpu as philox
from ..philox.stream import Stream

NEVER = np.int64(2**63 - 1)
CHUNK = 1024  # items; their numbers stay in the first-level cache
WORK_PER_KEY = 6.0  # nanoseconds to make a key, about; to count and to spread it, a third each
PARTS = 8  # slices of the items that are counted and spread on their own; not the number of threads
BUCKET_BITS = 12
BUCKETS = 1 << BUCKET_BITS
GROUP = 64  # buckets that one turn of the parallel loop sorts
SORT_FROM = 4096  # below, NumPy's sort costs less than counting into buckets

LN_2 = float.fromhex("0x1.62e42fefa39efp-1")
SQRT_2 = 2.0 * np.sqrt(0.5)
(C0, C1, C2, C3, C4, C5, C6, C7, C8, C9, C10, C11) = (1.0 / (2 * n + 1) for n in range(12))
SIGN = np.uint64(1 << 63)
TINY = 2.0**-1022  # below, a float64 is denormal
SHORTEST = 2.0**-54  # -log(1) would be no time at all
LIFT, LIFT_BITS = 2.0**64, 64
MANTISSA, ONE, BIAS, SHIFT = np.int64(2**52 - 1), np.int64(1023 << 52), np.int64(1023), np.int64(52)


def exponential_keys(weights: np.ndarray, stream: Stream) -> np.ndarray:
    out = np.empty(weights.size, np.int64)
    _keys(WORK_PER_KEY * weights.size, weights, philox.words(stream), out)
    return out


def smallest(keys: np.ndarray, k: int) -> np.ndarray:
    if keys.size < SORT_FROM:
        return np.argsort(keys, kind="stable")[:k]
    work = WORK_PER_KEY * keys.size / 3
    low, high = _range(keys)
    # Buckets by the leading bits above the lowest key. Nothing clusters within one: the logarithm of a key
    # over its weight has a smooth density, and a bucket spans a small part of a power of two.
    shift = np.uint64(max((int(high) - int(low)).bit_length() - BUCKET_BITS, 0))
    base = np.uint64(int(low) + 2**63)  # unsigned, as two keys may lie further apart than an int64 reaches
    starts = np.empty((PARTS, BUCKETS + 1), np.int64)
    _count(work, keys, base, shift, starts)
    edges, size = _starts(starts, k)
    spread = np.empty((2, size), np.int64)  # keys, items
    _spread(work, keys, base, shift, edges.size - 1, starts, spread[0], spread[1])
    ordered = np.empty(size, np.int64)
    _sort(WORK_PER_KEY * size, spread[0], spread[1], base, shift, edges, ordered)
    return ordered[:k]


@policy.compiled_by_size
def _keys(weights: np.ndarray, words: philox.Words, out: np.ndarray) -> None:
    n = weights.size
    for chunk in numba.prange((n + CHUNK - 1) // CHUNK):
        begin = chunk * CHUNK
        size = min(CHUNK, n - begin)
        half = (size + 1) // 2
        first, second = np.empty(half), np.empty(half)
        philox.fill(words, np.uint64(begin // 2), np.uint64(1), first, second)
        uniform = np.empty(2 * half)
        for i in range(half):
            uniform[2 * i] = first[i] + philox.UNIT
            uniform[2 * i + 1] = second[i] + philox.UNIT
        _minus_log(uniform)
        _divide(uniform, weights[begin : begin + size], out[begin : begin + size])


@policy.compiled_unchecked
def _minus_log(x: np.ndarray) -> None:
    """In place, and operation for operation as the reference: every rounding counts. Loops apart vectorise."""
    n = x.size
    m, e = np.empty(n), np.empty(n)
    x_bits, m_bits = x.view(np.int64), m.view(np.int64)
    for i in range(n):
        m_bits[i] = (x_bits[i] & MANTISSA) | ONE
        e[i] = np.float64((x_bits[i] >> SHIFT) - BIAS)
    for i in range(n):
        high = m[i] > SQRT_2
        mantissa = 0.5 * m[i] if high else m[i]
        exponent = e[i] + 1.0 if high else e[i]
        s = (mantissa - 1.0) / (mantissa + 1.0)
        z = s * s
        p = C11 * z + C10
        p = p * z + C9
        p = p * z + C8
        p = p * z + C7
        p = p * z + C6
        p = p * z + C5
        p = p * z + C4
        p = p * z + C3
        p = p * z + C2
        p = p * z + C1
        p = p * z + C0
        value = -(exponent * LN_2 + (2.0 * s) * p)
        x[i] = value if value > SHORTEST else SHORTEST


@policy.compiled_unchecked
def _divide(clock: np.ndarray, weights: np.ndarray, out: np.ndarray) -> None:
    """Bits of clock / mantissa less the weight's exponent; ``out`` [n]."""
    n = weights.size
    m, normal = np.empty(n), np.empty(n)
    m_bits, normal_bits = m.view(np.int64), normal.view(np.int64)
    for i in range(n):
        normal[i] = weights[i] * LIFT if weights[i] < TINY else weights[i]
    for i in range(n):
        m_bits[i] = (normal_bits[i] & MANTISSA) | ONE
        lift = LIFT_BITS if weights[i] < TINY else 0
        out[i] = (normal_bits[i] >> SHIFT) - BIAS - lift
    for i in range(n):
        normal[i] = clock[i] / m[i]
    for i in range(n):
        key = normal_bits[i] - ONE - (out[i] << SHIFT)
        out[i] = key if weights[i] > 0.0 else NEVER


@policy.compiled
def _range(keys: np.ndarray) -> tuple[np.int64, np.int64]:
    """The lowest and the highest key that stand for a positive weight."""
    low, high = NEVER, -NEVER
    for i in range(keys.size):
        low = min(low, keys[i])
        high = max(high, keys[i] if keys[i] != NEVER else low)
    return low, high


@policy.compiled_inline
def _bucket(key: np.int64, base: np.uint64, shift: np.uint64, beyond: int) -> np.int64:
    return np.int64(min(((np.uint64(key) ^ SIGN) - base) >> shift, np.uint64(beyond)))


@policy.compiled_by_size
def _count(keys: np.ndarray, base: np.uint64, shift: np.uint64, counts: np.ndarray) -> None:
    """How many keys of each part fall into each bucket, or beyond: ``counts`` [parts, buckets + 1]."""
    for part in numba.prange(PARTS):
        counts[part, :] = 0
        for i in range(keys.size * part // PARTS, keys.size * (part + 1) // PARTS):
            counts[part, _bucket(keys[i], base, shift, BUCKETS)] += 1


@policy.compiled
def _starts(counts: np.ndarray, k: int) -> tuple[np.ndarray, int]:
    """Edges of the buckets up to the one that holds key k; where each part's keys begin, in place of counts."""
    edges = np.zeros(BUCKETS + 1, np.int64)
    position, bucket = 0, 0
    while bucket < BUCKETS and position < k:
        for part in range(PARTS):
            position, counts[part, bucket] = position + counts[part, bucket], position
        bucket += 1
        edges[bucket] = position
    return edges[: bucket + 1], position


@policy.compiled_by_size
def _spread(
    keys: np.ndarray,
    base: np.uint64,
    shift: np.uint64,
    buckets: int,
    starts: np.ndarray,
    spread_keys: np.ndarray,
    spread_items: np.ndarray,
) -> None:
    """Each key and its item to its bucket, in the order of the items."""
    for part in numba.prange(PARTS):
        for i in range(keys.size * part // PARTS, keys.size * (part + 1) // PARTS):
            bucket = _bucket(keys[i], base, shift, buckets)
            if bucket < buckets:
                position = starts[part, bucket]
                starts[part, bucket] += 1
                spread_keys[position], spread_items[position] = keys[i], i


@policy.compiled_by_size
def _sort(
    keys: np.ndarray,
    items: np.ndarray,
    base: np.uint64,
    shift: np.uint64,
    edges: np.ndarray,
    ordered: np.ndarray,
) -> None:
    buckets = edges.size - 1
    for group in numba.prange((buckets + GROUP - 1) // GROUP):
        for bucket in range(group * GROUP, min((group + 1) * GROUP, buckets)):
            begin, end = edges[bucket], edges[bucket + 1]
            if begin < end:
                _sort_bucket(
                    keys[begin:end],
                    items[begin:end],
                    base + (np.uint64(bucket) << shift),
                    shift,
                    ordered[begin:end],
                )


@policy.compiled
def _sort_bucket(
    keys: np.ndarray,
    items: np.ndarray,
    base: np.uint64,
    shift: np.uint64,
    ordered: np.ndarray,
) -> None:
    """Spread once more, into about a slot a key, as keys lie nearly evenly in a bucket; then insertion sort."""
    n = keys.size
    fine = shift
    while fine > np.uint64(0) and (1 << np.int64(shift - fine)) < n:
        fine -= np.uint64(1)
    last = (1 << np.int64(shift - fine)) - 1
    slots = np.zeros(last + 2, np.int64)
    for i in range(n):
        slots[_bucket(keys[i], base, fine, last) + 1] += 1
    for slot in range(1, slots.size):
        slots[slot] += slots[slot - 1]
    ordered_keys = np.empty(n, np.int64)
    for i in range(n):
        slot = _bucket(keys[i], base, fine, last)
        position = slots[slot]
        slots[slot] += 1
        ordered_keys[position], ordered[position] = keys[i], items[i]
    for i in range(1, n):
        key, item = ordered_keys[i], ordered[i]
        j = i
        while j > 0 and ordered_keys[j - 1] > key:
            ordered_keys[j], ordered[j] = ordered_keys[j - 1], ordered[j - 1]
            j -= 1
        ordered_keys[j], ordered[j] = key, item

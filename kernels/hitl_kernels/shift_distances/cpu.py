"""Histogram distances of row pairs in Numba: threads over rows, one pass over a row per bin width that needs one.

Three facts make it fast, and none changes a count. A row is binned into the finest bins with the arithmetic in the
row's own precision, and only values within rounding of an edge are compared with the edge itself, as NumPy does for
all. Bins in the ratio of a power of two nest exactly, since NumPy's edges ``fl(fl(i * step) + low)`` do. And counts
are integers, so that tables hold every logarithm and square root that can occur.
"""

import functools
import threading

import numba
import numpy as np

from ..policy import compiled, compiled_by_size, compiled_part, threads_for
from .measures import Terms, add_in_order, measures, tables
from .reference import CONSTANT_ULPS, MEASURES

__all__ = ["add_in_order", "histograms", "shift_distances"]

_BLOCK = 2048  # values binned at a time: their codes stay in the first-level cache
_TABLE_ROW = 1 << 14  # longer rows take a logarithm a bin in place of tables that no cache would hold
WORK_PER_VALUE, WORK_PER_BIN = 2.0, 10.0  # nanoseconds, about
_NEAR = np.uint32(1 << 30)  # marks a code whose value must be compared with the edges
_LEFT_OUT, _CONSTANT, _NARROW, _WIDE = 0, 1, 2, 3


_Sides = tuple[np.ndarray, np.ndarray]  # clean and shifted, or the same memory as integers
_Scratch = tuple[np.ndarray, ...]  # memory for a block of rows: see _scratch
_LINE = 64  # values in a row: pads each block's `ends` to its own cache lines
_HEIGHTS = 6  # where in the scratch, which has to be 0 on entry


def shift_distances(
    clean: np.ndarray, shifted: np.ndarray, bins: tuple[int, ...], corrected: bool
) -> tuple[np.ndarray, int, np.ndarray]:
    """Per-row distances [rows, bins, measures], pairs left out, and summed counts [2, max(bins)]."""
    rows, width = clean.shape
    distances = np.empty((rows, len(bins), len(MEASURES)))
    distances.fill(np.nan)  # as it stays for a pair that is left out
    work = WORK_PER_VALUE * 2 * clean.size + WORK_PER_BIN * rows * sum(bins)
    threads = threads_for(work)
    blocks = 1 if threads == 1 else min(rows, 4 * threads)
    counts = np.zeros((blocks, 2, bins[-1]), np.int64)
    left_out = np.zeros(blocks, np.int64)
    terms = tables(2 * width) if width <= _TABLE_ROW else None
    arguments = (
        (clean, shifted), (_ordered(clean), _ordered(shifted)), np.array(bins), _coarser(bins), corrected, terms,
        *_limits(clean.dtype), distances,
    )  # fmt: skip
    with _silent():
        if threads == 1:  # without the loop, which would have to be compiled
            left_out[0] = _row_pairs_of_block(
                0, rows, *arguments, counts[0], _own_scratch(clean.dtype, bins[-1])
            )
        else:
            _row_pairs(work, *arguments, counts, left_out, _scratch((blocks,), clean.dtype, bins[-1]))
    return distances, int(left_out.sum()), counts.sum(0)


def histograms(rows: np.ndarray, bins: int, corrected: bool) -> np.ndarray:
    """Counts of each row over its own range, [rows, bins]; zeros for a row that is left out."""
    counts = np.zeros((len(rows), bins), np.int64)
    with _silent():
        _count_rows(
            rows,
            _ordered(rows),
            corrected,
            *_limits(rows.dtype),
            counts,
            _own_scratch(rows.dtype, bins),
        )
    return counts


def _silent() -> np.errstate:
    """An overflowing range is a finding here, not an accident; compiled code would not warn of it either."""
    return np.errstate(over="ignore", invalid="ignore")


def _ordered(rows: np.ndarray) -> np.ndarray:
    """The same memory as integers, for reductions that need no care about NaN."""
    return rows.view(np.int32 if rows.dtype == np.float32 else np.int64)


@functools.lru_cache(maxsize=8)
def _coarser_cached(bins: tuple[int, ...]) -> np.ndarray:
    factors = []
    for n_bins, finer in zip(bins, (*bins[1:], 0), strict=True):
        ratio, rest = divmod(finer, n_bins)
        factors.append(ratio if finer and rest == 0 and ratio & (ratio - 1) == 0 else 0)
    return np.array(factors)


def _coarser(bins: tuple[int, ...]) -> np.ndarray:
    """For each bin count, how many bins of the next finer one make one of its own; 0: bin the row again."""
    return _coarser_cached(bins)


@functools.lru_cache(maxsize=4)
def _limits(dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """[2] the smallest normal number, and the spacing at 1; [4] the largest integer, the smallest, its sign bit, 1."""
    keys, reals = np.iinfo(np.int32 if dtype == np.float32 else np.int64), np.finfo(dtype)
    return (
        np.array([reals.tiny, reals.eps], dtype),
        np.array([keys.max, keys.min, keys.bits - 1, 1], keys.dtype),
    )


def _scratch(blocks: tuple[int, ...], dtype: np.dtype, bins: int) -> _Scratch:
    """Memory for so many blocks of rows, () for one: each array that compiled code makes takes 0.1 s to compile.

    A plain tuple, since Numba takes 10 us longer to recognise one with names.
    """
    ends = np.empty((*blocks, 2, _LINE), dtype)
    return (
        ends,  # of both sides, the lowest value, the highest, and the spacing of floats at the larger of both
        _ordered(ends),
        np.empty((*blocks, 2), np.int64),  # what kind of row the sides have
        np.empty((*blocks, bins + 1), dtype),  # edges
        np.empty((*blocks, _BLOCK), np.uint32),  # codes
        np.empty((*blocks, 2, bins), np.int64),  # counts of both sides
        np.zeros((*blocks, 8 * bins + 1), np.int64),  # how many bins have a height, in sorted_difference
        np.empty((*blocks, 2, bins), np.int64),  # sorted counts
    )


_kept = threading.local()


def _own_scratch(dtype: np.dtype, bins: int) -> _Scratch:
    """That of one block, kept for the thread's next call; heights are 0 even where the last one was interrupted."""
    size, scratch = getattr(_kept, "last", (None, ()))
    if size != (dtype, bins):
        scratch = _scratch((), dtype, bins)
        _kept.last = (dtype, bins), scratch
    scratch[_HEIGHTS].fill(0)
    return scratch


@compiled_by_size
def _row_pairs(
    rows: _Sides,
    keys: _Sides,
    bins: np.ndarray,
    coarser: np.ndarray,
    corrected: bool,
    terms: Terms | None,
    reals: np.ndarray,
    limits: np.ndarray,
    distances: np.ndarray,
    counts: np.ndarray,
    left_out: np.ndarray,
    scratch: _Scratch,
) -> None:
    # The body is a function of its own, which both forms of the loop share: it is compiled once.
    ends, end_keys, kinds, edges, codes, pair, heights, ordered = scratch
    blocks = len(counts)
    for block in numba.prange(blocks):
        i = np.int64(block)
        own = (
            ends[i], end_keys[i], kinds[i], edges[i], codes[i], pair[i], heights[i], ordered[i]
        )  # fmt: skip
        first, last = i * len(rows[0]) // blocks, (i + 1) * len(rows[0]) // blocks
        left_out[i] = _row_pairs_of_block(
            first,
            last,
            rows,
            keys,
            bins,
            coarser,
            corrected,
            terms,
            reals,
            limits,
            distances,
            counts[i],
            own,
        )


@compiled
def _row_pairs_of_block(
    first: int,
    last: int,
    rows: _Sides,
    keys: _Sides,
    bins: np.ndarray,
    coarser: np.ndarray,
    corrected: bool,
    terms: Terms | None,
    reals: np.ndarray,
    limits: np.ndarray,
    distances: np.ndarray,
    counts: np.ndarray,
    scratch: _Scratch,
) -> int:
    """Distances of the pairs from ``first`` to ``last``, counts added up; how many pairs are left out."""
    # One call site of each function, in loops over the two sides: each is inlined, and compiled again, where it is
    # called. For the same reason no slices but of rows, no arithmetic of arrays, no min or max.
    left_out, finest = 0, bins[-1]
    ends, end_keys, kinds, edges, codes, pair, heights, ordered = scratch
    for i in range(first, last):
        whole, nests = True, True
        for side in range(2):
            kind = _range_of(keys[side][i], ends[side], end_keys[side], limits, reals[0], finest, corrected)
            whole &= kind != _LEFT_OUT
            nests &= kind != _NARROW
            kinds[side] = kind
        if not whole:
            left_out += 1
            continue
        for b in range(len(bins) - 1, -1, -1):
            for side in range(2):
                if coarser[b] > 0 and nests:
                    _merge(pair[side], bins[b], coarser[b])
                else:
                    _count(
                        rows[side][i], kinds[side], ends[side], reals[1], edges, codes, bins[b], pair[side]
                    )
                if bins[b] == finest:
                    for k in range(finest):
                        counts[side, k] += pair[side, k]
            measures(pair, bins[b], rows[0].shape[1], corrected, terms, heights, ordered, distances[i, b])
    return left_out


@compiled
def _count_rows(
    rows: np.ndarray,
    keys: np.ndarray,
    corrected: bool,
    reals: np.ndarray,
    limits: np.ndarray,
    counts: np.ndarray,
    scratch: _Scratch,
) -> None:
    both_ends, both_end_keys, _, edges, codes, _, _, _ = scratch
    ends, end_keys, n_bins = both_ends[0], both_end_keys[0], counts.shape[1]
    for i in range(len(rows)):
        kind = _range_of(keys[i], ends, end_keys, limits, reals[0], n_bins, corrected)
        if kind != _LEFT_OUT:
            _count(rows[i], kind, ends, reals[1], edges, codes, n_bins, counts[i])


@compiled_part
def _range_of(
    keys: np.ndarray,
    ends: np.ndarray,
    end_keys: np.ndarray,
    limits: np.ndarray,
    tiny: float,
    n_bins: int,
    corrected: bool,
) -> int:
    """What kind of row this is; its extremes go to ``ends``, which ``end_keys`` shows as integers.

    Floats read as integers are ordered once the low bits of negative ones are flipped, NaN and the infinities
    outermost: two integer reductions, which vectorise, find the extremes and whether all is finite.
    """
    least, most = limits[0], limits[1]
    flip, sign = limits[0], limits[2]
    for j in range(keys.size):
        key = keys[j] ^ ((keys[j] >> sign) & flip)
        least = key if key < least else least
        most = key if key > most else most
    end_keys[0] = least ^ ((least >> sign) & flip)
    end_keys[1] = most ^ ((most >> sign) & flip)
    low, high = ends[0], ends[1]
    extent = high - low
    if not np.isfinite(extent):
        return _LEFT_OUT
    largest = abs(high) if abs(high) > abs(low) else abs(low)
    ends[2] = largest
    end_keys[2] += limits[3]  # the next float
    spacing = ends[2] - largest
    ends[2] = spacing
    if corrected and extent < CONSTANT_ULPS * spacing:
        return _CONSTANT
    # Eight units in the last place a bin, and no subnormal step: then a first guess is at most one bin off.
    step = spacing if spacing > tiny else tiny
    if extent >= 8 * n_bins * step:
        return _WIDE
    return _NARROW


@compiled_part
def _count(
    row: np.ndarray,
    kind: int,
    ends: np.ndarray,
    eps: float,
    edges: np.ndarray,
    codes: np.ndarray,
    n_bins: int,
    counts: np.ndarray,
) -> None:
    """``np.histogram(row, bins=n_bins)`` into ``counts``; all in the middle bin if the row has no range."""
    real = row.dtype.type
    for k in range(n_bins):
        counts[k] = 0
    low, high = ends[0], ends[1]
    if low == high:
        low, high = low - real(0.5), high + real(0.5)
    rising = _set_edges(edges, n_bins, low, high)
    if kind == _CONSTANT or (kind == _NARROW and not rising):
        counts[n_bins // 2] = row.size
    elif kind == _NARROW:
        for j in range(row.size):
            guess = np.int64((row[j] - low) / (high - low) * real(n_bins))
            counts[_settled(row[j], guess, edges, n_bins)] += 1
    else:
        scale = real(n_bins) / (high - low)
        # How far rounding can move a value among the bins, and an edge, in bins; four times over.
        near = real(4) * ends[2] * scale + real(16 * n_bins) * eps
        for start in range(0, row.size, _BLOCK):
            values = row[start : start + _BLOCK]
            _guess(values, low, scale, near, codes)
            _tally(values, codes, edges, n_bins, counts)


@compiled_part
def _guess(values: np.ndarray, low: float, scale: float, near: float, codes: np.ndarray) -> None:
    """The bin of each value, give or take one, marked where the value is near an edge. Vectorises."""
    real = values.dtype.type
    far = real(1) - near
    for j in range(values.size):
        place = (values[j] - low) * scale
        code = np.int32(place)
        rest = place - real(code)
        codes[j] = np.uint32(code) | (_NEAR if rest > far or (rest < near and code > 0) else np.uint32(0))


@compiled_part
def _tally(values: np.ndarray, codes: np.ndarray, edges: np.ndarray, n_bins: int, counts: np.ndarray) -> None:
    for j in range(values.size):
        code = codes[j]  # unsigned: no test for indices that count from the end
        if code >= _NEAR:
            code = np.uint32(_settled(values[j], np.int64(code) - np.int64(_NEAR), edges, n_bins))
        counts[code] += 1


@compiled_part
def _set_edges(edges: np.ndarray, n_bins: int, low: float, high: float) -> bool:
    """The edges that ``np.linspace`` gives: each rounded twice, never fused, and the last one exact. Do they rise?"""
    step = (high - low) / edges.dtype.type(n_bins)
    rising = True
    for k in range(n_bins):
        edges[k] = edges.dtype.type(k) * step + low
    edges[n_bins] = high
    for k in range(n_bins):
        rising &= edges[k] < edges[k + 1]
    return rising


@compiled_part
def _settled(value: float, guess: int, edges: np.ndarray, n_bins: int) -> int:
    """The bin of a value whose guess may be one off: the edges decide, and the last bin has both of its own."""
    if guess >= n_bins:
        guess = n_bins - 1
    if value < edges[guess]:
        guess -= 1
    elif guess < n_bins - 1 and value >= edges[guess + 1]:
        guess += 1
    return guess


@compiled_part
def _merge(counts: np.ndarray, n_bins: int, ratio: int) -> None:
    """Add up neighbours, in place."""
    for k in range(n_bins):
        total = 0
        for j in range(k * ratio, (k + 1) * ratio):
            total += counts[j]
        counts[k] = total

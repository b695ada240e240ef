"""Histogram distances of row pairs in Numba: threads over rows, one pass over a row per bin width that needs one.

Three facts make it fast, and none changes a count. A row is binned into the finest bins with the arithmetic in the
row's own precision, and only values within rounding of an edge are compared with the edge itself, as NumPy does for
all. Bins in the ratio of a power of two nest exactly, since NumPy's edges ``fl(fl(i * step) + low)`` do. And counts
are integers, so that tables hold every logarithm and square root that can occur.
"""

import functools

import numba
import numpy as np

from ..policy import compiled, compiled_by_size, threads_for
from .reference import CONSTANT_ULPS, MEASURES, PSEUDO_COUNT

_BLOCK = 2048  # values binned at a time: their codes stay in the first-level cache
_TABLE_ROW = 1 << 14  # longer rows take a logarithm a bin in place of tables that no cache would hold
WORK_PER_VALUE, WORK_PER_BIN = 2.0, 10.0  # nanoseconds, about
_NEAR = np.int32(1 << 30)  # marks a code whose value must be compared with the edges
_LEFT_OUT, _CONSTANT, _NARROW, _WIDE = 0, 1, 2, 3


def shift_distances(
    clean: np.ndarray, shifted: np.ndarray, bins: tuple[int, ...], corrected: bool
) -> tuple[np.ndarray, int, np.ndarray]:
    """Per-row distances [rows, bins, measures], pairs left out, and summed counts [2, max(bins)]."""
    rows, width = clean.shape
    distances = np.empty((rows, len(bins), len(MEASURES)))
    work = WORK_PER_VALUE * 2 * clean.size + WORK_PER_BIN * rows * sum(bins)
    threads = threads_for(work)
    blocks = 1 if threads == 1 else min(rows, 4 * threads)
    counts = np.zeros((blocks, 2, bins[-1]), np.int64)
    left_out = np.zeros(blocks, np.int64)
    half_log, root, smooth_log = _tables(2 * width) if width <= _TABLE_ROW else (None, None, None)
    arguments = (
        clean, shifted, _ordered(clean), _ordered(shifted), np.array(bins), _coarser(bins), corrected,
        half_log, root, smooth_log, distances, counts, left_out,
    )  # fmt: skip
    with _silent():
        if threads == 1:
            _row_pairs_of_block(0, *arguments)  # without the loop, which would have to be compiled
        else:
            _row_pairs(work, *arguments)
    return distances, int(left_out.sum()), counts.sum(0)


def histograms(rows: np.ndarray, bins: int, corrected: bool) -> np.ndarray:
    """Counts of each row over its own range, [rows, bins]; zeros for a row that is left out."""
    counts = np.zeros((len(rows), bins), np.int64)
    with _silent():
        _count_rows(rows, _ordered(rows), corrected, counts)
    return counts


def _silent() -> np.errstate:
    """An overflowing range is a finding here, not an accident; compiled code would not warn of it either."""
    return np.errstate(over="ignore", invalid="ignore")


def add_in_order(total: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """``total`` plus each row that is not left out, one after the other."""
    total = total.copy()
    _add_in_order(total, distances)
    return total


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


@functools.lru_cache(maxsize=8)
def _tables(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """log(k / 2), sqrt(k) and log(k + pseudo-count) for k up to ``size``. log(0) is never multiplied by more than 0."""
    k = np.arange(size + 1, dtype=np.float64)
    return np.log(np.maximum(k, 1) / 2), np.sqrt(k), np.log(k + PSEUDO_COUNT)


@compiled_by_size
def _row_pairs(
    clean: np.ndarray,
    shifted: np.ndarray,
    clean_keys: np.ndarray,
    shifted_keys: np.ndarray,
    bins: np.ndarray,
    coarser: np.ndarray,
    corrected: bool,
    half_log: np.ndarray | None,
    root: np.ndarray | None,
    smooth_log: np.ndarray | None,
    distances: np.ndarray,
    counts: np.ndarray,
    left_out: np.ndarray,
) -> None:
    # The body is a function of its own, which both forms of the loop share: it is compiled once.
    for block in numba.prange(len(counts)):
        _row_pairs_of_block(
            np.int64(block), clean, shifted, clean_keys, shifted_keys, bins, coarser, corrected,
            half_log, root, smooth_log, distances, counts, left_out,
        )  # fmt: skip


@compiled
def _row_pairs_of_block(
    block: int,
    clean: np.ndarray,
    shifted: np.ndarray,
    clean_keys: np.ndarray,
    shifted_keys: np.ndarray,
    bins: np.ndarray,
    coarser: np.ndarray,
    corrected: bool,
    half_log: np.ndarray | None,
    root: np.ndarray | None,
    smooth_log: np.ndarray | None,
    distances: np.ndarray,
    counts: np.ndarray,
    left_out: np.ndarray,
) -> None:
    # One call site of each function, in loops over the two sides: each is inlined, and compiled again, where it is
    # called. For the same reason no `+=` of arrays, which compiles an error message about shapes for 4 s.
    rows, blocks, finest = len(clean), len(counts), bins[-1]
    codes = np.empty(_BLOCK, np.int32)
    edges = np.empty(finest + 1, clean.dtype)
    ends = np.empty((2, 2), clean.dtype)
    end_keys = ends.view(clean_keys.dtype)
    kinds = np.zeros(2, np.int64)
    pair = np.zeros((2, finest), np.int64)
    heights = np.zeros(8 * finest + 1, np.int64)
    for i in range(block * rows // blocks, (block + 1) * rows // blocks):
        for side in range(2):
            values, keys = (clean[i], clean_keys[i]) if side == 0 else (shifted[i], shifted_keys[i])
            kinds[side] = _range_of(values, keys, ends[side], end_keys[side], finest, corrected)
        if kinds[0] == _LEFT_OUT or kinds[1] == _LEFT_OUT:
            left_out[block] += 1
            distances[i] = np.nan
            continue
        nests = kinds[0] != _NARROW and kinds[1] != _NARROW
        for b in range(len(bins) - 1, -1, -1):
            n_bins = bins[b]
            for side in range(2):
                part = pair[side, :n_bins]
                if coarser[b] > 0 and nests:
                    _merge(part, pair[side], coarser[b])
                else:
                    values = clean[i] if side == 0 else shifted[i]
                    _count(values, kinds[side], ends[side], edges[: n_bins + 1], codes, part)
                if n_bins == finest:
                    for k in range(finest):
                        counts[block, side, k] += part[k]
            _measures(
                pair[0, :n_bins], pair[1, :n_bins], clean.shape[1], corrected, half_log, root, smooth_log,
                heights, distances[i, b],
            )  # fmt: skip


@compiled
def _count_rows(rows: np.ndarray, keys: np.ndarray, corrected: bool, counts: np.ndarray) -> None:
    codes = np.empty(_BLOCK, np.int32)
    edges = np.empty(counts.shape[1] + 1, rows.dtype)
    ends = np.empty(2, rows.dtype)
    end_keys = ends.view(keys.dtype)
    for i in range(len(rows)):
        kind = _range_of(rows[i], keys[i], ends, end_keys, counts.shape[1], corrected)
        if kind != _LEFT_OUT:
            _count(rows[i], kind, ends, edges, codes, counts[i])


@compiled
def _range_of(
    row: np.ndarray, keys: np.ndarray, ends: np.ndarray, end_keys: np.ndarray, n_bins: int, corrected: bool
) -> int:
    """What kind of row this is; its extremes go to ``ends``, which ``end_keys`` shows as integers.

    Floats read as integers are ordered once the low bits of negative ones are flipped, NaN and the infinities
    outermost: two integer reductions, which vectorise, find the extremes and whether all is finite.
    """
    flip = keys.dtype.type(np.iinfo(keys.dtype).max)
    sign = keys.dtype.type(8 * keys.itemsize - 1)
    least, most = flip, keys.dtype.type(np.iinfo(keys.dtype).min)
    for j in range(keys.size):
        key = keys[j] ^ ((keys[j] >> sign) & flip)
        least = min(least, key)
        most = max(most, key)
    end_keys[0] = least ^ ((least >> sign) & flip)
    end_keys[1] = most ^ ((most >> sign) & flip)
    low, high = ends[0], ends[1]
    extent = high - low
    if not (np.isfinite(low) and np.isfinite(high) and np.isfinite(extent)):
        return _LEFT_OUT
    largest = max(abs(low), abs(high))
    if corrected and extent < CONSTANT_ULPS * np.spacing(largest):
        return _CONSTANT
    # Eight units in the last place a bin, and no subnormal step: then a first guess is at most one bin off.
    if extent >= 8 * n_bins * max(np.spacing(largest), np.finfo(row.dtype).tiny):
        return _WIDE
    return _NARROW


@compiled
def _count(
    row: np.ndarray, kind: int, ends: np.ndarray, edges: np.ndarray, codes: np.ndarray, counts: np.ndarray
) -> None:
    """``np.histogram(row, bins=counts.size)`` into ``counts``; all in the middle bin if the row has no range."""
    n_bins = counts.size
    counts[:] = 0
    low, high = ends[0], ends[1]
    real = row.dtype.type
    if low == high:
        low, high = low - real(0.5), high + real(0.5)
    _set_edges(edges, low, high)
    if kind == _CONSTANT or (kind == _NARROW and not _rise(edges)):
        counts[n_bins // 2] = row.size
    elif kind == _NARROW:
        for j in range(row.size):
            guess = min(int((row[j] - low) / (high - low) * real(n_bins)), n_bins - 1)
            counts[_settled(row[j], guess, edges)] += 1
    else:
        scale = real(n_bins) / (high - low)
        # How far rounding can move a value among the bins, and an edge, in bins; four times over.
        near = (
            real(4) * np.spacing(max(abs(low), abs(high))) * scale
            + real(16 * n_bins) * np.finfo(row.dtype).eps
        )
        for start in range(0, row.size, _BLOCK):
            values = row[start : start + _BLOCK]
            _guess(values, low, scale, near, codes)
            _tally(values, codes, edges, counts)


@compiled
def _guess(values: np.ndarray, low: float, scale: float, near: float, codes: np.ndarray) -> None:
    """The bin of each value, give or take one, marked where the value is near an edge. Vectorises."""
    real = values.dtype.type
    far = real(1) - near
    for j in range(values.size):
        place = (values[j] - low) * scale
        code = np.int32(place)
        rest = place - real(code)
        codes[j] = code | (_NEAR if rest > far or (rest < near and code > 0) else np.int32(0))


@compiled
def _tally(values: np.ndarray, codes: np.ndarray, edges: np.ndarray, counts: np.ndarray) -> None:
    bins = codes.view(np.uint32)  # unsigned: no test for indices that count from the end
    for j in range(values.size):
        code = bins[j]
        if code >= _NEAR:
            code = np.uint32(_settled(values[j], min(np.int64(code) - _NEAR, counts.size - 1), edges))
        counts[code] += 1


@compiled
def _set_edges(edges: np.ndarray, low: float, high: float) -> None:
    """The edges that ``np.linspace`` gives: each rounded twice, never fused, and the last one exact."""
    n_bins = edges.size - 1
    step = (high - low) / edges.dtype.type(n_bins)
    for k in range(n_bins):
        edges[k] = edges.dtype.type(k) * step + low
    edges[n_bins] = high


@compiled
def _rise(edges: np.ndarray) -> bool:
    rising = True
    for k in range(edges.size - 1):
        rising &= edges[k] < edges[k + 1]
    return rising


@compiled
def _settled(value: float, guess: int, edges: np.ndarray) -> int:
    """The bin of a value whose guess may be one off: the edges decide, and the last bin has both of its own."""
    if value < edges[guess]:
        guess -= 1
    elif guess < edges.size - 2 and value >= edges[guess + 1]:
        guess += 1
    return guess


@compiled
def _add_in_order(total: np.ndarray, distances: np.ndarray) -> None:
    for i in range(len(distances)):
        if not np.isnan(distances[i, 0, 0]):  # no `+=` of arrays: see _row_pairs_of_block
            for b in range(total.shape[0]):
                for measure in range(total.shape[1]):
                    total[b, measure] += distances[i, b, measure]


@compiled
def _merge(counts: np.ndarray, finer: np.ndarray, ratio: int) -> None:
    """Add up neighbours, in place: ``counts`` is the start of ``finer``."""
    for k in range(counts.size):
        total = 0
        for j in range(k * ratio, (k + 1) * ratio):
            total += finer[j]
        counts[k] = total


@compiled
def _measures(
    p: np.ndarray,
    q: np.ndarray,
    n: int,
    corrected: bool,
    half_log: np.ndarray | None,
    root: np.ndarray | None,
    smooth_log: np.ndarray | None,
    heights: np.ndarray,
    out: np.ndarray,
) -> None:
    """The five distances between two histograms of n values each, in the order of MEASURES.

    With counts, P log(P / M) is p (log p - log((p + q) / 2)) / n. Each term of a sum is exactly 0 where p = q, which
    holds only as long as nothing is contracted or reassociated.
    """
    n_bins = p.size
    shannon, hellinger, leibler = 0.0, 0.0, 0.0
    for k in range(n_bins):
        i, j = np.uint64(p[k]), np.uint64(q[k])  # unsigned: no test for indices that count from the end
        a, b = np.float64(p[k]), np.float64(q[k])
        log_a, log_b = _half_log(i + i, half_log), _half_log(j + j, half_log)
        shannon += (a * log_a + b * log_b) - (a + b) * _half_log(i + j, half_log)
        hellinger += (_root(i, root) - _root(j, root)) ** 2
        if corrected:
            leibler += (a + PSEUDO_COUNT) * (_smooth_log(i, smooth_log) - _smooth_log(j, smooth_log))
        elif b > 0:
            leibler += a * (log_a - log_b)
    along, below = 0, 0
    tallest = p[0]  # not a literal 0, for which its callee would be compiled once more
    for k in range(n_bins):
        tallest = max(tallest, p[k], q[k])
        below += p[k] - q[k]
        along += abs(below)
    out[0] = max(shannon, 0.0) / (2 * n)
    out[1] = hellinger / (2 * n)
    out[2] = max(leibler, 0.0) / (n + n_bins * PSEUDO_COUNT) if corrected else leibler / n
    out[3] = _sorted_difference(p, q, tallest, heights) / (n_bins * n)
    out[4] = along / (n_bins * n)


# A table of None is known when compiling: the kernel for long rows has no look-up, the other no test for it.
@compiled
def _half_log(k: int, table: np.ndarray | None) -> float:
    if table is None:
        return float(np.log(max(k, 1) / 2))
    return float(table[k])


@compiled
def _root(k: int, table: np.ndarray | None) -> float:
    if table is None:
        return float(np.sqrt(k))
    return float(table[k])


@compiled
def _smooth_log(k: int, table: np.ndarray | None) -> float:
    if table is None:
        return float(np.log(k + PSEUDO_COUNT))
    return float(table[k])


@compiled
def _sorted_difference(p: np.ndarray, q: np.ndarray, tallest: int, heights: np.ndarray) -> int:
    """sum |sort(p) - sort(q)|: over heights, in how many bins more the one stays below than the other."""
    total = 0
    if tallest < heights.size:
        for k in range(p.size):
            heights[np.uint64(p[k])] += 1
            heights[np.uint64(q[k])] -= 1
        below = 0
        for height in range(tallest + 1):
            below += heights[height]
            heights[height] = 0
            total += abs(below)
    else:
        p, q = p.copy(), q.copy()
        _sort(p)
        _sort(q)
        for k in range(p.size):
            total += abs(p[k] - q[k])
    return total


@compiled
def _sort(values: np.ndarray) -> None:
    """Shell's sort with Knuth's gaps, in place; NumPy's would take Numba 1.7 s to compile."""
    gap = 1
    while gap < values.size // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(gap, values.size):
            value, j = values[i], i
            while j >= gap and values[j - gap] > value:
                values[j] = values[j - gap]
                j -= gap
            values[j] = value
        gap //= 3

"""Adjusted Rand index in Numba: one pass into a contingency table, hashed where a dense one would not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..policy import compiled

Integers = NDArray[np.integer]

ROWS = 1 << 18  # samples converted at a time: labels of any integer type, without a copy of them all
CELLS = 1 << 22  # a larger table, mostly empty, is counted by hashing


def pair_counts(labels: Integers, clusters: Integers) -> tuple[int, int, int]:
    """Pairs of samples that share class and cluster, class, cluster."""
    rows, columns = _Codes(labels), _Codes(clusters)
    if rows.count * columns.count <= max(CELLS, labels.size):
        table = np.zeros((rows.count, columns.count), _index_type(labels.size))
        for start in range(0, labels.size, ROWS):
            _contingency(rows.chunk(start), rows.low, columns.chunk(start), columns.low, table)
        same_both, sizes, column_sizes = _margins(table)
        return same_both, _pairs(sizes), _pairs(column_sizes)
    # Both partitions are fine-grained: number the pairs that occur as if they were labels of a third one.
    pairs = np.empty(labels.size, np.int64)
    for start in range(0, labels.size, ROWS):
        # In int64 before the product: chunks of small codes are int32.
        row, column = (codes.chunk(start).astype(np.int64) - codes.low for codes in (rows, columns))
        pairs[start : start + ROWS] = row * columns.count + column
    return _pairs(_Codes(pairs).sizes()), _pairs(rows.sizes()), _pairs(columns.sizes())


class _Codes:
    """Labels as ``low .. low + count - 1``: by offset where the range is small, else numbered by hashing."""

    values: Integers

    def __init__(self, values: Integers) -> None:
        low, high = int(values.min()), int(values.max())
        self.count = high - low + 1
        if self.count <= max(4096, values.size // 16):
            # Differences are taken modulo 2**64, so that uint64 labels beyond int64 come out right.
            self.low = int(np.array(low).astype(np.int64))
            self.values = values
        else:
            self.low = 0
            self.values, self.count = _numbered(values)

    def chunk(self, start: int) -> Integers:
        part = self.values[start : start + ROWS]
        native = np.int32 if np.can_cast(part.dtype, np.int32) else np.int64
        return np.ascontiguousarray(part).astype(native, copy=False)

    def sizes(self) -> Integers:
        sizes = np.zeros((self.count, 1), np.int64)
        for start in range(0, self.values.size, ROWS):
            part = self.chunk(start)
            _contingency(part, self.low, np.zeros_like(part), 0, sizes)
        return sizes


def _index_type(size: int) -> type[np.integer]:
    return np.int32 if size < 2**31 else np.int64


@compiled
def _contingency(rows: Integers, low_row: int, columns: Integers, low_column: int, table: Integers) -> None:
    for i in range(rows.size):
        table[rows[i] - low_row, columns[i] - low_column] += 1


@compiled
def _margins(table: Integers) -> tuple[int, Integers, Integers]:
    """Pairs inside the cells, and the sums of the rows and of the columns."""
    pairs = 0
    rows = np.zeros(table.shape[0], np.int64)
    columns = np.zeros(table.shape[1], np.int64)
    for i in range(table.shape[0]):
        for j in range(table.shape[1]):
            count = int(table[i, j])
            pairs += count * (count - 1) // 2
            rows[i] += count
            columns[j] += count
    return pairs, rows, columns


def _pairs(sizes: Integers) -> int:
    return int((sizes * (sizes - 1) // 2).sum())


def _numbered(values: Integers) -> tuple[Integers, int]:
    """Each value's number in order of first appearance, and how many there are.

    Open addressing in a table that quadruples when half full, so that few distinct values stay in cache.
    """
    codes = np.empty(values.size, _index_type(values.size))
    table = _Table(12, codes.dtype)
    for start in range(0, values.size, ROWS):
        chunk = np.ascontiguousarray(values[start : start + ROWS]).astype(np.int64, copy=False)
        done = table.number(chunk, codes[start : start + ROWS])
        while done < chunk.size:
            table = table.larger()
            done += table.number(chunk[done:], codes[start + done : start + ROWS])
    return codes, table.count


class _Table:
    """Keys and their numbers, in slots found by hashing; a number of -1 marks a free slot."""

    def __init__(self, bits: int, dtype: np.dtype[Any]) -> None:
        self.bits = bits
        self.keys = np.empty(1 << bits, np.int64)
        self.numbers = np.full(1 << bits, -1, dtype)
        self.count = 0

    def number(self, values: Integers, codes: Integers) -> int:
        """Writes the codes of the leading values, and says how many until a new one found the table full."""
        shift = np.uint64(64 - self.bits)
        done, self.count = _number(values, _mixed(values), shift, self.keys, self.numbers, self.count, codes)
        return int(done)

    def larger(self) -> _Table:
        used = np.flatnonzero(self.numbers >= 0)
        keys: Integers = np.empty(self.count, np.int64)
        keys[self.numbers[used]] = self.keys[used]
        table = _Table(self.bits + 2, self.numbers.dtype)
        table.number(keys, np.empty_like(self.numbers[: self.count]))
        return table


def _mixed(keys: Integers) -> Integers:
    """Fibonacci hashing, whose high bits are the good ones; the keys' high half is mixed into the low."""
    unsigned = keys.view(np.uint64)
    return (unsigned ^ unsigned >> np.uint64(32)) * np.uint64(0x9E3779B97F4A7C15)


@compiled
def _number(
    values: Integers,
    mixed: Integers,
    shift: int,
    keys: Integers,
    numbers: Integers,
    count: int,
    codes: Integers,
) -> tuple[int, int]:
    last, one = np.uint64(numbers.size - 1), np.uint64(1)
    for i in range(values.size):
        slot = mixed[i] >> shift
        while numbers[slot] >= 0 and keys[slot] != values[i]:
            slot = (slot + one) & last
        if numbers[slot] < 0:
            if 2 * count == numbers.size:
                return i, count
            keys[slot] = values[i]
            numbers[slot] = count
            count += 1
        codes[i] = numbers[slot]
    return values.size, count

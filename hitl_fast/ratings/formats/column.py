"""A column of a table as codes into its distinct values: what is done once a value is not done once a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

_SCALARS = {str, int, float, bool, type(None)}


class Column:
    """Cell i is ``values[codes[i]]``; values that are equal but of different types (1, 1.0, True) stay apart."""

    __slots__ = ("codes", "values")

    def __init__(self, codes: np.ndarray, values: list[Any]) -> None:
        self.codes, self.values = codes, values

    @classmethod
    def of(cls, cells: Sequence[Any]) -> Column:
        kinds = set(map(type, cells))
        if not kinds <= _SCALARS:  # lists and objects cannot be looked up
            return cls(np.arange(len(cells)), list(cells))
        known: dict[Any, int] = {}
        keys = cells if len(kinds - {type(None)}) <= 1 else list(zip(map(type, cells), cells, strict=True))
        codes = np.fromiter((known.setdefault(k, len(known)) for k in keys), np.int64, len(cells))
        return cls(codes, list(known) if keys is cells else [value for _, value in known])

    @classmethod
    def constant(cls, value: Any, size: int) -> Column:
        return cls(np.zeros(size, np.int64), [value])

    def __len__(self) -> int:
        return int(self.codes.size)

    def __getitem__(self, row: int) -> Any:
        return self.values[self.codes[row]]

    def map(self, function: Callable[[Any], Any]) -> Column:
        """The same rows with ``function`` of every value."""
        return Column(self.codes, [function(value) for value in self.values])

    def mask(self, condition: Callable[[Any], bool]) -> np.ndarray:
        """(rows,) bool: where the condition holds."""
        holds = np.array([bool(condition(value)) for value in self.values], dtype=bool)
        return np.asarray(holds[self.codes])

    def numbers(self) -> np.ndarray:
        """(rows,) float64 of values that are numbers."""
        return np.asarray(np.array(self.values, dtype=np.float64)[self.codes])

    def take(self, rows: np.ndarray) -> Column:
        return Column(self.codes[rows], self.values)

    def used(self) -> Column:
        """The same rows without values that no row has; values in order of their first row."""
        distinct, first, codes = np.unique(self.codes, return_index=True, return_inverse=True)
        order = np.argsort(first)
        rank = np.empty_like(order)
        rank[order] = np.arange(order.size)
        return Column(rank[codes], [self.values[k] for k in distinct[order].tolist()])

    def cells(self) -> list[Any]:
        return [self.values[code] for code in self.codes.tolist()]


def joined(columns: Sequence[Column]) -> Column:
    """Rows of several columns below each other."""
    if len(columns) == 1:
        return columns[0]
    values: list[Any] = []
    codes = []
    for column in columns:
        codes.append(column.codes + len(values))
        values += column.values
    known: dict[Any, int] = {}
    try:
        rank = [known.setdefault((type(v), v), len(known)) for v in values]
    except TypeError:  # a value that cannot be looked up: leave equal values apart
        return Column(np.concatenate(codes), values)
    table = np.array(rank, dtype=np.int64)
    return Column(table[np.concatenate(codes)], [value for _, value in known])

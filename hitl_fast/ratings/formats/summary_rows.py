"""Rows of totals and means that spreadsheets have below the ratings."""

from __future__ import annotations

import numpy as np

from hitl_fast._common.errors import InputError

from .cells import cell_value, lower_text
from .column import Column
from .table import Table

CALLED = {
    "total", "totals", "grand total", "sum", "mean", "average", "avg", "overall", "median", "std", "stdev", "count",
    "max", "min",
}  # fmt: skip
LAST = 6  # rows at the end that are looked at
CLOSE = 0.01  # how far a rounded mean may be from the mean


def refuse_summary_rows(table: Table, item: str | None, rater: str | None, scores: list[str]) -> None:
    """Refuse a table whose last rows are computed from those above.

    A row is one where its item is called like a summary, and its rater has rated nothing else or its scores are the
    sum, mean or median of those above.

    Raises:
        ValueError: there is one; names its line.
    """
    if item is None or not scores:
        return
    items = table.columns[item]
    # Below one summary row there may be others.
    last = range(max(1, table.size - LAST), table.size)
    first = next((row for row in last if lower_text(items[row]) in CALLED), None)
    if first is None:
        return
    stranger = rater is not None and not _occurs(table.columns[rater], first)
    if stranger or any(_is_computed(table.columns[name], first) for name in scores):
        raise InputError(
            f"{table.where(first)}: {items[first]!r} in column {item!r} looks like a row that is computed from those "
            "above: delete it, or give the item another name"
        )


def _occurs(column: Column, row: int) -> bool:
    """Whether the value of a row is that of an earlier one."""
    return bool((column.codes[:row] == column.codes[row]).any())


def _is_computed(column: Column, row: int) -> bool:
    above = [v for v in map(cell_value, column.cells()[:row]) if isinstance(v, float)]
    value = cell_value(column[row])
    if not isinstance(value, float) or len(above) < 2:
        return False
    found = (sum(above), float(np.mean(above)), float(np.median(above)))
    return any(abs(value - v) <= CLOSE * max(1.0, abs(v)) for v in found)

"""Rows of totals and means that spreadsheets and pandas write below the ratings, or beside a person's."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from hitl_fast._common.errors import InputError

from .cells import cell_value, lower_text
from .column import Column
from .table import Table

# What rows that are computed are called.
SURE = {
    "mean", "means", "average", "averages", "avg", "total", "totals", "subtotal", "median", "mittelwert",
    "durchschnitt", "gesamt", "moyenne", "promedio",
}  # fmt: skip
# Items and people are called so too: then all of the row must be computed.
MAYBE = {
    "max", "min", "maximum", "minimum", "count", "overall", "sum", "sums", "summe", "std", "stdev", "stddev", "sd",
    "grand",
}  # fmt: skip
BESIDE = {
    "score", "scores", "rating", "ratings", "value", "values", "of", "the", "all", "raters", "items", "points", "stars",
    "deviation", "dev", "row", "column", "per", "rater", "item",
}  # fmt: skip
QUANTILE = re.compile(r"\d{1,3}(\.\d+)?\s?%")  # between the rows of pandas' describe()
EVERYBODY = {"all", "everyone", "everybody", "all raters", "raters", "group"}
# Raters that are no person, beside people: what these agreed on, or what is held to be right.
AGREED = {
    "gold", "golden", "gold standard", "goldstandard", "ground truth", "groundtruth", "consensus", "majority",
    "majority vote", "adjudicated", "adjudication", "reference",
}  # fmt: skip
LAST = 6  # rows at the end that are looked at, where others follow a summary
DECIMALS = re.compile(r"\d[.,](\d+)")


def kind_of(cell: Any) -> str | None:
    """Say "sure" where a cell is called like a summary, "maybe" where people and things are too, else None.

    >>> kind_of("Mean score:"), kind_of("Max"), kind_of("mean girls")
    ('sure', 'maybe', None)
    """
    text = lower_text(cell).strip(" :.=()*-_#")
    first, *others = re.split(r"[\s_]+", text)
    if QUANTILE.fullmatch(text):
        return "maybe"
    if first not in SURE | MAYBE or not set(others) <= BESIDE | SURE | MAYBE:
        return None
    return "sure" if {first, *others} & SURE else "maybe"


def refuse_summary_rows(table: Table, item: str | None, rater: str | None, scores: list[str]) -> None:
    """Refuse a table of which rows are computed from others.

    Without a column of raters these are the last rows if they are called like a summary, and no other row is called
    so. With one, that an item is called so does not suffice: its rater is empty or called so too, or its score is
    computed and nobody's. A rater called so is one anywhere.

    Raises:
        ValueError: there is one; names the first line.
    """
    if item is None or not scores or table.size < 2:
        return
    items = table.columns[item]
    start = table.size
    while start > 0 and kind_of(items[start - 1]) is not None:
        start -= 1
    late = [row for row in range(max(1, table.size - LAST), start) if kind_of(items[row]) is not None]
    run = range(
        start, table.size
    )  # of an item called Overall it may be most of the table: its ends are looked at
    rows = sorted({*late, *run[:LAST], *run[-LAST:]}) if start else []
    columns = [table.columns[name] for name in scores]
    if rater is None:
        once = np.bincount(items.codes, minlength=len(items.values))
        found = [
            row
            for row in rows
            if once[items.codes[row]] == 1
            and ((kind_of(items[row]) == "sure" and row >= start) or _all_computed(columns, items[row], row))
        ]
    else:
        found = [row for row in rows if _is_nobodys(table.columns[rater], row, start, columns)]
    by_name = [] if rater is None else _of_computed_raters(table.columns[rater])
    if found or by_name:
        row = min([*found, *by_name])
        column, role = (item, "item") if row in found else (str(rater), "rater")
        raise InputError(
            f"{table.where(row)}: {table.columns[column][row]!r} in column {column!r} looks like a row that is "
            f"computed from others, or no person's: delete such rows, or give the {role} another name"
        )


def _of_computed_raters(raters: Column) -> list[int]:
    """The first row, if any, of a rater "average" or "gold" beside people's."""
    computed = raters.mask(lambda v: kind_of(v) == "sure" or _is_agreed(v))
    people = raters.mask(lambda v: kind_of(v) is None and not _is_agreed(v) and lower_text(v) != "")
    return [int(computed.argmax())] if computed.any() and people.any() else []


def _is_agreed(cell: Any) -> bool:
    return " ".join(re.split(r"[\s_-]+", lower_text(cell))) in AGREED


def _is_nobodys(raters: Column, row: int, start: int, scores: list[Column]) -> bool:
    """Whether a row that is called like a summary is by nobody, or its score can only be computed."""
    name = lower_text(raters[row])
    if name == "":
        return True
    before = raters.codes[: min(row, start)]
    if (kind_of(name) is not None or name in EVERYBODY) and raters.codes[row] not in before:
        return True
    return any(_is_only_computed(column, row, raters) for column in scores)


def _is_only_computed(column: Column, row: int, raters: Column) -> bool:
    """Whether a score is no other one, and the sum, mean or median of those above or of the rater's own above."""
    value = cell_value(column[row])
    if not isinstance(value, float):
        return False
    own = column.take(np.flatnonzero(raters.codes[:row] == raters.codes[row]))
    above = _numbers(column, row)
    return value not in above and any(
        len(part) > 1
        and _is_one_of(column[row], value, (sum(part), float(np.mean(part)), float(np.median(part))))
        for part in (above, _numbers(own, len(own)))
    )


def _all_computed(columns: list[Column], name: Any, row: int) -> bool:
    """Whether every score of a row is what its name says of the scores above it."""
    checked = 0
    sure = kind_of(name) == "sure"
    for column in columns:
        above, value = _numbers(column, row), cell_value(column[row])
        if not isinstance(value, float) or len(above) < 2:
            continue
        checked += 1
        if not _is_one_of(column[row], value, _statistics(lower_text(name), above)):
            return False
    return checked > (0 if sure else 1)  # one person's score of Max may be the highest


def _numbers(column: Column, row: int) -> list[float]:
    """The numbers above a row."""
    found = map(cell_value, column.values)
    numbers = np.array([v if isinstance(v, float) else np.nan for v in found])[column.codes[:row]]
    return list(numbers[~np.isnan(numbers)])


def _statistics(name: str, above: list[float]) -> tuple[float, ...]:
    """What a row so called may hold."""
    if name.startswith("max"):
        return (max(above),)
    if name.startswith("min"):
        return (min(above),)
    if name.startswith("count"):
        return (float(len(above)),)
    spread = (float(np.std(above)), float(np.std(above, ddof=1)))
    return (sum(above), float(np.mean(above)), float(np.median(above)), *spread)


def _is_one_of(cell: Any, value: float, computed: tuple[float, ...]) -> bool:
    """Whether a value is one of those, as far as its decimals go."""
    decimals = DECIMALS.search(str(cell))
    step = 10.0 ** -len(decimals.group(1)) if decimals else 0.005 * max(1.0, abs(value))
    return any(abs(value - v) <= step + 1e-9 * max(1.0, abs(v)) for v in computed)

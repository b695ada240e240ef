"""Cells that hold several choices of one question, by lines in Appen reports and as good|blurry in MTurk batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from .answers import Unreadable
from .column import Column
from .roles import is_prose

SEPARATORS = ("\n", "|", ";", ",")


def parts_of(text: str, separator: str) -> list[str]:
    return [part.strip() for part in text.split(separator) if part.strip()]


def ticked(column: Column, separator: str) -> Column:
    """The column with each cell as the list of its choices, where a cell holds several; else as it is.

    Cells of text over several lines, rather than of choices, are no ratings.
    """
    cells = {v for v in column.used().values if isinstance(v, str)}
    several = [v for v in cells if len(parts_of(v, separator)) > 1]
    if not several:
        return column
    options = Column.of([part for v in several for part in parts_of(v, separator)])
    if is_prose(options):
        return column.map(lambda v: Unreadable("text of several lines") if v not in (None, "") else v)

    def choices(cell: Any) -> Any:
        return (parts_of(cell, separator) or None) if isinstance(cell, str) else cell

    return column.map(choices)


def joined_choices(texts: Sequence[str]) -> str | None:
    """A label that is likely several choices in one cell: parts of it are labels too, or it has several lines."""
    for separator in SEPARATORS:
        parts = {t: set(parts_of(t, separator)) for t in texts}
        several = [t for t in texts if len(parts[t]) > 1]
        if separator == "\n" and several:
            return several[0]
        often = Counter(part for found in parts.values() for part in found)
        for text in several:
            if any(often[part] > 1 for part in parts[text]):
                return text
    return None

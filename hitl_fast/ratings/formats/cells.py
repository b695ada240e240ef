"""What a cell of a table says: a number, other text, or nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from .answers import as_float
from .column import Column

NOTHING = {"", "na", "n/a", "n.a.", "nan", "none", "null", "-", "--", "?", "missing", "<na>", "#n/a", "#na"}
LABELS_TOO = {"none", "missing", "pass", "cancelled"}  # no answer among numbers, and labels among words
DECIMAL_COMMA = re.compile(r"\s*[+-]?(?:\d+|[1-9]\d{0,2}(?:\.\d{3})+),\d+\s*")
POINT = re.compile(r"\s*[+-]?\d+(?:\.\d+)+\s*")
THOUSANDS = re.compile(r"\s*[+-]?[1-9]\d{0,2}(?:\.\d{3})+\s*")
LARGE = re.compile(r"\s*[+-]?[1-9]\d{2,}\s*")
# As Excel shows numbers of 12 digits or more.
SHORTENED = re.compile(r"[+-]?\d[.,]\d+E\+(?:1[1-9]|[2-9]\d|[1-9]\d\d)")
FORMULA = re.compile(r'="(.*)"')  # how spreadsheets are made to keep 007
DECLINED = {"skip", "skipped", "don't know", "dont know", "idk", "not sure", "unsure", "cancelled", "pass"}
TRUE, FALSE = {"true", "1", "yes", "t", "y", "1.0"}, {"false", "0", "no", "f", "n", "", "0.0", "nan", "none"}


def cell_value(cell: Any) -> Any:
    """A float, other text, or None for nothing; lists and objects as they are."""
    if isinstance(cell, str):
        text = cell.strip()
        try:
            number = float(text)
        except ValueError:
            return None if text.lower() in NOTHING else text
        if "_" in text:  # 1_000 is a number to Python alone
            return text
        return None if math.isnan(number) else number
    if cell is None or isinstance(cell, bool):
        return cell if cell is None else float(cell)
    if isinstance(cell, int | float):
        return None if cell != cell else as_float(cell)
    return cell


def is_shortened(value: Any) -> bool:
    """Whether an id is a long number that a spreadsheet or a float has cut: different ids may then look the same.

    >>> is_shortened("1.23457E+18"), is_shortened(2.0**60), is_shortened("1E5"), is_shortened(7.0)
    (True, True, False, False)
    """
    if isinstance(value, str):
        return "E+" in value and SHORTENED.fullmatch(value.strip()) is not None
    return isinstance(value, float | np.floating) and 2.0**53 <= abs(float(value)) < math.inf


def identity_value(cell: Any) -> Any:
    """Text or an integer; None where nothing is there."""
    if isinstance(cell, str):
        return cell.strip() or None
    if isinstance(cell, bool):
        return str(cell)  # which is not the item 1
    if isinstance(cell, float | np.floating):
        return None if math.isnan(cell) else int(cell) if cell.is_integer() else str(cell)
    return cell


def lower_text(cell: Any) -> str:
    return "" if cell is None else str(cell).strip().lower()


def declines(value: Any) -> bool:
    return isinstance(value, str) and value.lower() in DECLINED


def has_decimal_comma(column: Column) -> bool:
    """Whether a cell is a number with a comma that parts no thousands."""
    return any(
        DECIMAL_COMMA.fullmatch(cell) and not THOUSANDS.fullmatch(cell.replace(",", "."))
        for cell in column.values
    )


def doubtful_points(column: Column, commas: bool) -> Column:
    """A column of a spreadsheet whose points may part thousands: such cells as 1,200, which is refused as a score.

    So they may where all points stand as in 1.200, and the file has decimal commas (``commas``) or the column whole
    numbers of three digits: 900 and 1.200 are hardly 900 and 1.2.
    """
    points = [cell for cell in column.values if POINT.fullmatch(cell)]
    if not points or not all(map(THOUSANDS.fullmatch, points)):
        return column
    if not commas and not any(LARGE.fullmatch(cell) for cell in column.values):
        return column
    return column.map(lambda cell: cell.replace(".", ",") if THOUSANDS.fullmatch(cell) else cell)


def decimal_commas(column: Column, commas: bool) -> Column:
    """A column of a file whose cells are parted by semicolons: 3,5 is 3.5, and beside such cells 1.000 is 1000."""
    if not any(DECIMAL_COMMA.fullmatch(cell) for cell in column.values):
        return doubtful_points(column, commas)
    # Beside a decimal point 1.000 may be either; written as 1,000 it is refused as that.
    points = [cell for cell in column.values if POINT.fullmatch(cell)]
    grouped = all(map(THOUSANDS.fullmatch, points))

    def plain(cell: str) -> str:
        if DECIMAL_COMMA.fullmatch(cell):
            return cell.replace(".", "").replace(",", ".")
        return cell.replace(".", "" if grouped else ",") if THOUSANDS.fullmatch(cell) else cell

    return column.map(plain)


def answered(columns: Sequence[Column]) -> list[tuple[Column, np.ndarray]]:
    """The answers in columns of one question, and (rows,) bool of those that decline to answer.

    Among numbers "none" is no answer and "pass" declines; among words such as against and fail both are labels, and
    "-" is one beside "+".
    """
    values = [column.map(cell_value) for column in columns]
    given = [v for value in values for v in value.values if v is not None and not declines(v)]
    words = {v.lower() for v in given if isinstance(v, str)}
    also = set[str]()
    if words and all(isinstance(v, str) for v in given):
        also = LABELS_TOO | ({"-"} if "+" in words else set())
        also -= {"none", "missing"} if words <= TRUE | FALSE else set()

    def label(cell: Any) -> Any:
        return cell.strip() if lower_text(cell) in also else cell_value(cell)

    found = [column.map(label) for column in columns] if also else values
    return [(value, value.mask(lambda v: declines(v) and v.lower() not in also)) for value in found]


def all_numbers(column: Column) -> bool:
    """Whether every cell that holds something holds a number, and one does."""
    values = [v for v in map(cell_value, column.values) if v is not None and not declines(v)]
    return bool(values) and all(isinstance(v, float) for v in values)


def some_numbers(column: Column) -> bool:
    return any(isinstance(cell_value(v), float) for v in column.values)


def all_words(column: Column) -> bool:
    """Whether what is answered in a column, if anything, is words."""
    given = [v for v in map(cell_value, column.values) if v is not None and not declines(v)]
    return bool(given) and not any(isinstance(v, float) for v in given)

"""The text of a CSV file as a table, in the dialects of spreadsheets: what could be read two ways is refused."""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections.abc import Sequence
from typing import Any

from hitl_fast._common.errors import InputError

# Numbers with a decimal comma, and those that may be thousands instead.
_DECIMAL_COMMA = re.compile(r"[+-]?\d+(,\d+)?([eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")
_THOUSANDS_BY_POINT = re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+")


def of_csv(text: str) -> Any:
    """The table, where pandas alone would rename a second column of a name, and shift rows longer than the first.

    Columns are apart by what the first line has most of: a comma, or a semicolon, tab or bar as spreadsheets write.
    """
    import pandas as pd

    said = re.match(r"sep=(.)\r?\n", text)  # Excel's own line
    text = text[said.end() :] if said else text
    text = text.lstrip("\r\n")
    first = text.partition("\n")[0]
    between = said.group(1) if said else max(",;\t|", key=first.count)
    names = [name for name in next(csv.reader(io.StringIO(text), delimiter=between), []) if name]
    refuse_repeated(names)
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        found = pd.read_csv(io.StringIO(text), index_col=False, sep=between)
    if between == ",":
        return found
    written = pd.read_csv(io.StringIO(text), index_col=False, sep=between, dtype=str)
    cells = {name: [str(cell).strip() for cell in written[name].dropna()] for name in written.columns}
    with_commas = [name for name in cells if _decimal_commas(cells[name])]
    for name in with_commas:
        found[name] = written[name].str.strip().str.replace(",", ".").astype(float)
    for name in cells if with_commas else ():
        _refuse_points(name, cells[name], with_commas[0])
    return found


def _refuse_points(name: str, cells: Sequence[str], other: str) -> None:
    """A point parts thousands where commas are decimal: pandas would read 1.200 epochs as 1.2, beside 900 as 900."""
    with_point = [cell for cell in cells if "." in cell]
    if with_point and all(_THOUSANDS_BY_POINT.fullmatch(cell) for cell in with_point):
        plain = with_point[0].replace(".", "")
        raise InputError(
            f"history has {with_point[0]!r} in column {name!r}, and decimal commas in column {other!r}: a point may"
            f" part thousands there, so write {plain} or {with_point[0].replace('.', ',')}"
        )


def _decimal_commas(cells: Sequence[str]) -> bool:
    """Whether all are numbers with a decimal comma or none, and not such as may all be thousands."""
    with_comma = [cell for cell in cells if "," in cell]
    return (
        bool(with_comma)
        and all(_DECIMAL_COMMA.fullmatch(cell) for cell in cells)
        and not all(_THOUSANDS.fullmatch(cell) for cell in with_comma)
    )


def refuse_repeated(names: Sequence[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(f"history has more than one column {repeated[0]!r}")

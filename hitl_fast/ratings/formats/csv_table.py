"""CSV files as tables: by pyarrow where it reads them as the csv module does, else row by row."""

from __future__ import annotations

import csv
import io
import re
from array import array
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from hitl_fast._common.errors import InputError

from .cells import FORMULA, decimal_commas, doubtful_points, has_decimal_comma
from .column import Column
from .table import Table, arrow_column, check_names

DELIMITER = re.compile(r"sep=(.)\r?\n")  # the first line of a file that Excel is to read
BLOCK = 1 << 24  # bytes that pyarrow reads at a time
LOOK = 65536  # characters in which the delimiter is looked for
ROWS = 4096  # of a CSV file that are kept as rows
MAY_BE_LEFT_OUT = (
    "Approve",
    "Reject",
)  # the last cells of each row of an MTurk batch, which MTurk does not write


def from_csv(text: str, name: str, header: bool = True) -> Table:
    """Cells as text; the delimiter is that of the first lines (comma, semicolon, tab, bar).

    Without a header, columns are called "0", "1" and so on, and blanks separate cells where nothing else does.

    Raises:
        ValueError: a row has more or fewer cells than the header, a quote is missing, or two columns have one name.
    """
    said = DELIMITER.match(text)
    if said:  # the line is left empty, so that lines are counted as in the file
        text = text[said.end() - 1 :]
    delimiter = said.group(1) if said else delimiter_of(text)
    if not header and not said and delimiter not in text[:LOOK].lstrip("\r\n").split("\n", 1)[0]:
        text, delimiter = "\n".join(re.sub(r"[ ]+", " ", line.strip()) for line in text.split("\n")), " "
    found = _by_arrow(text, name, delimiter, header) or _row_by_row(text, name, delimiter, header)
    if '="' in text:
        found.columns = {column: cells.map(_unquoted) for column, cells in found.columns.items()}
    found = _without_empty_rows(found)
    found.header = header
    if delimiter != ",":
        commas = any(map(has_decimal_comma, found.columns.values()))
        read = decimal_commas if delimiter == ";" else doubtful_points
        points = {column: read(cells, commas) for column, cells in found.columns.items()}
        found.written = {n: cells for n, cells in found.columns.items() if points[n] is not cells}
        found.columns = points
    return found


def delimiter_of(text: str) -> str:
    r"""The one that is as frequent in the next lines as in the first, else the most frequent one there.

    >>> delimiter_of("item;1,1\n1,5;4,5\n")
    ';'
    """
    lines = text[:LOOK].lstrip("\r\n").split("\n")
    looked = [line for line in lines[:5] if line.strip()] or lines[:1]
    alike = [d for d in ",;\t|" if len({line.count(d) for line in looked}) == 1 and looked[0].count(d)]
    return max(alike or ",;\t|", key=looked[0].count)


def _unquoted(cell: str) -> str:
    formula = FORMULA.fullmatch(cell)
    return formula.group(1) if formula else cell


def _without_empty_rows(table: Table) -> Table:
    """Without the rows of delimiters alone that spreadsheets write below the last one."""
    empty = np.ones(table.size, bool)
    for column in table.columns.values():
        empty &= column.mask(lambda cell: not cell.strip())
        if not empty.any():
            return table
    return table.take(np.flatnonzero(~empty))


def _by_arrow(text: str, name: str, delimiter: str, header: bool) -> Table | None:
    """A table by pyarrow: a million rows in a fifth of the time that `csv` takes.

    None where quotes are not one at either end of a cell, where rows differ in length or lines (the other reader
    names the line), and without pyarrow.
    """
    plain_text = text.replace("\r\n", "\n").lstrip("\n")
    skipped = text.count("\n") - plain_text.count("\n")
    if "\r" in plain_text or "\0" in plain_text or delimiter not in plain_text:
        return None
    if not _quotes_whole_cells(plain_text, delimiter):
        return None
    try:
        import pyarrow
        from pyarrow import csv as arrow_csv
    except ImportError:
        return None
    names = [c.strip() for c in next(csv.reader([plain_text.split("\n", 1)[0]], delimiter=delimiter))]
    if not header:
        names = [str(i) for i in range(len(names))]
    check_names(names, name)
    keys = [f"c{i}" for i in range(len(names))]
    try:
        table = arrow_csv.read_csv(
            pyarrow.BufferReader(plain_text.encode()),
            arrow_csv.ReadOptions(column_names=keys, skip_rows=int(header), block_size=BLOCK),
            arrow_csv.ParseOptions(delimiter=delimiter),
            arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(keys, pyarrow.string()), strings_can_be_null=False
            ),
        )
    except pyarrow.ArrowException:
        return None
    lines: np.ndarray | range = range(skipped + 1 + header, skipped + 1 + header + table.num_rows)
    if "\n\n" in plain_text or table.num_rows + header != plain_text.rstrip("\n").count("\n") + 1:
        full = [i for i, line in enumerate(plain_text.split("\n"), start=skipped + 1) if line]
        lines = np.array(full[int(header) :], np.int64)
    if len(lines) != table.num_rows:  # a cell with a line break
        return None
    columns = {column: arrow_column(table.column(key)) for column, key in zip(names, keys, strict=True)}
    return Table(name, columns, lines)


def _quotes_whole_cells(text: str, delimiter: str) -> bool:
    """Whether every quote begins or ends a cell, as far as counting tells."""
    quotes = text.count('"')
    opening = text.count(f'{delimiter}"') + text.count('\n"') + text.startswith('"')
    closing = text.count(f'"{delimiter}') + text.count('"\n') + text.endswith('"')
    return 2 * opening == 2 * closing == quotes


def _row_by_row(text: str, name: str, delimiter: str, header: bool) -> Table:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    names: list[str] = []
    lines = array("q")
    known: list[dict[str, int]] = []
    codes: list[array[int]] = []
    before = 0
    try:
        for block in _blocks(reader):
            rows = []
            for line, row in block:
                before = line
                if not names:
                    names = [cell.strip() for cell in row] if header else [str(i) for i in range(len(row))]
                    known, codes = [{} for _ in names], [array("q") for _ in names]
                    if header:
                        continue
                if len(row) != len(names):
                    row = _filled(row, names, f"{name}, line {line}")
                rows.append(row)
                lines.append(line)
            for seen, column, cells in zip(known, codes, zip(*rows, strict=True), strict=False):
                column.extend([seen.setdefault(cell, len(seen)) for cell in cells])
    except csv.Error as problem:
        raise InputError(f"{name}, line {max(before + 1, reader.line_num)}: {problem}") from None
    check_names(names, name)
    columns = {
        column: Column(np.array(code, np.int64), list(seen))
        for column, code, seen in zip(names, codes, known, strict=True)
    }
    return Table(name, columns, np.array(lines, np.int64))


def _blocks(reader: Any) -> Iterator[list[tuple[int, list[str]]]]:
    """Rows with the line that each starts on, some thousands at a time; empty lines are left out.

    The garbage collector looks at every list that is alive, so that keeping a million of them is slow.
    """
    while True:
        block, before = [], reader.line_num
        end = True
        for row in islice(reader, ROWS):
            end = False
            if row:
                block.append((before + 1, row))
            before = reader.line_num
        if end:
            return
        yield block


def _filled(row: list[str], names: list[str], where: str) -> list[str]:
    """A row without the last cells that its tool leaves out."""
    missing = len(names) - len(row)
    if 0 < missing <= 2 and tuple(names[-2:]) == MAY_BE_LEFT_OUT and "AssignmentStatus" in names:
        return [*row, *[""] * missing]
    why = "the row is cut off or a quote is missing"
    if len(names) == 1:
        why = f"{names[0]!r} may be a title above the header: delete it"
    raise InputError(f"{where}: {len(row)} cells where the header has {len(names)}: {why}")

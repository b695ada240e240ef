"""Tables from CSV, flat JSON records, Parquet and memory: named columns, and the line of each row."""

from __future__ import annotations

import csv
import io
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from hitl_fast._common.errors import InputError, InputTypeError, require

from .answers import expect
from .cells import FORMULA, decimal_commas
from .column import Column
from .text import Record
from .vocabulary import INNER, OWN, is_called, is_index, plain

DELIMITER = re.compile(r"sep=(.)\r?\n")  # the first line of a file that Excel is to read
BLOCK = 1 << 24  # bytes that pyarrow reads at a time
ROWS = 4096  # of a CSV file that are kept as rows
MAY_BE_LEFT_OUT = (
    "Approve",
    "Reject",
)  # the last cells of each row of an MTurk batch, which MTurk does not write


@dataclass
class Table:
    """Columns of cells (text, numbers or None), the line of each row, and which columns a map of ratings named."""

    name: str
    columns: dict[str, Column]
    lines: np.ndarray | range
    mapped: frozenset[str] = frozenset()
    rows_are: str = "line"

    @property
    def size(self) -> int:
        return len(self.lines)

    def where(self, row: int) -> str:
        return f"{self.name}, {self.rows_are} {self.lines[row]}"

    def listed(self) -> str:
        return ", ".join(map(repr, self.columns)) or "(none)"

    def records(self) -> list[Record]:
        rows = zip(*(column.cells() for column in self.columns.values()), strict=True)
        return [
            Record(int(line), dict(zip(self.columns, row, strict=True)))
            for line, row in zip(self.lines, rows, strict=True)
        ]


def from_csv(text: str, name: str, header: bool = True) -> Table:
    """Cells as text; the delimiter is that of the first line (comma, semicolon, tab, bar).

    Without a header, columns are called "0", "1" and so on.

    Raises:
        ValueError: a row has more or fewer cells than the header, a quote is missing, or two columns have one name.
    """
    said = DELIMITER.match(text)
    if said:  # the line is left empty, so that lines are counted as in the file
        text = text[said.end() - 1 :]
    first = text.lstrip("\r\n").split("\n", 1)[0]
    delimiter = said.group(1) if said else max(",;\t|", key=first.count)
    found = _by_arrow(text, name, delimiter, header) or _row_by_row(text, name, delimiter, header)
    if '="' in text:
        found.columns = {column: cells.map(_unquoted) for column, cells in found.columns.items()}
    if delimiter == ";":
        found.columns = {column: decimal_commas(cells) for column, cells in found.columns.items()}
    return _without_empty_rows(found)


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
    rows = np.flatnonzero(~empty)
    table.columns = {name: column.take(rows).used() for name, column in table.columns.items()}
    table.lines = np.asarray(table.lines)[rows]
    return table


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
    columns = {column: _arrow_column(table.column(key)) for column, key in zip(names, keys, strict=True)}
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


def from_parquet(path: Path) -> Table:
    parquet = require("pyarrow.parquet", "ratings", "reading Parquet")
    arrow = require("pyarrow", "ratings", "reading Parquet")
    try:
        table = parquet.read_table(path)
    except arrow.ArrowException as problem:
        raise InputError(f"{path.name}: not a whole Parquet file: {problem}") from None
    return from_arrow(table, path.name)


def from_arrow(table: Any, name: str) -> Table:
    check_names(table.column_names, name)
    names = sorted(table.column_names, key=lambda n: not is_index(n))  # pandas writes an index last
    columns = {n: _arrow_column(table.column(n)) for n in names}
    return Table(name, columns, range(1, table.num_rows + 1))


def _arrow_column(values: Any) -> Column:
    arrow = require("pyarrow", "ratings", "reading Parquet")
    if isinstance(values.type, arrow.DictionaryType):
        values = values.cast(values.type.value_type)
    if arrow.types.is_nested(values.type):
        return Column.of(values.to_pylist())
    whole = values.combine_chunks()
    encoded = whole if isinstance(whole, arrow.Array) else arrow.concat_arrays(whole.chunks)
    encoded = encoded.dictionary_encode()
    distinct = [_simple(value) for value in encoded.dictionary.to_pylist()]
    codes = encoded.indices.fill_null(len(distinct)).to_numpy(zero_copy_only=False).astype(np.int64)
    return Column(codes, [*distinct, None] if encoded.null_count else distinct)


def _simple(value: Any) -> Any:
    """Numbers and text as they are; dates, decimals and the like as text."""
    return value if isinstance(value, str | int | float | bool) else str(value)


def from_memory(value: Any) -> Table:
    """A pandas, polars or pyarrow table, or a Hugging Face dataset. Rows are counted from 1.

    Raises:
        TypeError: it is none of these.
    """
    kind = type(value).__module__.partition(".")[0]
    arrow = require("pyarrow", "ratings", "reading a table in memory")
    if kind == "pandas":
        index = value.index
        plain_index = index.name is None and index.nlevels == 1 and str(index.dtype).startswith("int")
        frame = value if plain_index else value.reset_index()
        frame = frame.rename(columns=str)
        table = arrow.Table.from_pydict(
            {n: arrow.array(_pandas_cells(frame[n]), from_pandas=True) for n in _unique(frame.columns)}
        )
    elif kind == "polars" and hasattr(value, "to_arrow"):
        table = value.to_arrow()
    elif kind == "datasets" and hasattr(value, "with_format"):
        table = value.with_format("arrow")[:]
    elif isinstance(value, arrow.Table):
        table = value
    else:
        raise InputTypeError(
            "path must be a file name, or a table of pandas, polars, pyarrow or a Hugging Face Dataset, not "
            f"{type(value).__name__}"
        )
    found = from_arrow(table, "table")
    found.rows_are = "row"
    return found


def _unique(names: Any) -> list[str]:
    check_names(list(names), "table")
    return list(names)


def _pandas_cells(series: Any) -> Any:
    """Cells that pyarrow takes: columns of mixed kinds as text where they are neither numbers nor text alike."""
    if series.dtype != object:
        return series
    kinds = {type(v) for v in series if v is not None and v == v}
    return series.map(lambda v: v if v is None or v != v else str(v)) if len(kinds) > 1 else series


def from_records(records: list[Record], name: str, item: str | None = None) -> Table:
    """Flat JSON objects; a key that a record lacks is an empty cell. The item is under the key ``item`` if given."""
    columns: dict[str, list[Any]] = {}
    lines: list[int] = []
    mapped: set[str] = set()
    for line, record in records:
        expect(isinstance(record, dict), f"{name}, line {line}", "a JSON object", record)
        for row in _flat(record, item, mapped):
            for key, cell in row.items():
                column = columns.setdefault(str(key), [])
                column += [None] * (len(lines) - len(column))
                column.append(cell)
            lines.append(line)
    for column in columns.values():
        column += [None] * (len(lines) - len(column))
    found = {key: Column.of(column) for key, column in columns.items()}
    return Table(name, found, np.array(lines, np.int64), frozenset(mapped))


def _flat(record: dict[str, Any], item: str | None, mapped: set[str]) -> list[dict[str, Any]]:
    """Rows of a record: one if its "ratings" are a map, whose keys join ``mapped``, several if they are a list."""
    key = next((k for k in INNER if isinstance(record.get(k), dict | list)), None)
    if key is None:
        return [record]
    outer, inner = {k: v for k, v in record.items() if not isinstance(v, dict | list)}, record[key]
    ids = {k: v for k, v in outer.items() if v is not None and (k == item or is_called(k, "item"))}
    if isinstance(inner, dict):
        mapped.update(map(str, inner.keys() - ids.keys()))
        return [{**outer, **inner, **ids}]
    by_rater = any(is_called(k, "rater") for k in outer)
    rows = []
    for row in inner:
        if isinstance(row, dict):
            of_item = ids and (not by_rater or any(is_called(k, "rater") for k in row))
            own = {k for k in row if k in ids or (plain(k) in OWN and k != item)} if of_item else ()
            rows.append({**outer, **{k: v for k, v in row.items() if k not in own}})
    return rows or [record]


def check_names(names: Sequence[str], source: str) -> None:
    """Refuse two columns of one name; a first row of data in place of the header is named as that."""
    seen: set[str] = set()
    twice = next((name for name in names if name in seen or seen.add(name)), None)  # type: ignore[func-returns-value]
    if twice is None:
        return
    if looks_like_data(names):
        raise InputError(missing_header(source, names))
    raise InputError(f"{source}, line 1: two columns are called {twice!r}")


def looks_like_data(names: Sequence[str]) -> bool:
    """Whether a first line is a row of data: a cell is a number, and none is the name of a role."""

    def number(name: str) -> bool:
        try:
            float(name)
        except ValueError:
            return False
        return True

    roles = ("item", "rater", "score", "feature")
    return any(map(number, names)) and not any(is_called(n, role) for n in names for role in roles)


def missing_header(source: str, names: Sequence[str]) -> str:
    return (
        f"{source}, line 1: the header is missing: the first line is {', '.join(map(repr, names[:6]))}. Write column "
        "names into the first line, or give columns by position, from 0: columns={'rater': 0, 'item': 1, 'score': 2} "
        "(--columns rater=0 item=1 score=2)"
    )

"""Tables from flat JSON records, Parquet and memory: named columns, and the line of each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from hitl_fast._common.errors import InputError, InputTypeError, require

from .advice import call
from .column import Column
from .text import Record
from .vocabulary import is_called, is_index


@dataclass
class Table:
    """Columns of cells (text, numbers or None), and the line of each row.

    Attributes:
        name: of the file.
        columns: by name, with a point in numbers that have a decimal comma.
        lines: of the rows.
        mapped: columns that are keys of a map of ratings.
        map_name: what that map is called.
        rows_are: what a line is called in messages.
        written: columns with decimal commas as they were, which ids keep.
        told: arguments that were given, for calls that messages advise.
        header: whether the names are the first line of a file.
    """

    name: str
    columns: dict[str, Column]
    lines: np.ndarray | range
    mapped: frozenset[str] = frozenset()
    map_name: str = ""
    rows_are: str = "line"
    written: dict[str, Column] = field(default_factory=dict)
    told: dict[str, Any] = field(default_factory=dict)
    header: bool = False

    @property
    def size(self) -> int:
        return len(self.lines)

    def where(self, row: int) -> str:
        return f"{self.name}, {self.rows_are} {self.lines[row]}"

    def call(self, **arguments: Any) -> str:
        """The call that reads it with these arguments."""
        return call(self.name, self.told, self.rows_are == "row", **arguments)

    def as_written(self, column: str) -> Column:
        """A column of ids or labels: "1,5" is no number there."""
        return self.written.get(column, self.columns[column])

    def take(self, rows: np.ndarray) -> Table:
        """Some rows."""
        columns, written = (
            {name: column.take(rows).used() for name, column in part.items()}
            for part in (self.columns, self.written)
        )
        return replace(self, columns=columns, written=written, lines=np.asarray(self.lines)[rows])

    def listed(self) -> str:
        return ", ".join(map(repr, self.columns)) or "(none)"

    def records(self) -> list[Record]:
        rows = zip(*(column.cells() for column in self.columns.values()), strict=True)
        return [
            Record(int(line), dict(zip(self.columns, row, strict=True)))
            for line, row in zip(self.lines, rows, strict=True)
        ]


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
    columns = {n: arrow_column(table.column(n)) for n in names}
    return Table(name, columns, range(1, table.num_rows + 1))


def arrow_column(values: Any) -> Column:
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
    if kind == "pandas" and hasattr(value, "columns"):
        index = value.index
        if value.columns.nlevels > 1:
            value = value.set_axis(["_".join(map(str, name)) for name in value.columns], axis=1)
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


def from_records(records: list[Record], name: str) -> Table:
    """Flat JSON objects; a key that a record lacks is an empty cell."""
    columns: dict[str, list[Any]] = {}
    for number, (_, record) in enumerate(records):
        for key, cell in record.items():
            column = columns.setdefault(str(key), [])
            column += [None] * (number - len(column))
            column.append(cell)
    for column in columns.values():
        column += [None] * (len(records) - len(column))
    found = {key: Column.of(column) for key, column in columns.items()}
    return Table(name, found, np.array([line for line, _ in records], np.int64))


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

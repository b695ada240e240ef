"""Files of ratings: recognised by what is in them, and read into `Answers`.

One line of steps: file -> records or a table -> answers (`Answers`, with columns of their own).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hitl_fast._common.errors import InputError

from . import argilla, collected, crowdsourcing, doccano, label_studio, label_studio_rows, prodigy, tabular
from .answers import Answers
from .csv_table import from_csv
from .nested import INSIDE, Records
from .packed import unpacked
from .request import Request
from .table import Table, from_memory, from_parquet, from_records
from .text import Record, read_records, read_text

TABLES = ("mturk", "appen", "toloka", "respondents", "pairwise", "long", "wide")
FORMATS = (
    "label_studio", "label_studio_storage", "label_studio_min", "argilla", "argilla_flat", "argilla_1", "prodigy",
    "doccano", *TABLES, "csv", "jsonl", "parquet", "collected",
)  # fmt: skip
LOOK = 200  # records that are looked at to recognise a format

RECOGNISE: dict[str, Callable[[Any], bool]] = {
    "label_studio": label_studio.is_task,
    "label_studio_storage": label_studio.is_annotation,
    "label_studio_min": label_studio_rows.is_row,
    "prodigy": prodigy.is_answer,
    "argilla": argilla.is_nested,
    "argilla_flat": argilla.is_flat,
    "argilla_1": argilla.is_version_1,
    "doccano": doccano.is_record,
}
_READERS: dict[str, Callable[[list[Record], str, Request], Answers]] = {
    "label_studio": lambda r, name, q: label_studio.read_tasks(r, name, q.item, q.columns),
    "label_studio_storage": lambda r, name, q: label_studio.read_annotations(r, name, q.item, q.columns),
    "label_studio_min": lambda r, name, q: label_studio_rows.read_rows(r, name, q.item, q.questions),
    "argilla": lambda r, name, q: argilla.read_nested(r, name, q.item),
    "argilla_flat": lambda r, name, q: argilla.read_flat(r, name, q.item),
    "argilla_1": lambda r, name, q: argilla.read_version_1(r, name, q.item),
    "prodigy": lambda r, name, q: prodigy.read(r, name, q.item, q.questions),
    "doccano": lambda r, name, q: doccano.read(r, name, q.item),
}
LOOKED_FOR = (
    "Label Studio tasks ('data' with 'annotations') or rows ('annotation_id' with 'annotator'), Argilla records "
    "('responses', or columns ending in '.responses'), Prodigy answers ('answer' with '_input_hash'), doccano records "
    "('text' with a list 'label'), a long table (item, rater, score) and pairwise comparisons"
)


def read(source: Any, request: Request) -> Answers:
    """Read a file or a table in memory, in the format that it is recognised as or in the one that is named.

    Raises:
        ValueError: the file is damaged (the line is named), or is of no known format (says what was looked for).
        TypeError: ``source`` is neither a path nor a table.
    """
    if request.format is not None and request.format not in FORMATS:
        known = ", ".join(FORMATS)
        raise InputError(f"format must be one of {known} or None to recognise it, not {request.format!r}")
    answers = _read(source, request)
    answers.told = request.told
    return answers


def _read(source: Any, request: Request) -> Answers:
    """See `read`."""
    if not isinstance(source, Path):
        return _table(from_memory(source), request)
    if source.is_dir():
        raise InputError(f"{source} is a folder: name a file in it")
    if request.format == "collected" or _head(source) == collected.MAGIC:
        return collected.read(source)
    if request.format == "parquet" or _head(source) == b"PAR1":
        return _table(from_parquet(source), request)
    text = read_text(source)
    if not text.strip():
        raise InputError(f"{source.name}, line 1: the file is empty")
    if request.format == "csv" or not re.match(r"\s*[\[{\x1e]", text):
        answers = _table(from_csv(text, source.name, request.header), request)
        answers.untyped = True
        return answers
    return _records(_unwrapped(read_records(text, source.name)), source.name, request)


def _records(records: list[Record], name: str, request: Request) -> Answers:
    """JSON records of a tool, else a table."""
    if not records:
        raise InputError(f"{name}, line 1: no records in the file")
    kind = request.format if request.format in RECOGNISE else None
    if request.format is None:
        look = records[:LOOK]
        kind = next((k for k, test in RECOGNISE.items() if any(test(r.value) for r in look)), None)
    if kind is not None:
        return _READERS[kind](records, name, request)
    try:
        return _nested(records, name, request)
    except InputError as problem:
        if request.format is not None or request.roles or "no ratings found" not in str(problem):
            raise
        keys = sorted({str(k) for r in records[:LOOK] if isinstance(r.value, dict) for k in r.value})
        advice = "columns={'item': ..., 'rater': ..., 'score': ...} names them"
        if INSIDE in str(problem):
            advice = str(problem)[str(problem).index(INSIDE) :]
        if len(records) == 1 and all(isinstance(v, dict | list) for v in records[0].value.values()):
            advice = (
                "it is one object around objects: write a list of records, such as "
                f"[{{'item': {keys[0]!r}, 'rater': ..., 'score': ...}}, ...], or a table"
            )
        raise InputError(
            f"{name}, line {records[0].line}: not a file of ratings that is known. Looked for: {LOOKED_FOR}. "
            f"Its records have the keys {', '.join(keys[:12]) or '(none)'}; {advice}"
        ) from None


def _nested(records: list[Record], name: str, request: Request, in_memory: bool = False) -> Answers:
    """Records as a table with a row for each rating inside them; a refusal says how to read what is nested."""
    nested = Records(records, name, request, in_memory)
    found = nested.unfolded()
    table = from_records(found.rows, name)
    table.told, table.rows_are = request.told, "row" if in_memory else "line"
    table.mapped, table.map_name = found.mapped, found.map_name
    try:
        return tabular.read(table, found.request)
    except InputError as problem:
        asks = "columns=" in str(problem) or "no ratings found" in str(problem)
        hint = nested.hint() if asks and not found.mapped else ""
        raise InputError(f"{problem}. {hint}" if hint else str(problem)) from None


def _table(table: Table, request: Request) -> Answers:
    """A table that is an export of a tool, else one whose columns decide."""
    names, table.told = set(table.columns), request.told
    tool = request.format if request.format in RECOGNISE else None
    if request.format is None:
        if {"annotation_id", "annotator"} <= names:
            tool = "label_studio_min"
        elif any(n.endswith(argilla.RESPONSES) for n in names):
            tool = "argilla_flat"
        elif {"responses", "fields"} <= names:
            tool = "argilla"
        elif table.size and any(
            argilla.is_version_1({n: v}) for n, c in table.columns.items() for v in c.values[:LOOK]
        ):
            tool = "argilla_1"
        elif crowdsourcing.is_qualtrics(table):
            crowdsourcing.refuse_respondents(table)
    if tool is not None:
        return _READERS[tool](table.records(), table.name, request)
    if any(isinstance(v, dict | list) for column in table.columns.values() for v in column.values):
        return _nested(table.records(), table.name, request, table.rows_are == "row")
    return tabular.read(table, request)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4)


def _unwrapped(records: list[Record]) -> list[Record]:
    """The records of an export that is a single object around them."""
    if len(records) != 1 or not isinstance(records[0].value, dict):
        return records
    line, whole = records[0]
    if any(test(whole) for test in RECOGNISE.values()) and argilla.unfolded(whole) is None:
        return records
    rows = argilla.unfolded(whole) or unpacked(whole)
    return records if rows is None else [Record(line, row) for row in rows]

"""Files of ratings: recognised by what is in them, and read into `Answers`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hitl_fast._common.errors import InputError

from . import argilla, label_studio, prodigy, tabular
from .answers import Answers
from .text import Record, read_records, read_text

FORMATS = (
    "label_studio", "label_studio_min", "argilla", "argilla_flat", "prodigy", "long", "wide", "csv", "jsonl",
    "parquet",
)  # fmt: skip
WRAPPERS = ("records", "tasks", "results", "rows", "items", "data")
LOOK = 200  # records that are looked at to recognise a format

RECOGNISE: dict[str, Callable[[Any], bool]] = {
    "label_studio": label_studio.is_task,
    "label_studio_min": label_studio.is_row,
    "prodigy": prodigy.is_answer,
    "argilla": argilla.is_nested,
    "argilla_flat": argilla.is_flat,
}
LOOKED_FOR = (
    "Label Studio tasks ('data' with 'annotations') or rows ('annotation_id' with 'annotator'), Argilla records "
    "('responses', or columns ending in '.responses'), Prodigy answers ('answer' with '_input_hash'), a long table "
    "(item, rater, score) and a wide one (item, a column of numbers for each rater)"
)


def read(
    path: Path,
    form: str | None = None,
    item_field: str | None = None,
    question: Sequence[str] | None = None,
    columns: Mapping[str, str] | None = None,
) -> Answers:
    """Read a file in the format that it is recognised as, or in the one that is named.

    Raises:
        ValueError: the file is damaged (the line is named), or is of no known format (says what was looked for).
    """
    if form is not None and form not in FORMATS:
        raise InputError(f"format must be one of {', '.join(FORMATS)} or None to recognise it, not {form!r}")
    if path.is_dir():
        raise InputError(f"{path} is a folder: name a file in it")
    asked = None if question is None else list(question)
    shape = form if form in ("long", "wide") else None
    head = _head(path)
    if head == b"PAR1" or form == "parquet":
        return _table(tabular.from_parquet(path), form, item_field, asked, columns)
    text = read_text(path)
    if not text.strip():
        raise InputError(f"{path.name}, line 1: the file is empty")
    if form == "csv" or not re.match(r"\s*[\[{\x1e]", text):
        answers = _table(tabular.from_csv(path), form, item_field, asked, columns)
        answers.untyped = True
        return answers
    records = _unwrapped(read_records(text, path.name))
    if not records:
        raise InputError(f"{path.name}, line 1: no records in the file")
    kind = form if form in RECOGNISE else None
    if form is None:
        kind = next((k for k, test in RECOGNISE.items() if any(test(r.value) for r in records[:LOOK])), None)
    if kind is not None:
        return _READERS[kind](records, path.name, item_field, asked)
    given = dict(columns or {})
    if item_field is not None:
        given.setdefault("item", item_field)
    try:
        return tabular.read(tabular.from_records(records, path.name, given.get("item")), shape, given, asked)
    except ValueError as problem:
        if form is not None or given or "no ratings found" not in str(problem):
            raise
        keys = sorted({str(k) for r in records[:LOOK] if isinstance(r.value, dict) for k in r.value})
        raise InputError(
            f"{path.name}, line {records[0].line}: not a file of ratings that is known. Looked for: {LOOKED_FOR}. "
            f"Its records have the keys {', '.join(keys[:12]) or '(none)'}"
        ) from None


_READERS: dict[str, Callable[[list[Record], str, str | None, list[str] | None], Answers]] = {
    "label_studio": lambda records, name, item, _: label_studio.read_tasks(records, name, item),
    "label_studio_min": label_studio.read_rows,
    "argilla": lambda records, name, item, _: argilla.read_nested(records, name, item),
    "argilla_flat": lambda records, name, item, _: argilla.read_flat(records, name, item),
    "prodigy": prodigy.read,
}


def _table(
    table: tabular.Table,
    form: str | None,
    item_field: str | None,
    question: list[str] | None,
    columns: Mapping[str, str] | None,
) -> Answers:
    """A table that is an export of a tool all the same, else long or wide."""
    names = set(table.columns)
    tool = form if form in RECOGNISE else None
    if form is None and {"annotation_id", "annotator"} <= names:
        tool = "label_studio_min"
    elif form is None and any(n.endswith(argilla.RESPONSES) for n in names):
        tool = "argilla_flat"
    elif form is None and {"responses", "fields"} <= names:
        tool = "argilla"
    if tool is not None:
        rows = zip(*table.columns.values(), strict=True)
        records = [
            Record(line, dict(zip(table.columns, row, strict=True)))
            for line, row in zip(table.lines, rows, strict=True)
        ]
        return _READERS[tool](records, table.name, item_field, question)
    given = dict(columns or {})
    if item_field is not None:
        given.setdefault("item", item_field)
    return tabular.read(table, form if form in ("long", "wide") else None, given, question)


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
    rows = argilla.unfolded(whole)
    for key in WRAPPERS:
        if rows is None and isinstance(whole.get(key), list) and all(isinstance(r, dict) for r in whole[key]):
            rows = whole[key]
    return records if rows is None else [Record(line, row) for row in rows]

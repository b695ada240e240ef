"""Label Studio's JSON_MIN and CSV: one row an annotation, the task's data and the answers side by side."""

from __future__ import annotations

import json
import math
from typing import Any

from .answers import AnswerList, Answers, Unreadable, expect, seconds_of
from .label_studio import answer_of, item_of, person
from .text import Record

# Columns that are neither the task's data nor an answer.
OF_THE_TOOL = {
    "id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement", "inner_id",
    "completed_by",
}  # fmt: skip
EXAMPLES = 3


def is_row(record: Any) -> bool:
    return (
        isinstance(record, dict)
        and "annotation_id" in record
        and ("annotator" in record or "lead_time" in record)
    )


def read_rows(
    records: list[Record], source: str, item_field: str | None, question: list[str] | None
) -> Answers:
    """Answers of rows.

    Ratings and several choices are objects there, which no task data are; a single choice and a number are plain
    text, as the task's data are, so that they are read where ``question`` names them and else are ``candidates``.
    """
    answers = AnswerList(source, "Label Studio JSON_MIN or CSV")
    objects = {
        n for _, row in records if isinstance(row, dict) for n in row if _cell(row[n], False) is not None
    }
    candidates: dict[str, dict[str, None]] = {}
    for number, (line, row) in enumerate(records):
        where = answers.at(line)
        expect(is_row(row), where, "a row with 'annotation_id' and 'annotator'", row)
        item = item_of(row, number, item_field, where)
        answers.answers.seen[item] = None
        rater = person(row.get("annotator", row.get("completed_by")), where)
        seconds = seconds_of(_number(row.get("lead_time")))
        time = row.get("updated_at") or row.get("created_at")
        found = 0
        for name, cell in row.items():
            if name in OF_THE_TOOL:
                continue
            value = _cell(cell, named=name in objects if question is None else name in question)
            if value is not None:
                answers.add(item, rater, name, value, seconds, line, time)
                found += 1
            elif isinstance(cell, str | int | float) and cell != "" and str(cell)[:1] not in ("[", "{"):
                candidates.setdefault(name, {})[str(cell)] = None
        if not found:
            answers.skip(item, rater, "empty", seconds)
    found_all = answers.finish()
    if not len(found_all.columns.item) and candidates:  # the answers are among the columns of text
        found_all.skipped.clear()
        found_all.candidates = {name: list(examples)[:EXAMPLES] for name, examples in candidates.items()}
    return found_all


def _number(cell: Any) -> Any:
    try:
        return float(cell) if isinstance(cell, str) else cell
    except ValueError:
        return math.nan


def _cell(cell: Any, named: bool) -> Any:
    """The answer in a cell, or None where it is the task's data or nothing."""
    if isinstance(cell, str) and cell[:1] in "[{" and cell:
        try:
            cell = json.loads(cell)
        except json.JSONDecodeError:
            return None
    if isinstance(cell, list) and len(cell) == 1:
        cell = cell[0]
    if isinstance(cell, dict):
        value = answer_of(cell)
        return None if isinstance(value, Unreadable) else value
    return cell if named and isinstance(cell, str | int | float) and cell != "" else None

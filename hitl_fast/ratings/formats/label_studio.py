"""Label Studio: the JSON export (tasks with annotations) and JSON_MIN and CSV (one row an annotation)."""

from __future__ import annotations

import json
import math
from typing import Any

from .answers import UNKNOWN, Answers, Ranking, Unreadable, expect, identity, seconds_of, value_at
from .text import Record

# Columns of JSON_MIN and CSV that are neither the task's data nor an answer.
OF_THE_TOOL = {
    "id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement", "inner_id",
    "completed_by",
}  # fmt: skip
NO_RATING = {
    "textarea": "text", "text": "text", "datetime": "a date", "video": "a region", "videorectangle": "a region",
    "relation": "a relation",
}  # fmt: skip


def is_task(record: Any) -> bool:
    if not isinstance(record, dict):
        return False
    # Before version 1.0 annotations were called completions.
    return ("annotations" in record or "completions" in record) and (
        "data" in record or "predictions" in record
    )


def is_row(record: Any) -> bool:
    return (
        isinstance(record, dict)
        and "annotation_id" in record
        and ("annotator" in record or "lead_time" in record)
    )


def read_tasks(records: list[Record], source: str, item_field: str | None) -> Answers:
    """Answers of tasks: cancelled ones, drafts, ground truth and predictions apart."""
    answers = Answers(source, "Label Studio JSON")
    for number, (line, task) in enumerate(records):
        where = answers.at(line)
        expect(is_task(task), where, "a task with 'data' and 'annotations'", task)
        item = _item(task, number, item_field, where)
        answers.seen[item] = None
        for annotation in _list(task, "annotations", where) + _list(task, "completions", where):
            _annotation(answers, item, annotation, line)
        for draft in _list(task, "drafts", where):
            if isinstance(draft, dict):
                who = draft.get("user", draft.get("completed_by"))
                answers.apart.append((item, _person(who, where), "draft", seconds_of(draft.get("lead_time"))))
        for prediction in _list(task, "predictions", where):
            if isinstance(prediction, dict):  # some versions export the predictions' numbers alone
                model = prediction.get("model_version") or "model"
                for question, value in _results(prediction.get("result"), where):
                    answers.predictions.append((item, model, question, value, line))
    return answers


def _annotation(answers: Answers, item: Any, annotation: Any, line: int) -> None:
    where = answers.at(line)
    if isinstance(annotation, int):
        return  # a reference to an annotation that the export left out
    expect(isinstance(annotation, dict), where, "annotations that are objects", annotation)
    rater, seconds = _person(annotation.get("completed_by"), where), seconds_of(annotation.get("lead_time"))
    time = annotation.get("updated_at") or annotation.get("created_at")
    results = _results(annotation.get("result"), where)
    if annotation.get("was_cancelled") or annotation.get("skipped"):
        answers.apart.append((item, rater, "cancelled", seconds))
    elif annotation.get("was_postponed"):
        answers.apart.append((item, rater, "draft", seconds))
    elif _is_rejected(annotation):
        answers.apart.append((item, rater, "rejected", seconds))
    elif annotation.get("ground_truth") or annotation.get("honeypot"):
        answers.gold += [(item, question, value, line) for question, value in results]
    elif not results:
        answers.apart.append((item, rater, "empty", seconds))
    else:
        for question, value in results:
            answers.add(item, rater, question, value, seconds, line, time)


def _is_rejected(annotation: dict[str, Any]) -> bool:
    """Whether the last review of it says no."""
    reviews = [r for r in annotation.get("reviews") or [] if isinstance(r, dict) and "accepted" in r]
    return bool(reviews) and reviews[-1]["accepted"] is False


def _item(task: dict[str, Any], number: int, item_field: str | None, where: str) -> Any:
    if item_field is None:
        found = (task[k] for k in ("id", "inner_id") if task.get(k) is not None)
        return identity(next(found, number), "item", where)
    return value_at(task, item_field, where)


def _person(value: Any, where: str) -> Any:
    """Who it was: the number, or of a person given in full the e-mail address, else the number."""
    if isinstance(value, dict):
        value = next((value[k] for k in ("email", "id", "username") if value.get(k) is not None), None)
    return UNKNOWN if value is None else identity(value, "rater", where)


def _list(record: dict[str, Any], key: str, where: str) -> list[Any]:
    value = record.get(key)
    expect(value is None or isinstance(value, list), where, f"{key!r} as a list", value)
    return value or []


def _results(result: Any, where: str) -> list[tuple[str, Any]]:
    """(question, value) of an annotation; a question asked of each region is named so and not a rating."""
    expect(result is None or result == {} or isinstance(result, list), where, "'result' as a list", result)
    found: list[tuple[str, Any]] = []
    for part in result or []:
        expect(isinstance(part, dict), where, "results that are objects", part)
        kind, value = str(part.get("type", "")).lower(), part.get("value")
        if kind == "relation" or not isinstance(value, dict):
            continue
        name = str(part.get("from_name", ""))
        answer = answer_of(value, kind)
        if answer is not None:
            found.append((name, answer))
    often = {name for name, _ in found if sum(name == other for other, _ in found) > 1}
    once: dict[str, Any] = {}
    for name, value in found:
        once[name] = Unreadable("one answer for each region") if name in often else value
    return list(once.items())


def answer_of(value: dict[str, Any], kind: str = "") -> Any:
    """Our value of a control's: the key says which control it was."""
    if any(key in value for key in ("start", "x", "points", "rle")):
        return Unreadable("a region")
    for key in ("rating", "number"):
        if key in value:
            return value[key]
    for key in ("choices", "taxonomy"):
        if key in value:
            options = value[key] if isinstance(value[key], list) else [value[key]]
            return [" / ".join(map(str, o)) if isinstance(o, list) else str(o) for o in options]
    if isinstance(value.get("selected"), str):
        return value["selected"]  # Pairwise: left or right
    if "ranker" in value or kind == "ranker":
        ranked = value.get("ranker", [])
        groups = ranked.values() if isinstance(ranked, dict) else [ranked]
        return Ranking(
            tuple(str(o) for group in groups for o in (group if isinstance(group, list) else [group]))
        )
    return Unreadable(NO_RATING.get(kind, kind or "another kind of answer"))


def read_rows(
    records: list[Record], source: str, item_field: str | None, question: list[str] | None
) -> Answers:
    """JSON_MIN and CSV: one row an annotation, the task's data and the answers side by side.

    Ratings and numbers are objects there and tell themselves; a single choice is plain text, like the task's data,
    so that it is read where ``question`` names it.
    """
    answers = Answers(source, "Label Studio JSON_MIN or CSV")
    for number, (line, row) in enumerate(records):
        where = answers.at(line)
        expect(is_row(row), where, "a row with 'annotation_id' and 'annotator'", row)
        item = _item(row, number, item_field, where)
        answers.seen[item] = None
        rater = _person(row.get("annotator", row.get("completed_by")), where)
        seconds = seconds_of(_number(row.get("lead_time")))
        time = row.get("updated_at") or row.get("created_at")
        found = 0
        for name, cell in row.items():
            if name in OF_THE_TOOL:
                continue
            value = _cell(cell, named=question is not None and name in question)
            if value is not None:
                answers.add(item, rater, name, value, seconds, line, time)
                found += 1
        if not found:
            answers.apart.append((item, rater, "empty", seconds))
    return answers


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

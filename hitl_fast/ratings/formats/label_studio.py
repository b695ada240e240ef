"""Label Studio's JSON export (tasks with annotations) and its storage form (annotations with their task inside)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .answers import (
    UNKNOWN,
    AnswerList,
    Answers,
    Comparison,
    Gold,
    Prediction,
    Ranking,
    Unreadable,
    expect,
    identity,
    seconds_of,
    value_at,
)
from .text import Record

UNNAMED_PAIR = (
    "a comparison of two of the task's data: name them with columns={'first': 'data.a', 'second': 'data.b'} (--columns "
    "first=data.a second=data.b)"
)
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


def is_annotation(record: Any) -> bool:
    """An annotation as target storage holds it: the task is inside."""
    return (
        isinstance(record, dict) and isinstance(record.get("result"), list) and _task_of(record) is not None
    )


def _task_of(annotation: dict[str, Any]) -> dict[str, Any] | None:
    """The task, of which some calls of the API give the number alone."""
    task = annotation.get("task")
    if isinstance(task, int) and "completed_by" in annotation:
        return {"id": task}
    return task if isinstance(task, dict) else None


def read_annotations(
    records: list[Record], source: str, item_field: str | None, columns: Mapping[str, Any] | None = None
) -> Answers:
    """Answers of annotations that hold their tasks; annotations of one task come together."""
    tasks: dict[Any, Record] = {}
    for line, record in records:
        where = f"{source}, line {line}"
        expect(is_annotation(record), where, "an annotation with 'result' and 'task'", record)
        annotation = {key: value for key, value in record.items() if key != "task"}
        inside = _task_of(record) or {}
        key = repr(inside.get("id", len(tasks)))
        task = tasks.setdefault(key, Record(line, {"data": {}, **inside, "annotations": []}))
        task.value["annotations"].append(annotation)
    return read_tasks(list(tasks.values()), source, item_field, columns)


def read_tasks(
    records: list[Record], source: str, item_field: str | None, columns: Mapping[str, Any] | None = None
) -> Answers:
    """Answers of tasks: cancelled ones, drafts, ground truth and predictions apart.

    Pairwise answers are comparisons where the task's two items are known: ``columns`` names them ("first" and
    "second", such as "data.a"), or the task's data are two texts.
    """
    answers = AnswerList(source, "Label Studio JSON")
    sides = {role: str(columns[role]) for role in ("first", "second") if columns and columns.get(role)}
    for number, (line, task) in enumerate(records):
        where = answers.at(line)
        expect(is_task(task), where, "a task with 'data' and 'annotations'", task)
        item = item_of(task, number, item_field, where)
        answers.answers.seen[item] = None
        pair = _pair(task, sides, where)
        for annotation in _list(task, "annotations", where) + _list(task, "completions", where):
            _annotation(answers, item, annotation, line, pair)
        for draft in _list(task, "drafts", where):
            if isinstance(draft, dict):
                who = draft.get("user", draft.get("completed_by"))
                answers.skip(item, person(who, where), "draft", seconds_of(draft.get("lead_time")))
        for prediction in _list(task, "predictions", where):
            if isinstance(prediction, dict):  # some versions export the predictions' numbers alone
                model = prediction.get("model_version") or "model"
                answers.answers.predictions += [
                    Prediction(item, model, question, value)
                    for question, value in _results(prediction.get("result"), where)
                ]
    return answers.finish()


def _pair(task: dict[str, Any], sides: dict[str, str], where: str) -> tuple[Any, Any] | None:
    """The two items that a task compares."""
    if len(sides) == 2:
        first, second = (value_at(task, path, where) for path in sides.values())
        return first, second
    data = task.get("data")
    values = list(data.values()) if isinstance(data, dict) else []
    return (values[0], values[1]) if len(values) == 2 and all(isinstance(v, str) for v in values) else None


def _annotation(
    answers: AnswerList, item: Any, annotation: Any, line: int, pair: tuple[Any, Any] | None
) -> None:
    where = answers.at(line)
    if isinstance(annotation, int):
        return  # a reference to an annotation that the export left out
    expect(isinstance(annotation, dict), where, "annotations that are objects", annotation)
    rater, seconds = person(annotation.get("completed_by"), where), seconds_of(annotation.get("lead_time"))
    time = annotation.get("updated_at") or annotation.get("created_at")
    results = _results(annotation.get("result"), where)
    if annotation.get("was_cancelled") or annotation.get("skipped"):
        answers.skip(item, rater, "cancelled", seconds)
    elif annotation.get("was_postponed"):
        answers.skip(item, rater, "draft", seconds)
    elif _is_rejected(annotation):
        answers.skip(item, rater, "rejected", seconds)
    elif annotation.get("ground_truth") or annotation.get("honeypot"):
        answers.answers.gold += [Gold(item, question, value) for question, value in results]
    elif not results:
        answers.skip(item, rater, "empty", seconds)
    else:
        compared = _compared(annotation)
        for question, value in results:
            if question in compared and pair is None:
                answers.add(item, rater, question, Unreadable(UNNAMED_PAIR), seconds, line, time)
            elif pair is not None and question in compared:
                outcome = {"left": 1.0, "right": 0.0}.get(str(value).lower(), 0.5)
                answers.answers.comparisons.append(
                    Comparison(pair[0], pair[1], rater, outcome, seconds, question)
                )
            else:
                answers.add(item, rater, question, value, seconds, line, time)


def _compared(annotation: dict[str, Any]) -> set[str]:
    """Names of the pairwise questions of an annotation."""
    parts = [p for p in annotation.get("result") or [] if isinstance(p, dict)]
    return {str(p.get("from_name", "")) for p in parts if str(p.get("type", "")).lower() == "pairwise"}


def _is_rejected(annotation: dict[str, Any]) -> bool:
    """Whether the last review of it says no."""
    reviews = [r for r in annotation.get("reviews") or [] if isinstance(r, dict) and "accepted" in r]
    return bool(reviews) and reviews[-1]["accepted"] is False


def item_of(task: dict[str, Any], number: int, item_field: str | None, where: str) -> Any:
    if item_field is None:
        found = (task[k] for k in ("id", "inner_id") if task.get(k) is not None)
        return identity(next(found, number), "item", where)
    return value_at(task, item_field, where)


def person(value: Any, where: str) -> Any:
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

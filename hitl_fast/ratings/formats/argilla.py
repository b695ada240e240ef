"""Argilla: records with nested responses, the flat form of ``datasets``, that of version 1, and their transposes."""

from __future__ import annotations

from typing import Any

from .answers import (
    UNKNOWN,
    AnswerList,
    Answers,
    Prediction,
    Ranking,
    Unreadable,
    expect,
    identity,
    known_statuses,
    reason_apart,
    value_at,
)
from .text import Record

RESPONSES, SUGGESTION = ".responses", ".suggestion"
SUGGESTION_1 = "-suggestion"  # of version 1, as pushed to a hub
RESPONSE_1 = {"user_id", "value", "status"}


def is_nested(record: Any) -> bool:
    if not isinstance(record, dict):
        return False
    responses = record.get("responses")
    if isinstance(responses, list):  # version 1, and the server's own form
        return all(isinstance(r, dict) and "values" in r for r in responses) and "fields" in record
    return isinstance(responses, dict) and (
        "fields" in record or "suggestions" in record or all(isinstance(r, list) for r in responses.values())
    )


def is_flat(record: Any) -> bool:
    return isinstance(record, dict) and any(str(key).endswith(RESPONSES) for key in record)


def is_version_1(record: Any) -> bool:
    """A record of version 1 as pushed to a hub: a question is a list of responses, or a map of their columns."""
    return isinstance(record, dict) and any(_is_question(value) for value in record.values())


def _is_question(value: Any) -> bool:
    if isinstance(value, dict):
        return value.keys() == RESPONSE_1 and all(isinstance(v, list) for v in value.values())
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(v, dict) and v.keys() == RESPONSE_1 for v in value)
    )


def unfolded(value: Any) -> list[Any] | None:
    """Records of an export that is one object: {column: values} or {record id: record}; None if it is neither."""
    if not isinstance(value, dict) or not value:
        return None
    columns = [v for v in value.values() if isinstance(v, list)]
    if len(columns) == len(value) and len({len(c) for c in columns}) == 1:
        rows = [dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True)]
        return rows if rows and (is_flat(rows[0]) or is_nested(rows[0])) else None
    if all(is_flat(v) or is_nested(v) for v in value.values()):
        return [{"id": key, **record} for key, record in value.items()]
    return None


def read_nested(records: list[Record], source: str, item_field: str | None) -> Answers:
    answers = AnswerList(source, "Argilla records")
    for number, (line, record) in enumerate(records):
        where = answers.at(line)
        expect(is_nested(record), where, "a record with 'responses'", record)
        item = _item(record, number, item_field, where)
        answers.answers.seen[item] = None
        responses = record.get("responses") or {}
        if isinstance(responses, list):
            for response in responses:
                _old_response(answers, item, response, line)
        else:
            for question, given in responses.items():
                expect(
                    given is None or isinstance(given, list),
                    where,
                    f"responses to {question!r} as a list",
                    given,
                )
                for response in given or []:
                    expect(isinstance(response, dict) and "value" in response, where, "a 'value'", response)
                    _response(
                        answers, item, str(question), response["value"], response.get("user_id"),
                        response.get("status"), line,
                    )  # fmt: skip
        _suggestions(answers, item, record.get("suggestions"), line)
    return answers.finish()


def _old_response(answers: AnswerList, item: Any, response: dict[str, Any], line: int) -> None:
    user, status, values = response.get("user_id"), response.get("status"), response.get("values") or {}
    where = answers.at(line)
    expect(isinstance(values, dict), where, "'values' as an object", values)
    if not values:
        answers.skip(item, _user(user, where), _reason(status, where) or "empty")
    for question, value in values.items():
        inner = value.get("value") if isinstance(value, dict) else value
        _response(answers, item, question, inner, user, status, line)


def _suggestions(answers: AnswerList, item: Any, suggestions: Any, line: int) -> None:
    if isinstance(suggestions, dict):
        suggestions = [{"question_name": name, **s} for name, s in suggestions.items() if isinstance(s, dict)]
    for s in _column(suggestions, answers.at(line), "suggestions"):
        if isinstance(s, dict) and s.get("value") is not None:
            question = str(s.get("question_name", s.get("question_id", "")))
            model = s.get("agent") or "model"
            answers.answers.predictions.append(Prediction(item, model, question, answer_of(s["value"])))


def read_flat(records: list[Record], source: str, item_field: str | None) -> Answers:
    answers = AnswerList(source, "Argilla flat records")
    for number, (line, record) in enumerate(records):
        where = answers.at(line)
        expect(isinstance(record, dict), where, "a record", record)
        item = _item(record, number, item_field, where)
        answers.answers.seen[item] = None
        for key, values in record.items():
            if key.endswith(RESPONSES):
                question = key.removesuffix(RESPONSES)
                given = _column(values, where, key)
                users = _column(record.get(f"{key}.users"), where, f"{key}.users") or [None] * len(given)
                statuses = _column(record.get(f"{key}.status"), where, f"{key}.status") or [None] * len(given)
                same = len(users) == len(statuses) == len(given)
                expect(same, where, f"as many users and statuses as {key!r}", (given, users, statuses))
                for value, user, status in zip(given, users, statuses, strict=True):
                    _response(answers, item, question, value, user, status, line)
            elif key.endswith(SUGGESTION) and values is not None:
                model = record.get(f"{key}.agent") or "model"
                question = key.removesuffix(SUGGESTION)
                answers.answers.predictions.append(Prediction(item, model, question, answer_of(values)))
    return answers.finish()


def read_version_1(records: list[Record], source: str, item_field: str | None) -> Answers:
    """Records of version 1 as pushed to a hub: beside the fields a column for each question and its suggestion."""
    answers = AnswerList(source, "Argilla 1 records")
    questions = {
        key for _, r in records if isinstance(r, dict) for key, value in r.items() if _is_question(value)
    }
    for number, (line, record) in enumerate(records):
        where = answers.at(line)
        expect(isinstance(record, dict), where, "a record", record)
        item = _item(record, number, item_field, where)
        answers.answers.seen[item] = None
        for question in sorted(questions & record.keys()):
            given = record[question]
            if isinstance(given, dict):
                lengths = {len(v) for v in given.values() if isinstance(v, list)}
                expect(
                    _is_question(given) and len(lengths) == 1,
                    where,
                    f"columns of one length in {question!r}",
                    given,
                )
                given = [dict(zip(given, row, strict=True)) for row in zip(*given.values(), strict=True)]
            for response in _column(given, where, question):
                expect(isinstance(response, dict), where, f"responses to {question!r} as objects", response)
                user, status = response.get("user_id"), response.get("status")
                _response(answers, item, question, response.get("value"), user, status, line)
            suggested, about = (
                record.get(question + SUGGESTION_1),
                record.get(f"{question}{SUGGESTION_1}-metadata"),
            )
            if suggested is not None:
                model = (about.get("agent") if isinstance(about, dict) else None) or "model"
                answers.answers.predictions.append(Prediction(item, model, question, answer_of(suggested)))
    return answers.finish()


def _column(values: Any, where: str, key: str) -> list[Any]:
    expect(values is None or isinstance(values, list), where, f"{key!r} as a list", values)
    return values or []


def _item(record: dict[str, Any], number: int, item_field: str | None, where: str) -> Any:
    if item_field is None:
        found = (record[k] for k in ("id", "external_id", "_server_id") if record.get(k) is not None)
        return identity(next(found, number), "item", where)
    return value_at(record, item_field, where)


def _response(
    answers: AnswerList, item: Any, question: str, value: Any, user: Any, status: Any, line: int
) -> None:
    rater, reason = _user(user, answers.at(line)), _reason(status, answers.at(line))
    if reason is None and (value is None or value == []):
        reason = "empty"
    if reason is None:
        answers.add(item, rater, question, answer_of(value), float("nan"), line)
    else:
        answers.skip(item, rater, reason)


def _user(user: Any, where: str) -> Any:
    return UNKNOWN if user is None or user == "None" else identity(user, "rater", where)


def _reason(status: Any, where: str) -> str | None:
    try:
        return reason_apart(status)
    except KeyError:
        expect(False, where, f"a status among {known_statuses()}", status)
        raise


def answer_of(value: Any) -> Any:
    if not isinstance(value, list):
        return value if isinstance(value, str | int | float) else Unreadable("another kind of answer")
    if all(isinstance(v, str) for v in value):
        return value
    if value and all(isinstance(v, dict) and "value" in v and "rank" in v for v in value):
        by_rank = sorted(value, key=lambda v: (v["rank"] is None, v["rank"] or 0))
        return Ranking(tuple(str(v["value"]) for v in by_rank))
    return Unreadable("spans" if all(isinstance(v, dict) and "start" in v for v in value) else "a list")

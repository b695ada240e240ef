"""Long tables: a row is a rating, or one person's answers to several questions about an item."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hitl_fast._common.errors import InputError

from .answers import UNKNOWN, AnswerColumns, Answers, Gold, Prediction, Skipped, identity, seconds_of
from .cells import answered, cell_value, identity_value, is_shortened
from .column import Column, joined
from .roles import Roles
from .row_status import GOLD, PREDICTION, RowStatus
from .table import Table


def read_long(
    table: Table,
    roles: Roles,
    questions: Mapping[str, str],
    *,
    form: str = "long table",
    gold_of: Mapping[str, str] | None = None,
) -> Answers:
    """Answers of a long table.

    Args:
        table: the cells.
        roles: which columns are item, rater, feature, seconds, status, gold and prediction.
        questions: column of scores -> name of its question, "" where it is the only one.
        form: what the format is called.
        gold_of: column of scores -> column of its truths.

    Raises:
        ValueError: a row has no item, or a rating has no rater (the line is named).
    """
    items = identities(table, roles, "item")
    features = identities(table, roles, "feature")
    named = roles.column("rater")
    raters = Column.constant("rater", table.size) if named is None else identities(table, roles, "rater")
    _refuse_nothing(table, roles, items, features)
    seconds = seconds_column(table, roles)
    status = RowStatus(table, roles, list(questions), gold_of)
    reasons = status.reasons()
    answers = Answers(table.name, form, columns=None, by_feature="feature" in roles)  # type: ignore[arg-type]
    answers.seen |= dict.fromkeys(i for i in items.used().values if i is not None)
    of_feature = features.map(lambda f: "" if f is None else str(f))
    parts, names = [], {}
    for column, name in questions.items():
        ((value, declined),) = answered([table.columns[column]])
        question: Column | str = of_feature if answers.by_feature else name
        names[column] = question
        rows = _set_apart(answers, table, items, raters, value, declined, reasons, seconds, question)
        missing = raters.take(rows).mask(lambda r: r is None)
        if missing.any():
            where = table.where(int(rows[missing.argmax()]))
            raise InputError(f"{where}: no rater in column {roles.columns['rater']!r}")
        parts.append((rows, value, question))
    answers.score_column = next(iter(questions)) if len(questions) == 1 else None
    status.keep_values(answers, items, names)
    answers.columns = _stacked(table, items, raters, seconds, parts)
    return answers


def _set_apart(
    answers: Answers,
    table: Table,
    items: Column,
    raters: Column,
    value: Column,
    declined: np.ndarray,
    reasons: np.ndarray,
    seconds: np.ndarray,
    question: Column | str,
) -> np.ndarray:
    """Rows of ratings; the others join what is no rating in ``answers``."""
    given = value.mask(lambda v: v is not None)
    plain_row = reasons == None  # noqa: E711
    for row in np.flatnonzero(~(plain_row & given & ~declined)).tolist():
        item, rater, reason = items[row], raters[row], reasons[row]
        name = question if isinstance(question, str) else question[row]
        if reason == GOLD and given[row]:
            answers.gold.append(Gold(item, name, value[row]))
        elif reason == PREDICTION and given[row]:
            model = "model" if rater is None else rater
            answers.predictions.append(Prediction(item, model, name, value[row]))
        else:
            why = "skipped" if given[row] and reason is None else reason or "empty"
            who = UNKNOWN if rater is None else rater
            answers.skipped.append(
                Skipped(item, who, "empty" if why in (GOLD, PREDICTION) else why, seconds[row])
            )
    return np.flatnonzero(plain_row & given & ~declined)


def _stacked(
    table: Table,
    items: Column,
    raters: Column,
    seconds: np.ndarray,
    parts: list[tuple[np.ndarray, Column, Column | str]],
) -> AnswerColumns:
    """Answers to all questions in the order of the rows."""
    rows = np.concatenate([rows for rows, _, _ in parts])
    asked = [
        Column.constant(name, rows.size) if isinstance(name, str) else name.take(rows)
        for rows, _, name in parts
    ]
    values = joined([value.take(rows) for rows, value, _ in parts])
    questions = joined(asked)
    if len(parts) > 1:
        order = np.argsort(rows, kind="stable")
        rows, values, questions = rows[order], values.take(order), questions.take(order)
    lines = np.asarray(table.lines, dtype=np.int64)[rows]
    return AnswerColumns(items.take(rows), raters.take(rows), questions, values, seconds[rows], lines)


def identities(table: Table, roles: Roles, role: str) -> Column:
    """Ids of a column; a cell that can be none is refused with its line. All None where the role has no column."""
    named = roles.get(role)
    if named is None:
        return Column.constant(None, table.size)
    column = table.as_written(named)
    for code, value in enumerate(column.values):
        if isinstance(value, list | dict):
            row = int(np.flatnonzero(column.codes == code)[0])
            identity(value, role, table.where(row))
        if is_shortened(value):
            row = int(np.flatnonzero(column.codes == code)[0])
            raise InputError(
                f"{table.where(row)}: the {role} {value!r} in column {named!r} is a long number that was shortened (by "
                "a spreadsheet, or as a float), so that different ones may look the same: export it again as text"
            )
    found = column.map(identity_value)
    return joined([found]) if len(set(map(repr, found.values))) == len(found.values) else _merged(found)


def _merged(column: Column) -> Column:
    """Equal values ("a" and " a") with one code."""
    known: dict[tuple[type, Any], int] = {}
    table = np.array([known.setdefault((type(v), v), len(known)) for v in column.values], dtype=np.int64)
    return Column(table[column.codes], [value for _, value in known])


def seconds_column(table: Table, roles: Roles) -> np.ndarray:
    for role, factor in (("seconds", 1.0), ("milliseconds", 1e-3)):
        column = roles.column(role)
        if column is not None:
            return np.asarray(column.map(lambda cell: seconds_of(cell_value(cell))).numbers() * factor)
    return np.full(table.size, np.nan)


def _refuse_nothing(table: Table, roles: Roles, items: Column, features: Column) -> None:
    nothing = items.mask(lambda i: i is None) & features.mask(lambda f: f is None)
    if nothing.any():
        where = table.where(int(nothing.argmax()))
        column = roles.get("item") or roles.get("feature") or "item"
        raise InputError(f"{where}: no item in column {column!r}")

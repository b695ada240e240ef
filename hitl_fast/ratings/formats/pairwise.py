"""Pairwise preferences: which of two items is better, or neither."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hitl_fast._common.errors import InputError

from .answers import UNKNOWN, AnswerColumns, Answers, Comparison, Skipped
from .cells import all_words, cell_value, declines, lower_text
from .column import Column
from .long_table import identities, seconds_column
from .request import Request
from .roles import Roles, is_prose
from .row_status import RowStatus
from .table import Table
from .vocabulary import NAMES, PAIR_ROLES, is_called, plain

FIRST = {"a", "left", "first", "model_a", "item_a", "option_a", "response_a", "image_a"}
SECOND = {"b", "right", "second", "model_b", "item_b", "option_b", "response_b", "image_b"}
TIES = {
    "tie", "ties", "tie (bothbad)", "bothbad", "both_bad", "both bad", "both", "equal", "draw", "same", "neither",
    "no preference",
}  # fmt: skip
ONE_HOT = ("winner_model_a", "winner_model_b", "winner_tie")


def recognise(table: Table, given: dict[str, str | None], request: Request) -> bool:
    """Whether the columns name two items and the winner of each row."""
    if request.raters is not None or "score" in given or request.questions is not None:
        return False
    given = {**_winner_and_loser(table), **given}
    named = {role: given.get(role) or _called(table, role) for role in PAIR_ROLES}
    if not (named["first"] and named["second"]):
        return False
    return bool(named["winner"]) or set(ONE_HOT[:2]) <= set(table.columns)


def _winner_and_loser(table: Table) -> dict[str, str | None]:
    """Columns called so, which say all of a comparison."""
    named = {plain(n): n for n in table.columns if all_words(table.columns[n])}
    both = {"winner", "loser"} <= named.keys() and not any(is_called(n, "first") for n in named)
    return {"first": named["winner"], "second": named["loser"], "winner": named["winner"]} if both else {}


def _called(table: Table, role: str) -> str | None:
    return next((n for n in table.columns if is_called(n, role)), None)


def read(table: Table, given: dict[str, str | None], labels: Mapping[str, float] | None) -> Answers:
    """Comparisons of a table.

    Raises:
        ValueError: a column is missing, or an outcome is not known (the line is named).
    """
    given = {**_winner_and_loser(table), **given}
    named = {role: given.get(role) or _called(table, role) for role in PAIR_ROLES}
    absent = [r for r in ("first", "second") if not named[r]]
    one_hot = set(ONE_HOT[:2]) <= set(table.columns) and not named["winner"]
    if absent or not (named["winner"] or one_hot):
        role = (absent or ["winner"])[0]
        raise InputError(
            f"{table.name}: no column is called like {role!r} ({', '.join(NAMES[role][:3])} ...); there are "
            f"{table.listed()}: {table.call(format='pairwise', columns={role: next(iter(table.columns))})}"
        )
    taken = {"item": None, "score": None, "gold": None, "prediction": None}
    if "feature" not in given:
        taken["feature"] = None
        _refuse_questions(table)
    roles = Roles(table, {**taken, **given, **{r: c for r, c in named.items() if c}})
    first, second = identities(table, roles, "first"), identities(table, roles, "second")
    raters = identities(table, roles, "rater").map(lambda r: UNKNOWN if r is None else r)
    seconds, reasons = seconds_column(table, roles), RowStatus(table, roles, []).reasons()
    of = identities(table, roles, "feature").map(lambda f: "" if f is None else str(f))
    answers = Answers(table.name, "pairwise comparisons", no_columns())
    names = (str(named["first"]), str(named["second"]))
    winner = _one_hot(table) if one_hot else table.as_written(str(named["winner"]))
    where_winner = "winner" if one_hot else str(named["winner"])
    for row in range(table.size):
        a, b = first[row], second[row]
        if a is None or b is None:
            raise InputError(f"{table.where(row)}: no item in column {names[a is not None]!r}")
        answers.seen |= {a: None, b: None}
        if a == b:
            raise InputError(f"{table.where(row)}: {a!r} is compared with itself: delete the row")
        value = cell_value(winner[row])
        reason = reasons[row] or ("empty" if value is None else "skipped" if declines(value) else None)
        if reason is not None:
            answers.skipped.append(Skipped(a, raters[row], reason, float(seconds[row])))
            continue
        outcome = outcome_of(winner[row], a, b, names, labels)
        if outcome is None:
            raise InputError(
                f"{table.where(row)}: {winner[row]!r} in column {where_winner!r} is neither {a!r} nor {b!r}, nor a "
                "known word (a, b, left, right, first, second, tie): say what it means with labels={...} (--labels), "
                "1 for the first and 0 for the second"
            )
        answers.comparisons.append(Comparison(a, b, raters[row], outcome, float(seconds[row]), of[row]))
    return answers


def _refuse_questions(table: Table) -> None:
    """Refuse comparisons beside a column that may say by what question they are."""
    for name in table.columns:
        column = table.columns[name].used()
        if is_called(name, "feature") and not is_prose(column) and len(column.values) > 1:
            raise InputError(
                f"{table.name}, line 1: column {name!r} may name questions, which are kept apart: "
                f"{table.call(columns={'feature': name})}; if all are one: {table.call(columns={'feature': None})}"
            )


def no_columns() -> AnswerColumns:
    """The columns of answers of a file that has none."""
    empty = Column.of([])
    return AnswerColumns(empty, empty, empty, empty, np.zeros(0), np.zeros(0, np.int64))


def _one_hot(table: Table) -> Column:
    columns = [table.columns[n].cells() for n in ONE_HOT if n in table.columns]
    words = ("first", "second", "tie")
    return Column.of(
        [
            next((w for w, c in zip(words, row, strict=False) if cell_value(c) == 1), None)
            for row in zip(*columns, strict=True)
        ]
    )


def outcome_of(
    value: Any,
    first: Any,
    second: Any,
    names: tuple[str, str] = ("", ""),
    labels: Mapping[str, float] | None = None,
) -> float | None:
    """1 where the first won, 0 where the second did, 0.5 for a tie; None where that cannot be told."""
    text = lower_text(value)
    if labels is not None and str(value) in labels:
        return float(labels[str(value)])
    if str(value).strip() in (str(first), str(second)) and str(first) != str(second):
        return float(str(value).strip() == str(first))
    bare = plain(text)
    if bare in FIRST or bare == plain(names[0]):
        return 1.0
    if bare in SECOND or bare == plain(names[1]):
        return 0.0
    return 0.5 if text in TIES or bare in TIES else None

"""Wide tables: a row is an item and a column a rater; or a row is a respondent and a column an item."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hitl_fast._common.errors import InputError

from .answers import AnswerColumns, Answers, Gold, Prediction, Skipped
from .cells import all_words, answered, cell_value, some_numbers
from .column import Column, joined
from .long_table import identities
from .roles import Roles, counts_rows
from .row_status import GOLD, PREDICTION, RowStatus
from .table import Table
from .vocabulary import describes, is_called, is_index, is_plumbing


def read_wide(table: Table, roles: Roles, raters: Sequence[str]) -> Answers:
    """Ratings of items, or of their features where a column names these.

    A cell that is empty is no answer: a wide table has one for everybody.

    Raises:
        ValueError: a row has no item (the line is named).
    """
    items = identities(table, roles, "item")
    missing = items.mask(lambda i: i is None)
    if missing.any():
        raise InputError(f"{table.where(int(missing.argmax()))}: no item in column {roles.get('item')!r}")
    answers = Answers(table.name, "wide table", columns=None, by_feature=_by_feature(roles, items))  # type: ignore[arg-type]
    answers.seen |= dict.fromkeys(items.used().values)
    names = Column.constant("", table.size)
    if answers.by_feature:
        names = identities(table, roles, "feature").map(lambda f: "" if f is None else str(f))
    status = RowStatus(table, roles, list(raters))
    reasons = status.reasons()
    parts = []
    for rater, (value, declined) in zip(raters, answered([table.columns[r] for r in raters]), strict=True):
        given = value.mask(lambda v: v is not None)
        plain_row = reasons == None  # noqa: E711
        for row in np.flatnonzero(given & (~plain_row | declined)).tolist():
            reason = reasons[row]
            if reason == GOLD:
                answers.gold.append(Gold(items[row], names[row], value[row]))
            elif reason == PREDICTION:
                answers.predictions.append(Prediction(items[row], rater, names[row], value[row]))
            else:
                answers.skipped.append(Skipped(items[row], rater, reason or "skipped", math.nan))
        rows = np.flatnonzero(given & plain_row & ~declined)
        parts.append((rows, Column.constant(rater, rows.size), value.take(rows)))
    status.keep_values(answers, items, {"": names})
    rows = np.concatenate([rows for rows, _, _ in parts])
    order = np.argsort(rows, kind="stable")
    of_rater = joined([who for _, who, _ in parts]).take(order)
    values, rows = joined([value for _, _, value in parts]).take(order), rows[order]
    lines = np.asarray(table.lines, dtype=np.int64)[rows]
    answers.columns = AnswerColumns(
        items.take(rows), of_rater, names.take(rows), values, np.full(rows.size, np.nan), lines
    )
    _name_the_rest(answers, table, roles, raters)
    return answers


def _by_feature(roles: Roles, items: Column) -> bool:
    """Whether a column of features counts: it was named, or an item has several rows."""
    if "feature" not in roles:
        return False
    return "feature" in roles.given or np.unique(items.codes).size < len(items)


def raters_of(table: Table, roles: Roles) -> list[str]:
    """The columns that are raters in a table said to be wide: each one that is left.

    Raises:
        ValueError: a column of numbers is likely something else (an id, a count, an age): the raters must be named.
    """
    others = [n for n in table.columns if n not in roles.columns.values() and n not in roles.unused]
    if any(some_numbers(table.columns[n]) for n in others if not is_plumbing(n)):
        raters = [n for n in others if not all_words(table.columns[n]) and not _is_saved_index(table, n)]
    else:
        raters = [n for n in others if not is_plumbing(n)]
    filled = [n for n in raters if any(cell_value(v) is not None for v in table.columns[n].values)]
    doubtful = [
        n for n in filled if describes(n) or is_called(n, "score") or _is_of_another_scale(table, n, filled)
    ]
    if doubtful and not (is_index(doubtful[0]) and len(filled) == 1):
        named = [n for n in filled if not describes(n) and not is_called(n, "score")]
        sure = [n for n in filled if n not in doubtful] or named or filled
        raise InputError(
            f"{table.name}, line 1: {', '.join(map(repr, doubtful))} may be no rater: name the raters with "
            f"{table.call(raters=sure)}"
        )
    return filled


def _is_saved_index(table: Table, name: str) -> bool:
    return is_plumbing(name) and (is_index(name) or counts_rows(table.columns[name]))


def _is_of_another_scale(table: Table, name: str, raters: list[str]) -> bool:
    """Whether no other column has a number within the range of this one, or it goes three times as far as any."""
    spans = {}
    for rater in raters:
        numbers = [v for v in map(cell_value, table.columns[rater].values) if isinstance(v, float)]
        if numbers:
            spans[rater] = (min(numbers), max(numbers))
    others = [span for rater, span in spans.items() if rater != name]
    if name not in spans or len(others) < 2:
        return False
    low, high = spans[name]
    farthest = max(other_high for _, other_high in others)
    apart = all(high < other_low or low > other_high for other_low, other_high in others)
    return apart or high > 3 * max(farthest, 1.0)


def _name_the_rest(answers: Answers, table: Table, roles: Roles, raters: Sequence[str]) -> None:
    """Put every column that was not read into ``unread``."""
    used = {column for role, column in roles.columns.items() if role not in ("rater", "score")}
    for name in table.columns:
        if name in raters or name in used or is_plumbing(name):
            continue
        if some_numbers(table.columns[name]):
            answers.unread[name] = "a column of numbers that is no rater"
        else:
            answers.unread[name] = "words, where others are numbers"


def read_respondents(table: Table, roles: Roles, items: Sequence[str]) -> Answers:
    """Ratings of a form that asks about every item: a row is a respondent, a column is an item."""
    raters = identities(table, roles, "rater")
    if "rater" not in roles:  # a form that does not ask who answers: each row is another person
        raters = Column(np.arange(table.size), [f"respondent {i + 1}" for i in range(table.size)])
    missing = raters.mask(lambda r: r is None)
    if missing.any():
        raise InputError(f"{table.where(int(missing.argmax()))}: no rater in column {roles.get('rater')!r}")
    answers = Answers(table.name, "one row a respondent", columns=None)  # type: ignore[arg-type]
    answers.seen |= dict.fromkeys(items)
    answers.asked = [""]
    parts = []
    reasons = RowStatus(table, roles, list(items)).reasons()
    counts = reasons == None  # noqa: E711
    for item, (value, declined) in zip(items, answered([table.columns[i] for i in items]), strict=True):
        given = value.mask(lambda v: v is not None)
        for row in np.flatnonzero(given & (declined | ~counts)).tolist():
            answers.skipped.append(Skipped(item, raters[row], reasons[row] or "skipped", math.nan))
        rows = np.flatnonzero(given & ~declined & counts)
        parts.append((rows, Column.constant(item, rows.size), value.take(rows)))
    rows = np.concatenate([rows for rows, _, _ in parts])
    order = np.argsort(rows, kind="stable")
    rows = rows[order]
    answers.columns = AnswerColumns(
        joined([item for _, item, _ in parts]).take(order),
        raters.take(rows),
        Column.constant("", rows.size),
        joined([value for _, _, value in parts]).take(order),
        np.full(rows.size, np.nan),
        np.asarray(table.lines, dtype=np.int64)[rows],
    )
    answers.unread |= {
        n: "another column of the form"
        for n in table.columns
        if n not in items and n not in roles.columns.values() and not is_plumbing(n)
    }
    return answers

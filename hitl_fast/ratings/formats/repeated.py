"""Several ratings of one item by one person, which another column tells apart: they may be of different things."""

from __future__ import annotations

import numpy as np

from hitl_fast._common.errors import InputError

from .cells import some_numbers
from .request import Request
from .roles import Roles, is_prose
from .table import Table
from .vocabulary import NEVER, is_called, plain


def refuse_repeated(table: Table, roles: Roles, request: Request, scores: list[str]) -> None:
    """Refuse a table with such a column (a model, a metric, a turn), unless told what it is or what repeats mean.

    It is one where no value occurs twice for an item, rater and feature, and not all values differ. Of numbers there
    are no more than twice as many as ratings of the item by one person, or they are durations and the like.

    Raises:
        ValueError: there is one; names the line, the column and the calls of either meaning.
    """
    if request.repeats is not None or "feature" in roles.given or table.size < 2:
        return
    named = [roles.columns[role] for role in ("item", "rater", "feature") if role in roles]
    key = _joined([table.columns[name].codes for name in named])
    most, again = _most_frequent(key)
    if most == 1:
        return
    for name in roles.others():
        column = table.columns[name]
        distinct = int(np.count_nonzero(np.bincount(column.codes)))
        chosen = "item" in roles.given and is_called(name, "item")  # the item was named among several
        if chosen or name in scores or not 1 < distinct < table.size or is_prose(column):
            continue
        if distinct > 2 * most and some_numbers(column):
            continue
        if _most_frequent(_joined([key, column.codes]))[0] == 1:
            rows = np.flatnonzero(key == again)[:2]
            raise InputError(
                f"{table.where(int(rows[1]))}: a second rating with the same {' and '.join(map(repr, named))} as "
                f"{table.rows_are} {table.lines[int(rows[0])]}, and column {name!r} tells them apart. If it says what "
                f"was rated: {table.call(columns={'feature': name})}; if one thing was rated several times: "
                f"{table.call(repeats='keep')}, or 'last'"
            )


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """One integer for each combination."""
    key, span = np.zeros(len(parts[0]), np.int64), 1
    for codes in parts:
        size = int(codes.max(initial=0)) + 1
        if span * size >= 2**62:
            names, key = np.unique(key, return_inverse=True)
            span = len(names)
        key, span = key * size + codes, span * size
    return key


def _most_frequent(key: np.ndarray) -> tuple[int, int]:
    """How often the most frequent number occurs, and which it is."""
    ordered = np.sort(key)  # a third of the time of np.unique
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    counts = np.diff(np.append(starts, ordered.size))
    most = int(counts.argmax())
    return int(counts[most]), int(ordered[starts[most]])


def refuse_copies(table: Table, keys: list[str], repeats: str | None) -> None:
    """Refuse a platform's table of which a row is there twice, as where two downloads were put together.

    Args:
        table: the cells.
        keys: columns that together tell all answers of the platform apart, as far as they are there.
        repeats: what the caller said of repeats.

    Raises:
        ValueError: two rows have the same keys; names both lines.
    """
    there = [n for n in keys if n in table.columns]
    if repeats is not None or not there or table.size < 2:
        return
    key = _joined([table.columns[n].codes for n in there])
    empty = np.any([table.columns[n].mask(lambda v: v is None or v == "") for n in there], axis=0)
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    again = np.flatnonzero((first[inverse] != np.arange(table.size)) & ~empty)
    if again.size:
        row, before = int(again[0]), int(first[inverse[again[0]]])
        raise InputError(
            f"{table.where(row)}: the same {' and '.join(map(repr, there))} as {table.rows_are} {table.lines[before]}. "
            f"Is it a copy? Then {table.call(repeats='last')}; if it is another answer: {table.call(repeats='keep')}"
        )


def refuse_copied_rows(table: Table, roles: Roles, request: Request) -> None:
    """Refuse a table with copies of whole rows, where a column (an id, a time) tells all other rows apart.

    Raises:
        ValueError: there is one; names both lines.
    """
    others = [n for n in roles.others() if n != roles.get("seconds")] + [
        n for n in table.columns if plain(n) in NEVER and not is_prose(table.columns[n])
    ]
    if request.repeats is not None or not others or table.size < 2:
        return
    whole = _joined([column.codes for column in table.columns.values()])
    different = np.unique(whole).size
    if different == table.size:
        return
    for name in others:
        if np.unique(table.columns[name].codes).size == different:
            refuse_copies(table, [name], None)

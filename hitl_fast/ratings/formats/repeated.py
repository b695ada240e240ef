"""Several ratings of one item by one person, which another column tells apart: they may be of different things."""

from __future__ import annotations

import numpy as np

from hitl_fast._common.errors import InputError

from .cells import some_numbers
from .request import Request
from .roles import Roles, is_prose
from .table import Table
from .vocabulary import is_called


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
    key = np.zeros(table.size, np.int64)
    for name in named:
        key = _both(key, table.columns[name].codes)
    counts = np.bincount(key)
    most = int(counts.max())
    if most == 1:
        return
    for name in roles.others():
        column = table.columns[name].used()
        distinct = int(column.codes.max()) + 1
        chosen = "item" in roles.given and is_called(name, "item")  # the item was named among several
        if chosen or name in scores or not 1 < distinct < table.size or is_prose(column):
            continue
        if some_numbers(column) and distinct > 2 * most:
            continue
        if np.unique(_both(key, column.codes)).size == table.size:
            rows = np.flatnonzero(key == int(counts.argmax()))[:2]
            raise InputError(
                f"{table.where(int(rows[1]))}: a second rating with the same {' and '.join(map(repr, named))} as "
                f"{table.rows_are} {table.lines[int(rows[0])]}, and column {name!r} tells them apart. If it says what "
                f"was rated: {table.call(columns={'feature': name})}; if one thing was rated several times: "
                f"{table.call(repeats='keep')}, or 'last'"
            )


def _both(key: np.ndarray, codes: np.ndarray) -> np.ndarray:
    return np.asarray(np.unique(key * (int(codes.max(initial=0)) + 1) + codes, return_inverse=True)[1])

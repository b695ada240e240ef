"""Answers that MTurk writes into one cell as JSON (Answer.taskAnswers), as forms made of crowd-elements give them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from .column import Column
from .table import Table

NAME = "Answer.taskAnswers"


def spread(table: Table) -> Table:
    """The table with a column "Answer.<name>" for each field in that cell, and as it is where a cell is not JSON."""
    if NAME not in table.columns:
        return table
    fields: list[dict[str, Any]] = []
    for cell in table.columns[NAME].cells():
        try:
            value = json.loads(cell) if isinstance(cell, str) and cell.strip() else {}
        except json.JSONDecodeError:
            return table
        value = value[0] if isinstance(value, list) and len(value) == 1 else value
        if not isinstance(value, dict):
            return table
        fields.append(value)
    names = dict.fromkeys(name for row in fields for name in row)
    columns = {f"Answer.{n}": Column.of([_answer(row.get(n)) for row in fields]) for n in names}
    return replace(table, columns={n: c for n, c in table.columns.items() if n != NAME} | columns)


def _answer(value: Any) -> Any:
    """The option that is on, several as a list, the label of a classifier; None for an object of another kind.

    >>> _answer({"1": False, "4": True}), _answer({"label": "good"}), _answer({"on": True}), _answer(3)
    ('4', 'good', True, 3)
    """
    if not isinstance(value, dict):
        return value
    if value.keys() == {"label"} or value.keys() == {"labels"}:
        return next(iter(value.values()))
    if not value or not all(isinstance(v, bool) for v in value.values()):
        return None
    if value.keys() == {"on"}:
        return value["on"]
    on = [name for name, ticked in value.items() if ticked]
    return on[0] if len(on) == 1 else on or None

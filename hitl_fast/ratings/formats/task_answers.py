"""Answers that MTurk writes into one cell as JSON (Answer.taskAnswers), as forms made of crowd-elements give them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from .column import Column
from .table import Table

NAME = "Answer.taskAnswers"


def spread(table: Table) -> Table:
    """The table with columns "Answer.<name>" for the fields in that cell, and as it is where a cell is not JSON.

    Options that are true or false are a column each, "Answer.<name>.<option>", as MTurk writes them elsewhere.
    """
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
        fields.append({k: v for name, answer in value.items() for k, v in _answers(name, answer).items()})
    names = dict.fromkeys(name for row in fields for name in row)
    columns = {f"Answer.{n}": Column.of([row.get(n) for row in fields]) for n in names}
    return replace(table, columns={n: c for n, c in table.columns.items() if n != NAME} | columns)


def _answers(name: str, value: Any) -> dict[str, Any]:
    """Column -> cell of one field; no rating in an object of another kind.

    >>> _answers("q", {"1": False, "4": True}), _answers("q", {"label": "good"}), _answers("q", 3)
    ({'q.1': False, 'q.4': True}, {'q': 'good'}, {'q': 3})
    """
    if not isinstance(value, dict):
        return {name: value}
    if value.keys() == {"label"} or value.keys() == {"labels"}:
        return {name: next(iter(value.values()))}
    if not value or not all(isinstance(v, bool) for v in value.values()):
        return {name: None}
    return {f"{name}.{option}": ticked for option, ticked in value.items()}

"""Files that are one JSON object around their records: {"results": [...]}, what pandas' to_json writes, {item: ...}."""

from __future__ import annotations

from typing import Any

from .vocabulary import is_called

WRAPPERS = ("records", "tasks", "results", "rows", "items", "data")
INDEX = "index"


def unpacked(whole: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The records of an object that holds them; None where it is a record itself, or may be one.

    It is {"columns": [...], "data": [[...]]}, {column: {index: cell}} or {column: [cells]} with columns called like a
    rater and a score, {item: record} or {item: [records]} where records name a rater and a score, {rater: [records]}
    where they name an item and a score, or a list of objects under one of `WRAPPERS`.
    """
    names, data = whole.get("columns"), whole.get("data")
    if isinstance(names, list) and isinstance(data, list) and _is_grid([names, *data]):
        return [dict(zip(map(str, names), row, strict=True)) for row in data]
    values = list(whole.values())
    if _name(whole, "score") and (_name(whole, "rater") or _name(whole, "item")):
        if all(isinstance(v, dict) for v in values) and len({tuple(v) for v in values}) == 1:
            return [{name: v[index] for name, v in whole.items()} for index in values[0]]
        if all(isinstance(v, list) for v in values) and len({len(v) for v in values}) == 1:
            return [dict(zip(whole, row, strict=True)) for row in zip(*values, strict=True)]
    found = _by_key(whole)
    for key in WRAPPERS:
        rows = whole.get(key)
        if found is None and isinstance(rows, list) and all(isinstance(r, dict) for r in rows):
            found = rows
    return found


def _by_key(whole: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Records under keys that name their item, their rater or, where they name all, their row."""
    groups = [v if isinstance(v, list) else [v] for v in whole.values() if v]
    rows = [row for group in groups for row in group]
    if not rows or not all(isinstance(row, dict) and _name(row, "score") for row in rows):
        return None
    item, rater = (all(_name(row, role) for row in rows) for role in ("item", "rater"))
    if not item and not rater:
        return None
    name = INDEX if item and rater else "rater" if item else "item"
    if name == INDEX and len(groups) > 1 and any(isinstance(v, list) for v in whole.values()):
        return None  # lists of whole ratings: all of them, or one and what was removed from it
    keys = [
        key for key, value in whole.items() if value for _ in (value if isinstance(value, list) else [value])
    ]
    return [row if name == INDEX else {name: key, **row} for key, row in zip(keys, rows, strict=True)]


def _is_grid(rows: list[Any]) -> bool:
    """Whether all are lists of one length, and there is one beside the first."""
    return len(rows) > 1 and all(isinstance(row, list) and len(row) == len(rows[0]) for row in rows)


def _name(record: dict[str, Any], role: str) -> bool:
    return any(is_called(key, role) for key in record)

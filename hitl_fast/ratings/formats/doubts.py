"""Tables that would be read as something else: models among raters, scores of several scales, choices as decimals."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from hitl_fast._common.errors import InputError

from .cells import NOTHING, cell_value, lower_text
from .column import Column
from .roles import Roles
from .table import Table
from .vocabulary import plain

MACHINES = {
    "model",
    "machine",
    "prediction",
    "predicted",
    "llm",
    "ai",
    "bot",
    "automatic",
    "auto",
    "synthetic",
}
TRUTHS = {"gold", "ground_truth", "ground truth"}
PEOPLE = {
    "human",
    "humans",
    "person",
    "people",
    "crowd",
    "crowdworker",
    "worker",
    "expert",
    "manual",
    "annotator",
}
# Columns that say what a score is out of.
SCALES = {
    "max_score", "score_max", "max_rating", "rating_max", "max_points", "max_value", "out_of", "scale", "scale_max",
    "max_scale", "rating_scale", "score_scale", "score_range", "range",
}  # fmt: skip
INTEGERS = re.compile(r"\s*\d+(?:\s*,\s*\d+)*\s*")


def refuse_machines(table: Table, roles: Roles) -> None:
    """Refuse raters of whom a column says that some are models or hold the truth, unless the status was told.

    A column that is the same in all rows of an item says what was rated.

    Raises:
        ValueError: there is one; names the line of the first such row.
    """
    item = roles.column("item")
    if "status" in roles.given or item is None:
        return
    taken = {c for role, c in roles.columns.items() if role != "status"}
    for name in table.columns:
        column = table.columns[name]
        if name in taken or PEOPLE.isdisjoint(map(lower_text, column.values)):
            continue
        texts = {lower_text(v) for v in column.used().values} - NOTHING
        if texts.isdisjoint(PEOPLE) or not texts <= MACHINES | TRUTHS | PEOPLE or texts <= PEOPLE:
            continue
        if name == roles.get("status") or _one_for_each(item, column):
            continue
        row = int(column.mask(lambda v: lower_text(v) in MACHINES | TRUTHS).argmax())
        raise InputError(
            f"{table.where(row)}: {name!r} is {column[row]!r}. Does it say who rated? Then "
            f"{table.call(columns={'status': name})} reads people's ratings alone; if all rows count: "
            f"{table.call(columns={'status': None})}"
        )


def _one_for_each(key: Column, column: Column) -> bool:
    """Whether each value of ``key`` goes with one value of ``column``."""
    pairs = np.unique(key.codes * (int(column.codes.max(initial=0)) + 1) + column.codes).size
    return pairs == np.unique(key.codes).size


def refuse_several_scales(table: Table, roles: Roles) -> None:
    """Refuse scores that a column says are out of different totals, unless it was named as the feature."""
    for name in table.columns:
        if plain(name) not in SCALES or name in roles.columns.values():
            continue
        values = {
            cell_value(v) for v in table.columns[name].used().values if isinstance(v, str | int | float)
        } - {None}
        if len(values) > 1:
            raise InputError(
                f"{table.name}, line 1: by column {name!r} scores are of different scales, "
                f"{' and '.join(map(repr, sorted(values, key=str)[:2]))}. Kept apart: "
                f"{table.call(columns={'feature': name})}; or write all scores on one scale"
            )


def refuse_lists_of_codes(table: Table, items: Sequence[str], labels: Mapping[str, float] | None) -> None:
    """Refuse "1,2" in a form, which may be two choices or a decimal comma."""
    for name in items:
        if name in table.written:  # between semicolons the comma is a decimal one
            continue
        column = table.columns[name]
        texts = [v for v in column.used().values if isinstance(v, str) and v.strip()]
        several = {v for v in texts if "," in v and v not in (labels or {})}
        if several and all(map(INTEGERS.fullmatch, texts)):
            row = next(r for r in range(table.size) if column[r] in several)
            raise InputError(
                f"{table.where(row)}: {column[row]!r} in column {name!r} may be several choices or a decimal comma: "
                "write a column for each choice, or the number with a point; or say what such cells are worth with "
                "labels={...} (--labels)"
            )

"""Radio buttons and check boxes that a form (MTurk) wrote as a column of true and false, or 1 and 0, an option."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hitl_fast._common.errors import InputError

from .cells import lower_text
from .column import Column
from .table import Table

BOX = "on"  # what a form calls the only option of a check box
TICKED, EMPTY = frozenset(("true", "1", "1.0")), frozenset(("false", "0", "0.0", ""))
ENOUGH = 8  # answers with one 1 each: two yes-or-no questions give that by chance once in 256 times


def merged(table: Table, prefix: str, asked: Sequence[str] | None, counts: np.ndarray) -> Table:
    """The table with one column of labels for each question that was written as a column an option.

    Columns "<prefix>sentiment.positive" and "<prefix>sentiment.negative" become "<prefix>sentiment" if in every row
    that counts exactly one of them is true, or if ``asked`` names "sentiment". They stay questions of their own,
    answered yes or no, if several are true in a row or if ``asked`` names them. A single box "<prefix>agree.on"
    becomes "<prefix>agree".

    Args:
        table: the cells.
        prefix: what the names of columns of answers begin with.
        asked: questions that the caller named, with or without the prefix.
        counts: (rows,) bool: rows that are not rejected.

    Raises:
        ValueError: the options may be either: none is true in some row and several in no row, or one is 1 in each of a
            few rows; or a row has several true where ``asked`` names the question.
    """
    wanted = None if asked is None else {q.removeprefix(prefix) for q in asked}
    free = {n: n.removeprefix(prefix) for n in table.columns if _is_option(table, n, prefix)}
    stems = {".".join(b.split(".")[:k]) for b in free.values() for k in range(1, b.count(".") + 1)}
    doubtful: dict[str, dict[str, str]] = {}
    for stem in sorted(stems, key=lambda s: (-s.count("."), s)):
        options = {n: b.removeprefix(f"{stem}.") for n, b in free.items() if b.startswith(f"{stem}.")}
        if prefix + stem in table.columns or not options:
            continue
        if wanted is not None and (stem not in wanted or not wanted.isdisjoint(free[n] for n in options)):
            continue
        if list(options.values()) == [BOX]:
            table = _replaced(table, options, table.columns[next(iter(options))], prefix + stem)
        elif wanted is not None or _is_choice(table, options, counts):
            table = _replaced(table, options, _labels(table, options, stem, counts), prefix + stem)
        else:
            doubtful[stem] = options
            continue
        free = {n: b for n, b in free.items() if n not in options}
    for stem, options in doubtful.items():
        if len(options) > 1 and options.keys() <= free.keys():
            _refuse_open(table, options, prefix, stem, counts)
    return table


def _is_option(table: Table, name: str, prefix: str) -> bool:
    """Whether a column may be an option: "<prefix>question.option", true (1) or false (0) where it holds anything."""
    texts = {lower_text(v) for v in table.columns[name].used().values}
    stem, dot, option = name.removeprefix(prefix).rpartition(".")
    return bool(name.startswith(prefix) and stem and dot and option) and {""} != texts <= TICKED | EMPTY


def _ticks(table: Table, options: dict[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """(rows, options) bool: which are true; (rows,) bool: whether the row answers at all."""
    texts = [table.columns[n].map(lower_text) for n in options]
    ticked = np.stack([t.mask(lambda v: v in TICKED) for t in texts], axis=1)
    return ticked, np.any([t.mask(lambda v: v != "") for t in texts], axis=0)


def _is_choice(table: Table, options: dict[str, str], counts: np.ndarray) -> bool:
    """Whether exactly one option of several is true in each row that counts."""
    ticked, answers = _ticks(table, options)
    number = ticked.sum(axis=1)[answers & counts]
    enough = 1 if _in_words(table, options) else ENOUGH
    return len(options) > 1 and number.size >= enough and bool((number == 1).all())


def _in_words(table: Table, options: dict[str, str]) -> bool:
    """Whether options are true and false, which no grade is, instead of 1 and 0."""
    return all(
        {lower_text(v) for v in table.columns[n].used().values} <= {"true", "false", ""} for n in options
    )


def _refuse_open(table: Table, options: dict[str, str], prefix: str, stem: str, counts: np.ndarray) -> None:
    """Refuse options of which some row has none and no row several: a choice left open, or boxes."""
    ticked, answers = _ticks(table, options)
    number, rows = ticked.sum(axis=1), answers & counts
    if not rows.any() or (number[rows] > 1).any():
        return
    row = int((rows & (number == 0)).argmax() if (number[rows] == 0).any() else rows.argmax())
    what = "none" if number[row] == 0 else "one"
    own = [n.removeprefix(prefix) for n in options]
    others = [n.removeprefix(prefix) for n in table.columns if n.startswith(prefix) and n not in options]
    raise InputError(
        f"{table.where(row)}: {what} of {', '.join(map(repr, options))} is true, and no row has several. If people "
        f"could choose one: {table.call(question=[stem, *others])}; if they could tick several, each is a yes or no: "
        f"{table.call(question=[*own, *others])}"
    )


def _labels(table: Table, options: dict[str, str], stem: str, counts: np.ndarray) -> Column:
    """The option that is true in each row; None where none is, or several in a row that does not count."""
    ticked, _ = _ticks(table, options)
    number = ticked.sum(axis=1)
    several = (number > 1) & counts
    if several.any():
        row = int(several.argmax())
        names = [name for name, on in zip(options, ticked[row], strict=True) if on]
        raise InputError(
            f"{table.where(row)}: {' and '.join(map(repr, names))} are both true, so that {stem!r} is no choice of "
            f"one: {table.call(question=[f'{stem}.{option}' for option in options.values()])}"
        )
    labels: list[Any] = [*options.values(), None]
    return Column(np.where(number == 1, ticked.argmax(axis=1), len(options)), labels)


def _replaced(table: Table, options: dict[str, str], column: Column, name: str) -> Table:
    """The table with one column in the place of those of the options."""
    first = next(iter(options))
    columns: dict[str, Column] = {}
    for old, cells in table.columns.items():
        if old == first:
            columns[name] = column
        elif old not in options:
            columns[old] = cells
    return replace(table, columns=columns)


def same_everywhere(table: Table, name: str, counts: np.ndarray) -> bool:
    """Whether a column of true and false is the same in every row that counts, as a box of consent is."""
    texts = {lower_text(v) for v in table.columns[name].take(np.flatnonzero(counts)).used().values}
    return len(texts) == 1 and texts <= {"true", "false"}

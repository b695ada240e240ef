"""Columns that say whether an answer is to be used (valid, approved, attention_check), in yes and no or in words."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from hitl_fast._common.errors import InputError

from .answers import SET_APART, SUBMITTED, expect
from .cells import FALSE, NOTHING, TRUE, lower_text
from .column import Column
from .roles import Roles
from .table import Table
from .vocabulary import FAULTS, VERDICTS, plain

GOOD = {
    "pass", "passed", "good", "correct", "approve", "trusted", "usable", "include", "included", "clean", "keep", "kept",
    "attentive", "success", "succeeded",
}  # fmt: skip
BAD = {
    "fail", "failed", "failure", "bad", "wrong", "incorrect", "disapproved", "unapproved", "untrusted", "unusable",
    "exclude", "excluded", "not ok", "remove", "removed", "inattentive", "spam",
}  # fmt: skip
ACCEPTED = GOOD | SUBMITTED | {"true", "yes"}
# Of these every one says that an answer is not to be used; others may be answers, or states of something else.
REJECTED = {"rejected", "reject", "discarded", "disapproved", "unapproved", "cancelled", "canceled", "draft"}
NEGATED = {f"{no}{word}" for no in ("not ", "not_", "non-") for word in ACCEPTED - {""}}


def is_verdict(name: str) -> bool:
    return plain(name) in VERDICTS or plain(name) in FAULTS


def reason(name: str, cell: object) -> str | None:
    """Why an answer with this cell is not to be used; None where it is. KeyError for a word that is not known."""
    text = lower_text(cell)
    if text in NOTHING:
        return None
    if text in TRUE | FALSE:
        return "rejected" if (text in TRUE) == (plain(name) in FAULTS) else None
    if text in BAD or text in NEGATED:
        return "rejected"
    if text in GOOD or text in SUBMITTED:
        return None
    return SET_APART[text]


class Verdicts:
    """The columns of a table that say whether answers are to be used, of which one may have been named as status.

    A column of scores is none, nor is one that has another role.
    """

    def __init__(self, table: Table, roles: Roles, questions: Iterable[str]) -> None:
        self.table = table
        status = roles.given.get("status")
        taken = {c for role, c in roles.columns.items() if role != "status"} | set(questions)
        found = [n for n in table.columns if is_verdict(n) and n not in taken]
        self.named = status if status in found else None
        found += [
            n
            for n in table.columns
            if n not in {*found, *taken, roles.get("status")} and _holds_statuses(table.columns[n])
        ]
        self.columns = [n for n in found if n == self.named or marked(n, table.columns[n]).any()]
        if "status" not in roles.given:
            self._refuse(roles)
        if self.named is None:
            self.columns = []  # told that another column, or none, says so

    def set_apart(self, found: np.ndarray) -> None:
        """Write into ``found`` why a row is no rating, where it has no other reason.

        Raises:
            ValueError: a word in the column that was named is not known; names column and line.
        """
        for name in self.columns:
            column = self.table.columns[name]
            for code, cell in enumerate(column.values):
                rows = (column.codes == code) & (found == None)  # noqa: E711
                try:
                    found[rows] = reason(name, cell)
                except KeyError:
                    if name == self.named and (column.codes == code).any():
                        where = self.table.where(int((column.codes == code).argmax()))
                        expect(
                            False, where, f"true, false, passed, failed or a status in column {name!r}", cell
                        )

    def _refuse(self, roles: Roles) -> None:
        """Refuse a table of which some rows are marked as not to be used, unless told whether these count."""
        if not self.columns:
            return
        first = min(self.columns, key=lambda n: int(marked(n, self.table.columns[n]).argmax()))
        row = int(marked(first, self.table.columns[first]).argmax())
        others = [n for n in self.columns if n != first]
        also = f" (Rows are marked in {', '.join(map(repr, others))} too.)" if others else ""
        raise InputError(
            f"{self.table.where(row)}: {first!r} is {self.table.columns[first][row]!r}. Do such rows count?{also} "
            f"Without them: {self.table.call(columns={'status': first})}; with them: "
            f"{self.table.call(columns={'status': roles.get('status')})}"
        )


def _holds_statuses(column: Column) -> bool:
    """Whether a column of any name holds words for what is done with answers, one of them rejected or the like."""
    if REJECTED.isdisjoint(map(lower_text, column.values)):
        return False
    texts = {lower_text(v) for v in column.used().values} - NOTHING
    return not texts.isdisjoint(REJECTED) and texts <= REJECTED | SUBMITTED | SET_APART.keys() | BAD | GOOD


def marked(name: str, column: Column) -> np.ndarray:
    """(rows,) bool: which rows are marked as not to be used.

    None is where the column may be something else: where words that are not known stand beside 0, no or false.
    """
    codes = np.unique(column.codes)
    reasons: dict[int, str | None] = {}
    for code in codes.tolist():
        try:
            reasons[code] = reason(name, column.values[code])
        except KeyError:
            continue
    bad = [code for code, why in reasons.items() if why is not None]
    words = any(lower_text(column.values[code]) not in TRUE | FALSE for code in bad)
    if len(reasons) < codes.size and not words:
        bad = []
    return np.isin(column.codes, bad)

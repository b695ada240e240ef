"""Rows of a table that are no ratings: drafts, skipped ones, truths, predictions; and columns that hold the latter."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .answers import Answers, Gold, Prediction, expect, known_statuses, reason_apart
from .cells import FALSE, TRUE, answered, cell_value, lower_text
from .column import Column
from .doubts import MACHINES, PEOPLE
from .roles import Roles
from .table import Table
from .verdicts import Verdicts
from .vocabulary import FLAGS, plain

GOLD, PREDICTION = "gold", "prediction"


class RowStatus:
    """For each row why it is no rating (`reasons`), and the truths and predictions in columns of their own."""

    def __init__(
        self, table: Table, roles: Roles, questions: list[str], gold_of: Mapping[str, str] | None = None
    ) -> None:
        self.table = table
        self.gold_of = dict(gold_of or {})  # question -> column that holds its truth
        self.verdicts = Verdicts(table, roles, questions)
        taken = {c for role, c in roles.columns.items() if role != "status"} | set(questions)
        self.flags = {
            name: reason
            for name in table.columns
            if (reason := FLAGS.get(plain(name))) and name not in taken and self._may_be_flag(name, roles)
        }
        self.status = roles.get("status")
        if self.status is not None and (self.status in self.flags or self.status == self.verdicts.named):
            # What the table itself calls its status counts too: a draft is one whatever else is said of it.
            self.status = roles.own_status()
        self.values: dict[str, str] = {}
        for role in (GOLD, PREDICTION):
            name = roles.get(role)
            if name is None:
                continue
            if _is_flag(name, table.columns[name], [table.columns[q] for q in questions]):
                self.flags[name] = role
            else:
                self.values[role] = name

    def reasons(self) -> np.ndarray:
        """(rows,) objects: why the row is no rating, "gold" or "prediction"; None where it is one.

        Raises:
            ValueError: a flag is neither true nor false, or a status is not known; names column and line.
        """
        found = np.full(self.table.size, None, dtype=object)
        for name, reason in self.flags.items():
            texts = self.table.columns[name].map(lower_text)
            self._expect(name, texts, TRUE | FALSE, f"true or false in column {name!r}")
            on = texts.mask(lambda text: text in TRUE) & (found == None)  # noqa: E711
            found[on] = reason
        if self.status is not None:
            column = self.table.columns[self.status].map(lower_text)
            for code, text in enumerate(column.values):
                apart = self._reason(text, column, code)
                if apart is not None:
                    found[(column.codes == code) & (found == None)] = apart  # noqa: E711
        self.verdicts.set_apart(found)
        return found

    def _may_be_flag(self, name: str, roles: Roles) -> bool:
        """Whether a column called like a flag is one: where it was named as the status it may hold statuses."""
        return (
            name != roles.get("status")
            or {lower_text(v) for v in self.table.columns[name].values} <= TRUE | FALSE
        )

    def _reason(self, text: str, column: Column, code: int) -> str | None:
        if text in ("gold", "ground_truth", "ground truth"):
            return GOLD
        if text in MACHINES:
            return PREDICTION
        if text in PEOPLE:
            return None
        try:
            return reason_apart(text)
        except KeyError:
            rows = np.flatnonzero(column.codes == code)
            if not rows.size:
                return None
            what = f"in column {self.status!r} a status among {known_statuses()}, ground_truth, prediction"
            where = self.table.where(int(rows[0]))
            expect(
                False, where, f"{what} (columns={{'status': None}} or --columns status= if it is none)", text
            )
            raise

    def _expect(self, name: str, texts: Column, known: set[str], what: str) -> None:
        wrong = np.flatnonzero(texts.mask(lambda text: text not in known))
        if wrong.size:
            row = int(wrong[0])
            expect(False, self.table.where(row), what, self.table.columns[name][row])

    def keep_values(self, answers: Answers, items: Column, questions: dict[str, Column | str]) -> None:
        """Truths and predictions in columns of their own, kept beside the ratings.

        ``questions``: for each column of scores the name of its question, or a column of names.
        """
        for score, names in questions.items():
            for role, name in self.values.items():
                self._keep(answers, role, name, items, names)
            if score in self.gold_of:
                self._keep(answers, GOLD, self.gold_of[score], items, names)

    def _keep(self, answers: Answers, role: str, name: str, items: Column, names: Column | str) -> None:
        ((column, _),) = answered([self.table.columns[name]])
        for row in np.flatnonzero(column.mask(lambda v: v is not None)).tolist():
            question = names if isinstance(names, str) else names[row]
            if role == GOLD:
                answers.gold.append(Gold(items[row], question, column[row]))
            else:
                answers.predictions.append(Prediction(items[row], "model", question, column[row]))


def _is_flag(name: str, column: Column, scores: list[Column]) -> bool:
    """Whether a column says that a row is a truth or a prediction, rather than what that is.

    Where the scores are of two values, truths and predictions written like them are values too; "is_" says that
    they are flags.
    """
    bare, texts = plain(name), {lower_text(v) for v in column.values}
    if not texts <= TRUE | FALSE or bare.endswith(("_label", "_score")):
        return False
    written = {
        lower_text(v).removesuffix(".0") for s in scores for v in s.values if cell_value(v) is not None
    }
    alike = {t.removesuffix(".0") for t in texts - {""}} <= written <= TRUE | FALSE
    return bare.startswith("is_") or not alike

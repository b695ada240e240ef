"""Rows of a table that are no ratings: drafts, skipped ones, truths, predictions; and columns that hold the latter."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hitl_fast._common.errors import InputError

from .advice import call
from .answers import Answers, Gold, Prediction, expect, known_statuses, reason_apart
from .cells import FALSE, TRUE, cell_value, lower_text
from .column import Column
from .roles import Roles
from .table import Table
from .vocabulary import FLAGS, VERDICTS, plain

GOLD, PREDICTION = "gold", "prediction"


class RowStatus:
    """For each row why it is no rating (`reasons`), and the truths and predictions in columns of their own."""

    def __init__(
        self, table: Table, roles: Roles, questions: list[str], gold_of: Mapping[str, str] | None = None
    ) -> None:
        self.table = table
        self.status = roles.get("status")
        self.gold_of = dict(gold_of or {})  # question -> column that holds its truth
        given = "status" in roles.given
        if not given:
            self._refuse_verdicts(roles)
        self.flags = {
            name: reason
            for name in table.columns
            if (reason := FLAGS.get(plain(name))) and name not in roles.columns.values()
        }
        texts = {lower_text(v) for v in self.table.columns[self.status].values} if self.status else set()
        self.verdicts = bool(texts - {""}) and texts <= TRUE | FALSE  # whether a status is yes or no
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
        return found

    def _refuse_verdicts(self, roles: Roles) -> None:
        """Refuse a table of which some rows are marked as not valid, unless told whether that counts.

        Raises:
            ValueError: there is such a column; names it and the calls of either reading.
        """
        for name, column in self.table.columns.items():
            texts = {lower_text(v) for v in column.values}
            if plain(name) in VERDICTS and name not in roles.columns.values() and texts <= TRUE | FALSE:
                bad = column.mask(
                    lambda v: lower_text(v) in FALSE and lower_text(v) not in ("", "nan", "none")
                )
                if bad.any():
                    row = int(bad.argmax())
                    raise InputError(
                        f"{self.table.where(row)}: {name!r} is {column[row]!r}. Do such rows count? "
                        f"Without them: {call(self.table.name, columns={'status': name})}; with them: "
                        f"{call(self.table.name, columns={'status': None})}"
                    )

    def _reason(self, text: str, column: Column, code: int) -> str | None:
        if self.verdicts:
            return None if text in TRUE or text == "" else "rejected"
        if text in ("gold", "ground_truth", "ground truth"):
            return GOLD
        if text in ("prediction", "predicted", "model"):
            return PREDICTION
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
        column = self.table.columns[name].map(cell_value)
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

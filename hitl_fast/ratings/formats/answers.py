"""What a file of ratings contains, before it is decided which answers are scores."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from hitl_fast._common.errors import InputError

from .advice import call
from .column import Column

UNKNOWN = "unknown"  # the rater of an answer that names nobody
SUBMITTED = {
    "submitted", "completed", "complete", "done", "accepted", "accept", "approved", "ok", "valid", "final",
    "finished", "annotated", "labeled", "labelled", "rated", "",
}  # fmt: skip
SET_APART = {
    "skipped": "skipped", "skip": "skipped", "ignore": "skipped", "ignored": "skipped", "cancelled": "cancelled",
    "canceled": "cancelled", "draft": "draft", "in_progress": "draft", "in progress": "draft", "pending": "draft",
    "open": "draft", "active": "draft", "discarded": "discarded", "discard": "discarded", "rejected": "rejected",
    "reject": "rejected", "invalid": "rejected", "deleted": "discarded", "expired": "draft", "timeout": "draft",
}  # fmt: skip


class Ranking(NamedTuple):
    """Options in the order of a rater's preference; not a rating, and not read as one."""

    options: tuple[str, ...]


class Unreadable(NamedTuple):
    """An answer that is no rating, such as text or a region, and what it is."""

    what: str


class Skipped(NamedTuple):
    """An answer that is no rating, and why (skipped, cancelled, draft, discarded, rejected, empty, replaced)."""

    item: Any
    rater: Any
    reason: str
    seconds: float


class Gold(NamedTuple):
    """An answer known to be true."""

    item: Any
    question: str
    value: Any


class Prediction(NamedTuple):
    """An answer of a model."""

    item: Any
    model: Any
    question: str
    value: Any


class Comparison(NamedTuple):
    """A preference between two items: 1 for the first, 0 for the second, 0.5 for a tie."""

    first: Any
    second: Any
    rater: Any
    outcome: float
    seconds: float
    question: str


@dataclass
class AnswerColumns:
    """One entry an answer: its item, rater, question, value, seconds (NaN: unknown), line, and time or None."""

    item: Column
    rater: Column
    question: Column
    value: Column
    seconds: np.ndarray
    line: np.ndarray
    time: list[Any] | None = None


@dataclass
class Answers:
    """Everything a file says: its answers, and beside them what is no rating.

    A value is a number, a bool, a label (str), labels ticked (list of str), a `Ranking` or `Unreadable`.
    The question "" is the only one of a file that does not name its questions.
    """

    source: str
    format: str
    columns: AnswerColumns
    skipped: list[Skipped] = field(default_factory=list)
    gold: list[Gold] = field(default_factory=list)
    predictions: list[Prediction] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    seen: dict[Any, None] = field(default_factory=dict)  # every item of the file, rated or not
    options: dict[str, list[str]] = field(default_factory=dict)  # labels that a question offered
    unread: dict[str, str] = field(default_factory=dict)  # what else there is, and why it is not an answer
    candidates: dict[str, list[str]] = field(
        default_factory=dict
    )  # columns that may be answers, with examples
    asked: list[str] | None = None  # the questions asked for, where the format names them otherwise
    told: dict[str, Any] = field(default_factory=dict)  # arguments that were given
    score_column: str | None = None  # the only column of scores, for messages
    untyped: bool = False  # ids are text because the file has nothing else
    scale: tuple[float, float] | None = None  # lowest and highest possible score, where the file says so
    by_feature: bool = False  # questions are features, and "" is the item itself
    num_items: int | None = None  # length of the data set, where the file says so and items are its positions
    later_replaces: bool = False  # a person's later answer replaces the earlier one, as in annotation tools

    def at(self, line: int) -> str:
        """Where an error is, as its message begins."""
        return f"{self.source}, {'row' if self.source == 'table' else 'line'} {line}"

    def call(self, **arguments: Any) -> str:
        """The call that reads the source with these arguments."""
        return call(self.source, self.told, self.source == "table", **arguments)


class AnswerList:
    """Answers collected one at a time from the records of a tool."""

    def __init__(self, source: str, format: str) -> None:
        self.answers = Answers(source, format, columns=None, later_replaces=True)  # type: ignore[arg-type]
        self._rows: list[tuple[Any, ...]] = []

    def add(
        self, item: Any, rater: Any, question: str, value: Any, seconds: float, line: int, time: Any = None
    ) -> None:
        self._rows.append((item, rater, question, value, seconds, line, time))

    def skip(self, item: Any, rater: Any, reason: str, seconds: float = math.nan) -> None:
        self.answers.skipped.append(Skipped(item, rater, reason, seconds))

    def at(self, line: int) -> str:
        return self.answers.at(line)

    def finish(self) -> Answers:
        columns = list(zip(*self._rows, strict=True)) or [()] * 7
        item, rater, question, value, seconds, line, time = columns
        self.answers.columns = AnswerColumns(
            Column.of(item),
            Column.of(rater),
            Column.of(question),
            Column.of(value),
            np.array(seconds, np.float64),
            np.array(line, np.int64),
            list(time),
        )
        return self.answers


def as_float(value: float) -> float:
    """A number, infinite where it is an integer beyond float64: then the reader of scores names its line."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def seconds_of(value: Any) -> float:
    """Seconds as a number; NaN where there are none, or where they are no number or negative."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= as_float(value) < math.inf:
        return math.nan
    return float(value)


def reason_apart(status: Any) -> str | None:
    """Why an answer of this status does not count; None where it does. KeyError for a status not known."""
    text = "" if status is None else str(status).strip().lower()
    return None if text in SUBMITTED else SET_APART[text]


def known_statuses() -> str:
    return ", ".join(sorted({*filter(None, SUBMITTED), *SET_APART}))


def value_at(record: dict[str, Any], path: str, where: str) -> Any:
    """The item id that a dotted path such as ``data.image`` leads to."""
    value: Any = record
    for key in [path] if path in record else path.split("."):
        expect(
            isinstance(value, dict) and value.get(key) is not None, where, f"an item id at {path!r}", value
        )
        value = value[key]
    expect(isinstance(value, str | int), where, f"text or an integer at {path!r}", value)
    return value


def identity(value: Any, role: str, where: str) -> Any:
    """The id of an item or of a rater as the file has it; refused where it is a list or an object."""
    expect(not isinstance(value, list | dict), where, f"text or an integer as {role}", value)
    return value


def expect(condition: bool, where: str, what: str, value: Any) -> None:
    """Refuse a record that is not as its format says."""
    if not condition:
        shown = repr(value)
        raise InputError(f"{where}: expected {what}, not {shown if len(shown) <= 60 else shown[:57] + '...'}")

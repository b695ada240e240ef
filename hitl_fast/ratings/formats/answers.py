"""What a file of ratings says, before anybody decides what of it is a score."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hitl_fast._common.errors import InputError

UNKNOWN = "unknown"  # the rater of an answer that names nobody
SUBMITTED = {
    "submitted", "completed", "complete", "done", "accepted", "accept", "approved", "ok", "valid", "final",
    "finished", "annotated", "labeled", "labelled", "rated", "",
}  # fmt: skip
APART = {
    "skipped": "skipped", "skip": "skipped", "ignore": "skipped", "ignored": "skipped", "cancelled": "cancelled",
    "canceled": "cancelled", "draft": "draft", "in_progress": "draft", "in progress": "draft", "pending": "draft",
    "open": "draft", "discarded": "discarded", "discard": "discarded", "rejected": "rejected",
    "reject": "rejected", "invalid": "rejected", "deleted": "discarded", "expired": "draft", "timeout": "draft",
}  # fmt: skip


class Ranking(NamedTuple):
    """Options in the order of a rater's preference; not a rating, and not read as one."""

    options: tuple[str, ...]


class Unreadable(NamedTuple):
    """An answer that is no rating, such as text or a region, and what it is."""

    what: str


@dataclass
class Answers:
    """Everything a file says, in the file's order, each list with one entry an answer.

    A value is a number, a bool, a label (str), labels ticked (list of str), a `Ranking` or `Unreadable`.
    The question "" is the only one of a file that does not name its questions.
    """

    source: str
    format: str
    item: list[Any] = field(default_factory=list)
    rater: list[Any] = field(default_factory=list)
    question: list[str] = field(default_factory=list)
    value: list[Any] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    line: list[int] = field(default_factory=list)
    time: list[Any] = field(default_factory=list)
    apart: list[tuple[Any, Any, str, float]] = field(default_factory=list)  # item, rater, reason, seconds
    gold: list[tuple[Any, str, Any, int]] = field(default_factory=list)  # item, question, value, line
    predictions: list[tuple[Any, Any, str, Any, int]] = field(default_factory=list)  # with the model second
    seen: dict[Any, None] = field(default_factory=dict)  # every item of the file, rated or not
    options: dict[str, list[str]] = field(default_factory=dict)  # labels that a question offered
    unread: dict[str, str] = field(default_factory=dict)  # what else there is, and why it is not an answer
    untyped: bool = False  # ids are text because the file has nothing else
    by_feature: bool = False  # questions are features, and "" is the item itself

    def add(
        self, item: Any, rater: Any, question: str, value: Any, seconds: float, line: int, time: Any = None
    ) -> None:
        self.item.append(item)
        self.rater.append(rater)
        self.question.append(question)
        self.value.append(value)
        self.seconds.append(seconds)
        self.line.append(line)
        self.time.append(time)

    def at(self, line: int) -> str:
        """Where an error is, as its message begins."""
        return f"{self.source}, line {line}"


def as_float(value: float) -> float:
    """A number, infinite where it is an integer beyond float64: then the reader of scores names its line."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def seconds_of(value: Any) -> float:
    """Seconds as a number; unknown (NaN) where the file says nothing, nonsense or less than nothing."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= as_float(value) < math.inf:
        return math.nan
    return float(value)


def reason_apart(status: Any) -> str | None:
    """Why an answer of this status does not count; None where it does. KeyError for a status not known."""
    text = "" if status is None else str(status).strip().lower()
    return None if text in SUBMITTED else APART[text]


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

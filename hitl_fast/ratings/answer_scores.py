"""From answers to scores: which questions are ratings, and what each answer is worth."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hitl_fast._common.errors import InputError

from .formats.answers import Answers, Ranking, Unreadable
from .formats.column import Column
from .formats.several_choices import joined_choices
from .formats.vocabulary import describes
from .numbers import has_ambiguous_comma, label_values, no_rating, number

MOST_LABELS = 50  # a question with more different answers, most of them given once, asks for text
LONGEST_LABEL = 120
READ = ("number", "category", "checklist")


@dataclass
class Scores:
    """Columns of the ratings, one entry a rating, and what was left unread."""

    item: Column
    rater: Column
    feature: Column
    score: np.ndarray
    seconds: np.ndarray
    line: np.ndarray
    time: list[Any] | None
    gold: list[tuple[Any, str | None, float]] = field(default_factory=list)
    predictions: list[tuple[Any, Any, str | None, float]] = field(default_factory=list)
    categories: dict[str | None, tuple[str, ...]] = field(default_factory=dict)  # by feature
    told: dict[str | None, set[float]] = field(default_factory=dict)  # scores of labels that the caller gave
    unread: dict[str, str] = field(default_factory=dict)


@dataclass(eq=False)
class Question:
    """What the answers to one question are, and how to turn one into (option, score) pairs.

    ``kind`` is "number", "category", "checklist", or why it is not read.
    """

    name: str
    kind: str
    rows: np.ndarray
    labels: dict[str, float] = field(default_factory=dict)

    @property
    def is_read(self) -> bool:
        return self.kind in READ

    def scores(self, value: Any) -> list[tuple[str | None, float]]:
        """Pairs of option and score. KeyError, ValueError or TypeError where the answer is not of the kind."""
        if self.kind == "checklist":
            ticked = set(value if isinstance(value, list) else [value])
            return [(label, float(label in ticked)) for label in self.labels]
        if isinstance(value, list):
            (value,) = value
        if isinstance(value, str) and value in self.labels:
            return [(None, self.labels[value])]
        return [(None, number(value))]


def read_scores(
    answers: Answers, wanted: Sequence[str] | None = None, labels: Mapping[str, float] | None = None
) -> Scores:
    """Scores of the questions asked for, or of every question that people answer in numbers.

    One question leaves the feature empty, several are features by their names. Where nobody answers in numbers and
    one question is a choice, its labels become codes, in the order of ``categories``; ticks of a list of options
    are 1 or 0 for each option, the options being features.

    Raises:
        ValueError: no question can be read, the one asked for is not there, or one answer among numbers is not a
            number (the line is named).
    """
    questions = _questions(answers, labels)
    if not questions and answers.comparisons and wanted is None:
        return _nothing(answers)
    chosen = _choose(answers, questions, wanted)
    if labels and not any(label in q.labels for q in chosen for label in labels):
        given = [label for q in chosen for label in q.labels]
        raise InputError(
            f"{answers.source}: nobody answered {next(iter(labels))!r} or another of labels; "
            f"answers: {', '.join(map(repr, given)) or 'numbers'}"
        )
    names = _Names(answers.by_feature, len(chosen) > 1)
    found = _collected(answers, chosen, names)
    if labels:
        found.told = {
            names.feature(q.name, None): {labels[t] for t in q.labels if t in labels} for q in chosen
        }
    picked = {q.name for q in chosen}
    found.unread = answers.unread | {q.name: q.kind for q in questions.values() if not q.is_read}
    found.unread |= {
        q.name: f"{q.kind}; ask for it with question={q.name!r}"
        for q in questions.values()
        if q.is_read and q.name not in picked
    }
    by_name = {q.name: q for q in chosen}
    for item, name, value in answers.gold:
        found.gold += [(item, names.feature(name, o), s) for o, s in _scores_of(by_name, name, value)]
    for item, model, name, value in answers.predictions:
        found.predictions += [
            (item, model, names.feature(name, o), s) for o, s in _scores_of(by_name, name, value)
        ]
    return found


@dataclass(frozen=True)
class _Names:
    """How a question and an option of it become a feature."""

    by_feature: bool
    several: bool

    def feature(self, question: str, option: str | None) -> str | None:
        if self.by_feature:
            return question or None
        if not self.several:
            return option
        return question if option is None else f"{question}: {option}"


def _nothing(answers: Answers) -> Scores:
    empty = Column.of([])
    zero = np.zeros(0)
    return Scores(empty, empty, empty, zero, zero, np.zeros(0, np.int64), None, unread=answers.unread)


def _questions(answers: Answers, labels: Mapping[str, float] | None) -> dict[str, Question]:
    """Every question by name, in the order of the file, with the rows of its answers."""
    columns = answers.columns
    question = columns.question.used()
    order = np.argsort(question.codes, kind="stable")
    ends = np.cumsum(np.bincount(question.codes, minlength=len(question.values)))
    rows_of = np.split(order, ends[:-1]) if len(question) else []
    floats = _are_floats(columns.value.values)
    found = {}
    for name, rows in zip(question.values, rows_of, strict=True):
        values = [0.0] if floats else columns.value.take(rows).used().values
        found[name] = _look(answers, name, rows, values, labels)
    return found


def _look(
    answers: Answers, name: str, rows: np.ndarray, values: list[Any], labels: Mapping[str, float] | None
) -> Question:
    """What kind of answers a question has, from the different ones among them."""
    if _are_floats(values):
        return Question(name, "number", rows)
    odd = next((v for v in values if isinstance(v, Ranking | Unreadable)), None)
    if isinstance(odd, Ranking):
        return Question(name, "a ranking of options, which is no rating of an item", rows)
    if odd is not None and all(isinstance(v, Unreadable) for v in values):
        return Question(name, odd.what, rows)
    values = [v for v in values if not isinstance(v, Unreadable)]
    offered = answers.options.get(name, [])
    if any(isinstance(v, list) and any(isinstance(o, int | float) for o in v) for v in values):
        return Question(
            name, "lists of numbers, of which nothing says whose they are: write a row for each", rows
        )
    if any(isinstance(v, list) and len(v) != 1 for v in values):
        ticked = {str(o) for v in values for o in (v if isinstance(v, list) else [v])}
        options = [*offered, *sorted(ticked - set(offered))]
        return Question(name, "checklist", rows, dict.fromkeys(options, 1.0))
    flat = [v[0] if isinstance(v, list) else v for v in values]
    texts = list(dict.fromkeys(v for v in flat if isinstance(v, str)))
    mixed = len(texts) < len(set(map(str, flat)))
    try:
        worth = label_values(texts, labels, mixed)
    except InputError as problem:
        of = f"{answers.source}, question {name!r}" if name else answers.source
        raise InputError(f"{of}: {problem}") from None
    if worth is not None:
        return Question(name, "number", rows, worth)
    if mixed:
        return Question(
            name, "number", rows
        )  # numbers with a stray text among them, refused where it is chosen
    if (why := no_rating(texts)) is not None:
        return Question(name, why, rows)
    joined = None if answers.later_replaces else joined_choices([v for v in values if isinstance(v, str)])
    if joined is not None and not _is_text(texts, rows.size):
        return Question(name, _several_in(answers, rows, joined), rows)
    if _is_text(texts, rows.size):
        return Question(name, "text", rows)
    order = offered or sorted([*texts, *(o for o in offered if o not in texts)])
    return Question(name, "category", rows, {label: float(code) for code, label in enumerate(order)})


def _several_in(answers: Answers, rows: np.ndarray, cell: str) -> str:
    """Why a table's cells with several choices are not read."""
    values = answers.columns.value
    line = next(int(answers.columns.line[row]) for row in rows.tolist() if values[row] == cell)
    return (
        f"several choices in one cell, such as {cell!r} in {answers.at(line)}: write a column of yes and no for each "
        "choice; or if such cells are labels, say what each is worth with labels={...} (--labels)"
    )


def _is_text(texts: list[str], n: int) -> bool:
    many = len(texts) > MOST_LABELS and len(texts) > n / 2
    return many or max(map(len, texts), default=0) > LONGEST_LABEL


def _choose(answers: Answers, questions: dict[str, Question], wanted: Sequence[str] | None) -> list[Question]:
    names = (
        ", ".join(f"{q.name or answers.score_column or ''!r} ({q.kind})" for q in questions.values())
        or "none"
    )
    if wanted is not None:
        for name in wanted:
            if name not in questions:
                maybe = f"; columns: {', '.join(map(repr, answers.candidates))}" if answers.candidates else ""
                raise InputError(
                    f"{answers.source}: no answers to the question {name!r}; questions: {names}{maybe}"
                )
            if not questions[name].is_read:
                named = name or answers.score_column
                what = "what people answered" if named is None else f"question {named!r}"
                raise InputError(f"{answers.source}: {what} cannot be read: {questions[name].kind}")
        return [questions[name] for name in dict.fromkeys(wanted)]
    numbers = [q for q in questions.values() if q.kind == "number"]
    if numbers:
        return numbers
    choices = [q for q in questions.values() if q.is_read]
    if len(choices) == 1:
        return choices
    if not questions:
        _refuse_no_questions(answers)
    advice = f"; say which with {answers.call(question=choices[0].name)}" if choices else ""
    raise InputError(f"{answers.source}: no question is answered in numbers{advice}. Questions: {names}")


def _refuse_no_questions(answers: Answers) -> None:
    if answers.candidates:
        likely = next((n for n in answers.candidates if not describes(n)), next(iter(answers.candidates)))
        shown = "; ".join(
            f"{name!r} ({', '.join(map(repr, given))})" for name, given in answers.candidates.items()
        )
        raise InputError(
            f"{answers.source}: a single choice is written like the task's own data there ({answers.format}), so that "
            f"the column of answers must be named: {shown}. For example "
            f"{answers.call(question=likely)}"
        )
    raise InputError(
        f"{answers.source}: no ratings in it ({answers.format}: {len(answers.seen)} items, {len(answers.skipped)} "
        f"answers skipped, cancelled, empty or drafts{_reasons(answers)}"
    )


def _reasons(answers: Answers) -> str:
    """How many answers of each reason there are."""
    counts = Counter(s.reason for s in answers.skipped)
    shown = ", ".join(f"{reason} {n}" for reason, n in counts.most_common())
    return (
        f": {shown}). Where a column of a table only looks like a status: columns={{'status': None}}"
        if shown
        else ")"
    )


def _collected(answers: Answers, chosen: list[Question], names: _Names) -> Scores:
    """Ratings of the chosen questions in the order of the file."""
    columns = answers.columns
    table: list[str | None] = []
    parts: list[tuple[np.ndarray, int, np.ndarray]] = []  # rows, code of the feature, scores
    categories: dict[str | None, tuple[str, ...]] = {}
    floats = columns.value.numbers() if _are_floats(columns.value.values) else None
    for question in chosen:
        if floats is None:
            scored = _scored(answers, question)
        else:
            _refuse_infinite(answers, question, floats[question.rows])
            scored = {None: floats[question.rows]}
        for option, score in scored.items():
            parts.append((question.rows, len(table), score))
            table.append(names.feature(question.name, option))
            if question.kind == "category":
                categories[table[-1]] = tuple(question.labels)
    rows = np.concatenate([rows for rows, _, _ in parts])
    score = np.concatenate([score for _, _, score in parts])
    codes = np.repeat([code for _, code, _ in parts], [rows.size for rows, _, _ in parts])
    if len(parts) > 1:
        order = np.argsort(rows, kind="stable")
        rows, score, codes = rows[order], score[order], codes[order]
    time = columns.time
    return Scores(
        item=columns.item.take(rows),
        rater=columns.rater.take(rows),
        feature=Column(codes, table),
        score=score,
        seconds=columns.seconds[rows],
        line=columns.line[rows],
        time=None if time is None else [time[row] for row in rows.tolist()],
        categories=categories,
    )


def _scored(answers: Answers, question: Question) -> dict[str | None, np.ndarray]:
    """Scores of a question's answers, for each option of a checklist."""
    value = answers.columns.value.take(question.rows).used()
    worth: list[list[tuple[str | None, float]]] = []
    for code, answer in enumerate(value.values):  # in the order of their first rows
        try:
            worth.append(question.scores(answer))
        except (KeyError, ValueError, TypeError):
            raise _misfit(answers, question, int(question.rows[(value.codes == code).argmax()])) from None
    options = [option for option, _ in worth[0]]
    table = np.array([[score for _, score in pairs] for pairs in worth])  # [different answers, options]
    scores = {option: table[value.codes, column] for column, option in enumerate(options)}
    for score in scores.values():
        _refuse_infinite(answers, question, score)
    return scores


def _scores_of(chosen: Mapping[str, Question], name: str, value: Any) -> list[tuple[str | None, float]]:
    """Scores of a truth or a prediction; a model's answer that is not of the question's kind is unknown (NaN)."""
    only = next(iter(chosen.values())) if len(chosen) == 1 and name == "score" else None
    question = chosen.get(name) or only
    if question is None:
        return []
    try:
        return question.scores(value)
    except (KeyError, ValueError, TypeError):
        return [(None, math.nan)]


def _are_floats(values: list[Any]) -> bool:
    return set(map(type, values)) == {float}


def _refuse_infinite(answers: Answers, question: Question, score: np.ndarray) -> None:
    bad = np.flatnonzero(~np.isfinite(score))
    if bad.size:
        line = int(answers.columns.line[question.rows[bad[0]]])
        raise InputError(f"{answers.at(line)}: the score is {score[bad[0]]}, not a finite number")


def _misfit(answers: Answers, question: Question, row: int) -> InputError:
    value, where = answers.columns.value[row], answers.at(int(answers.columns.line[row]))
    (text,) = value if isinstance(value, list) and len(value) == 1 else (value,)
    what = f"not read ({value.what})" if isinstance(value, Unreadable) else repr(value)
    of = f" to {question.name!r}" if question.name else ""
    column = "" if answers.score_column is None else f" (column {answers.score_column!r})"
    if has_ambiguous_comma(text):
        return InputError(
            f"{where}: the answer{of} is {what}, whose comma may separate thousands or be a decimal comma{column}: "
            "write it without, or say what it is worth with labels="
        )
    if isinstance(value, list):
        shown = what if len(what) <= LONGEST_LABEL else what[: LONGEST_LABEL - 3] + "..."
        return InputError(f"{where}: the answer{of} is the list {shown}{column}: write a row for each rating")
    return InputError(
        f"{where}: the answer{of} is {what}, where others are numbers{column}: leave such cells empty, or say "
        "what each label is worth with labels={...} (--labels)"
    )

"""From what people answered to numbers: which answers are ratings, and what each of them is worth."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hitl_fast._common.errors import InputError

from .formats.answers import Answers, Ranking, Unreadable, as_float

THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+")  # "1,000": it may be 1, with a decimal comma
NUMBER = rf"({THOUSANDS.pattern}\.\d+|[+-]?\d+(?:[.,]\d+)?|{THOUSANDS.pattern})(?![.,]?\d)\s*"
ALONE = re.compile(rf"\s*{NUMBER}%?\s*")
# "4 - good", "4/5", "4 stars", "80 %": a label that begins with its number.
LEADING_NUMBER = re.compile(rf"\s*{NUMBER}(?:$|[-–—:.)=/%]|stars?\b|★)", re.IGNORECASE)
OUT_OF = re.compile(r"\s*[+-]?\d+(?:[.,]\d+)?\s*/\s*(\d+)\s*")  # "4/5"
YES = {
    "yes", "true", "accept", "accepted", "up", "thumbs up", "thumbs_up", "thumbsup", "thumb up", "👍", "good",
    "like", "important", "relevant", "correct", "useful", "+",
}  # fmt: skip
NO = {
    "no", "false", "reject", "rejected", "down", "thumbs down", "thumbs_down", "thumbsdown", "thumb down", "👎",
    "bad", "dislike", "not important", "unimportant", "irrelevant", "not relevant", "incorrect", "not useful",
    "useless", "-",
}  # fmt: skip
MOST_LABELS = 50  # a question with more different answers, most of them given once, asks for text
LONGEST_LABEL = 120


@dataclass
class Scores:
    """Columns of the ratings, one entry a rating, and what was left unread."""

    item: list[Any] = field(default_factory=list)
    rater: list[Any] = field(default_factory=list)
    feature: list[str | None] = field(default_factory=list)
    score: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    line: list[int] = field(default_factory=list)
    time: list[Any] = field(default_factory=list)
    gold: list[tuple[Any, str | None, float]] = field(default_factory=list)
    predictions: list[tuple[Any, Any, str | None, float]] = field(default_factory=list)
    categories: tuple[str, ...] | None = None
    unread: dict[str, str] = field(default_factory=dict)


@dataclass
class _Question:
    """What the answers to one question are, and how to turn one into (feature, score) pairs."""

    name: str
    kind: str  # "number", "category", "checklist", or why it is not read
    labels: dict[str, float] = field(default_factory=dict)

    @property
    def is_read(self) -> bool:
        return self.kind in ("number", "category", "checklist")

    def scores(self, value: Any) -> list[tuple[str | None, float]]:
        """Pairs of feature and score. KeyError, ValueError or TypeError where the answer is not of the kind."""
        if self.kind == "checklist":
            ticked = set(value if isinstance(value, list) else [value])
            return [(label, float(label in ticked)) for label in self.labels]
        if isinstance(value, list):
            (value,) = value
        if isinstance(value, str) and value in self.labels:
            return [(None, self.labels[value])]
        return [(None, _number(value))]


def read_scores(
    answers: Answers, question: Sequence[str] | None = None, labels: Mapping[str, float] | None = None
) -> Scores:
    """Scores of the questions asked for, or of every question that people answer in numbers.

    One question leaves the feature empty, several are features by their names. Where nobody answers in numbers and
    one question is a choice, its labels become codes, in the order of ``categories``; ticks of a list of options
    are 1 or 0 for each option, the options being features.

    Raises:
        ValueError: no question can be read, the one asked for is not there, or one answer among numbers is not a
            number (the line is named).
    """
    by_name: dict[str, list[int]] = {}
    for position, name in enumerate(answers.question):
        by_name.setdefault(name, []).append(position)
    questions = {name: _look(answers, name, rows, labels) for name, rows in by_name.items()}
    chosen = _choose(answers, questions, question)
    if labels and not any(label in entry.labels for entry in chosen for label in labels):
        given = [label for entry in chosen for label in entry.labels]
        raise InputError(
            f"{answers.source}: nobody answered {next(iter(labels))!r} or another of labels; "
            f"answers: {', '.join(map(repr, given)) or 'numbers'}"
        )
    for entry in chosen:
        if entry.kind == "number":
            _refuse_stray(answers, entry, by_name[entry.name])
    several = len(chosen) > 1
    found = Scores(unread=answers.unread | {q.name: q.kind for q in questions.values() if not q.is_read})
    found.unread |= {
        q.name: f"{q.kind}; ask for it with question={q.name!r}"
        for q in questions.values()
        if q.is_read and q not in chosen
    }
    if [q.kind for q in chosen] == ["category"]:
        found.categories = tuple(chosen[0].labels)
    asked = {q.name: q for q in chosen}
    plain = len(questions) == 1 and _are_floats(answers.value)

    def named(name: str, feature: str | None) -> str | None:
        if answers.by_feature:
            return name or None
        return feature if not several else name if feature is None else f"{name}: {feature}"

    if plain:  # millions of rows of one question
        found.item, found.rater, found.score = list(answers.item), list(answers.rater), list(answers.value)
        found.seconds, found.line, found.time = list(answers.seconds), list(answers.line), list(answers.time)
        found.feature = [named(chosen[0].name, None)] * len(found.item)
    for position, name in enumerate(() if plain else answers.question):
        if name not in asked:
            continue
        try:
            pairs = asked[name].scores(answers.value[position])
        except (KeyError, ValueError, TypeError):
            raise _misfit(answers, asked[name], position) from None
        for feature, score in pairs:
            found.item.append(answers.item[position])
            found.rater.append(answers.rater[position])
            found.feature.append(named(name, feature))
            found.score.append(score)
            found.seconds.append(answers.seconds[position])
            found.line.append(answers.line[position])
            found.time.append(answers.time[position])
    for item, name, value, _ in answers.gold:
        found.gold += [(item, named(name, f), s) for f, s in _pairs(asked, name, value)]
    for item, model, name, value, _ in answers.predictions:
        found.predictions += [(item, model, named(name, f), s) for f, s in _pairs(asked, name, value)]
    return found


def _pairs(asked: Mapping[str, _Question], name: str, value: Any) -> list[tuple[str | None, float]]:
    """Scores of a truth or a prediction; a model's answer that is not of the question's kind is unknown (NaN)."""
    question = asked.get(name) or (
        next(iter(asked.values())) if len(asked) == 1 and name == "score" else None
    )
    if question is None:
        return []
    try:
        return question.scores(value)
    except (KeyError, ValueError, TypeError):
        return [(None, math.nan)]


def _look(answers: Answers, name: str, rows: list[int], labels: Mapping[str, float] | None) -> _Question:
    """What kind of answers a question has."""
    values = [answers.value[r] for r in rows]
    if _are_floats(values):
        return _Question(name, "number")
    odd = next((v for v in values if isinstance(v, Ranking | Unreadable)), None)
    if isinstance(odd, Ranking):
        return _Question(name, "a ranking of options, which is no rating of an item")
    if odd is not None and all(isinstance(v, Unreadable) for v in values):
        return _Question(name, odd.what)
    values = [v for v in values if not isinstance(v, Unreadable)]
    if any(isinstance(v, list) and len(v) != 1 for v in values):
        offered = answers.options.get(name, [])
        ticked = {str(o) for v in values for o in (v if isinstance(v, list) else [v])}
        options = [*offered, *sorted(ticked - set(offered))]
        return _Question(name, "checklist", dict.fromkeys(options, 1.0))
    flat = [v[0] if isinstance(v, list) else v for v in values]
    texts = list(dict.fromkeys(v for v in flat if isinstance(v, str)))
    mixed = len(texts) < len(set(map(str, flat)))
    worth = _worth(texts, labels, mixed)
    if worth is not None:
        return _Question(name, "number", worth)
    if mixed:
        return _Question(name, "number")  # numbers with a stray text among them, refused where it is chosen
    if _is_text(texts, len(flat)):
        return _Question(name, "text")
    offered = [o for o in answers.options.get(name, []) if o not in texts]
    order = answers.options.get(name) or sorted([*texts, *offered])
    return _Question(name, "category", {label: float(code) for code, label in enumerate(order)})


def _worth(texts: list[str], labels: Mapping[str, float] | None, mixed: bool) -> dict[str, float] | None:
    """What each label is worth: as the caller says, its number, or 1 and 0 for yes and no. None: no numbers.

    Among numbers (``mixed``) a yes or no is a stray answer.
    """
    if labels is not None and texts and all(t in labels for t in texts):
        return {t: float(labels[t]) for t in texts}
    worth = _plain_worth(texts, mixed)
    if worth is not None and labels is not None and any(t in labels for t in texts):
        absent = next(t for t in texts if t not in labels)
        raise InputError(
            f"labels does not say what {absent!r} is worth; answers: {', '.join(map(repr, texts))}"
        )
    return worth


def _plain_worth(texts: list[str], mixed: bool) -> dict[str, float] | None:
    plain = {t: t.strip().lower() for t in texts}
    if texts and not mixed and set(plain.values()) <= YES | NO:
        return {t: float(p in YES) for t, p in plain.items()}
    leading = {t: LEADING_NUMBER.match(t) for t in texts}
    totals = {m.group(1): t for t in texts if (m := OUT_OF.fullmatch(t))}
    if len(totals) > 1:
        raise InputError(
            f"answers are out of different totals, {' and '.join(map(repr, totals.values()))}: say what each is "
            "worth with labels="
        )
    if all(leading.values()):
        # What may be either of two numbers is left out here, and refused with its line as an answer.
        sure = {t: m.group(1) for t, m in leading.items() if m and not THOUSANDS.fullmatch(m.group(1))}
        worth = {t: _amount(digits) for t, digits in sure.items()}
        return worth if len(set(worth.values())) == len({_canonical(t) for t in worth}) else None
    return None


def _canonical(text: str) -> str:
    """Two spellings of one number are one label."""
    try:
        return repr(_number(text))
    except ValueError:
        return text


def _is_text(texts: list[str], n: int) -> bool:
    return (len(texts) > MOST_LABELS and len(texts) > n / 2) or max(
        map(len, texts), default=0
    ) > LONGEST_LABEL


def _choose(
    answers: Answers, questions: dict[str, _Question], wanted: Sequence[str] | None
) -> list[_Question]:
    names = ", ".join(f"{q.name!r} ({q.kind})" for q in questions.values()) or "none"
    if wanted is not None:
        for name in wanted:
            if name not in questions:
                raise InputError(f"{answers.source}: no answers to the question {name!r}; questions: {names}")
            if not questions[name].is_read:
                raise InputError(
                    f"{answers.source}: question {name!r} cannot be read: {questions[name].kind}"
                )
        return [questions[name] for name in dict.fromkeys(wanted)]
    numbers = [q for q in questions.values() if q.kind == "number"]
    if numbers:
        return numbers
    choices = [q for q in questions.values() if q.is_read]
    if len(choices) == 1:
        return choices
    if not questions:
        count = len(answers.apart)
        raise InputError(
            f"{answers.source}: no ratings in it ({answers.format}: {len(answers.seen)} items, {count} answers "
            "skipped, cancelled, empty or drafts)"
        )
    asks = "; say which with question=" if choices else ""
    raise InputError(f"{answers.source}: no question is answered in numbers{asks}. Questions: {names}")


def _are_floats(values: list[Any]) -> bool:
    return set(map(type, values)) == {float}


def _refuse_stray(answers: Answers, question: _Question, rows: list[int]) -> None:
    values = [answers.value[row] for row in rows]
    if _are_floats(values):
        infinite = np.flatnonzero(~np.isfinite(values))
        rows = [rows[place] for place in infinite[:1]]
    for row in rows:
        try:
            ((_, score),) = question.scores(answers.value[row])
        except (KeyError, ValueError, TypeError):
            raise _misfit(answers, question, row) from None
        if not math.isfinite(score):
            raise InputError(f"{answers.at(answers.line[row])}: the score is {score}, not a finite number")


def _misfit(answers: Answers, question: _Question, row: int) -> ValueError:
    value = answers.value[row]
    (text,) = value if isinstance(value, list) and len(value) == 1 else (value,)
    what = f"not read ({value.what})" if isinstance(value, Unreadable) else repr(value)
    of = f" to {question.name!r}" if question.name else ""
    leading = LEADING_NUMBER.match(text) if isinstance(text, str) else None
    if leading and THOUSANDS.fullmatch(leading.group(1)):
        return ValueError(
            f"{answers.at(answers.line[row])}: the answer{of} is {what}, whose comma may part thousands or be a "
            "decimal comma: write it without, or say what it is worth with labels="
        )
    return ValueError(f"{answers.at(answers.line[row])}: the answer{of} is {what}, where others are numbers")


def _number(value: Any) -> float:
    if isinstance(value, str):
        alone = ALONE.fullmatch(value)
        return _amount(alone.group(1)) if alone else float(value)
    if isinstance(value, int | float):
        return as_float(value)
    raise TypeError


def _amount(digits: str) -> float:
    """What `NUMBER` found: before a point commas part thousands, else one is a decimal comma.

    Raises:
        ValueError: the comma may be either.
    """
    if THOUSANDS.fullmatch(digits):
        raise InputError(f"the comma of {digits!r} may part thousands or be a decimal comma")
    return float(digits.replace(",", "") if "." in digits else digits.replace(",", "."))

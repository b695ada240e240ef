"""Sums over the answers of a collection, kept up to date as answers come, so that no question costs as many steps."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .reading import Answer

RETEST_AFTER = 5  # answers between a question and its repeat, at least
Unit = tuple[int, "int | None"]


@dataclass
class Person:
    """One person's answers, in order.

    Attributes:
        numbers, answers: of each answer, its number in the database and itself.
        seen: what was put to this person.
        first: the values of first answers.
        repeated: what was put again.
        seconds: of all answers.
        retests: repeats of questions that were answered, those that were answered alike, and the sum of the distances.
    """

    numbers: list[int] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    seen: set[Unit] = field(default_factory=set)
    first: dict[Unit, float] = field(default_factory=dict)
    repeated: set[Unit] = field(default_factory=set)
    seconds: float = 0.0
    retests: tuple[int, int, float] = (0, 0, 0.0)
    _looked: int = 0  # no answer before this one is to be put again

    def add(self, number: int, answer: Answer) -> None:
        unit = (answer.item, answer.other)
        self.numbers.append(number)
        self.answers.append(answer)
        self.seen.add(unit)
        self.seconds += answer.seconds or 0.0
        if answer.repeat:
            self.repeated.add(unit)
        elif answer.value is not None:
            self.first[unit] = answer.value
        if answer.repeat and answer.value is not None and unit in self.first:
            n, equal, distance = self.retests
            off = abs(answer.value - self.first[unit])
            self.retests = n + 1, equal + (off == 0), distance + off

    def without(self, number: int) -> Person:
        """The same person without one answer."""
        rest = Person()
        for own, answer in zip(self.numbers, self.answers, strict=True):
            if own != number:
                rest.add(own, answer)
        return rest

    def due(self, repeats: float) -> Unit | None:
        """What to put again: the earliest answer that is long enough ago; ``repeats``: the share of questions."""
        if len(self.repeated) + 1 > repeats * (len(self.answers) + 1):
            return None
        while self._looked < len(self.answers) - RETEST_AFTER:
            answer = self.answers[self._looked]
            unit = (answer.item, answer.other)
            if answer.repeat == 0 and answer.value is not None and unit not in self.repeated:
                return unit
            self._looked += 1
        return None


class Tally:
    """Sums over answers, to which answers can be added and from which they can be taken.

    Attributes:
        people: by name, those who have answered.
        given: answers of each question, without repeats and skipped ones.
        last: the largest number of an answer.
        shrunk: how many answers were taken away.
    """

    def __init__(self, answers: Iterable[tuple[int, Answer]] = ()) -> None:
        self.people: dict[str, Person] = {}
        self.given: Counter[Unit] = Counter()
        self.last = self.shrunk = 0
        self._sums: dict[Unit, tuple[float, float]] = {}  # of values and of squares
        # By how many answers a question has: sum over these questions of (m * squares - sum^2), exact as values are
        # multiples of 1/2; their number; sums of their values and squares.
        self._within: defaultdict[int, float] = defaultdict(float)
        self._paired = (0, 0.0, 0.0)
        self._done = 0
        for number, answer in answers:
            self.add(number, answer)

    @classmethod
    def of(cls, answers: Sequence[Answer]) -> Tally:
        """Of answers that have no numbers."""
        return cls(enumerate(answers, 1))

    def add(self, number: int, answer: Answer) -> None:
        self.last = max(self.last, number)
        self.people.setdefault(answer.rater, Person()).add(number, answer)
        self._count(answer, 1)

    def take(self, rater: str, number: int) -> None:
        """Take an answer of a person away, if it was added."""
        person = self.people.get(rater)
        if person is None or number not in person.numbers:
            return
        answer = person.answers[person.numbers.index(number)]
        self.people[rater] = person.without(number)
        if not self.people[rater].answers:
            del self.people[rater]
        self._count(answer, -1)
        self.shrunk += 1

    def done(self) -> int:
        """Answers, without repeats and skipped ones."""
        return self._done

    def agreement(self) -> float | None:
        """Krippendorff's alpha of the people (interval level), to three digits; None where it is undefined.

        ``1 - (n - 1) sum over m of within(m) / (m - 1) / (n squares - sum^2)`` over the n answers of questions with m
        > 1 answers each, within(m) the sum of squared differences within the questions of m answers.

        Source: Krippendorff, Computing Krippendorff's alpha-reliability, 2011.
        """
        n, total, squares = self._paired
        apart = n * squares - total * total
        if not apart > 0:
            return None
        within = sum(value / (m - 1) for m, value in sorted(self._within.items()))
        return round(1 - (n - 1) * within / apart, 3)

    def retest(self) -> dict[str, Any] | None:
        """How near repeated answers are to the same person's first ones: pairs, share that are equal, mean distance."""
        every = [person.retests for person in self.people.values()]
        pairs = sum(n for n, _, _ in every)
        if not pairs:
            return None
        equal, distance = sum(e for _, e, _ in every), sum(d for _, _, d in every)
        return {"pairs": pairs, "equal": round(equal / pairs, 3), "distance": round(distance / pairs, 3)}

    def _count(self, answer: Answer, sign: int) -> None:
        if answer.repeat or answer.value is None:
            return
        unit = (answer.item, answer.other)
        self._done += sign
        m = self.given[unit]
        total, squares = self._sums.get(unit, (0.0, 0.0))
        self._pair(m, total, squares, -1)
        m, total, squares = m + sign, total + sign * answer.value, squares + sign * answer.value**2
        self._pair(m, total, squares, 1)
        if m:
            self.given[unit], self._sums[unit] = m, (total, squares)
        else:
            del self.given[unit], self._sums[unit]

    def _pair(self, m: int, total: float, squares: float, sign: int) -> None:
        if m < 2:
            return
        n, values, of_values = self._paired
        self._paired = n + sign * m, values + sign * total, of_values + sign * squares
        self._within[m] += sign * (m * squares - total * total)

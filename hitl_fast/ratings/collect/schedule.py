"""What each person is asked next, from the answers so far alone: a restarted server goes on where it was."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hitl_fast._common.errors import InputError

from ..agreement import krippendorff
from .reading import QUESTIONS, Answer
from .store import Store, Ticket

PROMPTS = {
    "rating": "How important is this sample for training?",
    "yesno": "Is the label of this sample right?",
    "pairs": "Which of the two is more important for training?",
}
PAIRINGS = 3  # pairs that an item is in
RETEST_AFTER = 5  # answers between a question and its repeat, at least
Unit = tuple[int, "int | None"]


@dataclass(frozen=True)
class Schedule:
    """The order of questions and how often each is put.

    Attributes:
        question: "rating" (1 to 5), "yesno" or "pairs".
        size: items of the data set.
        order: positions to ask about first; the others follow in the order of the seed.
        limit: items, or pairs, asked about in all; None for all there are.
        each: people who answer each.
        repeats: share of a person's questions that are put again, for the test-retest reliability.
        seed: of the order.
    """

    question: str
    size: int
    order: Sequence[int] = ()
    limit: int | None = None
    each: int = 1
    repeats: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.question not in QUESTIONS:
            raise InputError(f"question must be one of {', '.join(QUESTIONS)}, not {self.question!r}")
        if self.question == "pairs" and self.size < 2:
            raise InputError("pairs need two items or more")
        if self.limit is not None and self.limit < 1:
            raise InputError(f"the number of questions must be 1 or more, not {self.limit}")
        if self.each < 1:
            raise InputError(f"the number of people an item must be 1 or more, not {self.each}")
        if not 0 <= self.repeats <= 0.5:
            raise InputError(f"repeats must be a share from 0 to 0.5, not {self.repeats}")
        if self.seed < 0:
            raise InputError(f"seed must be 0 or more, not {self.seed}")
        strange = [i for i in self.order if not 0 <= i < self.size]
        if strange:
            raise InputError(f"item {strange[0]} is no position below {self.size}")

    def units(self) -> Iterator[Unit]:
        """Items, or pairs of items, in the order in which they are put."""
        every = self._pairs() if self.question == "pairs" else self._singles(self.seed)
        return itertools.islice(every, self.limit)

    def total(self) -> int:
        """Answers that are wanted, without repeats."""
        there = self.size // 2 * PAIRINGS if self.question == "pairs" else self.size
        return min(there, self.limit or there) * self.each

    def _singles(self, seed: int) -> Iterator[tuple[int, None]]:
        first = dict.fromkeys(int(i) for i in self.order)
        yield from ((i, None) for i in first)
        for i in np.random.default_rng(seed).permutation(self.size).tolist():
            if i not in first:
                yield i, None

    def _pairs(self) -> Iterator[Unit]:
        for turn in range(PAIRINGS):
            items = np.random.default_rng([self.seed, turn]).permutation(self.size).tolist()
            if turn == 0:
                items = [i for i, _ in self._singles(self.seed)]
            yield from zip(items[::2], items[1::2], strict=False)

    def next(self, store: Store, rater: str) -> Ticket | None:
        """The ticket to answer: the open one, a repeat that is due, or a new question; None at the end."""
        with store.transaction():
            ticket = store.open_ticket(rater)
            if ticket is not None:
                return ticket
            answers = store.answers()
            mine = [a for a in answers if a.rater == rater]
            again = self._due(mine)
            if again is not None:
                return store.give(rater, *again, 1)
            taken = Counter((a.item, a.other) for a in answers if a.repeat == 0 and a.value is not None)
            taken.update((item, other) for who, item, other in store.held() if who != rater)
            seen = {(a.item, a.other) for a in mine}
            unit = next((u for u in self.units() if u not in seen and taken[u] < self.each), None)
            return None if unit is None else store.give(rater, *unit, 0)

    def _due(self, mine: Sequence[Answer]) -> Unit | None:
        """What to put again to this person: the earliest answer that is long enough ago."""
        repeated = {(a.item, a.other) for a in mine if a.repeat}
        if len(repeated) + 1 > self.repeats * (len(mine) + 1):
            return None
        early = [a for a in mine[:-RETEST_AFTER] if a.repeat == 0 and a.value is not None]
        return next(((a.item, a.other) for a in early if (a.item, a.other) not in repeated), None)


def progress(schedule: Schedule, answers: Sequence[Answer], rater: str) -> dict[str, Any]:
    """Counts, minutes, agreement between people and of each with themselves, as the page shows them."""
    mine = [a for a in answers if a.rater == rater]
    first = [a for a in answers if a.repeat == 0 and a.value is not None]
    return {
        "mine": len(mine),
        "done": len(first),
        "total": schedule.total(),
        "people": len({a.rater for a in answers}),
        "minutes": round(sum(a.seconds or 0.0 for a in mine) / 60, 2),
        "agreement": agreement(first),
        "retest": retest(answers),
    }


def agreement(first: Sequence[Answer]) -> float | None:
    """Krippendorff's alpha of the people (interval level); None where it is undefined."""
    units = {unit: i for i, unit in enumerate(dict.fromkeys((a.item, a.other) for a in first))}
    if len(first) == len(units):
        return None  # nothing was answered twice
    codes = np.array([units[a.item, a.other] for a in first])
    values = np.array([a.value for a in first], dtype=np.float64)
    try:
        return round(krippendorff(codes, values, "interval", replicates=1).alpha, 3)
    except ValueError:
        return None


def retest(answers: Sequence[Answer]) -> dict[str, Any] | None:
    """How near repeated answers are to the same person's first ones: pairs, share that are equal, mean distance."""
    first = {(a.rater, a.item, a.other): a.value for a in answers if a.repeat == 0 and a.value is not None}
    off = [
        abs(a.value - first[a.rater, a.item, a.other])
        for a in answers
        if a.repeat and a.value is not None and (a.rater, a.item, a.other) in first
    ]
    if not off:
        return None
    equal = sum(d == 0 for d in off) / len(off)
    return {"pairs": len(off), "equal": round(equal, 3), "distance": round(sum(off) / len(off), 3)}

"""What each person is asked next, from the answers so far alone: a restarted server goes on where it was."""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hitl_fast._common.errors import InputError

from .reading import QUESTIONS
from .store import Store, Ticket
from .tally import Person, Tally, Unit

PROMPTS = {
    "rating": "How important is this sample for training?",
    "yesno": "Is the label of this sample right?",
    "pairs": "Which of the two is more important for training?",
}
PAIRINGS = 3  # pairs that an item is in


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
            tally = store.tally()
            person = tally.people.get(rater, Person())
            again = person.due(self.repeats)
            if again is not None:
                return store.give(rater, *again, 1)
            held = Counter((item, other) for who, item, other in store.held() if who != rater)
            unit = self._first_open(tally, rater, person.seen, held)
            return None if unit is None else store.give(rater, *unit, 0)

    def _first_open(self, tally: Tally, rater: str, seen: set[Unit], held: Counter[Unit]) -> Unit | None:
        """The first question that this person was not put and that too few people have answered or are reading."""
        units = self._every_unit
        known, shrunk, place = self._places.get(rater, (tally, tally.shrunk, 0))
        if known is not tally or shrunk != tally.shrunk:
            place = 0
        while place < len(units) and (units[place] in seen or tally.given[units[place]] >= self.each):
            place += 1  # for good, until an answer is taken away
        self._places[rater] = tally, tally.shrunk, place
        rest = (units[i] for i in range(place, len(units)))
        return next((u for u in rest if u not in seen and tally.given[u] + held[u] < self.each), None)

    @functools.cached_property
    def _places(self) -> dict[str, tuple[Tally, int, int]]:
        """How many of the first questions cannot be put to a person, and by which tally, after how many undone."""
        return {}

    @functools.cached_property
    def _every_unit(self) -> list[Unit]:
        return list(self.units())


def progress(schedule: Schedule, tally: Tally, rater: str) -> dict[str, Any]:
    """Counts, minutes, agreement between people and of each with themselves, as the page shows them."""
    mine = tally.people.get(rater, Person())
    return {
        "mine": len(mine.answers),
        "done": tally.done(),
        "total": schedule.total(),
        "people": len(tally.people),
        "minutes": round(mine.seconds / 60, 2),
        "agreement": tally.agreement(),
        "retest": tally.retest(),
    }

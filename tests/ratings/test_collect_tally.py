"""Sums over answers that are kept up to date: equal to those of all answers, and as cheap after many as after few."""

import itertools
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitl_fast.ratings.agreement import krippendorff
from hitl_fast.ratings.collect.reading import VALUES, Answer
from hitl_fast.ratings.collect.schedule import Schedule, progress
from hitl_fast.ratings.collect.store import Store
from hitl_fast.ratings.collect.tally import RETEST_AFTER, Tally

ABOUT = {"question": "rating", "items": 20}


def naive(schedule: Schedule, answers: Sequence[Answer], rater: str) -> dict[str, Any]:
    """`progress` by its definition, from all answers."""
    mine = [a for a in answers if a.rater == rater]
    first = [a for a in answers if a.repeat == 0 and a.value is not None]
    values = {(a.rater, a.item, a.other): a.value for a in first}
    again = [a for a in answers if a.repeat and a.value is not None and (a.rater, a.item, a.other) in values]
    off = [abs((a.value or 0.0) - (values[a.rater, a.item, a.other] or 0.0)) for a in again]
    units = {unit: i for i, unit in enumerate(dict.fromkeys((a.item, a.other) for a in first))}
    try:
        codes = np.array([units[a.item, a.other] for a in first], int)
        scores = np.array([a.value for a in first], float)
        alpha = krippendorff(codes, scores, "interval", replicates=1).alpha
    except ValueError:
        alpha = None
    return {
        "mine": len(mine),
        "done": len(first),
        "total": schedule.total(),
        "people": len({a.rater for a in answers}),
        "minutes": pytest.approx(sum(a.seconds or 0.0 for a in mine) / 60, abs=0.006),
        "agreement": None if alpha is None else pytest.approx(alpha, abs=0.00051),
        "retest": {
            "pairs": len(off),
            "equal": pytest.approx(np.mean([d == 0 for d in off]), abs=0.00051),
            "distance": pytest.approx(np.mean(off), abs=0.00051),
        }
        if off
        else None,
    }


def naive_next(schedule: Schedule, store: Store, rater: str) -> tuple[Any, ...] | None:
    """What `Schedule.next` puts to somebody who has answered everything, from all answers."""
    answers = store.answers()
    mine = [a for a in answers if a.rater == rater]
    repeated = {(a.item, a.other) for a in mine if a.repeat}
    if len(repeated) + 1 <= schedule.repeats * (len(mine) + 1):
        for a in mine[:-RETEST_AFTER]:
            if a.repeat == 0 and a.value is not None and (a.item, a.other) not in repeated:
                return a.item, a.other, 1
    taken = Counter((a.item, a.other) for a in answers if a.repeat == 0 and a.value is not None)
    taken.update((item, other) for who, item, other in store.held() if who != rater)
    seen = {(a.item, a.other) for a in mine}
    found = next((u for u in schedule.units() if u not in seen and taken[u] < schedule.each), None)
    return None if found is None else (*found, 0)


@pytest.mark.jit
@settings(max_examples=25, deadline=None)
@given(
    question=st.sampled_from(["rating", "yesno", "pairs"]),
    each=st.integers(1, 3),
    repeats=st.sampled_from([0.0, 0.2, 0.5]),
    turns=st.lists(
        st.tuples(
            st.integers(0, 2), st.sampled_from(["answer"] * 6 + ["skip", "undo", "other undo", "forget"])
        ),
        max_size=50,
    ),
    choices=st.randoms(use_true_random=False),
)
def test_sums_and_questions_are_those_of_all_answers(
    question: str,
    each: int,
    repeats: float,
    turns: list[tuple[int, str]],
    choices: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("s") / "r.db"
    store, schedule = (
        Store(path, {**ABOUT, "question": question}),
        Schedule(question, 9, each=each, repeats=repeats),
    )
    other = Store(path)
    for who, what in turns:
        rater = f"p{who}"
        store.join(rater, None) if not store._one("SELECT 1 FROM people WHERE name = ?", rater) else None
        if what == "undo":
            store.undo(rater)
        elif what == "other undo":
            other.undo(rater)  # in another process
        elif what == "forget":
            choices.choice([store, other]).forget(rater)
        else:
            fresh = store.open_ticket(rater) is None
            expected = naive_next(schedule, store, rater)
            ticket = schedule.next(store, rater)
            if fresh:
                assert (None if ticket is None else (ticket.item, ticket.other, ticket.repeat)) == expected
            if ticket is not None:
                value = None if what == "skip" else choices.choice(VALUES[question])
                store.answer(rater, ticket.ticket, value, choices.choice([None, 0.5, 1.25]))
        for name in ("p0", rater):
            assert progress(schedule, store.tally(), name) == naive(schedule, store.answers(), name)
    for name in ("p0", "p1"):
        assert progress(schedule, Tally.of(store.answers()), name) == naive(schedule, store.answers(), name)
    store.close()
    other.close()


@pytest.mark.parametrize("people", [1, 4])
def test_a_question_costs_as_much_after_many_answers_as_after_few(
    tmp_path: Path, people: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In instructions of SQLite's machine; a minute passes between questions: those of half an hour are looked at."""
    minutes = itertools.count()
    clock = SimpleNamespace(time=lambda: 60.0 * next(minutes), monotonic=time.monotonic)
    monkeypatch.setattr("hitl_fast.ratings.collect.store.time", clock)
    store, schedule = Store(tmp_path / "r.db", ABOUT), Schedule("rating", 4000, each=2, repeats=0.1)
    steps = [0]

    def count() -> int:
        steps[0] += 1
        return 0

    store._connection.set_progress_handler(count, 20)
    costs = []
    for i in range(600):
        before, rater = steps[0], f"p{i % people}"
        ticket = schedule.next(store, rater)
        assert ticket is not None
        store.answer(rater, ticket.ticket, float(i % 5 + 1), 1.0)
        progress(schedule, store.tally(), rater)
        costs.append(steps[0] - before)
    assert max(costs[-100:]) <= 2 * max(costs[100:200])
    store.close()


def test_an_older_database_is_read_and_gets_the_index(tmp_path: Path) -> None:
    store, schedule = Store(tmp_path / "r.db", ABOUT), Schedule("rating", 20)
    ticket = schedule.next(store, "anna")
    assert ticket is not None
    store.answer("anna", ticket.ticket, 2.0, 1.0)
    store._run("DROP INDEX asked_at")
    store.close()
    again = Store(tmp_path / "r.db")
    assert again._one("SELECT 1 FROM sqlite_master WHERE name = 'asked_at'") is not None
    assert [a.value for a in again.answers()] == [2.0]
    again.close()

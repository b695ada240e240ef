"""Answers in the database and the order of questions: nothing lost, nothing overwritten, nothing put twice."""

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitl_fast import cli
from hitl_fast._common.errors import InputError
from hitl_fast.ratings.collect.reading import Answer, export_csv, read_collection
from hitl_fast.ratings.collect.schedule import Schedule, progress
from hitl_fast.ratings.collect.store import Store, checked_seconds
from hitl_fast.ratings.collect.tally import RETEST_AFTER, Tally

ABOUT = {"items": 20, "question": "rating"}


def answered(store: Store, schedule: Schedule, rater: str, value: float | None = 3.0) -> Answer | None:
    ticket = schedule.next(store, rater)
    if ticket is None:
        return None
    assert store.answer(rater, ticket.ticket, value, 1.0)
    return store.answers()[-1]


def test_a_ticket_takes_one_answer(tmp_path: Path) -> None:
    store = Store(tmp_path / "r.db", ABOUT)
    ticket = store.give("anna", 4, None, 0)
    assert store.answer("anna", ticket.ticket, 2.0, 0.5)
    assert not store.answer("anna", ticket.ticket, 5.0, 0.5)  # sent again
    with pytest.raises(KeyError):
        store.answer("ben", ticket.ticket, 5.0, 0.5)
    with pytest.raises(KeyError):
        store.answer("anna", "made up", 5.0, 0.5)
    assert [(a.rater, a.item, a.value) for a in store.answers()] == [("anna", 4, 2.0)]
    store.close()


def test_undo_takes_back_ones_own_answer_alone(tmp_path: Path) -> None:
    store, schedule = Store(tmp_path / "r.db", ABOUT), Schedule("rating", 20, repeats=0)
    first = answered(store, schedule, "anna", 1.0)
    answered(store, schedule, "ben", 2.0)
    assert first is not None
    assert store.undo("anna")
    assert not store.undo("anna")
    assert [a.rater for a in store.answers()] == ["ben"]
    again = answered(store, schedule, "anna", 5.0)
    assert again is not None
    assert (again.item, again.value) == (first.item, 5.0)
    connection = sqlite3.connect(tmp_path / "r.db")
    assert connection.execute("SELECT count(*), sum(undone) FROM answers").fetchone() == (3, 1)
    connection.close()
    store.close()


def test_a_name_belongs_to_whoever_took_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "r.db", ABOUT)
    secret = store.join("anna", None)
    assert store.join("anna", secret) == secret
    for wrong in (None, "", "x"):
        with pytest.raises(PermissionError):
            store.join("anna", wrong)
    assert store.is_member("anna", secret)
    assert not store.is_member("ben", secret)
    store.close()
    assert secret.encode() not in (tmp_path / "r.db").read_bytes()


def test_forgetting_leaves_nothing_of_the_person(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    store, schedule = Store(path, ABOUT), Schedule("rating", 20, repeats=0)
    for name in ("Annabella", "Benedict"):
        store.join(name, None)
        for _ in range(5):
            answered(store, schedule, name)
    assert store.forget("Annabella") == 5
    with pytest.raises(InputError, match="Annabella"):
        store.forget("Annabella")
    store.close()
    files = b"".join(p.read_bytes() for p in tmp_path.iterdir())
    assert b"Annabella" not in files
    assert b"Benedict" in files
    assert {a.rater for a in read_collection(path)[1]} == {"Benedict"}


def test_reading_while_somebody_answers(tmp_path: Path) -> None:
    store = Store(tmp_path / "r.db", ABOUT)
    ticket = store.give("anna", 0, None, 0)
    store.answer("anna", ticket.ticket, 4.0, 1.0)
    with store.transaction():
        store._run("UPDATE answers SET value = 1")
        assert read_collection(tmp_path / "r.db")[1][0].value == 4.0  # the last whole state
    assert read_collection(tmp_path / "r.db")[1][0].value == 1.0
    store.close()


def test_seconds_that_cannot_be_are_unknown(tmp_path: Path) -> None:
    store = Store(tmp_path / "r.db", ABOUT)
    for item, seconds in enumerate((0.5, 3600.0, None)):
        store.answer("anna", store.give("anna", item, None, 0).ticket, 3.0, seconds)
    assert [a.seconds for a in store.answers()] == [0.5, None, None]
    for wrong in (-1, float("nan"), float("inf"), True, "3", [1]):
        with pytest.raises(InputError, match="seconds"):
            checked_seconds(wrong)
    store.close()


def test_only_its_own_database_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    with pytest.raises(FileNotFoundError):
        read_collection(path)
    with pytest.raises(FileNotFoundError):
        Store(path)
    path.write_text("item,rater,score\n0,anna,1\n")
    with pytest.raises(InputError, match="SQLite"):
        Store(path, ABOUT)
    assert path.read_text().startswith("item")
    path.unlink()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE answers (a)")
    other.commit()
    for i in range(200):
        other.execute("INSERT INTO answers VALUES (?)", ["x" * 200 + str(i)])
    other.commit()
    other.close()
    before = path.read_bytes()
    for read in (lambda: Store(path, ABOUT), lambda: read_collection(path)):
        with pytest.raises(InputError, match="another program"):
            read()
    assert path.read_bytes() == before
    path.unlink()
    Store(path, ABOUT).close()
    with pytest.raises(InputError, match="'items' is 20|items is 20"):
        Store(path, {**ABOUT, "items": 21})
    later = sqlite3.connect(path)
    later.execute("PRAGMA user_version = 99")
    later.commit()
    later.close()
    with pytest.raises(InputError, match="version 99"):
        read_collection(path)


def test_export_has_every_answer(tmp_path: Path) -> None:
    store, schedule = Store(tmp_path / "r.db", ABOUT), Schedule("rating", 20, repeats=0)
    answered(store, schedule, "anna", 4.0)
    answered(store, schedule, "anna", None)
    store.close()
    lines = export_csv(tmp_path / "r.db").splitlines()
    assert lines[0].startswith("item,other,rater,value,status")
    assert [line.split(",")[3:5] for line in lines[1:]] == [["4", "submitted"], ["", "skipped"]]


@pytest.mark.jit  # the same in every pass
@settings(max_examples=25, deadline=None)
@given(
    question=st.sampled_from(["rating", "yesno", "pairs"]),
    size=st.integers(2, 12),
    each=st.integers(1, 3),
    repeats=st.sampled_from([0.0, 0.2, 0.5]),
    turns=st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(["answer", "skip", "undo", "look"])), max_size=60
    ),
)
def test_questions_of_any_history(
    question: str,
    size: int,
    each: int,
    repeats: float,
    turns: list[tuple[int, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("s") / "r.db"
    store, schedule = Store(path, ABOUT), Schedule(question, size, each=each, repeats=repeats)
    for who, what in turns:
        rater = f"p{who}"
        before = store.answers()
        if what == "undo":
            store.undo(rater)
            assert [a for a in store.answers() if a.rater != rater] == [a for a in before if a.rater != rater]
            continue
        ticket = schedule.next(store, rater)
        assert schedule.next(store, rater) == ticket  # until it is answered
        if ticket is not None and what != "look":
            store.answer(rater, ticket.ticket, None if what == "skip" else 1.0, 0.0)
    answers = store.answers()
    first = [(a.rater, a.item, a.other) for a in answers if a.repeat == 0]
    assert len(set(first)) == len(first)  # nobody is asked the same twice but for repeats
    again = [(a.rater, a.item, a.other) for a in answers if a.repeat]
    assert len(set(again)) == len(again)
    for rater in {a.rater for a in answers}:
        mine = [a for a in answers if a.rater == rater]
        assert sum(a.repeat for a in mine) <= repeats * len(mine) + 1
    given_by = [(a.item, a.other) for a in answers if a.repeat == 0 and a.value is not None]
    if not any(
        what == "undo" for _, what in turns
    ):  # an undone answer is asked for again, whoever answered meanwhile
        assert max((given_by.count(unit) for unit in given_by), default=0) <= each
    for a in answers:
        assert 0 <= a.item < size
        assert (a.other is not None) == (question == "pairs")
        assert a.other != a.item
    told = progress(schedule, store.tally(), "p0")
    assert told["done"] == len(given_by) <= told["total"]
    store.close()


def test_every_item_is_asked_about_in_the_end(tmp_path: Path) -> None:
    store, schedule = Store(tmp_path / "r.db", ABOUT), Schedule("rating", 20, order=(7, 3, 7), repeats=0.2)
    items = []
    while (answer := answered(store, schedule, "anna")) is not None:
        items.append(answer)
    new = [a.item for a in items if not a.repeat]
    assert new[:2] == [7, 3]
    assert sorted(new) == list(range(20))
    repeated = [i for i, a in enumerate(items) if a.repeat]
    assert repeated
    for i in repeated:
        assert [a.item for a in items].index(items[i].item) <= i - RETEST_AFTER
    store.close()


def test_agreement_and_retest() -> None:
    def answer(rater: str, item: int, value: float | None, repeat: int = 0) -> Answer:
        return Answer(rater, item, None, repeat, value, 1.0, "")

    one = [answer("a", 0, 1), answer("a", 1, 5)]
    assert Tally.of(one).agreement() is None
    assert Tally.of([*one, answer("b", 0, 1), answer("b", 1, 5)]).agreement() == 1.0
    assert Tally.of([answer("a", 0, 3), answer("b", 0, 3)]).agreement() is None  # nothing could differ
    assert Tally.of(one).retest() is None
    assert Tally.of([*one, answer("a", 0, 1, 1), answer("a", 1, 3, 1)]).retest() == {
        "pairs": 2,
        "equal": 0.5,
        "distance": 1.0,
    }


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"question": "stars"}, "stars"),
        ({"limit": 0}, "number of questions"),
        ({"each": 0}, "people"),
        ({"repeats": 0.9}, "repeats"),
        ({"order": (20,)}, "item 20"),
        ({"question": "pairs", "size": 1}, "two items"),
    ],
)
def test_schedules_are_checked(wrong: dict[str, object], named: str) -> None:
    with pytest.raises(InputError, match=named):
        Schedule(**{"question": "rating", "size": 20, **wrong})  # type: ignore[arg-type]


def test_a_commit_that_fails_is_taken_back_and_the_next_is_kept(tmp_path: Path) -> None:
    store = Store(tmp_path / "r.db", ABOUT)
    statements = (
        "PRAGMA defer_foreign_keys = ON",
        "INSERT INTO answers (ticket, rater, item, repeat, at) VALUES ('no ticket', 'anna', 0, 0, '')",
    )
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"), store.transaction():
        list(map(store._run, statements))
    assert store.join("anna", None)
    assert store.answer("anna", store.give("anna", 0, None, 0).ticket, 4.0, 0.0)
    assert [a.value for a in store.answers()] == [4.0]
    with pytest.raises(StopIteration), store.transaction():
        next(store._run("ROLLBACK"))  # SQLite has ended it by itself, as on a full disk
    store.close()


def test_a_database_that_cannot_be_made_or_written_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"x\.db cannot be made: there is no folder .*nodir"):
        Store(tmp_path / "nodir" / "x.db", ABOUT)
    assert not (tmp_path / "nodir").exists()
    (tmp_path / "t.txt").write_text("a\n")
    out = tmp_path / "nodir" / "x.db"
    assert cli.main(["collect", str(tmp_path / "t.txt"), "--out", str(out)]) == 2
    assert "no folder" in capsys.readouterr().err
    Store(tmp_path / "r.db", ABOUT).close()
    connect = sqlite3.connect
    lock = connect(tmp_path / "r.db", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **named: connect(*a, **{**named, "timeout": 0}))
    with pytest.raises(ValueError, match=r"r\.db cannot be written: .*locked"):
        Store(tmp_path / "r.db", ABOUT)
    lock.close()

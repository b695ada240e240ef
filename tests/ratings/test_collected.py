"""Ratings from the collection page's database, and the questions that `hitl-fast ask` chooses."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from test_live import rate, store_of
from test_signals import blobs

from hitl_fast import cli
from hitl_fast._common.errors import InputError
from hitl_fast.ratings import Ratings, Signals
from hitl_fast.ratings.ask_command import questions_as


def test_answers_are_ratings_of_positions(tmp_path: Path) -> None:
    store = store_of(tmp_path / "r.db", items=10)
    rate(store, {3: 4.0, 7: None, 1: 2.0})
    rate(store, {3: 5.0}, rater="ben")
    found = Ratings.read(tmp_path / "r.db")  # while the database is open
    assert found.frame.item.tolist() == [3, 1, 3]
    assert found.frame.score.tolist() == [4.0, 2.0, 5.0]
    assert found.frame.rater.tolist() == ["anna", "anna", "ben"]
    assert (found.frame.seconds == 1.0).all()
    assert found.scale == (1.0, 5.0)
    assert found.skipped.reason.tolist() == ["skipped"]
    assert found.aggregate("mean").score.tolist() == [2.0, 4.5]
    store.close()


@pytest.mark.parametrize(("question", "scale"), [("yesno", (0.0, 1.0)), ("rating", (1.0, 5.0))])
def test_the_scale_is_that_of_the_question(question: str, scale: tuple[float, float], tmp_path: Path) -> None:
    store = store_of(tmp_path / "r.db", items=10, question=question)
    store.answer("anna", store.give("anna", 1, None, 0).ticket, 1.0, 2.0)
    found = Ratings.read(tmp_path / "r.db")
    assert found.scale == scale
    assert found.frame.score.tolist() == [1.0]
    store.close()


def test_answers_about_pairs_are_comparisons(tmp_path: Path) -> None:
    store = store_of(tmp_path / "r.db", items=10, question="pairs")
    for first, second in ((1, 2), (1, 3), (2, 3), (3, 2)):
        store.answer("anna", store.give("anna", first, second, 0).ticket, 1.0, 2.0)
    found = Ratings.read(tmp_path / "r.db").aggregate("bradley_terry")
    assert found.items.tolist() == [1, 2, 3]
    assert found.score.argmax() == 0
    store.close()


def test_databases_without_answers_are_refused(tmp_path: Path) -> None:
    store_of(tmp_path / "r.db").close()
    with pytest.raises(InputError, match="nobody"):
        Ratings.read(tmp_path / "r.db")
    (tmp_path / "x.db").write_bytes(b"SQLite format 3\x00" + bytes(84))
    with pytest.raises(InputError, match=r"x\.db"):
        Ratings.read(tmp_path / "x.db")
    (tmp_path / "y.csv").write_text("item,rater,score\n1,a,2\n")
    with pytest.raises(InputError, match="SQLite"):
        Ratings.read(tmp_path / "y.csv", "collected")


def test_ask_chooses_what_was_not_answered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x, y, _ = blobs(80)
    np.savez(tmp_path / "s.npz", features=x, labels=y)
    store = store_of(tmp_path / "r.db", items=80)
    rate(store, {int(i): 3.0 for i in range(20)})
    store.close()
    data = str(tmp_path / "s.npz")
    assert cli.main(["ask", data, "-n", "5"]) == 0
    first = [int(line) for line in capsys.readouterr().out.split()]
    assert len(set(first)) == 5
    ratings = ["--ratings", str(tmp_path / "r.db")]
    assert cli.main(["ask", data, *ratings, "-n", "60"]) == 0
    assert sorted(map(int, capsys.readouterr().out.split())) == list(range(20, 80))
    signals = Signals.of(x, y)
    again = Ratings.read(tmp_path / "r.db").ask_next(signals, 4)
    assert cli.main(["ask", data, *ratings, "-n", "4"]) == 0
    assert capsys.readouterr().out.split() == [str(i) for i in again]
    for arguments, named in (
        (["-n", "81"], "80"),
        (["--ratings", "absent.db"], "absent.db"),
        (["--diversity", "-1"], "diversity"),
    ):
        assert cli.main(["ask", data, *arguments]) == 2
        assert named in capsys.readouterr().err
    (tmp_path / "t.txt").write_text("one\ntwo\n")
    assert (
        cli.main(
            ["ask", data, "-n", "2", "--items", str(tmp_path / "t.txt"), "--out", str(tmp_path / "o.csv")]
        )
        == 2
    )
    assert "2 items" in capsys.readouterr().err
    (tmp_path / "t.txt").write_text("".join(f"text {i}\n" for i in range(80)))
    out = str(tmp_path / "o.jsonl")
    assert cli.main(["ask", data, "-n", "2", "--items", str(tmp_path / "t.txt"), "--out", out]) == 0
    rows = [json.loads(line) for line in Path(out).read_text().splitlines()]
    assert [row["text"] for row in rows] == [f"text {row['item']}" for row in rows]


def test_questions_come_back_from_each_tool(tmp_path: Path) -> None:
    chosen = np.array([7, 3])
    assert [row["item"] for row in csv.DictReader(io.StringIO(questions_as("csv", chosen)))] == ["7", "3"]
    tasks = json.loads(questions_as("label_studio", chosen))
    for task in tasks:
        task["annotations"] = [{
            "id": 1, "completed_by": 1, "result": [{"from_name": "q", "type": "rating", "value": {"rating": 4}}],
        }]  # fmt: skip
    (tmp_path / "ls.json").write_text(json.dumps(tasks))
    assert Ratings.read(tmp_path / "ls.json", item="data.item").frame.item.tolist() == [7, 3]
    assert [record["id"] for record in json.loads(questions_as("argilla", chosen))] == ["7", "3"]

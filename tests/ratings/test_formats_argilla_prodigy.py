"""Argilla in each of its forms, and Prodigy."""

import json
from pathlib import Path
from typing import Any

import pytest
from exports import prodigy, record, rows_of, write

from hitl_fast.ratings import Ratings


@pytest.mark.parametrize("shape", ["list", "columns", "index", "lines"])
def test_argilla_turned_every_way(shape: str, tmp_path: Path) -> None:
    records = [record(i, responses={"q": [{"value": k, "user_id": "u1"}]}) for k, i in enumerate("abc")]
    value: Any = {
        "list": records,
        "columns": {k: [r[k] for r in records] for k in records[0]},
        "index": {r["id"]: {k: v for k, v in r.items() if k != "id"} for r in records},
        "lines": "\n\n".join(json.dumps(r, indent=2) for r in records),
    }[shape]
    ratings = Ratings.read(write(tmp_path, value))
    assert [r[:4] for r in rows_of(ratings)] == [
        ("a", "u1", None, 0),
        ("b", "u1", None, 1),
        ("c", "u1", None, 2),
    ]


def test_argilla_statuses_and_kinds(tmp_path: Path) -> None:
    given = [
        {"value": 3, "user_id": "a", "status": "submitted"},
        {"value": 1, "user_id": "b", "status": "draft"},
        {"value": 1, "user_id": "c", "status": "discarded"},
    ]
    other = {
        "labels": [{"value": ["x", "y"], "user_id": "a"}],
        "spans": [{"value": [{"start": 0, "end": 2, "label": "x"}], "user_id": "a"}],
        "order": [{"value": [{"value": "x", "rank": 2}, {"value": "y", "rank": 1}], "user_id": "a"}],
    }
    suggestion = {"q": {"value": 5, "agent": "m", "score": 1.0}}
    path = write(tmp_path, [record(responses={"q": given, **other}, suggestions=suggestion)])
    ratings = Ratings.read(path)
    assert ratings.frame.score.tolist() == [3]
    assert ratings.skipped.reason.tolist() == ["draft", "discarded"]
    assert ratings.predictions.score.tolist() == [5]
    assert ratings.predictions.model.tolist() == ["m"]
    assert ratings.unread["order"].startswith("a ranking")
    assert Ratings.read(path, question="labels").features == ["x", "y"]
    given[1]["status"] = "thinking"
    with pytest.raises(ValueError, match=r"line 1: expected a status among .*submitted.*, not 'thinking'"):
        Ratings.read(write(tmp_path, [record(responses={"q": given})]))
    with pytest.raises(ValueError, match=r"line 1: expected responses to 'q' as a list, not 3"):
        Ratings.read(write(tmp_path, [record(responses={"q": 3})]))


def test_argilla_of_version_1_and_of_the_server(tmp_path: Path) -> None:
    responses = [
        {"user_id": "u", "status": "submitted", "values": {"q": {"value": 2}}},
        {"user_id": "v", "status": "discarded", "values": None},
    ]
    old = {
        "fields": {},
        "external_id": "e",
        "responses": responses,
        "suggestions": [{"question_name": "q", "value": 1}],
    }
    ratings = Ratings.read(write(tmp_path, [old]))
    assert rows_of(ratings)[0][:4] == ("e", "u", None, 2)
    assert ratings.skipped.reason.tolist() == ["discarded"]
    assert ratings.predictions.score.tolist() == [1]


def test_argilla_flat_from_parquet_and_with_lists_that_do_not_fit(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table({
        "id": ["a", "b"], "q.responses": [[1, 2], None], "q.responses.users": [["u", "v"], None],
        "q.responses.status": [["submitted", "draft"], None], "q.suggestion": [3, 4], "q.suggestion.agent": ["m", None],
    })  # fmt: skip
    parquet.write_table(table, tmp_path / "f.parquet")
    ratings = Ratings.read(tmp_path / "f.parquet")
    assert rows_of(ratings)[0][:4] == ("a", "u", None, 1)
    assert ratings.unrated == ["b"]
    assert ratings.predictions.score.tolist() == [3, 4]
    short = {"id": "a", "q.responses": [1, 2], "q.responses.users": ["u"]}
    with pytest.raises(ValueError, match=r"line 1: expected as many users and statuses as 'q.responses'"):
        Ratings.read(write(tmp_path, [short]))


def test_prodigy_ratings_in_a_field_of_their_own(tmp_path: Path) -> None:
    records = [
        prodigy(1, rating=4), prodigy(2, rating=2, duration=3.5), prodigy(3, "reject", rating=1),
        prodigy(4, "ignore"), prodigy(5),
    ]  # fmt: skip
    ratings = Ratings.read(write(tmp_path, "\n".join(map(json.dumps, records)), "p.jsonl"))
    assert ratings.frame.score.tolist() == [4, 2]
    assert ratings.frame.seconds.tolist()[1] == 3.5
    assert ratings.skipped.reason.tolist() == ["rejected", "skipped", "empty"]


def test_prodigy_labels_of_one_input_are_features(tmp_path: Path) -> None:
    records = [prodigy(1, label="ear"), prodigy(1, "reject", label="tail"), prodigy(2, label="ear")]
    ratings = Ratings.read(write(tmp_path, "\n".join(map(json.dumps, records)), "p.jsonl"))
    assert [r[:4] for r in rows_of(ratings)] == [
        (1, "s-ana", "ear", 1),
        (1, "s-ana", "tail", 0),
        (2, "s-ana", "ear", 1),
    ]


def test_prodigy_choices_reviews_and_spans(tmp_path: Path) -> None:
    options = [{"id": "low", "text": "Low"}, {"id": "mid", "text": "Mid"}, {"id": "high", "text": "High"}]
    choice = [prodigy(1, options=options, accept=["high"]), prodigy(2, options=options, accept=["low"])]
    ratings = Ratings.read(write(tmp_path, choice, "p.json"))
    assert ratings.categories == ("low", "mid", "high")
    assert ratings.frame.score.tolist() == [2, 0]
    many = {"options": options, "config": {"choice_style": "multiple"}}
    ticked = [prodigy(1, accept=["low", "mid"], **many), prodigy(2, accept=[], **many)]
    ratings = Ratings.read(write(tmp_path, ticked, "p.json"))
    assert ratings.features == ["high", "low", "mid"]
    assert ratings.frame.score.tolist() == [1, 1, 0, 0, 0, 0]
    review = prodigy(1, _view_id="review", versions=[])
    ratings = Ratings.read(write(tmp_path, [prodigy(1), prodigy(1, "reject", gold=True), review], "p.json"))
    assert ratings.ground_truth.score.tolist() == [0, 1]
    spans = prodigy(1, _view_id="ner_manual", spans=[{"start": 0}])
    with pytest.raises(ValueError, match=r"'answer' .spans or other markup, which is no rating"):
        Ratings.read(write(tmp_path, [spans], "p.json"))
    with pytest.raises(ValueError, match=r"line 2: expected 'answer' accept, reject or ignore, not 'maybe'"):
        Ratings.read(
            write(tmp_path, json.dumps(prodigy()) + "\n" + json.dumps(prodigy(answer="maybe")), "p.jsonl")
        )
    ratings = Ratings.read(write(tmp_path, [prodigy(3, meta={"id": "ä"})], "p.json"), item="meta.id")
    assert ratings.frame.item.tolist() == ["ä"]

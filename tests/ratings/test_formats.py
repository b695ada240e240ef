"""Every score of every format in its place, and nothing among the scores that is none."""

import csv
import gzip
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hitl_fast.ratings import Ratings
from hitl_fast.ratings.formats import table as tables

DATA = Path(__file__).parent.parent / "data" / "ratings"
COUNTS = json.loads((DATA / "expected.json").read_text())
EXPECTED = {"long.jsonl": "long_jsonl", "long.parquet": "long_parquet"}

Row = tuple[Any, Any, Any, float, float]


def rows_of(ratings: Ratings) -> list[Row]:
    f = ratings.frame
    return list(zip(f.item, f.rater, f.feature, f.score, f.seconds, strict=True))


def expected_rows(name: str) -> list[tuple[str, ...]]:
    path = DATA / f"{EXPECTED.get(name, Path(name).stem)}.expected.csv"
    with path.open(newline="", encoding="utf-8") as file:
        return [tuple(row) for row in csv.reader(file)][1:]


def as_text(row: Row) -> tuple[str, ...]:
    item, rater, feature, score, seconds = row
    return (
        "" if item is None else str(item),
        str(rater),
        feature or "",
        f"{score:g}",
        "" if math.isnan(seconds) else f"{seconds:g}",
    )


def plain(row: tuple[str, ...]) -> tuple[str, ...]:
    return (*row[:3], f"{float(row[3]):g}", f"{float(row[4]):g}" if row[4] else "")


@pytest.mark.parametrize("name", sorted(COUNTS))
def test_an_export_is_read_whole(name: str) -> None:
    ratings = Ratings.read(DATA / name, "wide" if name == "wide.csv" else None)
    assert sorted(map(as_text, rows_of(ratings))) == sorted(map(plain, expected_rows(name)))
    found = ratings.skipped.reason.value_counts().to_dict()
    found |= {"ground_truth": len(ratings.ground_truth), "predictions": len(ratings.predictions)}
    found["unrated"] = len(ratings.unrated)
    assert {k: v for k, v in found.items() if v} == {k: v for k, v in COUNTS[name].items() if v}
    assert list(ratings.frame.columns) == ["item", "rater", "score", "seconds", "feature"]
    assert ratings.frame.score.dtype == ratings.frame.seconds.dtype == "float64"


@pytest.mark.parametrize("name", [n for n in sorted(COUNTS) if not n.endswith(".parquet")])
@pytest.mark.parametrize("where", [0.35, 0.8])
def test_a_truncated_export_is_refused_with_its_line(name: str, where: float, tmp_path: Path) -> None:
    data = (DATA / name).read_bytes()
    cut = int(len(data) * where)
    while (
        data[cut - 1 : cut] in (b"\n", b"}", b"]", b",", b";")
        or data[cut] & 0xC0 == 0x80
        or data[cut] in b"\r\n"
    ):
        cut += 1
    path = tmp_path / name
    path.write_bytes(data[:cut])
    line = data[:cut].count(b"\n") + 1
    if name.endswith(".json"):  # a record is named by the line that it starts on
        line = data[: data.rindex(b"\n {\n", 0, cut) + 1].count(b"\n") + 1
    if name.endswith(".csv"):
        # Cut inside the last cell, a table looks whole: cut at its row's last delimiter instead.
        delimiter = b";" if name == "wide.csv" else b","
        path.write_bytes(data[: data.rindex(delimiter, 0, cut)])
        line = data[: data.rindex(delimiter, 0, cut)].count(b"\n") + 1
    with pytest.raises(ValueError, match=rf"{name}, line \d+: ") as problem:
        Ratings.read(path)
    assert int(str(problem.value).split("line ")[1].split(":")[0]) == line


def test_a_truncated_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "long.parquet"
    path.write_bytes((DATA / "long.parquet").read_bytes()[:2000])
    with pytest.raises(ValueError, match="not a whole Parquet file"):
        Ratings.read(path)


def write(tmp_path: Path, value: Any, name: str = "export.json") -> Path:
    path = tmp_path / name
    path.write_text(
        value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), encoding="utf-8"
    )
    return path


def task(*results: dict[str, Any], id: int = 1, **more: Any) -> dict[str, Any]:
    annotations = [
        {"completed_by": 10 + i, "was_cancelled": False, "lead_time": 2.0, "result": [r]}
        for i, r in enumerate(results)
    ]
    return {"id": id, "data": {"text": "x"}, "annotations": annotations, "predictions": [], **more}


def answer(kind: str, value: Any, name: str = "q") -> dict[str, Any]:
    return {"from_name": name, "to_name": "text", "type": kind, "value": {kind: value}}


@pytest.mark.parametrize(
    ("results", "scores"),
    [
        ([answer("rating", 4), answer("rating", 2)], [4, 2]),
        ([answer("number", 0.25), answer("number", -3)], [0.25, -3]),
        ([answer("choices", ["4"]), answer("choices", ["5"])], [4, 5]),
        ([answer("choices", ["4 - good"]), answer("choices", ["1 - bad"])], [4, 1]),
        ([answer("choices", ["2 stars"]), answer("choices", ["1 star"])], [2, 1]),
        ([answer("choices", ["Thumbs up"]), answer("choices", ["thumbs down"])], [1, 0]),
        ([answer("choices", ["yes"]), answer("choices", ["no"])], [1, 0]),
        ([answer("taxonomy", [["3"]]), answer("taxonomy", [["1"]])], [3, 1]),
    ],
)
def test_answers_that_are_numbers(results: list[dict[str, Any]], scores: list[float], tmp_path: Path) -> None:
    ratings = Ratings.read(write(tmp_path, [task(*results)]))
    assert ratings.frame.score.tolist() == scores
    assert ratings.frame.rater.tolist() == [10, 11]
    assert ratings.categories is None


def test_a_choice_of_words_is_categories_until_they_are_worth_something(tmp_path: Path) -> None:
    path = write(
        tmp_path, [task(answer("choices", ["low"]), answer("choices", ["high"]), answer("choices", ["low"]))]
    )
    ratings = Ratings.read(path)
    assert ratings.categories == ("high", "low")
    assert ratings.frame.score.tolist() == [1, 0, 1]
    worth = Ratings.read(path, labels={"low": 0, "middle": 1, "high": 2})
    assert worth.categories is None
    assert worth.frame.score.tolist() == [0, 2, 0]
    with pytest.raises(ValueError, match="labels does not say what 'low' is worth"):
        Ratings.read(path, labels={"high": 2}).aggregate("mean", labels={"high": 2})


def test_ticked_options_are_features(tmp_path: Path) -> None:
    path = write(tmp_path, [task(answer("choices", ["ear", "tail"]), answer("choices", ["ear"]), id=3)])
    ratings = Ratings.read(path)
    assert rows_of(ratings)[:2] == [(3, 10, "ear", 1.0, 2.0), (3, 10, "tail", 1.0, 2.0)]
    assert rows_of(ratings)[2:] == [(3, 11, "ear", 1.0, 2.0), (3, 11, "tail", 0.0, 2.0)]


def test_several_questions_are_features(tmp_path: Path) -> None:
    both = [answer("rating", 4, "clarity"), answer("number", 70, "use"), answer("choices", ["a"], "kind")]
    annotation = {"completed_by": {"id": 5, "email": "ana@x.org"}, "result": both, "lead_time": None}
    path = write(tmp_path, [{"id": 1, "data": {}, "annotations": [annotation]}])
    ratings = Ratings.read(path)
    assert [r[:4] for r in rows_of(ratings)] == [(1, "ana@x.org", "clarity", 4), (1, "ana@x.org", "use", 70)]
    assert list(ratings.unread) == ["kind"]
    assert [r[2:4] for r in rows_of(Ratings.read(path, question="use"))] == [(None, 70)]
    assert Ratings.read(path, question="kind").categories == ("a",)
    assert ratings.only("use").frame.score.tolist() == [70]
    with pytest.raises(ValueError, match="no ratings of the feature 'x'; features: 'clarity', 'use'"):
        ratings.only("x")
    with pytest.raises(ValueError, match="no answers to the question 'quality'; questions: 'clarity'"):
        Ratings.read(path, question="quality")


def test_what_is_no_rating_is_named(tmp_path: Path) -> None:
    box = {
        "from_name": "box",
        "type": "rectanglelabels",
        "value": {"x": 1, "y": 2, "rectanglelabels": ["dog"]},
    }
    ranking = {"from_name": "order", "type": "ranker", "value": {"ranker": {"_": ["b", "a"]}}}
    relation = {"type": "relation", "from_id": "a", "to_id": "b"}
    annotation = {"completed_by": 1, "result": [box, ranking, relation, answer("textarea", ["hm"], "why")]}
    path = write(tmp_path, [{"id": 1, "data": {}, "annotations": [annotation]}])
    with pytest.raises(ValueError, match=r"no question is answered in numbers.*'order' .a ranking"):
        Ratings.read(path)
    with pytest.raises(ValueError, match="'order' cannot be read: a ranking of options"):
        Ratings.read(path, question="order")
    annotation["result"] += [
        answer("rating", 1, "part"),
        answer("rating", 5, "part"),
        answer("rating", 3, "all"),
    ]
    ratings = Ratings.read(write(tmp_path, [{"id": 1, "data": {}, "annotations": [annotation]}]))
    assert ratings.frame.score.tolist() == [3]
    assert ratings.unread["part"] == "one answer for each region"
    assert set(ratings.unread) == {"box", "order", "why", "part"}


def test_a_second_annotation_replaces_the_first_by_time(tmp_path: Path) -> None:
    first = {"completed_by": 1, "updated_at": "2025-01-02T00:00:00Z", "result": [answer("rating", 5)]}
    second = {"completed_by": 1, "updated_at": "2025-01-01T00:00:00Z", "result": [answer("rating", 1)]}
    path = write(tmp_path, [{"id": 1, "data": {}, "annotations": [first, second]}])
    ratings = Ratings.read(path)
    assert ratings.frame.score.tolist() == [5]
    assert ratings.skipped.reason.tolist() == ["replaced"]
    assert Ratings.read(path, repeats="keep").frame.score.tolist() == [5, 1]
    nobody = {"result": [answer("rating", 2)]}
    path = write(tmp_path, [{"id": 1, "data": {}, "annotations": [nobody, nobody]}])
    assert Ratings.read(path).frame.rater.tolist() == ["unknown", "unknown"]
    with pytest.raises(ValueError, match="repeats must be 'keep' or 'last', not 'first'"):
        Ratings.read(path, repeats="first")


def test_older_and_odder_label_studio(tmp_path: Path) -> None:
    old = {
        "id": 1,
        "data": {"key": "α"},
        "completions": [{"result": [answer("rating", 2)]}, {"skipped": True}],
    }
    ratings = Ratings.read(write(tmp_path, {"tasks": [{**old, "annotations": [17]}]}))
    assert (ratings.frame.score.tolist(), ratings.skipped.reason.tolist()) == ([2], ["cancelled"])
    assert Ratings.read(write(tmp_path, old), item="data.key").frame.item.tolist() == ["α"]
    with pytest.raises(ValueError, match=r"export.json, line 1: expected an item id at 'data.image'"):
        Ratings.read(write(tmp_path, old), item="data.image")
    pair = {"from_name": "p", "type": "pairwise", "value": {"selected": "left"}}
    assert Ratings.read(write(tmp_path, [task(pair)])).categories == ("left",)


def test_postponed_and_rejected_annotations_are_no_ratings(tmp_path: Path) -> None:
    annotations = [
        {"completed_by": 1, "was_postponed": True, "result": [answer("rating", 1)]},
        {
            "completed_by": 2,
            "reviews": [{"accepted": True}, {"accepted": False}],
            "result": [answer("rating", 2)],
        },
        {"completed_by": 3, "reviews": [{"accepted": True}], "result": [answer("rating", 3)]},
        {"completed_by": 4, "result": [answer("rating", None), answer("rating", 4, "other")]},
    ]
    ratings = Ratings.read(write(tmp_path, [{"id": 1, "data": {}, "annotations": annotations}]), question="q")
    assert ratings.frame.score.tolist() == [3]
    assert ratings.skipped.reason.tolist() == ["draft", "rejected"]
    assert "other" in ratings.unread


def test_label_studio_rows_as_csv(tmp_path: Path) -> None:
    text = (
        "image,id,quality,verdict,annotator,annotation_id,created_at,updated_at,lead_time\n"
        'a.png,5,"[{""rating"": 4}]",Good,1,77,x,y,1.5\n'
        'b.png,6,"{""rating"": 2}",Bad,1,78,x,y,\n'
        "c.png,7,,,2,79,x,y,3\n"
    )
    path = write(tmp_path, text, "project-1.csv")
    ratings = Ratings.read(path)
    assert [r[:4] for r in rows_of(ratings)] == [(5, 1, None, 4.0), (6, 1, None, 2.0)]
    assert ratings.frame.seconds.tolist()[0] == 1.5
    assert ratings.skipped.reason.tolist() == ["empty"]
    assert Ratings.read(path, question="verdict").frame.score.tolist() == [1.0, 0.0]
    assert Ratings.read(path, item="image").frame.item.tolist() == ["a.png", "b.png"]


def record(id: str = "a", **more: Any) -> dict[str, Any]:
    return {"id": id, "fields": {"text": "x"}, "responses": {}, "suggestions": {}, **more}


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


def prodigy(input_hash: int = 1, answer: str = "accept", **more: Any) -> dict[str, Any]:
    return {"_input_hash": input_hash, "_task_hash": 9, "answer": answer, "_session_id": "s-ana", **more}


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


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("item,rater,score\n007,1,3\n", [("007", 1, None, 3)]),
        ("item\trater\tscore\n7\tann\t3\n", [(7, "ann", None, 3)]),
        ('item;rater;score\n7;ann;3,5\n8;ann;"1,5"\n', [(7, "ann", None, 3.5), (8, "ann", None, 1.5)]),
        ("worker,stars,image\nann,2,a.png\n", [("a.png", "ann", None, 2)]),
        ("item,score\n1,2\n", [(1, "rater", None, 2)]),
        ("item,rater,feature,score\n1,a,ear,2\n", [(1, "a", "ear", 2)]),
        ("item,rater,feature,score\n1,a,,2\n1,a,ear,3\n", [(1, "a", None, 2), (1, "a", "ear", 3)]),
        ("feature,rater,score\near,a,2\n", [(None, "a", "ear", 2)]),
        ("Item ID,Annotator Name,Score (1-5)\n7,ann,3\n", [(7, "ann", None, 3)]),
        ("item,rater,score\n1,a,true\n1,b,FALSE\n", [(1, "a", None, 1), (1, "b", None, 0)]),
    ],
)
def test_tables(text: str, rows: list[tuple[Any, ...]], tmp_path: Path) -> None:
    ratings = Ratings.read(write(tmp_path, text, "t.csv"))
    assert [r[:4] for r in rows_of(ratings)] == rows


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("id,ann,ben\n1,2,\n2,,5\n", [(1, "ann", None, 2), (2, "ben", None, 5)]),
        ("id,caption,ann\n1,a cat,2\n", [(1, "ann", None, 2)]),
        (",id,ann\n0,7,3\n1,8,2\n", [(7, "ann", None, 3), (8, "ann", None, 2)]),
        (",ann\n7,3\n8,2\n", [(7, "ann", None, 3), (8, "ann", None, 2)]),
    ],
)
def test_wide_tables_are_read_when_told(text: str, rows: list[tuple[Any, ...]], tmp_path: Path) -> None:
    path = write(tmp_path, text, "t.csv")
    with pytest.raises(ValueError, match="raters|columns="):
        Ratings.read(path)
    for arguments in ({"format": "wide"}, {"raters": [r for r in ("ann", "ben") if r in text]}):
        assert [r[:4] for r in rows_of(Ratings.read(path, **arguments))] == rows  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("records", "rows"),
    [
        ([{"item": 1, "ratings": [{"rater": "a", "score": 2}, {"rater": "b", "score": 1}]}],
         [(1, "a", None, 2), (1, "b", None, 1)]),
        ([{"item": "1", "rater": 1, "score": 2}, {"item": "x", "rater": 1, "score": 2.5, "extra": []}],
         [("1", 1, None, 2), ("x", 1, None, 2.5)]),
    ],
)  # fmt: skip
def test_json_tables(records: list[Any], rows: list[tuple[Any, ...]], tmp_path: Path) -> None:
    ratings = Ratings.read(write(tmp_path, "\n".join(map(json.dumps, records)), "t.jsonl"))
    assert [r[:4] for r in rows_of(ratings)] == rows


def test_tables_keep_truth_and_predictions_apart(tmp_path: Path) -> None:
    text = "item,ann,ben,truth,model_score\n1,2,skip,3,1\n2,4,5,,2\n"
    ratings = Ratings.read(write(tmp_path, text, "t.csv"), "wide")
    assert ratings.frame.score.tolist() == [2, 4, 5]
    assert (ratings.ground_truth.score.tolist(), ratings.predictions.score.tolist()) == ([3], [1, 2])
    assert ratings.skipped.reason.tolist() == ["skipped"]
    text = "item,rater,score,status,rt_ms\n1,m,2,prediction,\n1,a,3,gold,\n1,b,4,done,1500\n1,c,,done,\n1,d,skip,,\n"
    ratings = Ratings.read(write(tmp_path, text, "t.csv"))
    assert rows_of(ratings) == [(1, "b", None, 4, 1.5)]
    assert ratings.predictions.model.tolist() == ["m"]
    assert ratings.ground_truth.score.tolist() == [3]
    assert ratings.skipped.reason.tolist() == ["empty", "skipped"]


def test_an_index_of_pandas_is_the_item_or_nothing(tmp_path: Path) -> None:
    import pandas as pd

    wide = pd.DataFrame({"ann": [1, None], "ben": [2, 5]}, index=["ä", "b"])
    wide.to_parquet(tmp_path / "w.parquet")
    ratings = Ratings.read(tmp_path / "w.parquet", "wide")
    assert [r[:4] for r in rows_of(ratings)] == [
        ("ä", "ann", None, 1),
        ("ä", "ben", None, 2),
        ("b", "ben", None, 5),
    ]
    long = pd.DataFrame({"item": [4, 5], "rater": ["a", "a"], "score": [1, 2], "sure": [9, 9]}, index=[7, 9])
    long.to_parquet(tmp_path / "l.parquet")
    ratings = Ratings.read(tmp_path / "l.parquet")
    assert [r[:4] for r in rows_of(ratings)] == [(4, "a", None, 1), (5, "a", None, 2)]
    assert ratings.unread == {"sure": "another column of numbers"}


def test_columns_can_be_named(tmp_path: Path) -> None:
    path = write(tmp_path, "a,b,c\nx,1,2\n", "t.csv")
    ratings = Ratings.read(path, columns={"item": "a", "rater": "b", "score": "c"})
    assert rows_of(ratings)[0][:4] == ("x", 1, None, 2)
    with pytest.raises(ValueError, match="no column 'd'; there are 'a', 'b', 'c'"):
        Ratings.read(path, columns={"item": "d"})
    with pytest.raises(ValueError, match="columns: no role 'who'"):
        Ratings.read(path, columns={"who": "d"})
    with pytest.raises(ValueError, match="no column 'd'"):
        Ratings.read(path, columns={"item": "a", "rater": "b"}, question=["d"])
    assert Ratings.read(path, item="a", columns={"rater": "b"}, question="c").frame.score.tolist() == [2]
    with pytest.raises(ValueError, match="format must be one of label_studio"):
        Ratings.read(path, format="xml")


def test_encodings_and_compression(tmp_path: Path) -> None:
    text = "item,rater,score\nß,ünal,3\n"
    for name, data in {
        "bom.csv": text.encode("utf-8-sig"), "utf16.csv": text.encode("utf-16"),
        "gz.csv.gz": gzip.compress(text.encode()),
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(data)
        assert rows_of(Ratings.read(tmp_path / name))[0][:4] == ("ß", "ünal", None, 3)
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(text.encode() * 50)[:40])
    with pytest.raises(ValueError, match="gzip file is cut off or damaged"):
        Ratings.read(tmp_path / "cut.csv.gz")
    (tmp_path / "latin.csv").write_bytes(b"item,rater,score\nok,a,1\n\xdf,a,3\n")
    with pytest.raises(ValueError, match=r"latin.csv, line 3: not utf-8-sig text"):
        Ratings.read(tmp_path / "latin.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the file is empty"),
        ("[]", "line 1: no records in the file"),
        (
            '{"images": [], "categories": []}',
            "line 1: not a file of ratings that is known. Looked for: Label Studio",
        ),
        ('[{"a": 1},\n 3]', "line 2: expected a JSON object, not 3"),
        ('[{"item": 1, "rater": 1, "score": 2}\n {"item": 1}]', "line 2: a comma is missing between records"),
        ('[{"item": 1, "rater": 1, "score": 2}]\n{}', "more text follows the end of the list"),
        (
            '{"item": 1, "rater": 1, "score": 2}\n{"item": 1,, }',
            r"line 2: the record is not JSON: .* \(1 whole",
        ),
        ("[" * 100_000, "line 1: the record (is nested too deeply|is cut off)"),
        ("name,colour\na,red\n", "line 1: no ratings found in the columns 'name', 'colour'"),
        (
            "item,rater,score\n1,a,3\n1,b,bad\n1,c,4\n",
            "line 3: the answer is 'bad', where others are numbers",
        ),
        ("item,rater,score\n1,a,3\n1,b,inf\n", "line 3: the score is inf, not a finite number"),
        ("item,rater,score\n1,a\n", "line 2: 2 cells where the header has 3"),
        ('item,rater,score\n"a\nb",a,3\n1,"b,3\n', "line 4: "),
        ("item,item,score\n1,1,3\n", "line 1: two columns are called 'item'"),
        ("item,rater,score\n,a,3\n", "line 2: no item in column 'item'"),
        ("item,rater,score\n1,,3\n", "line 2: no rater in column 'rater'"),
        (
            "item,rater,score,skipped\n1,a,3,perhaps\n",
            "line 2: expected true or false in column 'skipped', not 'perhaps'",
        ),
        ("item,rater,score,status\n1,a,3,odd\n", "line 2: expected in column 'status' a status among"),
        ("item,rater,score\n1,a,\n", "no ratings in it .long table: 1 items, 1 answers"),
    ],
)
def test_a_damaged_or_foreign_file_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, text, "file.txt")
    with pytest.raises(ValueError, match=message) as problem:
        Ratings.read(path)
    assert "file.txt" in str(problem.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a folder"):
        Ratings.read(tmp_path)
    with pytest.raises(FileNotFoundError):
        Ratings.read(tmp_path / "none.csv")
    with pytest.raises(ValueError, match="line 2: expected a task with 'data' and 'annotations', not"):
        Ratings.read(write(tmp_path, f'[{json.dumps(task(answer("rating", 1)))},\n{{"id": 2}}]'))
    with pytest.raises(ValueError, match="line 1: expected 'annotations' as a list"):
        Ratings.read(write(tmp_path, [{"id": 1, "data": {}, "annotations": {}}]))
    with pytest.raises(ValueError, match=r"t.csv, line 3: 9 is outside the scale 1 to 5"):
        Ratings.read(write(tmp_path, "item,rater,score\n1,a,3\n1,b,9\n", "t.csv"), scale=(1, 5))


@pytest.mark.parametrize(
    ("column", "cell", "table"),
    [
        ("status", "draft", "skipped"), ("was_cancelled", "true", "skipped"), ("is_gold", "true", "ground_truth"),
        ("is_prediction", "1", "predictions"),
    ],
)  # fmt: skip
def test_rows_of_a_wide_table_that_are_no_ratings(tmp_path: Path, column: str, cell: str, table: str) -> None:
    (tmp_path / "w.csv").write_text(f"item,anna,ben,{column}\n1,1,5,{cell}\n2,2,4,\n")
    ratings = Ratings.read(tmp_path / "w.csv", raters=["anna", "ben"])
    assert [row[:2] for row in rows_of(ratings)] == [(2, "anna"), (2, "ben")]
    assert len(getattr(ratings, table)) == 2


def test_what_is_computed_from_raters_is_no_rater(tmp_path: Path) -> None:
    (tmp_path / "w.csv").write_text("item,anna,max,Mean,model\n1,1,5,3,4\n2,2,4,3,1\n")
    for arguments in ({}, {"format": "wide"}):
        with pytest.raises(ValueError, match=r"raters=\['anna', 'max'\].*--raters anna max"):
            Ratings.read(tmp_path / "w.csv", **arguments)  # type: ignore[arg-type]
    ratings = Ratings.read(tmp_path / "w.csv", raters=["anna", "max"])
    assert set(ratings.frame.rater) == {"anna", "max"}
    assert set(ratings.unread) == {"Mean", "model"}
    both = Ratings.read(tmp_path / "w.csv", raters=["anna", "max", "Mean", "model"])
    assert set(both.frame.rater) == {"anna", "max", "Mean", "model"}


@pytest.mark.parametrize(("name", "table"), [("gold", "ground_truth"), ("prediction", "predictions")])
def test_truths_of_two_values_are_not_flags(tmp_path: Path, name: str, table: str) -> None:
    path = tmp_path / "l.csv"
    path.write_text(f"item,rater,label,{name}\n1,a,1,1\n1,b,0,1\n2,a,0,0\n2,b,1,0\n")
    ratings = Ratings.read(path)
    assert ratings.frame.score.tolist() == [1, 0, 0, 1]
    assert getattr(ratings, table).score.tolist() == [1, 1, 0, 0]
    for text in (
        f"item,rater,label,is_{name}\n1,a,1,1\n1,b,0,0\n",  # says that it is a flag
        f"item,rater,label,{name}\n1,a,1,true\n1,b,0,false\n",  # written otherwise than scores
        f"item,rater,label,{name}\n1,a,3,1\n1,b,0,0\n",  # scores of more values
    ):
        path.write_text(text)
        assert Ratings.read(path).frame.rater.tolist() == ["b"]


def test_labels_that_do_not_fit_are_not_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    path.write_text("item,rater,score\n1,a,1 - low\n1,b,2 - high\n")
    with pytest.raises(ValueError, match="labels does not say what '2 - high' is worth; answers: '1 - low'"):
        Ratings.read(path, labels={"1 - low": 10, "2 -high": 20})
    with pytest.raises(
        ValueError, match=r"l\.csv: nobody answered 'low' or another of labels; answers: '1 - "
    ):
        Ratings.read(path, labels={"low": 10, "high": 20})
    with pytest.raises(ValueError, match=r"l\.csv, line 2: the score is nan, not a finite number"):
        Ratings.read(path, labels={"1 - low": math.nan, "2 - high": 20})
    path.write_text("item,rater,score\n1,a,inf\n1,b,high\n")
    with pytest.raises(ValueError, match=r"l\.csv, line 2: the score is inf, not a finite number"):
        Ratings.read(path, labels={"high": 20})


def test_fractions_of_different_totals_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    path.write_text("item,rater,score\n1,a,4/5\n1,b,8/10\n")
    with pytest.raises(ValueError, match="out of different totals, '4/5' and '8/10'"):
        Ratings.read(path)
    assert Ratings.read(path, labels={"4/5": 0.8, "8/10": 0.8}).frame.score.tolist() == [0.8, 0.8]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_columns_are_read_as_rows_would_be(form: str, tmp_path: Path) -> None:
    """Columns are taken as codes into their values; here against a loop over the rows."""
    random = np.random.default_rng(3)
    n = tables.ROWS + 300
    table = pd.DataFrame(
        {
            "item": random.choice(["7", "007", " ü 1", "9.0", "x,y"], n),
            "worker": random.choice(["anna", "ben", "99"], n),
            "score": random.choice(["1", "2.5", "skip", "", " 4"], n, p=[0.4, 0.3, 0.1, 0.1, 0.1]),
            "seconds": random.choice(["3", "-1", "", "1e3"], n),
            "status": random.choice(["submitted", "", "draft", "ground truth", "Model"], n),
            "was_cancelled": random.choice(["False", "", "1"], n),
            "feature": random.choice(["", "tail"], n),
        }
    )
    path = tmp_path / f"t.{form}"
    for columns in (7, 6, 4):
        some = table[table.columns[:columns]]
        some.to_csv(path, index=False) if form == "csv" else some.to_parquet(path)
        found = Ratings.read(path)
        expected: dict[str, list[tuple[Any, ...]]] = {
            k: [] for k in ("frame", "skipped", "gold", "predictions")
        }
        for row in some.to_dict("records"):
            item, feature = row["item"].strip(), row.get("feature") or None
            score, status = row["score"].strip(), row.get("status", "")
            reason = "cancelled" if row.get("was_cancelled") == "1" else {"draft": "draft"}.get(status)
            if reason is None and score not in ("", "skip") and status in ("submitted", ""):
                expected["frame"].append((item, row["worker"], feature, float(score)))
            elif reason is None and status == "ground truth" and score:
                truth = math.nan if score == "skip" else float(score)
                expected["gold"].append((item, feature, truth))
            elif reason is None and status == "Model" and score:
                predicted = math.nan if score == "skip" else float(score)
                expected["predictions"].append((item, row["worker"], feature, predicted))
            else:
                why = reason or ("skipped" if score else "empty")
                expected["skipped"].append((item, row["worker"], why))
        assert [r[:4] for r in rows_of(found)] == expected["frame"]
        skipped = found.skipped[["item", "rater", "reason"]].itertuples(index=False, name=None)
        assert list(skipped) == expected["skipped"]
        for frame, name in ((found.ground_truth, "gold"), (found.predictions, "predictions")):
            assert frame.drop(columns="score").to_numpy(dtype=object).tolist() == [
                list(row[:-1]) for row in expected[name]
            ]
            np.testing.assert_array_equal(frame.score, [row[-1] for row in expected[name]])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (5000, "line 5000: no item in column 'item'"),
        (4098, "line 4098: no rater in column 'rater'"),
        (5000, "line 5000: the score is inf, not a finite number"),
        (5000, "line 5000: the answer is 'high', where others are numbers"),
        (4097, "line 4097: 2 cells where the header has 3"),
    ],
)
def test_one_bad_row_among_thousands_is_named(line: int, message: str, tmp_path: Path) -> None:
    rows = ["item,rater,score"] + ["1,anna,3", "2,ben,4"] * 3000
    bad = {"item": ",anna,3", "rater": "1,,3", "inf": "1,anna,inf", "high": "1,anna,high", "cells": "1,anna"}
    rows[line - 1] = next(text for word, text in bad.items() if word in message.partition(": ")[2])
    rows[5500] = rows[line - 1]  # the first is named
    (tmp_path / "t.csv").write_text("\n".join(rows))
    with pytest.raises(ValueError, match=message):
        Ratings.read(tmp_path / "t.csv")


def test_numbers_that_are_no_ids_and_no_scores(tmp_path: Path) -> None:
    rows = [{"item": item, "rater": "a", "score": 1} for item in (True, 1, 1.0, 1.5, math.inf)]
    path = write(tmp_path, rows)
    assert Ratings.read(path).frame.item.tolist() == ["True", "1", "1", "1.5", "inf"]
    for huge in (10**400, -(10**400)):
        path = write(tmp_path, [{"item": 1, "rater": "a", "score": huge, "seconds": huge}])
        with pytest.raises(ValueError, match=r"line 1: the score is -?inf, not a finite number"):
            Ratings.read(path)
        task = {"id": 1, "data": {}, "annotations": [{"id": 1, "completed_by": 1, "lead_time": huge, "result": [
            {"type": "rating", "from_name": "r", "to_name": "t", "value": {"rating": huge}}]}]}  # fmt: skip
        with pytest.raises(ValueError, match=r"the score is -?inf, not a finite number"):
            Ratings.read(write(tmp_path, [task]))


@pytest.mark.parametrize(
    ("cells", "scores"),
    [
        (["3,5", "0,125", "12"], [3.5, 0.125, 12]),
        (["1,234.5", "950", "-1,000,000.25"], [1234.5, 950, -1000000.25]),
        (["100%", "50 %", "12.5%"], [100, 50, 12.5]),
        (["100% sure", "50% sure", "100% sure"], [100, 50, 100]),
        (["1,5 stars", "2 stars", "2,0 stars - good"], None),
    ],
)
def test_numbers_as_people_write_them(cells: list[str], scores: list[float] | None, tmp_path: Path) -> None:
    rows = "".join(f'{i},a,"{cell}"\n' for i, cell in enumerate(cells))
    ratings = Ratings.read(write(tmp_path, "item,rater,score\n" + rows, "t.csv"))
    if scores is None:  # two labels of one number are told apart
        assert ratings.categories == tuple(sorted(cells))
    else:
        assert ratings.frame.score.tolist() == scores


def test_a_comma_that_may_part_thousands_is_refused(tmp_path: Path) -> None:
    for first, other in (
        ("1,000", "950"),
        ("1,000", "2,000"),
        ("12,500 stars", "1 star"),
        ("1,000,000", "7"),
    ):
        path = write(tmp_path, f'item,rater,score\n0,b,"{other}"\n1,a,"{first}"\n', "t.csv")
        with pytest.raises(
            ValueError, match=r"t\.csv, line [23]: the answer is '.*', whose comma may separate thou"
        ):
            Ratings.read(path)
    path = write(tmp_path, 'item,rater,score\n0,b,950\n1,a,"1,000"\n', "t.csv")
    assert Ratings.read(path, labels={"1,000": 1000}).frame.score.tolist() == [950, 1000]
    records = [task(answer("choices", ["1,000"]), answer("choices", ["2"]))]
    with pytest.raises(
        ValueError, match=r"line 1: the answer to 'q' is \['1,000'\], whose comma may separate"
    ):
        Ratings.read(write(tmp_path, records))
    path = write(tmp_path, "item;rater;score\n0;a;1,250\n", "t.csv")  # the comma of such a file is decimal
    assert Ratings.read(path).frame.score.tolist() == [1.25]


def test_truths_and_predictions_in_per_cent(tmp_path: Path) -> None:
    text = "item,rater,score,truth,model_score\n0,a,100%,75%,60 %\n1,a,50%,,\n"
    ratings = Ratings.read(write(tmp_path, text, "t.csv"))
    assert (ratings.ground_truth.score.tolist(), ratings.predictions.score.tolist()) == ([75], [60])


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ({"item": [1, 2], "rater": ["a", "b"], "score": [3, 4]}, r"integer as item, not \[1, 2\]"),
        ({"item": {"0": 1}, "rater": {"0": "a"}, "score": {"0": 3}}, r"integer as item, not \{'0': 1\}"),
        ({"item": 1, "rater": ["a"], "score": 3}, r"integer as rater, not \['a'\]"),
        ({"item": 1, "rater": "a", "feature": ["ear"], "score": 3}, r"integer as feature, not \['ear'\]"),
        (task(answer("rating", 3)) | {"id": {"a": 1}}, r"integer as item, not \{'a': 1\}"),
        ({"id": 1, "data": {}, "annotations": [{"completed_by": [1, 2]}]}, r"integer as rater, not \[1, 2\]"),
        ({"id": 1, "data": {}, "annotations": [{"completed_by": {"email": []}}]}, r"integer as rater, not \[\]"),
        ({"id": [1], "annotator": 1, "annotation_id": 1, "lead_time": 1}, r"integer as item, not \[1\]"),
        (record(responses={"q": [{"value": 3, "user_id": ["u1"]}]}), r"integer as rater, not \['u1'\]"),
        (record(responses={"q": []}) | {"id": {}}, r"integer as item, not \{\}"),
        (prodigy(rating=3) | {"_input_hash": {"a": 1}, "label": "x"}, r"integer as item, not \{'a': 1\}"),
        (prodigy(rating=3) | {"_session_id": ["s"]}, r"integer as rater, not \['s'\]"),
    ],
)  # fmt: skip
def test_lists_and_objects_are_no_ids(records: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write(tmp_path, "\n" + json.dumps(records), "c.json")
    with pytest.raises(ValueError, match=rf"c\.json, line 2: expected text or an {message}"):
        Ratings.read(path)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (record(responses={"q": []}, suggestions=3), "expected 'suggestions' as a list, not 3"),
        (record(responses=[{"values": ["q"]}]), r"expected 'values' as an object, not \['q'\]"),
        (prodigy(accept=["low"], options=3), "expected 'options' as a list, not 3"),
    ],
)
def test_parts_of_another_shape_are_refused(value: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"export\.json, line 1: {message}"):
        Ratings.read(write(tmp_path, [value]))


@pytest.mark.parametrize(
    "record",
    [
        {"id": 7, "label": 1, "ratings": {"anna": 3, "ben": 4}},
        {"id": 7, "ratings": {"anna": 3, "ben": 4, "id": 8}},
        {"id": 7, "question": "which?", "scores": {"anna": 3, "ben": 4, "mean": 3.5}},
    ],
)
def test_a_map_of_ratings_names_raters(record: dict[str, Any], tmp_path: Path) -> None:
    path = write(tmp_path, [record], "t.json")
    with pytest.raises(ValueError, match=r"may be raters or questions.*raters=\['anna', 'ben'"):
        Ratings.read(path)
    for arguments in ({"format": "wide"}, {"raters": ["anna", "ben"]}):
        ratings = Ratings.read(path, **arguments)  # type: ignore[arg-type]
        rows = [r[:4] for r in rows_of(ratings)]
        assert rows[:2] == [(7, "anna", None, 3), (7, "ben", None, 4)]
        assert rows[2:] == ([(7, "mean", None, 3.5)] if "format" in arguments and "scores" in record else [])
        assert ("label" in ratings.unread) == ("label" in record)
    if "question" in record:
        return
    questions = Ratings.read(path, "long", question=["anna", "ben"])
    assert [r[2:4] for r in rows_of(questions)] == [("anna", 3), ("ben", 4)]


def test_raters_of_a_map_are_called_anything(tmp_path: Path) -> None:
    records = [{"item": 1, "ratings": {"user": 2, "judge": 3, "note": 4}}, {"item": 2, "ratings": {}}]
    ratings = Ratings.read(write(tmp_path, records), "wide")
    assert [r[:4] for r in rows_of(ratings)] == [
        (1, "user", None, 2),
        (1, "judge", None, 3),
        (1, "note", None, 4),
    ]
    assert ratings.unrated == [2]


@pytest.mark.parametrize(
    ("record", "rows"),
    [
        ({"item": 1, "ratings": {"annotator": "a", "score": 3}}, [(1, "a", None, 3)]),
        ({"item": 1, "ratings": {"score": 3, "seconds": 2}}, [(1, "rater", None, 3)]),
    ],
)
def test_maps_of_something_else(record: dict[str, Any], rows: list[Any], tmp_path: Path) -> None:
    assert [r[:4] for r in rows_of(Ratings.read(write(tmp_path, [record])))] == rows


def test_a_map_of_questions(tmp_path: Path) -> None:
    path = write(tmp_path, [{"item": 1, "user": "a", "ratings": {"clarity": 2, "use": 3}}])
    with pytest.raises(ValueError, match=r"question=\['clarity', 'use'\]"):
        Ratings.read(path)
    found = Ratings.read(path, question=["clarity", "use"])
    assert [r[:4] for r in rows_of(found)] == [(1, "a", "clarity", 2), (1, "a", "use", 3)]


def test_columns_of_words_in_a_table_said_to_be_wide(tmp_path: Path) -> None:
    path = write(tmp_path, "item,anna,ben,cy\n1,yes,no,\n", "t.csv")
    assert [r[:4] for r in rows_of(Ratings.read(path, "wide"))] == [(1, "anna", None, 1), (1, "ben", None, 0)]
    ratings = Ratings.read(write(tmp_path, "item,caption,anna,ben\n1,a cat,3,skip\n", "t.csv"), "wide")
    assert [r[:4] for r in rows_of(ratings)] == [(1, "anna", None, 3)]
    assert ratings.skipped.rater.tolist() == ["ben"]
    assert ratings.unread == {"caption": "words, where others are numbers"}


def test_raters_of_features_in_a_wide_table(tmp_path: Path) -> None:
    records = [
        {"item": 1, "feature": f, "ratings": {"anna": i, "ben": i + 1}} for i, f in enumerate(["ear", "tail"])
    ]
    expected = [(1, "anna", "ear", 0), (1, "ben", "ear", 1), (1, "anna", "tail", 1), (1, "ben", "tail", 2)]
    assert [r[:4] for r in rows_of(Ratings.read(write(tmp_path, records), "wide"))] == expected
    path = write(tmp_path, "item,part,anna,ben\n1,ear,0,1\n", "t.csv")
    ratings = Ratings.read(path, "wide", columns={"feature": "part"})
    assert [r[:4] for r in rows_of(ratings)] == expected[:2]


@pytest.mark.parametrize(
    ("text", "rows", "spare"),
    [
        ("image,label,anna,ben\n1,3,4,5\n", [(1, "anna", None, 4), (1, "ben", None, 5)], ["label"]),
        ("id,prompt,response,anna,ben\n1,why,so,4,5\n", [(1, "anna", None, 4), (1, "ben", None, 5)],
         ["prompt", "response"]),
        ("item,feature,anna,ben\n1,ear,4,5\n1,tail,3,2\n",
         [(1, "anna", "ear", 4), (1, "ben", "ear", 5), (1, "anna", "tail", 3), (1, "ben", "tail", 2)], []),
        ("item,value,mean,anna,ben\n1,3,3,4,5\n",
         [(1, "anna", None, 4), (1, "ben", None, 5)], ["value", "mean"]),
    ],
)  # fmt: skip
def test_what_may_be_long_or_wide_is_asked_for(
    text: str, rows: list[Any], spare: list[str], tmp_path: Path
) -> None:
    path = write(tmp_path, text, "t.csv")
    with pytest.raises(ValueError, match=r"t\.csv, line 1: .*raters=\[(.*, )?'anna', 'ben'\]"):
        Ratings.read(path)
    ratings = Ratings.read(path, raters=["anna", "ben"])
    assert [r[:4] for r in rows_of(ratings)] == rows
    assert list(ratings.unread) == spare
    if "label" in spare:
        assert Ratings.read(path, "long").frame.score.tolist() == [3]
        assert Ratings.read(path, columns={"score": "label"}).frame.score.tolist() == [3]
        assert Ratings.read(path, question="label").frame.score.tolist() == [3]


@pytest.mark.parametrize(
    ("record", "rows"),
    [
        ({"id": 7, "ratings": [{"id": 1, "rater": "a", "score": 3}, {"id": 2, "rater": "b", "score": 5}]},
         [(7, "a"), (7, "b")]),
        ({"filename": "x", "annotations": [{"id": 1, "uid": "u", "rater": "a", "score": 3}]}, [("x", "a")]),
        ({"id": 7, "ratings": [{"id": 1, "score": 3}]}, [(7, "rater")]),
        ({"id": None, "ratings": [{"id": 1, "rater": "a", "score": 3}]}, [(1, "a")]),
        ({"id": 7, "user": "a", "ratings": [{"id": 1, "score": 3}, {"id": 2, "score": 5}]}, [(1, "a"), (2, "a")]),
        ({"id": 7, "ratings": [{"item": 1, "rater": "a", "score": 3}]}, [(1, "a")]),
    ],
)  # fmt: skip
def test_the_item_of_ratings_inside_a_record(record: dict[str, Any], rows: list[Any], tmp_path: Path) -> None:
    ratings = Ratings.read(write(tmp_path, [record]))
    assert [r[:2] for r in rows_of(ratings)] == rows


def test_the_item_inside_a_record_can_be_named(tmp_path: Path) -> None:
    path = write(tmp_path, [{"id": 7, "ratings": [{"uid": "u", "rater": "a", "score": 3}]}])
    assert Ratings.read(path).frame.item.tolist() == [7]
    assert Ratings.read(path, item="uid").frame.item.tolist() == ["u"]

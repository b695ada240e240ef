"""Long and wide tables: their columns, rows that are no ratings, truths and predictions."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from exports import rows_of, write

from hitl_fast.ratings import Ratings
from hitl_fast.ratings.formats import csv_table as tables


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

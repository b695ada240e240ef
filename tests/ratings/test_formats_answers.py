"""What an answer is worth: numbers as people write them, fractions, labels; ids that are none."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from exports import answer, prodigy, record, task, write

from hitl_fast.ratings import Ratings


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
        ({"item": [1, 2], "rater": "a", "score": 3}, r"integer as item, not \[1, 2\]"),
        ({"item": {"0": 1}, "rater": "a", "score": 3}, r"integer as item, not \{'0': 1\}"),
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

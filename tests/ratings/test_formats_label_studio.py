"""Label Studio: kinds of answers, choices, drafts and cancelled annotations, rows."""

from pathlib import Path
from typing import Any

import pytest
from exports import answer, rows_of, task, write

from hitl_fast.ratings import Ratings


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
    with pytest.raises(ValueError, match="'p' .*columns={'first': 'data.a', 'second': 'data.b'}"):
        Ratings.read(write(tmp_path, [task(pair)]))


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

"""Ratings inside JSON records, under any key and of any shape: read, or refused with the key and the call to make."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exports import advised
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hitl_fast.ratings import Ratings

Truth = dict[tuple[str, str], float]
TRUTH: Truth = {("a", "ann"): 4, ("a", "ben"): 5, ("b", "ann"): 1, ("b", "cyd"): 2}


def write(folder: Path, records: Any, suffix: str = "jsonl") -> Path:
    path = folder / f"x.{suffix}"
    path.write_text("\n".join(map(json.dumps, records)) if suffix == "jsonl" else json.dumps(records))
    return path


def scores_of(ratings: Ratings) -> Truth:
    f = ratings.frame
    return {(str(i), str(r)): s for i, r, s in zip(f.item, f.rater, f.score, strict=True)}


def by_item(truth: Truth) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for (item, rater), score in truth.items():
        found.setdefault(item, {})[rater] = score
    return found


def side_by_side(truth: Truth, key: str, rater: str, score: str) -> list[dict[str, Any]]:
    return [
        {"item": i, "text": "t", rater: list(g), score: list(g.values())} for i, g in by_item(truth).items()
    ]


def objects(truth: Truth, key: str, rater: str, score: str) -> list[dict[str, Any]]:
    return [
        {"item": i, "text": "t", key: [{rater: r, score: s, "id": k} for k, (r, s) in enumerate(g.items())]}
        for i, g in by_item(truth).items()
    ]


def maps(truth: Truth, key: str, rater: str, score: str) -> list[dict[str, Any]]:
    return [{"item": i, "text": "t", key: g} for i, g in by_item(truth).items()]


def maps_of_objects(truth: Truth, key: str, rater: str, score: str) -> list[dict[str, Any]]:
    return [
        {"item": i, "text": "t", key: {r: {score: s, "time_spent": 2} for r, s in g.items()}}
        for i, g in by_item(truth).items()
    ]


RATER_LISTS = ["annotators", "raters", "workers", "worker_ids", "annotatorIds", "judges", "users", "coders"]
SCORE_LISTS = [
    "labels",
    "ratings",
    "scores",
    "votes",
    "answers",
    "annotations",
    "judgments",
    "grades",
    "responses",
]


@pytest.mark.parametrize("rater", RATER_LISTS)
@pytest.mark.parametrize("score", SCORE_LISTS)
def test_lists_side_by_side(rater: str, score: str, tmp_path: Path) -> None:
    records = [
        {"id" if k == "item" else k: v for k, v in r.items()} for r in side_by_side(TRUTH, "", rater, score)
    ]
    assert scores_of(Ratings.read(write(tmp_path, records))) == TRUTH
    words = [{**r, score: ["good" if s > 3 else "poor" for s in r[score]]} for r in records]
    found = Ratings.read(write(tmp_path, words))  # and no check boxes of doccano
    assert found.categories == ("good", "poor")
    assert found.frame.rater.tolist() == ["ann", "ben", "ann", "cyd"]


def test_lists_that_do_not_say_what_they_are(tmp_path: Path) -> None:
    records = side_by_side(TRUTH, "", "who", "liking")
    path = write(tmp_path, records)
    with pytest.raises(ValueError, match=r"'who', 'liking'.*columns=\{'rater': 'who', 'score': 'liking'\}"):
        Ratings.read(path)
    assert scores_of(Ratings.read(path, columns={"rater": "who", "score": "liking"})) == TRUTH
    path = write(tmp_path, side_by_side(TRUTH, "", "annotators", "liking"))
    with pytest.raises(ValueError, match=r"list 'annotators' .*'liking'.*'score': 'liking'"):
        Ratings.read(path)
    both = [{**r, "scores": r["ratings"]} for r in side_by_side(TRUTH, "", "raters", "ratings")]
    with pytest.raises(ValueError, match="'ratings', 'scores' may each be of the scores.*columns="):
        Ratings.read(write(tmp_path, both))
    assert scores_of(Ratings.read(tmp_path / "x.jsonl", columns={"score": "scores"})) == TRUTH
    two = [{**r, "use": r["liking"]} for r in side_by_side(TRUTH, "", "annotators", "liking")]
    assert Ratings.read(write(tmp_path, two), question=["liking", "use"]).features == ["liking", "use"]
    short = [
        {"item": "a", "raters": ["x", "y"], "labels": [1, 2]},
        {"item": "b", "raters": ["x", "y"], "labels": [1]},
    ]
    with pytest.raises(ValueError, match="line 2: 2 entries in 'raters' and 1 in 'labels'"):
        Ratings.read(write(tmp_path, short))
    with pytest.raises(ValueError, match="'scores_by_users'.*write a row for each"):
        Ratings.read(write(tmp_path, [{"item": "a", "scores_by_users": [1, 2]}]))
    with pytest.raises(ValueError, match=r"\[\['ann', 4\]\].*'ratings'.*write a row for each"):
        Ratings.read(write(tmp_path, [{"item": "a", "ratings": [["ann", 4]]}]))


SHAPES = {"side": side_by_side, "objects": objects, "maps": maps, "maps of objects": maps_of_objects}


def followed(source: Any, message: str, steps: int = 3) -> list[Truth]:
    """What the advised calls read, and those that they advise in turn."""
    found = []
    for arguments in advised(message) if steps else []:
        try:
            found.append(scores_of(Ratings.read(source, **arguments)))
        except ValueError as refused:
            found += followed(source, str(refused), steps - 1)
    return found


@pytest.mark.jit  # long: in the compiled pass alone
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.sampled_from(sorted(SHAPES)),
    key=st.sampled_from(
        ["ratings", "votes", "opinions", "reviews", "by_user", "annotators", "labels", "entries"]
    ),
    rater=st.sampled_from(["annotator", "workerId", "who", "by"]),
    score=st.sampled_from(["score", "label", "points", "liking"]),
    extra=st.lists(st.sampled_from(["meta", "tags", "embedding", "length", "created_at"]), unique=True),
    memory=st.booleans(),
)
def test_any_shape_is_read_or_refused_with_a_call_that_reads_it(
    shape: str, key: str, rater: str, score: str, extra: list[str], memory: bool, tmp_path: Path
) -> None:
    import pyarrow as pa

    records = SHAPES[shape](TRUTH, key, rater, score)
    beside = {"meta": {"source": "web", "n": 3}, "tags": ["x", "y", "z"], "embedding": [0.5, 0.25, 1.0, 2.0],
              "length": 12, "created_at": "2026-01-01"}  # fmt: skip
    records = [{**{k: beside[k] for k in extra}, **r} for r in records]
    memory = memory and not shape.startswith(
        "maps"
    )  # of which pyarrow would make a key for each rater everywhere
    source: Any = pa.Table.from_pylist(records) if memory else write(tmp_path, records)
    try:
        found = Ratings.read(source)
    except ValueError as refused:
        message = str(refused)
        named = (rater, score) if shape in ("side", "objects") else (key,)
        assert all(repr(n) in message for n in named), message
        read = followed(source, message)
        assert TRUTH in read, message
    else:
        assert scores_of(found) == TRUTH


def test_lists_of_objects(tmp_path: Path) -> None:
    for key, rater, score in (
        ("reviews", "user", "stars"),
        ("opinions", "annotator", "label"),
        ("annotators", "id", "score"),
    ):
        assert scores_of(Ratings.read(write(tmp_path, [
            {"item": i, key: [{rater: r, score: s} for r, s in g.items()]} for i, g in by_item(TRUTH).items()
        ]))) == TRUTH  # fmt: skip
    path = write(tmp_path, objects(TRUTH, "reviews", "by", "points"))
    with pytest.raises(ValueError, match=r"list 'reviews' has objects with 'by', 'points'.*columns="):
        Ratings.read(path)
    assert scores_of(Ratings.read(path, columns={"rater": "by", "score": "points"})) == TRUTH
    by_rater = [{"worker": "ann", "answers": [{"item": "a", "score": 4}, {"item": "b", "score": 1}]}]
    assert scores_of(Ratings.read(write(tmp_path, by_rater))) == {("a", "ann"): 4, ("b", "ann"): 1}
    two = [{**r, "judgments": r["annotations"]} for r in objects(TRUTH, "annotations", "annotator", "label")]
    with pytest.raises(
        ValueError, match="'annotations', 'judgments' are lists that may each hold the ratings"
    ):
        Ratings.read(write(tmp_path, two))
    beside = [{"item": "a", "rater": "x", "score": 3, "spans": [{"annotator": "x", "label": "PER"}]}]
    assert scores_of(Ratings.read(write(tmp_path, beside))) == {("a", "x"): 3}


def test_maps(tmp_path: Path) -> None:
    path = write(tmp_path, [{"item": "a", "votes": {"ann": 1, "ben": 0}}])
    with pytest.raises(ValueError, match=r"map 'votes' may be raters or questions.*raters=\['ann', 'ben'\]"):
        Ratings.read(path)
    assert scores_of(Ratings.read(path, raters=["ann", "ben"])) == {("a", "ann"): 1, ("a", "ben"): 0}
    assert scores_of(Ratings.read(path, columns={"rater": "votes"})) == {("a", "ann"): 1, ("a", "ben"): 0}
    many = write(tmp_path, [{"item": "a", "votes": {f"w{k}": k % 3 for k in range(99)}}])
    with pytest.raises(ValueError, match=r"columns=\{'rater': 'votes'\}") as refused:
        Ratings.read(many)
    assert len(str(refused.value)) < 600
    assert len(Ratings.read(many, columns={"rater": "votes"})) == 99
    items = write(
        tmp_path, [{"rater": "ann", "ratings": {"a": 4, "b": 1}}, {"rater": "ben", "ratings": {"a": 5}}]
    )
    with pytest.raises(ValueError, match=r"columns=\{'item': 'ratings'\}"):
        Ratings.read(items)
    told = scores_of(Ratings.read(items, columns={"item": "ratings"}))
    assert told == {("a", "ann"): 4, ("b", "ann"): 1, ("a", "ben"): 5}
    deep = write(
        tmp_path, [{"item": "a", "votes": {"use": {"ann": 1, "ben": 2}, "look": {"ann": 3, "ben": 4}}}]
    )
    with pytest.raises(ValueError, match=r"map 'votes' .*columns=\{'feature': 'votes'\}"):
        Ratings.read(deep)
    found = Ratings.read(deep, columns={"feature": "votes"}, raters=["ann", "ben"])
    assert found.only("look").frame.score.tolist() == [3, 4]


@pytest.mark.parametrize("orient", ["records", "split", "columns", "index", "table", "list"])
def test_frames_as_pandas_writes_them(orient: str, tmp_path: Path) -> None:
    import pandas as pd

    table = pd.DataFrame([(i, r, s) for (i, r), s in TRUTH.items()], columns=["itemId", "rater", "score"])
    path = tmp_path / "x.json"
    if orient == "list":
        path.write_text(json.dumps(table.to_dict("list")))
    else:
        table.to_json(path, orient=orient)  # type: ignore[call-overload]
    assert scores_of(Ratings.read(path)) == TRUTH


def test_one_object_around_items_or_raters(tmp_path: Path) -> None:
    items = {i: [{"rater": r, "score": s} for r, s in g.items()] for i, g in by_item(TRUTH).items()}
    assert scores_of(Ratings.read(write(tmp_path, items, "json"))) == TRUTH
    raters: dict[str, list[Any]] = {}
    for (item, rater), score in TRUTH.items():
        raters.setdefault(rater, []).append({"item": item, "score": score})
    assert scores_of(Ratings.read(write(tmp_path, raters, "json"))) == TRUTH
    with pytest.raises(ValueError, match=r"one object around objects: write a list of records.*'item': 'a'"):
        Ratings.read(write(tmp_path, by_item(TRUTH), "json"))


def test_nested_tables_in_memory_and_in_parquet(tmp_path: Path) -> None:
    import pandas as pd
    import polars as pl
    import pyarrow as pa
    import pyarrow.parquet as pq

    for records in (
        side_by_side(TRUTH, "", "annotators", "labels"),
        objects(TRUTH, "annotations", "worker", "label"),
    ):
        table = pa.Table.from_pylist(records)
        pq.write_table(table, path := tmp_path / "x.parquet")
        for source in (path, table, pl.from_arrow(table), pd.DataFrame(records)):
            assert scores_of(Ratings.read(source)) == TRUTH
    plain = [
        {"item": i, "rater": r, "score": s, "embedding": np.ones(3).tolist()} for (i, r), s in TRUTH.items()
    ]
    assert scores_of(Ratings.read(pa.Table.from_pylist(plain))) == TRUTH


def test_lists_as_text_in_a_csv_file(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text('item,annotators,labels\na,"[""x"", ""y""]","[1, 0]"\n')
    with pytest.raises(ValueError, match=r"column 'annotators' holds lists .*write a row for each rating"):
        Ratings.read(path)


def test_what_a_rating_lacks_is_not_taken_from_its_record(tmp_path: Path) -> None:
    """A record's mean score, or its own rater, is none of its ratings'."""
    path = tmp_path / "r.jsonl"

    def written(**record: Any) -> Path:
        path.write_text("\n".join(json.dumps({"id": i, **record}) for i in range(3)))
        return path

    found = Ratings.read(
        written(score=4.5, ratings=[{"rater": "a", "score": 1}, {"rater": "b", "comment": "?"}])
    )
    assert (set(found.frame.rater), set(found.frame.score)) == ({"a"}, {1})
    assert (set(found.skipped.rater), set(found.skipped.reason)) == ({"b"}, {"empty"})
    with pytest.raises(ValueError, match="line 1: no rater in column 'rater'"):
        Ratings.read(written(rater="team", ratings=[{"rater": "a", "score": 1}, {"score": 4}]))


def test_a_map_keeps_to_its_entries(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    record = {"score": 4.5, "seconds": 90, "votes": {"ann": {"score": 5}, "bob": {"comment": "?"}}}
    path.write_text("\n".join(json.dumps({"item": i} | record) for i in range(3)))
    frame = Ratings.read(path, columns={"rater": "votes"}).frame
    assert (set(frame.rater), set(frame.score)) == ({"ann"}, {5})


def test_several_maps_of_raters_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps({"item": 0, "quality": {"ann": 5, "bob": 3}, "fluency": {"ann": 1, "bob": 1}}))
    with pytest.raises(ValueError, match="'quality'.*'fluency'.*columns="):
        Ratings.read(path, raters=["ann", "bob"])
    assert Ratings.read(path, columns={"rater": "fluency"}).frame.score.tolist() == [1, 1]


def test_items_inside_records_that_name_items_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    ratings = [{"rater": r, "item": s, "score": 1} for r in "ab" for s in ("s1", "s2")]
    path.write_text(json.dumps({"item": "doc1", "ratings": ratings}))
    with pytest.raises(ValueError, match="'item' names the record.*'s1'"):
        Ratings.read(path)


@pytest.mark.parametrize("keys", [("results", "removed"), ("data", "old")])
def test_lists_beside_the_ratings_are_not_pooled_with_them(keys: tuple[str, str], tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    rows = [{"item": i, "rater": r, "score": i} for i in range(3) for r in "ab"]
    path.write_text(json.dumps({keys[0]: rows, keys[1]: [{"item": 0, "rater": "a", "score": 9}]}))
    assert Ratings.read(path).frame.score.max() == 2

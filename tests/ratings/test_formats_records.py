"""Records with a map of ratings inside."""

from pathlib import Path
from typing import Any

import pytest
from exports import rows_of, write

from hitl_fast.ratings import Ratings


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

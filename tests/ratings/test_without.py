"""Raters who are no people, or who are to be dropped, are left out by name."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import hitl_fast as hf
from hitl_fast._common.errors import InputError
from hitl_fast.cli import main

TABLE = pd.DataFrame(
    {
        "item": [*np.repeat(np.arange(10), 3), 99],
        "rater": ["ann", "ben", "gpt-4"] * 10 + ["gpt-4"],
        "score": [1 + (i * 7 + j * j) % 5 for i in range(10) for j in range(3)] + [3],
    }
)


@pytest.mark.parametrize("names", ["gpt-4", ["gpt-4"]])
def test_the_rest_is_what_a_file_without_these_raters_gives(names: str | list[str]) -> None:
    found = hf.Ratings.read(TABLE).without(names)
    expected = hf.Ratings.read(TABLE[TABLE.rater != "gpt-4"], scale=(1, 5))
    pd.testing.assert_frame_equal(found.frame, expected.frame)
    assert found.aggregate("mean").score.tolist() == expected.aggregate("mean").score.tolist()
    assert str(found.agreement()) == str(expected.agreement())
    assert found.unrated == [99]
    assert "by 2 raters" in found.summary()
    assert "without gpt-4" in found.summary()
    assert "by 3 raters" in hf.Ratings.read(TABLE).summary()


def test_questions_that_nobody_else_answered_go() -> None:
    rows = [("a", 0, "ann", 1), ("a", 1, "ann", 2), ("b", 0, "m", 3), ("b", 1, "m", 4), ("a", 0, "m", 2)]
    table = pd.DataFrame(rows, columns=["feature", "item", "rater", "score"])
    ratings = hf.Ratings.read(table, columns={"feature": "feature"})
    assert list(ratings.questions) == ["a", "b"]
    found = ratings.without("m")
    assert list(found.questions) == ["a"]
    assert len(found) == 2


def test_comparisons_and_skipped_answers_go_too() -> None:
    table = pd.DataFrame(
        {"first": [0, 1, 2], "second": [1, 2, 0], "rater": ["a", "b", "m"], "winner": [0, 1, 2]}
    )
    found = hf.Ratings.read(table, format="pairwise").without("m")
    assert found.comparisons.rater.tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("names", "says"),
    [("gpt4", "'gpt-4'"), (["ann", "Bn"], "'ben'"), (["ann", "ben", "gpt-4"], "nobody but 'ann'")],
)
def test_names_that_nobody_has(names: str | list[str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        hf.Ratings.read(TABLE).without(names)


def test_the_command_leaves_raters_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    TABLE.to_csv(tmp_path / "r.csv", index=False)
    assert main(["ratings", "summary", str(tmp_path / "r.csv"), "--without", "gpt-4"]) == 0
    assert "by 2 raters" in capsys.readouterr().out

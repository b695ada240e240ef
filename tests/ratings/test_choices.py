"""Choices that platforms spread over columns or join in one cell: one question, yes and no, or refused by name."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hitl_fast.ratings import Ratings

Rows = list[tuple[Any, ...]]
HEAD = ["HITId", "WorkerId", "AssignmentStatus"]


def write(folder: Path, header: list[str], rows: list[list[str]]) -> Path:
    quoted = [",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in [header, *rows]]
    (path := folder / "batch.csv").write_text("\n".join(quoted))
    return path


def batch(
    folder: Path,
    options: list[str],
    answers: list[set[int] | None],
    stem: str = "mood",
    words: tuple[str, str] = ("false", "true"),
    **more: str,
) -> Path:
    """An MTurk batch: each answer is the positions of the options that are true; None where nothing was sent."""
    rows = []
    for k, ticked in enumerate(answers):
        cells = ["" if ticked is None else words[i in ticked] for i in range(len(options))]
        rows.append([f"h{k // 2}", f"w{k % 2}", "Approved", *cells, *more.values()])
    return write(folder, [*HEAD, *(f"Answer.{stem}.{o}" for o in options), *more], rows)


def rows_of(ratings: Ratings) -> Rows:
    f = ratings.frame
    return list(zip(f.item, f.rater, f.feature, f.score, strict=True))


@pytest.mark.parametrize("words", [("0", "1"), ("0.0", "1.0")])
def test_options_of_0_and_1(words: tuple[str, str], tmp_path: Path) -> None:
    """Of a few rows, one 1 in each may be chance; where a row has several, each is a yes or no."""
    choices: list[set[int] | None] = [{k % 3} for k in range(10)]
    found = Ratings.read(batch(tmp_path, ["joy", "awe", "ire"], choices, words=words))
    assert found.categories == ("awe", "ire", "joy")
    assert found.frame.score.tolist() == [(2, 0, 1)[k % 3] for k in range(10)]
    few = batch(tmp_path, ["joy", "awe"], [{0}, {1}, {1}, {0}], words=words)
    with pytest.raises(ValueError, match=r"one of 'Answer.mood.joy'.*question=.*question="):
        Ratings.read(few)
    assert Ratings.read(few, question="mood").categories == ("awe", "joy")
    grid = Ratings.read(few, question=["mood.joy", "mood.awe"])
    assert grid.only("mood.joy").frame.score.tolist() == [1, 0, 0, 1]
    several = Ratings.read(batch(tmp_path, ["joy", "awe"], [{0, 1}, {1}, {1}, {0}], words=words))
    assert sorted(several.questions) == ["mood.awe", "mood.joy"]


def test_radio_buttons_are_one_question(tmp_path: Path) -> None:
    path = batch(tmp_path, ["positive", "negative", "neutral"], [{0}, {1}, {1}, {0}])
    found = Ratings.read(path)
    assert found.categories == ("negative", "positive")
    assert rows_of(found) == [
        ("h0", "w0", None, 1),
        ("h0", "w1", None, 0),
        ("h1", "w0", None, 0),
        ("h1", "w1", None, 1),
    ]
    assert len(found.questions) == 1
    beside = batch(tmp_path, ["positive", "negative"], [{0}, {1}], **{"Answer.agree.on": "true"})
    found = Ratings.read(beside)  # a box of consent is no rating
    assert found.categories == ("negative", "positive")
    assert list(found.unread) == ["agree"]
    assert Ratings.read(beside, question="agree").frame.score.tolist() == [1, 1]
    graded = Ratings.read(batch(tmp_path, ["1", "2", "5"], [{2}, {0}, {1}]))
    assert (graded.frame.score.tolist(), graded.categories) == ([5, 1, 2], None)
    assert Ratings.read(batch(tmp_path, ["true", "false"], [{0}, {1}])).frame.score.tolist() == [1, 0]
    assert Ratings.read(batch(tmp_path, ["0.5", "1.0"], [{0}, {1}])).frame.score.tolist() == [0.5, 1]


def test_boxes_are_a_yes_or_no_each(tmp_path: Path) -> None:
    found = Ratings.read(batch(tmp_path, ["blurry", "dark"], [{0, 1}, {1}, set()]))
    assert found.features == ["mood.blurry", "mood.dark"]
    assert found.only("mood.blurry").frame.score.tolist() == [1, 0, 0]
    box = Ratings.read(batch(tmp_path, ["on"], [{0}, set(), {0}]))
    assert rows_of(box) == [("h0", "w0", None, 1), ("h0", "w1", None, 0), ("h1", "w0", None, 1)]
    boxes = batch(tmp_path, ["on"], [{0}, set()], stem="blurry", **{"Answer.quality": "4"})
    assert Ratings.read(boxes).features == ["blurry", "quality"]


def test_a_choice_left_open_may_be_boxes(tmp_path: Path) -> None:
    path = batch(tmp_path, ["a", "b"], [{0}, set(), {1}], **{"Answer.size": "3"})
    with pytest.raises(
        ValueError, match=r"batch\.csv, line 3: none of 'Answer\.mood\.a'.*question="
    ) as refused:
        Ratings.read(path)
    one, several = re.findall(r"question=(\[.*?\])\)", str(refused.value))
    assert json.loads(one.replace("'", '"')) == ["mood", "size"]
    assert json.loads(several.replace("'", '"')) == ["mood.a", "mood.b", "size"]
    assert Ratings.read(path, question="mood").categories == ("a", "b")
    assert Ratings.read(path, question="mood").skipped.reason.tolist() == ["empty"]
    told = Ratings.read(path, question=["mood.a", "mood.b"])
    assert told.only("mood.a").frame.score.tolist() == [1, 0, 0]
    with pytest.raises(ValueError, match="line 2: .*both true.*'mood' is no choice.*question="):
        Ratings.read(batch(tmp_path, ["a", "b"], [{0, 1}]), question="mood")
    nothing = Ratings.read(batch(tmp_path, ["a", "b"], [{0}, None, {1}]))  # the form was not answered
    assert (nothing.categories, nothing.skipped.reason.tolist()) == (("a", "b"), ["empty"])


def test_rejected_rows_do_not_decide(tmp_path: Path) -> None:
    rows = [["h", "a", "Approved", "true", "false"], ["h", "b", "Rejected", "true", "true"],
            ["h", "c", "Rejected", "false", "false"], ["g", "a", "Approved", "false", "true"]]  # fmt: skip
    path = write(tmp_path, [*HEAD, "Answer.mood.glad", "Answer.mood.sad"], rows)
    found = Ratings.read(path)
    assert (found.categories, found.skipped.reason.tolist()) == (("glad", "sad"), ["rejected", "rejected"])


@pytest.mark.jit  # long: in the compiled pass alone
@pytest.mark.parametrize("form", ["columns", "json", "frame"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    options=st.lists(
        st.sampled_from(["glad", "sad", "so so", "x.y", "Z"]), min_size=2, max_size=5, unique=True
    ),
    seed=st.integers(0, 999),
    kind=st.sampled_from(["one", "several"]),
)
def test_any_form_of_options(form: str, options: list[str], seed: int, kind: str, tmp_path: Path) -> None:
    import pandas as pd

    generator = np.random.default_rng(seed)
    if kind == "one":
        answers = [{int(generator.integers(len(options)))} for _ in range(8)]
    else:
        answers = [set(np.flatnonzero(generator.random(len(options)) < 0.5).tolist()) for _ in range(8)]
        answers[0] = {0, 1}
    path: Any = batch(tmp_path, options, answers)
    if form == "frame":
        path = pd.read_csv(path)
    elif form == "json":
        cells = [json.dumps([{"mood": {o: i in a for i, o in enumerate(options)}}]) for a in answers]
        rows = [[f"h{k // 2}", f"w{k % 2}", "Approved", cell] for k, cell in enumerate(cells)]
        path = write(tmp_path, [*HEAD, "Answer.taskAnswers"], rows)
    found = Ratings.read(path)
    by_cell = {f"h{k // 2} w{k % 2}": a for k, a in enumerate(answers)}
    for item, rater, feature, score in rows_of(found):
        ticked = {options[i] for i in by_cell[f"{item} {rater}"]}
        if kind == "one":
            label = found.categories[int(score)] if found.categories else None
            assert ticked == {label}
        else:
            assert (str(feature).removeprefix("mood.") in ticked) == (score == 1)
    assert len(found) == (8 if kind == "one" else 8 * len(options))


def test_several_lines_in_a_cell_are_several_choices(tmp_path: Path) -> None:
    appen = ["_unit_id", "_worker_id", "flaws", "flaws_gold"]
    rows = [["1", "7", "blurry\ndark", "blurry\ndark"], ["1", "8", "blurry", ""], ["2", "7", "none", ""]]
    found = Ratings.read(write(tmp_path, appen, rows))
    assert found.features == ["blurry", "dark", "none"]
    assert [row[2:] for row in rows_of(found)] == [
        ("blurry", 1), ("dark", 1), ("none", 0), ("blurry", 1), ("dark", 0), ("none", 0), ("blurry", 0), ("dark", 0),
        ("none", 1),
    ]  # fmt: skip
    assert found.ground_truth[["feature", "score"]].values.tolist() == [
        ["blurry", 1],
        ["dark", 1],
        ["none", 0],
    ]
    text = [["1", "7", "it is not a good picture at all\nreally", ""], ["1", "8", "fine", ""]]
    with pytest.raises(ValueError, match="'flaws'.*text of several lines"):
        Ratings.read(write(tmp_path, appen, text), question="flaws")
    turk = write(
        tmp_path, [*HEAD, "Answer.q"], [["h", "a", "Approved", "cat|dog"], ["h", "b", "Approved", "cat"]]
    )
    assert Ratings.read(turk).only("dog").frame.score.tolist() == [1, 0]


@pytest.mark.parametrize("separator", ["\n", "|", ";", ", "])
@pytest.mark.parametrize("form", ["long", "wide", "respondents"])
def test_several_choices_in_a_cell_of_another_table_are_refused(
    separator: str, form: str, tmp_path: Path
) -> None:
    cell = separator.join(("blurry", "dark"))
    told: dict[str, Any] = {}
    if form == "long":
        path = write(tmp_path, ["item", "rater", "label"], [["1", "a", cell], ["1", "b", "dark"]])
    elif form == "wide":
        path, told = (
            write(tmp_path, ["item", "ann", "ben"], [["1", cell, "dark"]]),
            {"raters": ["ann", "ben"]},
        )
    else:
        path = write(tmp_path, ["email", "p1", "p2"], [["a", cell, "dark"], ["b", "dark", "dark"]])
        told = {"format": "respondents", "question": ["p1", "p2"]}
    with pytest.raises(ValueError, match=rf"{re.escape(repr(cell))} in batch\.csv, line 2: .*labels="):
        Ratings.read(path, **told)
    worth = Ratings.read(path, labels={cell: 2, "dark": 1}, **told)
    assert sorted(set(worth.frame.score)) == [1, 2]


def test_labels_with_a_comma_stay_labels(tmp_path: Path) -> None:
    rows = [["1", "a", "yes, all of it"], ["1", "b", "no, nothing"], ["2", "a", "partly"]]
    assert Ratings.read(write(tmp_path, ["item", "rater", "label"], rows)).categories is not None

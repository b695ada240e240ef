"""``hitl-fast ratings summary`` and its drawing."""

import sys
from pathlib import Path

import numpy as np
import pytest

from hitl_fast import cli
from hitl_fast.ratings import Ratings, simulated_ratings
from hitl_fast.ratings.plot import plot_weights

DATA = Path(__file__).parent.parent / "data" / "ratings"


def test_summary_answers_on_one_screen(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ratings", "summary", str(DATA / "label_studio.json")]) == 0
    text = capsys.readouterr().out
    assert len(text.splitlines()) <= 24
    for piece in (
        "155 of 60 items by 4 raters; scores 1 to 5", "1 item without a rating: 5060", "11 cancelled", "17 draft",
        "8 ground truth", "26 predictions", "'comment': text", "alpha 0.8", "reliability", "an answer",
    ):  # fmt: skip
        assert piece in text


@pytest.mark.parametrize("name", ["label_studio.json", "features.csv", "prodigy.jsonl", "wide.csv"])
def test_a_drawing_beside_it(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.png"
    told = ["--format", "wide"] if name == "wide.csv" else []
    assert cli.main(["ratings", "summary", str(DATA / name), "--plot", str(out), *told]) == 0
    assert out.read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in tmp_path.iterdir()] == ["out.png"]
    assert f"drawn into {out}" in capsys.readouterr().out


def test_options_reach_the_reader(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(DATA / "label_studio_min.json")
    assert (
        cli.main(["ratings", "summary", path, "--question", "sure", "--item", "image", "--scale", "0", "100"])
        == 0
    )
    assert "scores 0 to 100" in capsys.readouterr().out
    assert cli.main(["ratings", "summary", path, "--format", "prodigy"]) == 2
    assert "line 2: expected a Prodigy answer" in capsys.readouterr().err


def test_problems_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.csv").write_text("item,rater,score\n1,a\n")
    assert cli.main(["ratings", "summary", str(tmp_path / "x.csv")]) == 2
    assert capsys.readouterr().err == (
        "hitl-fast ratings: x.csv, line 2: 2 cells where the header has 3: the row is cut off or a quote is missing\n"
    )
    assert cli.main(["ratings", "summary", str(tmp_path / "none.csv")]) == 2


def test_a_summary_of_many_raters_is_cut(tmp_path: Path) -> None:
    ratings = simulated_ratings(np.linspace(1, 5, 200), raters=40, each=10, step=None)
    text = ratings.summary()
    assert "and 25 more" in text
    assert "drop: answers do not follow the items (reliability 0.0" in text
    ratings.plot(tmp_path / "r.svg")
    assert b"<svg" in (tmp_path / "r.svg").read_bytes()


def test_other_summaries() -> None:
    constant = Ratings.from_arrays([0, 1, 2, 0, 1, 2], ["a"] * 3 + ["b"] * 3, [3, 3, 3, 1, 2, 3])
    assert "always the same score" in constant.summary()
    assert "too low to rely on one rater" in constant.summary()
    truth = np.repeat(np.arange(20), 2)
    near = Ratings.from_arrays(truth, [0, 1] * 20, truth / 4 + np.tile([0, 1.3], 20))
    assert "good for tentative conclusions" in near.summary()


def test_categories_and_lone_raters_are_drawn(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("item,rater,label\n1,a,cat\n2,a,dog\n3,a,dog\n")
    Ratings.read(tmp_path / "c.csv").plot(tmp_path / "c.png")
    Ratings.from_arrays([0, 1], [0, 0], [2, 2]).plot(tmp_path / "d.png")
    assert {p.name for p in tmp_path.iterdir()} == {"c.csv", "c.png", "d.png"}


def test_weights_by_class_are_drawn(tmp_path: Path) -> None:
    plot_weights(np.linspace(0, 1, 30), np.arange(30) % 3, tmp_path / "w.png", title="simulated raters")
    assert (tmp_path / "w.png").read_bytes().startswith(b"\x89PNG")


def test_without_the_extras(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ratings = Ratings.from_arrays([0], [0], [1])
    with monkeypatch.context() as context:
        context.setitem(sys.modules, "matplotlib.figure", None)
        with pytest.raises(ImportError, match=r"pip install 'hitl-fast\[plots\]'"):
            ratings.plot(tmp_path / "x.png")
    with monkeypatch.context() as context:
        context.setitem(sys.modules, "pandas", None)
        with pytest.raises(ImportError, match=r"pip install 'hitl-fast\[ratings\]'"):
            Ratings.from_arrays([0], [0], [1])

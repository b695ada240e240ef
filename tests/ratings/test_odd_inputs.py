"""Ids, numbers and answers that would be read or carried on wrong in silence."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import hitl_fast as hf
from hitl_fast.ratings import propagation
from hitl_fast.ratings.neighbours import neighbours
from hitl_fast.ratings.priorities import Priorities
from hitl_fast.ratings.propagation import propagate
from hitl_fast.ratings.units import one_answer_each, one_comparison_each


def read(tmp_path: Path, text: str, **options: Any) -> hf.Ratings:
    path = tmp_path / "ratings.csv"
    path.write_text(text)
    return hf.Ratings.read(path, **options)


@pytest.mark.parametrize("between", [";", "\t", "|"])
def test_points_of_thousands_beside_hundreds_are_refused(between: str, tmp_path: Path) -> None:
    text = "item;rater;score\n1;a;1.200\n2;a;900\n1;b;1.100\n2;b;850\n".replace(";", between)
    with pytest.raises(ValueError, match=r"line 2.*1,200.*thousands"):
        read(tmp_path, text)


@pytest.mark.parametrize("between", [";", "\t"])
def test_points_of_thousands_beside_decimal_commas_are_no_seconds(between: str, tmp_path: Path) -> None:
    text = "item;rater;score;seconds\n1;a;3,5;1.200\n2;a;4,0;9\n1;b;2,5;2.100\n".replace(";", between)
    found = read(tmp_path, text).frame
    assert found.score.tolist() == [3.5, 4.0, 2.5]
    assert not (found.seconds < 9).any()


def test_points_that_part_no_thousands_stay(tmp_path: Path) -> None:
    found = read(tmp_path, "item;rater;score\n1;a;1.125\n2;a;4\n1;b;0.5\n2;b;2.250\n").frame
    assert found.score.tolist() == [1.125, 4, 0.5, 2.25]
    assert read(tmp_path, "item;rater;score\n1;a;1.125\n2;a;4\n1;b;2.250\n").frame.score.tolist() == [
        1.125,
        4,
        2.25,
    ]


@pytest.mark.parametrize("id_", ["1.23457E+18", "1,23457E+18", "9.9E+11"])
@pytest.mark.parametrize("column", ["item", "rater"])
def test_ids_that_a_spreadsheet_shortened_are_refused(column: str, id_: str, tmp_path: Path) -> None:
    rows = {"item": ["1", "2", "3"], "rater": ["a", "b", "a"], "score": ["1", "2", "3"]}
    rows[column][1] = f'"{id_}"'
    text = "\n".join(",".join(cells) for cells in [list(rows), *zip(*rows.values(), strict=True)])
    with pytest.raises(ValueError, match=rf"line 3: the {column} '{id_.replace('+', '[+]')}'.*shortened"):
        read(tmp_path, text)


def test_ids_that_floats_have_cut_are_refused() -> None:
    ids = [1234567890123456789, 1234567890123456788, None]
    frame = pd.DataFrame({"item": ids, "rater": ["a", "a", "b"], "score": [1, 2, 3]})
    with pytest.raises(ValueError, match=r"item 1\.23.*shortened"):
        hf.Ratings.read(frame.dropna())
    with pytest.raises(ValueError, match=r"items\[0\].*shortened"):
        hf.Ratings.from_arrays(["1.23457E+18", "2"], ["a", "b"], [1, 2])
    whole = hf.Ratings.from_arrays(np.array([10**18, 10**18 + 1]), ["a", "b"], [1, 2])
    assert whole.frame.item.nunique() == 2


@pytest.mark.parametrize("other", ["1.0", "1.00"])
@pytest.mark.parametrize("column", ["item", "rater"])
def test_two_spellings_of_one_number_are_refused(column: str, other: str, tmp_path: Path) -> None:
    rows = {"item": ["1", "2", "1"], "rater": ["1", "2", "2"], "score": ["1", "2", "3"]}
    rows[column][2] = other
    rows[column][1] = "2"
    text = "\n".join(",".join(cells) for cells in [list(rows), *zip(*rows.values(), strict=True)])
    with pytest.raises(ValueError, match=rf"{column}s\[2\] is '{other}'.*'1'"):
        read(tmp_path, text)


def test_raters_who_share_no_item_are_told() -> None:
    generator = np.random.default_rng(0)
    worth = np.repeat(generator.normal(3, 0.7, 40), 3)
    items, raters = np.repeat(np.arange(40), 3), np.tile([0, 1, 2], 40)
    apart = hf.Ratings.from_arrays(items, raters + 3 * (items >= 25), worth + (items >= 25), scale=(-5, 10))
    notes = apart.aggregate().notes
    assert any("2 groups (25, 15 items)" in note and "cannot be compared" in note for note in notes)
    together = hf.Ratings.from_arrays(items, raters, worth, scale=(-5, 10))
    assert together.aggregate().notes == ()


def test_comparisons_that_nothing_connects_are_told() -> None:
    rows = {"first": ["a", "c"] * 5, "second": ["b", "d"] * 5, "winner": ["a", "c"] * 5, "rater": ["x"] * 10}
    found = hf.Ratings.read(pd.DataFrame(rows), format="pairwise").aggregate("bradley_terry")
    assert any("2 groups (2, 2 items)" in note for note in found.notes)
    rows["second"][-1] = "b"
    found = hf.Ratings.read(pd.DataFrame(rows), format="pairwise").aggregate("bradley_terry")
    assert found.notes == ()


def scored(items: np.ndarray, total: int, variance: float) -> Priorities:
    score = 3 + np.sin(items)
    n = len(items)
    return Priorities(items, score, np.full(n, variance), np.full(n, 2), (1.0, 5.0), "calibrated", total)


def exact(priorities: Priorities, signals: hf.Signals, fitted: dict[str, float]) -> np.ndarray:
    """The mean of the docstring's Gaussian process without a prior, in NumPy and float64, from differences."""
    items, table, E = priorities.items, signals.table.astype(float), signals.embedding.astype(float)
    apart = np.sqrt(((E[items][:, None] - E[items]) ** 2).sum(2))
    E = E / np.median(apart[apart > 0]) / fitted["length"]
    same = signals.labels[:, None] == signals.labels[items]
    near, close = (((X[:, None] - X[items]) ** 2).sum(2) for X in (table, E))
    K = fitted["signals"] * np.exp(-near / 16) + fitted["features"] * same * np.exp(-close / 2) + 1
    noise = np.diag(priorities.variance + fitted["extra"])
    return np.asarray(3 + K @ np.linalg.solve(K[items] + noise, priorities.score - 3))


@pytest.mark.parametrize("tight", [1.0, 1e-2, 1e-4])
def test_answers_that_lie_closely_together_keep_their_distances(tight: float) -> None:
    generator = np.random.default_rng(0)
    X = generator.standard_normal((300, 5))
    X[:100] = 5 + tight * X[:100]
    signals = hf.Signals.of(X, X[:, 0] > np.median(X[:, 0]))
    priorities = scored(np.arange(80), 300, 0.1)
    found = propagate(priorities, signals)
    np.testing.assert_allclose(found.mean, exact(priorities, signals, found.hyperparameters), atol=1e-3)


def test_many_precise_answers_are_no_singular_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(propagation, "EXACT", 100)
    monkeypatch.setattr(propagation, "INDUCING", 80)
    generator = np.random.default_rng(0)
    X = torch.from_numpy(np.repeat(generator.standard_normal((20, 3)), 10, axis=0)).half()
    signals = hf.Signals.of(X, np.arange(200) % 2)
    found = propagate(scored(np.arange(150), 200, 1e-9), signals)
    assert found.inducing == 80
    assert np.isfinite(found.mean).all()
    assert (found.variance > 0).all()


@pytest.mark.parametrize("width", [2, 16, 64])
@pytest.mark.parametrize("tight", [1.0, 1e-3, 1e-5])
def test_neighbours_within_a_tight_cluster_are_the_nearest(width: int, tight: float) -> None:
    generator = np.random.default_rng(0)
    X = generator.standard_normal((400, width))
    X[:200] = 4 + tight * X[:200]
    X[100:110] = X[:10]
    apart = np.sqrt(((X[:, None] - X) ** 2).sum(2))
    np.fill_diagonal(apart, np.inf)
    found = neighbours(X, 10, 1e-9)
    np.testing.assert_allclose(found.distance, np.sort(apart, 1)[:, :10], rtol=1e-9, atol=1e-12)
    expected = np.arange(400)
    expected[100:110] = expected[:10]
    np.testing.assert_array_equal(found.group, expected)


def test_a_radius_within_a_tight_cluster_joins_no_more_than_it_reaches() -> None:
    """Rows on a line a step apart: a radius below the step joins none, and one above joins all of a run."""
    line = np.concatenate([np.arange(100), 150 + np.arange(100)]) * 1e-6
    X = np.stack([4 + line, np.zeros(200)], 1)
    X = np.concatenate([X, np.random.default_rng(0).standard_normal((200, 2))])
    assert len(np.unique(neighbours(X, 10, 0.5e-6).group)) == 400
    found = neighbours(X, 10, 20.5e-6).group
    assert [len(np.unique(found[:100])), len(np.unique(found[100:200]))] == [1, 1]
    assert found[0] != found[100]


WORTH = np.random.default_rng(3).normal(3, 1, 120)
TIMES = pytest.mark.parametrize("times", [2, 5])


def answered(times: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Items, raters and scores: rater 0 answers at random, and so many times alike; three others see the items."""
    generator = np.random.default_rng(0)
    parts = []
    for rater in range(4):
        seen = WORTH + generator.normal(0, 0.6, 120) if rater else generator.uniform(0.5, 5.5, 120)
        part = np.stack([np.arange(120), np.full(120, rater), np.clip(np.round(seen), 1, 5)])
        parts += [part] * (1 if rater else times)
    items, raters, scores = np.concatenate(parts, 1)
    return items.astype(int), raters.astype(int), scores


@TIMES
@pytest.mark.parametrize("method", ["calibrated", "dawid_skene"])
def test_answering_twice_makes_nobody_reliable(method: str, times: int) -> None:
    once, again = (hf.Ratings.from_arrays(*answered(n), scale=(1, 5)) for n in (1, times))
    expected, found = once.aggregate(method), again.aggregate(method)
    np.testing.assert_allclose(found.score, expected.score, atol=1e-9)
    np.testing.assert_allclose(found.variance, expected.variance, atol=1e-9)
    assert np.corrcoef(found.score, WORTH)[0, 1] > 0.8
    assert again.raters().loc[0, "action"] == "drop"
    assert again.raters().loc[0, "n"] == 120 * times


@TIMES
def test_answering_twice_agrees_with_nobody(times: int) -> None:
    items, raters, scores = answered(times)
    table = pd.DataFrame(
        {"item": items, "rater": raters, "label": np.array(list("uvwxyz"))[scores.astype(int)]}
    )
    row = hf.Ratings.read(table, repeats="keep").raters().loc[0]
    assert row["agreed"] == pytest.approx(row["chance"], abs=0.1)
    assert row["action"] == "drop"


@TIMES
def test_comparing_twice_makes_nobody_reliable(times: int) -> None:
    generator = np.random.default_rng(1)
    rows = []
    for rater in range(4):
        for _ in range(80):
            a, b = (int(i) for i in generator.choice(15, 2, replace=False))
            winner = (a if WORTH[a] > WORTH[b] else b) if rater else int(generator.choice([a, b]))
            pairs = [(a, b), (b, a)] * times if rater == 0 else [(a, b)]
            rows += [{"first": i, "second": j, "winner": winner, "rater": f"r{rater}"} for i, j in pairs]
    ratings = hf.Ratings.read(pd.DataFrame(rows), format="pairwise")
    found = ratings.aggregate("bradley_terry")
    assert np.corrcoef(found.score, WORTH[found.items])[0, 1] > 0.85
    assert ratings.raters().loc["r0", "action"] == "drop"


def test_answers_of_nobody_in_particular_are_several() -> None:
    units, raters, values = np.zeros(4, int), np.array([0, 0, 1, 1]), np.array([1.0, 2.0, 3.0, 5.0])
    names = np.array(["unknown", "x"], dtype=object)
    assert one_answer_each(units, raters, values, names, last=False)[2].tolist() == [1, 2, 4]
    assert one_answer_each(units, raters, values, names, last=True)[2].tolist() == [1, 2, 5]
    first, second = np.array([0, 1, 0, 1, 1]), np.array([1, 0, 1, 0, 0])
    raters, outcome = np.array([0, 0, 1, 1, 1]), np.array([1.0, 1.0, 1.0, 1.0, 0.0])
    found = one_comparison_each(first, second, outcome, raters, names)
    assert [part.tolist() for part in found] == [[0, 1, 1], [1, 0, 0], [1, 1, 0], [0, 0, 1]]


def directed(signs: tuple[int, ...]) -> hf.Ratings:
    """Raters who score items as they are worth (1) or the other way round (-1), with some noise."""
    noise = np.random.default_rng(5).normal(0, 0.4, (len(signs), 120))
    scores = np.clip(np.round(3 + np.array(signs)[:, None] * (WORTH - 3) + noise), 1, 5)
    items, raters = np.tile(np.arange(120), len(signs)), np.repeat(np.arange(len(signs)), 120)
    return hf.Ratings.from_arrays(items, raters, scores.ravel(), scale=(1, 5))


@pytest.mark.parametrize("signs", [(1, -1), (-1, 1), (1, 1, -1, -1)])
def test_nobody_is_right_where_half_say_the_opposite(signs: tuple[int, ...]) -> None:
    ratings = directed(signs)
    found, mean = ratings.aggregate(), ratings.aggregate("mean")
    assert found.method == "mean"
    assert any("nothing says who is right" in note for note in found.notes)
    np.testing.assert_allclose(found.score, mean.score)
    np.testing.assert_allclose(found.variance, mean.variance)
    assert np.sqrt(found.variance.mean()) > 0.5
    table = ratings.raters()
    assert (table.action == "re-train").all()
    assert table.evidence.str.contains("nothing says who is right").all()


@pytest.mark.parametrize("signs", [(1, 1, -1), (1, 1, 1, -1)])
def test_a_majority_is_followed_and_said(signs: tuple[int, ...]) -> None:
    ratings = directed(signs)
    found = ratings.aggregate()
    assert found.method == "calibrated"
    assert any("against the others" in note for note in found.notes)
    assert np.corrcoef(found.score, WORTH)[0, 1] > 0.9
    assert ratings.raters().action.to_dict() == {
        i: "" if sign > 0 else "re-train" for i, sign in enumerate(signs)
    }
    assert directed((1, 1, 1)).aggregate().notes == ()


def test_scores_far_from_zero_keep_their_variance() -> None:
    items, raters, scores = answered(1)
    near, far = (
        hf.Ratings.from_arrays(items, raters, scores + by).aggregate("dawid_skene") for by in (0, 1e8)
    )
    np.testing.assert_allclose(far.variance, near.variance, atol=1e-5)

"""Ratings as a table: columns, ids, raters, scores of items, importance of features."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import hitl_fast
from hitl_fast.ratings import Ratings, simulated_ratings


def test_columns_of_arrays() -> None:
    ratings = hitl_fast.Ratings.from_arrays(
        torch.tensor([5, 5, 9]), ["a", "b", "a"], np.array([1, 2, 3]), seconds=[1.5, math.nan, 2.0]
    )
    frame = ratings.frame
    assert list(frame.columns) == ["item", "rater", "score", "seconds", "feature"]
    assert frame.item.tolist() == [5, 5, 9]
    assert frame.feature.tolist() == [None, None, None]
    assert frame.seconds.tolist()[::2] == [1.5, 2.0]
    assert (len(ratings), ratings.scale, ratings.features) == (3, (1.0, 3.0), [])
    assert repr(ratings) == "Ratings(arrays: 3 of 2 items by 2 raters)"


def test_frames_and_their_gaps() -> None:
    table = pd.DataFrame(
        {"item": ["x", "y", "x"], "rater": [1, 1, 2], "score": [1, None, 3], "seconds": [1, 2, None]}
    )
    ratings = Ratings.from_frame(table, scale=(0, 4))
    assert ratings.frame.score.tolist() == [1, 3]
    assert ratings.skipped.to_dict("records") == [
        {"item": "y", "rater": 1, "reason": "empty", "seconds": pytest.approx(math.nan, nan_ok=True)}
    ]
    again = Ratings.from_frame(ratings.frame, scale=(0, 4))
    pd.testing.assert_frame_equal(again.frame, ratings.frame)
    with pytest.raises(ValueError, match="the frame has no column 'rater', only 'item', 'score'"):
        Ratings.from_frame(table[["item", "score"]])
    with pytest.raises(ValueError, match="neither a column 'item' nor a column 'feature'"):
        Ratings.from_frame(table[["rater", "score"]])
    with pytest.raises(ValueError, match="score of row 2 is inf"):
        Ratings.from_frame(table.assign(score=[1, None, math.inf]))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([0, 1], [0], [1, 2]), ValueError, "2 items but 1 raters: one of each per rating"),
        (([0, 1], [0, 1], [1]), ValueError, "2 items but 1 scores|2 items but 1"),
        (([], [], np.zeros(0)), ValueError, "arrays: there are no ratings"),
        (([0, 1], [0, 0], [1, math.nan]), ValueError, r"scores\[1\] is nan"),
        (([0, 1], [0, 0], ["a", "b"]), TypeError, "scores must hold numbers, not <U1"),
        (([0, 1], [0, 0], [None, "b"]), TypeError, "scores must hold numbers"),
        (([0, 1], [0, 0], [[1], [2]]), ValueError, r"scores must be one-dimensional, not of shape \(2, 1\)"),
        ((np.zeros((2, 2), int), [0, 0], [1, 2]), ValueError, "items must be one-dimensional"),
        (([0, None], [0, 0], [1, 2]), ValueError, r"items\[1\] is missing: every rating needs one"),
        (([0, 1], [0, math.nan], [1, 2]), ValueError, r"raters\[1\] is missing: every rating needs one"),
    ],
)
def test_refuses_columns_that_do_not_fit(arguments: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Ratings.from_arrays(*arguments)


def test_ids_keep_their_kind() -> None:
    def items(values: Any) -> list[Any]:
        return Ratings.from_arrays(values, [0, 0], [1, 2]).frame.item.tolist()

    assert items([3.0, 4.0]) == [3, 4]
    assert items(["3", "4"]) == ["3", "4"]
    assert items([3, "x"]) == ["3", "x"]
    assert items(np.array([3, 4], np.uint8)) == [3, 4]
    assert items([True, False]) == ["True", "False"]
    assert items([0.5, 1.0]) == ["0.5", "1"]


def test_items_are_placed_and_what_is_unknown_is_counted() -> None:
    ids = ["a", "ß", "c", "ß", "zz"]
    ratings = Ratings.from_arrays(ids, list("rrrss"), [1, 2, 3, 4, 5], positions=["c", "b", "a", "ß"])
    assert ratings.frame.item.tolist() == [2, 3, 0, 3]
    assert ratings.unknown == {"zz": 1}
    assert ratings.unrated == [1]
    assert ratings.num_items == 4
    mapped = Ratings.from_arrays([10, 11], [0, 0], [1, 2], positions={"10": 7, 11: 0})
    assert mapped.frame.item.tolist() == [7, 0]
    assert mapped.num_items == 8
    with pytest.raises(ValueError, match="none of its 1 rated items is in items: 5 is not, nor is any other"):
        Ratings.from_arrays([5], [0], [1], positions=[1, 2])
    with pytest.raises(ValueError, match="items names 'a' twice: at 0 and at 1"):
        Ratings.from_arrays([5], [0], [1], positions=["a", "a"])
    with pytest.raises(ValueError, match=r"items\['a'\] is -1: a position is an integer from 0"):
        Ratings.from_arrays([5], [0], [1], positions={"a": -1})
    with pytest.raises(ValueError, match="items is empty"):
        Ratings.from_arrays([5], [0], [1], positions=[])
    with pytest.raises(TypeError, match="items must be the data set's item ids"):
        Ratings.from_arrays([5], [0], [1], positions="abc")


def test_a_file_is_placed_with_all_its_parts(tmp_path: Path) -> None:
    text = "item,ann,ben,gold\nα,1,,2\nβ,skip,3,\nγ,,,\nδ,5,5,5\n"
    (tmp_path / "w.csv").write_text(text, encoding="utf-8")
    ratings = Ratings.read(tmp_path / "w.csv", "wide", items=["δ", "γ", "β", "extra"])
    assert ratings.frame.item.tolist() == [2, 0, 0]
    assert ratings.unknown == {"α": 1}
    assert ratings.ground_truth.item.tolist() == [0]
    assert ratings.skipped.item.tolist() == [2]
    assert ratings.unrated == [1, 3]
    assert "1 rating of 1 item not in items: α" in ratings.summary()


def test_a_declared_scale_is_kept_to() -> None:
    with pytest.raises(ValueError, match=r"scores\[1\]: 6 is outside the scale 1 to 5 .2 such scores."):
        Ratings.from_arrays([0, 1, 2], [0, 0, 0], [3, 6, 0], scale=(1, 5))
    with pytest.raises(ValueError, match=r"scale must be \(low, high\) with low < high"):
        Ratings.from_arrays([0], [0], [3], scale=(5, 1))


def test_means_and_their_variance() -> None:
    ratings = Ratings.from_arrays([0, 0, 2, 2, 5], [0, 1, 0, 1, 0], [1, 3, 4, 4, 2])
    p = ratings.aggregate("mean")
    assert p.items.tolist() == [0, 2, 5]
    assert p.score.tolist() == [2, 4, 2]
    assert p.count.tolist() == [2, 2, 1]
    np.testing.assert_allclose(
        p.variance, np.array([1 / 2, 1 / 2, 1]) * (2 / 2)
    )  # within: (1 + 1 + 0 + 0) / (5 - 3)
    single = Ratings.from_arrays([0, 1], [0, 0], [1, 3]).aggregate("mean")
    assert single.variance.tolist() == [1, 1]


@pytest.mark.parametrize("seed", range(20))
def test_calibrated_is_nearer_to_the_truth_than_the_mean(seed: int) -> None:
    truth = np.random.default_rng(seed + 100).uniform(1, 5, 250)
    ratings = simulated_ratings(truth, raters=20, each=5, seed=seed)
    error = {
        method: float(np.sqrt(np.mean((ratings.aggregate(method).score - truth) ** 2)))
        for method in ("calibrated", "mean")
    }
    assert error["calibrated"] < error["mean"]


def test_the_order_of_the_file_changes_nothing() -> None:
    ratings = simulated_ratings(np.linspace(1, 5, 80), seed=1)
    shuffled = Ratings.from_frame(ratings.frame.sample(frac=1, random_state=0), scale=(1, 5))
    for method in ("calibrated", "dawid_skene"):
        first, second = ratings.aggregate(method), shuffled.aggregate(method)
        assert np.array_equal(first.items, second.items)
        assert np.array_equal(first.score, second.score)
        assert np.array_equal(first.variance, second.variance)


def test_raters_are_described() -> None:
    items = np.tile(np.arange(30), 3)
    raters = np.repeat(["ann", "ben", "cam"], 30)
    truth = np.linspace(1, 4, 30)
    scores = np.concatenate([truth, truth + 0.5, np.full(30, 3.0)])
    seconds = np.concatenate([np.full(30, 4.0), np.full(30, np.nan), np.full(30, 1.0)])
    table = Ratings.from_arrays(items, raters, scores, seconds=seconds, scale=(1, 5)).raters()
    assert table.n.tolist() == [30, 30, 30]
    assert table.bias["ben"] - table.bias["ann"] == pytest.approx(0.5, abs=0.1)
    assert table.reliability["ann"] > 0.8 > 0.1 > table.reliability["cam"]
    assert abs(table.scale["cam"]) < 0.2
    assert table.seconds["ann"] == 4
    assert math.isnan(table.seconds["ben"])
    assert table.constant.tolist() == [False, False, True]
    assert table.gold_n.sum() == 0
    assert table.gold.isna().all()


def test_agreement_with_gold(tmp_path: Path) -> None:
    text = "item,ann,ben,gold\n1,1,5,1\n2,3,3,3\n3,4,2,4\n4,1,1,\n"
    (tmp_path / "w.csv").write_text(text)
    table = Ratings.read(tmp_path / "w.csv", "wide", scale=(1, 5)).raters()
    assert table.gold_n.tolist() == [3, 3]
    assert table.gold.to_dict() == {"ann": 1.0, "ben": pytest.approx(1 - (4 + 0 + 2) / 4 / 3)}


def test_raters_who_share_nothing_have_no_bias() -> None:
    ratings = Ratings.from_arrays([0, 1, 2], ["a", "b", "b"], [1, 2, 3])
    assert ratings.raters().bias.isna().all()
    found = ratings.aggregate("calibrated")
    assert "no item was rated by two of the 2 raters" in found.notes[0]


@pytest.mark.parametrize(
    ("scores", "scale", "noise"),
    [([1, 2], None, 0.9), ([1, 2], (1, 5), 0.9), ([0, 1], (0, 1), 0.9 / 16), ([10, 90], None, 0.9 * 20**2)],
)
def test_one_rater_is_a_mean_with_a_stated_noise(scores: list[float], scale: Any, noise: float) -> None:
    """Nobody's repeats show how far one person is off: the noise of a rating is assumed, and it is said."""
    found = Ratings.from_arrays([0, 1], ["a", "a"], scores, scale=scale).aggregate()
    assert found.method == "mean"
    assert found.score.tolist() == scores
    np.testing.assert_allclose(found.variance, noise)
    assert "there is one rater" in found.notes[0]
    repeated = Ratings.from_arrays([0, 0, 1], ["a"] * 3, [1, 5, 2], scale=(1, 5)).aggregate()
    assert repeated.score.tolist() == [3, 2]
    assert repeated.variance.tolist() == [4, 8]  # within: (4 + 4) / 1, more than 0.9


def test_what_nobody_shares_is_undefined() -> None:
    ratings = Ratings.from_arrays([0, 1, 2], ["a", "b", "b"], [1, 2, 3])
    assert "undefined: no item was rated by two raters" in ratings.summary()


def categories(tmp_path: Path, labels: list[str]) -> Ratings:
    rows = "".join(f"{i},{r},{labels[(i * (r < 2)) % len(labels)]}\n" for i in range(12) for r in range(3))
    (tmp_path / "c.csv").write_text("item,rater,label\n" + rows)
    return Ratings.read(tmp_path / "c.csv")


def test_categories(tmp_path: Path) -> None:
    ratings = categories(tmp_path, ["cat", "dog", "emu"])
    p = ratings.aggregate("dawid_skene")
    assert p.labels[:3] == ["cat", "dog", "emu"]
    assert p.categories == ("cat", "dog", "emu")
    assert p.scale == (0.0, 1.0)
    assert p.score.min() > 0.9
    worth = ratings.aggregate("dawid_skene", labels={"cat": 0, "dog": 5, "emu": 10})
    np.testing.assert_allclose(worth.score[:3], [0, 5, 10], atol=0.3)
    assert ratings.aggregate("mean", labels={"cat": 0, "dog": 5, "emu": 10}).score[0] == 0
    with pytest.raises(
        ValueError, match=r"method 'mean' needs graded scores, and these are categories .cat, dog, emu."
    ):
        ratings.aggregate("mean")
    with pytest.raises(
        ValueError, match="compares numbers, but the scores are categories: use level='nominal'"
    ):
        ratings.agreement()
    assert ratings.agreement("nominal").alpha < 1
    assert "categories" in ratings.summary()
    two = categories(tmp_path, ["cat", "dog"])
    assert set(two.aggregate("mean").score) == {0.0, 2 / 3}
    assert two.agreement().alpha == pytest.approx(two.agreement("nominal").alpha, abs=1e-12)
    with pytest.raises(ValueError, match="labels are for categories, and these scores are graded"):
        Ratings.from_arrays([0], [0], [1]).aggregate("mean", labels={"a": 1})


def test_gold_of_categories(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("item,rater,label,gold_label\n1,a,cat,cat\n1,b,dog,cat\n2,a,dog,\n")
    ratings = Ratings.read(tmp_path / "c.csv")
    assert ratings.ground_truth.score.tolist() == [0, 0]
    assert ratings.raters().gold.to_dict() == {"a": 1.0, "b": 0.0}


def test_graded_scores_as_categories() -> None:
    p = Ratings.from_arrays([0, 0, 0, 1, 1, 1], [0, 1, 2] * 2, [1, 1, 5, 5, 5, 5]).aggregate("dawid_skene")
    assert p.score[0] < 2 < 4.5 < p.score[1]
    with pytest.raises(ValueError, match="there are 100 different scores: use method='calibrated'"):
        Ratings.from_arrays(range(100), [0] * 100, np.arange(100)).aggregate("dawid_skene")
    with pytest.raises(ValueError, match="method must be one of mean, calibrated, .*, not 'median'"):
        Ratings.from_arrays([0], [0], [1]).aggregate("median")


def features() -> Ratings:
    return Ratings.from_arrays(
        [0, 0, 0, 2, None, None], ["a", "b", "a", "a", "a", "b"], [1, 3, 5, 5, 2, 4],
        features=["ear", "ear", "tail", "ear", "tail", "tail"], scale=(1, 5),
    )  # fmt: skip


def test_importance_of_features() -> None:
    ratings = features()
    assert ratings.features == ["ear", "tail"]
    found = ratings.importance(num_items=3, missing=0.25)
    assert found.dtype == torch.float32
    # ear of 0: mean 2; tail of 0 is its own, of 1 and 2 that of the whole task; ear of 1 is missing
    assert found.tolist() == [[0.25, 1.0], [0.25, 0.5], [1.0, 0.5]]
    assert ratings.importance(num_items=3)[1, 0] == pytest.approx((0.25 + 1.0) / 2)
    wider = ratings.importance(num_items=3, features=["tail", "nose", "ear"])
    assert wider[:, 0].tolist() == [1.0, 0.5, 0.5]
    known = [0.25, 1.0, 1.0, 0.5, 0.5]
    assert wider[0, 1] == pytest.approx(sum(known) / 5)
    with pytest.raises(ValueError, match="1 importances are missing, the first that of 'ear' of item 1"):
        ratings.importance(num_items=3, missing="error")


def test_importance_for_the_whole_task() -> None:
    ratings = Ratings.from_arrays([None] * 3, [0, 1, 0], [0, 10, 10], features=["10", "10", "2"])
    assert ratings.features == ["2", "10"]
    assert ratings.importance().tolist() == [1.0, 0.5]
    assert ratings.importance(num_items=2).shape == (2, 2)
    with pytest.raises(ValueError, match="1 importances are missing, the first that of '3'"):
        ratings.importance(features=[2, 3, 10], missing="error")


def test_importance_calibrated_over_raters() -> None:
    generator = np.random.default_rng(0)
    truth = generator.uniform(0, 1, (30, 4))
    n, d, r = (a.ravel() for a in np.meshgrid(range(30), range(4), range(6), indexing="ij"))
    scores = np.clip(truth[n, d] + generator.normal(0, 0.3, 6)[r] + generator.normal(0, 0.05, n.size), 0, 1)
    ratings = Ratings.from_arrays(n, r, scores, features=d, scale=(0, 1))
    assert ratings.features == ["0", "1", "2", "3"]
    error = {
        m: float((ratings.importance(m, num_items=30) - torch.from_numpy(truth)).std())
        for m in ("mean", "calibrated")
    }
    assert error["calibrated"] < 0.1
    with pytest.raises(ValueError, match=r"4 questions were rated .'0', '1', .*agreement_table"):
        ratings.agreement()
    assert ratings.agreement_table(replicates=0).alpha.between(-1, 1).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "num_items is needed"),
        ({"num_items": 2}, "item 2 is not a position below num_items = 2"),
        ({"num_items": 3, "method": "median"}, "method must be mean or calibrated"),
        ({"num_items": 3, "features": ["ear"]}, "1 rated features are not in features: tail"),
        ({"num_items": 3, "features": ["ear", "tail", "ear"]}, "features names one twice"),
        (
            {"num_items": 3, "missing": 2.0},
            r"missing must be 'mean', 'error' or a number in \[0, 1\], not 2.0",
        ),
    ],
)
def test_importance_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        features().importance(**arguments)


def test_features_and_items_do_not_mix() -> None:
    with pytest.raises(
        ValueError,
        match=r"these are ratings of features or questions .ear, tail.: .*question='ear'.*combine=",
    ):
        features().aggregate("mean")
    with pytest.raises(ValueError, match="no feature was rated"):
        Ratings.from_arrays([0], [0], [1]).importance()
    with pytest.raises(ValueError, match=r"items\[0\] is missing, and no feature is named either"):
        Ratings.from_arrays([None, 1], [0, 0], [1, 1], features=[None, "ear"])
    with pytest.raises(ValueError, match="item 'a' is no position: give items="):
        Ratings.from_arrays(["a"], [0], [1], features=["ear"]).importance(num_items=1)
    mixed = Ratings.from_arrays([0, 0, 1], [0, 0, 0], [1, 2, 3], features=[None, "ear", None])
    assert mixed.only(None).aggregate("mean").score.tolist() == [1, 3]
    assert mixed.only("ear").frame.feature.tolist() == [None]
    placed = Ratings.from_arrays(
        ["a", None], [0, 0], [1, 3], features=["ear", "ear"], positions=["b", "a"], scale=(1, 3)
    )
    assert placed.importance().tolist() == [[1.0], [0.0]]


def test_simulated_ratings_are_as_described() -> None:
    truth = np.linspace(1, 5, 300)
    ratings = simulated_ratings(truth, raters=10, each=4, seed=3)
    assert len(ratings) == 1200
    assert ratings.frame.groupby("item").rater.nunique().eq(4).all()
    assert set(ratings.frame.score.unique()) == {1, 2, 3, 4, 5}
    reliability = ratings.raters().reliability
    assert reliability.loc[[0, 1]].max() < reliability.drop([0, 1]).min()
    pd.testing.assert_frame_equal(simulated_ratings(truth, raters=10, each=4, seed=3).frame, ratings.frame)
    smooth = simulated_ratings(truth, step=None, spammers=0, noise=0, bias=0, spread=0)
    np.testing.assert_allclose(smooth.aggregate("mean").score, truth)
    for arguments, message in (
        ({"truth": np.array([])}, "truth must be"), ({"each": 21}, "each must be from 1 to raters = 20, not 21"),
        ({"spammers": 2}, "spammers must be within 0 and 1, not 2"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            simulated_ratings(**{"truth": truth, **arguments})  # type: ignore[arg-type]


def test_ids_beyond_int64_are_text() -> None:
    """Hashes without a sign: as int64 they would be other ids, or none at all."""
    for items in (np.array([2**63 + 5, 1], np.uint64), [2**63 + 5, 1], [float(2**63), 1.0]):
        named = Ratings.from_arrays(items, [0, 1], [1, 2]).frame.item.tolist()
        assert named == [str(int(items[0])), "1"]
        placed = Ratings.from_arrays(items, [0, 1], [1, 2], positions=items)
        assert placed.frame.item.tolist() == [0, 1]
    assert Ratings.from_arrays(np.array([7, 1], np.uint64), [0, 1], [1, 2]).frame.item.tolist() == [7, 1]


def test_items_beside_ratings_of_the_whole_task_keep_their_positions() -> None:
    ratings = Ratings.from_arrays(
        [0, 2, None], ["me", "me", "me"], [1.0, 5.0, 3.0], features=[None, None, "ear"], scale=(1.0, 5.0)
    )
    weights = ratings.only(None).aggregate("mean").weights(num_items=3, floor=0.0)
    assert weights.tolist() == [0.0, 0.5, 1.0]

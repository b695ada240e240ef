"""Priorities: from scores to weights, and to a file and back."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import hitl_fast
from hitl_fast.ratings import Priorities, Ratings


def priorities(score: list[float], **more: object) -> Priorities:
    n = len(score)
    given = {
        "items": np.arange(n), "score": np.array(score, float), "variance": np.zeros(n),
        "count": np.full(n, 2), "scale": (1.0, 5.0), "method": "mean",
    }  # fmt: skip
    return Priorities(**{**given, **more})  # type: ignore[arg-type]


def test_weights_follow_the_formula() -> None:
    weights = priorities([1, 2, 3, 5]).weights(num_items=6, power=2.0, floor=0.2, missing=0.4)
    np.testing.assert_allclose(weights, [0.2, 0.2 + 0.8 / 16, 0.2 + 0.8 / 4, 1.0, 0.4, 0.4], rtol=1e-15)
    assert weights.dtype == np.float64


def test_missing_is_never_zero_unless_it_is_said() -> None:
    p = priorities([1, 5], items=np.array([3, 1]))
    assert p.weights(num_items=4).tolist() == [0.55, 1.0, 0.55, 0.1]
    assert p.weights(num_items=4, missing="floor").tolist() == [0.1, 1.0, 0.1, 0.1]
    assert p.weights(num_items=4, missing=0).tolist() == [0, 1.0, 0, 0.1]
    assert p.weights(num_items=4, missing=7.5)[0] == 7.5


def test_uncertain_scores_are_drawn_to_the_mean() -> None:
    p = priorities([1, 1, 5, 5], variance=np.array([0.0, 4.0, 0.0, 4.0]))
    plain, tempered = p.weights(num_items=4), p.weights(num_items=4, temper=1.0)
    assert plain[0] == plain[1] == 0.1
    assert tempered[0] == pytest.approx(0.1)
    # variance of the scores is 4 too: half way to the mean
    assert tempered[1] == pytest.approx(0.1 + 0.9 * 0.25)
    assert tempered[3] == pytest.approx(0.1 + 0.9 * 0.75)
    assert p.weights(num_items=4, temper=1e12)[3] == pytest.approx(0.55, abs=1e-6)


def test_scores_beyond_the_scale_and_all_alike() -> None:
    assert priorities([-3, 9]).weights(num_items=2).tolist() == [0.1, 1.0]
    assert priorities([2, 2], scale=(2.0, 2.0)).weights(num_items=2).tolist() == [1.0, 1.0]
    assert priorities([1, 5]).weights(num_items=2, power=0).tolist() == [1.0, 1.0]


@given(
    st.lists(st.floats(1, 5), min_size=1, max_size=20),
    st.floats(0, 10),
    st.floats(0, 1),
    st.floats(0, 5),
)
@example([1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 3.0, 5.0, 1.4375, 4.25], 1.5, 0.0, 1.0)  # rounding below 0: NaN
def test_weights_are_within_floor_and_one_and_keep_order(
    score: list[float], power: float, floor: float, temper: float
) -> None:
    p = priorities(score, variance=np.linspace(0, 2, len(score)))
    weights = p.weights(num_items=len(score) + 3, power=power, floor=floor, temper=temper)
    assert np.isfinite(weights).all()
    assert (weights >= floor - 1e-12).all()
    assert (weights <= 1 + 1e-12).all()
    if temper == 0:
        order = np.argsort(score)
        assert (np.diff(weights[: len(score)][order]) >= -1e-12).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "num_items is needed"),
        ({"num_items": 2}, "item 2 is no position below num_items = 2 .1 such items.: if items are ids"),
        ({"num_items": 3, "power": -1}, "power must be 0 or more and finite, not -1"),
        ({"num_items": 3, "power": math.nan}, "power must be 0 or more and finite, not nan"),
        ({"num_items": 3, "floor": 1.5}, "floor must be within 0 and 1, not 1.5"),
        ({"num_items": 3, "temper": math.inf}, "temper must be 0 or more and finite, not inf"),
        (
            {"num_items": 3, "missing": "zero"},
            "missing must be 'mean', 'floor' or a finite number of 0 or more",
        ),
        ({"num_items": 3, "missing": -1}, "missing must be 'mean', 'floor' or a finite number of 0 or more"),
    ],
)
def test_refuses_arguments_out_of_range(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        priorities([1, 2, 3]).weights(**arguments)  # type: ignore[arg-type]


def test_ids_are_no_positions() -> None:
    named = Ratings.from_arrays(["b", "a"], [0, 0], [1, 2]).aggregate("mean")
    assert named.items.tolist() == ["a", "b"]
    with pytest.raises(ValueError, match="item 'a' is an id, not a position: give items= to Ratings"):
        named.weights(num_items=2)
    placed = Ratings.from_arrays(["b", "a"], [0, 0], [1, 2], positions=["x", "a", "b"]).aggregate("mean")
    assert placed.items.tolist() == [1, 2]
    assert placed.weights(missing=0.5).tolist() == [0.5, 1.0, 0.1]


@pytest.mark.parametrize("ids", [[4, 7], ["ä画", "b"]])
def test_a_file_brings_it_all_back(ids: list[object], tmp_path: Path) -> None:
    ratings = Ratings.from_arrays(ids * 2, [0, 0, 1, 1], [1, 2, 1, 5], scale=(0, 6))
    for method in ("mean", "calibrated", "dawid_skene"):
        saved = ratings.aggregate(method)
        saved.save(tmp_path / "p.npz")
        loaded = hitl_fast.Priorities.load(tmp_path / "p.npz")
        for name in ("items", "score", "variance", "count"):
            assert np.array_equal(getattr(saved, name), getattr(loaded, name))
        for name in ("scale", "method", "num_items", "categories"):
            assert getattr(saved, name) == getattr(loaded, name)
        if saved.probability is None:
            assert loaded.probability is None
        else:
            assert loaded.probability is not None
            assert np.array_equal(saved.probability, loaded.probability)
    assert [p.name for p in tmp_path.iterdir()] == ["p.npz"]


def test_a_failed_save_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p.npz"
    priorities([1, 2]).save(path)
    before = path.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="no space left"):
        priorities([3, 4]).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["p.npz"]


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.npz"
    priorities([1, 2]).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"p.npz is not a file of priorities"):
        Priorities.load(path)
    path.write_text("nonsense")
    with pytest.raises(ValueError, match=r"p.npz is not a file of priorities"):
        Priorities.load(path)
    np.savez(path, about=np.array('{"version": 99}'))
    with pytest.raises(ValueError, match=r"p\.npz is of version 99 .* upgrade hitl-fast"):
        Priorities.load(path)
    np.savez(path, about=np.array('{"version": "x"}'))
    with pytest.raises(ValueError, match=r"p\.npz is not a file of priorities: its version is 'x'"):
        Priorities.load(path)
    np.savez(path, about=np.array('{"version": 1, "scale": [1, 2]}'))
    with pytest.raises(ValueError, match=r"is not a whole file of priorities"):
        Priorities.load(path)
    score = {"score": np.ones(2), "variance": np.ones(2), "count": np.ones(1), "items": np.ones(2)}
    np.savez(path, about=np.array('{"version": 1, "scale": [1, 2]}'), **score)
    with pytest.raises(ValueError, match=r"its columns do not fit"):
        Priorities.load(path)
    np.save(path.with_suffix(".npy"), np.ones(3))
    with pytest.raises(ValueError, match=r"p.npy is not a file of priorities"):
        Priorities.load(path.with_suffix(".npy"))


def test_labels_are_of_categories_alone() -> None:
    assert Ratings.from_arrays([0, 1], [0, 0], [2, 3]).aggregate("dawid_skene").labels == ["2", "3"]
    with pytest.raises(ValueError, match="method 'mean' gives scores, not categories"):
        _ = priorities([1, 2]).labels
    assert len(priorities([1, 2])) == 2


def test_a_saved_file_is_as_readable_as_any_other(tmp_path: Path) -> None:
    priorities([1, 2]).save(tmp_path / "p.npz")
    (tmp_path / "plain").touch()
    assert (tmp_path / "p.npz").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p.npz", "plain"]

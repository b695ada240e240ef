"""Propagation against the Gaussian process written out, its safeguards, and the check for systematic errors."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_signals import blobs

from hitl_fast._common.errors import InputError, InputTypeError
from hitl_fast.ratings import propagation
from hitl_fast.ratings.priorities import Priorities
from hitl_fast.ratings.propagation import NOISE, POINTS, contradiction
from hitl_fast.ratings.questions import LENGTH, ask_next, kernel
from hitl_fast.ratings.ratings import Ratings
from hitl_fast.ratings.signals import Signals


def scored(
    items: Any, score: Any, variance: Any = None, count: Any = None, scale: tuple[float, float] = (1.0, 5.0)
) -> Priorities:
    items, score = np.asarray(items), np.asarray(score, float)
    variance = np.zeros(len(items)) if variance is None else np.asarray(variance, float)
    count = np.ones(len(items), np.int64) if count is None else np.asarray(count)
    return Priorities(items, score, variance, count, scale, "mean" if not variance.any() else "calibrated")


def written_out(
    priorities: Priorities, signals: Signals, fitted: dict[str, float], prior: bool, noise: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Equations 2.25 and 2.26 of Rasmussen and Williams with the joint covariance of all samples."""
    items, n = priorities.items, len(signals)
    e = signals.embedding.astype(float)
    between = np.sqrt(((e[items][:, None] - e[items]) ** 2).sum(2))
    step = np.median(between[between > 0])
    table = signals.table.astype(float)
    K = fitted["signals"] * kernel(table, table, LENGTH)
    K += (
        fitted["features"]
        * (signals.labels[:, None] == signals.labels)
        * kernel(e / step, e / step, fitted["length"])
    )
    mean = np.full(n, 3.0)
    if prior:
        mean = 1 + POINTS * signals.priorities().score
        v = max(np.median(noise), NOISE)
        K += v / 4 + v / (4 * mean.var()) * np.outer(mean, mean)
    else:
        K += 1.0
    inside = K[np.ix_(items, items)] + np.diag(noise + fitted["extra"])
    gain = np.linalg.solve(inside, K[items]).T
    low, high = priorities.scale
    y = 1 + POINTS * (priorities.score - low) / (high - low)
    return mean + gain @ (y - mean[items]), K.diagonal() - (gain * K[:, items]).sum(1)


@pytest.fixture(scope="module")
def signals() -> Signals:
    return Signals.of(*blobs(200, wrong=20)[:2])


@pytest.mark.parametrize("prior", [None, "auto"])
@pytest.mark.parametrize("scale", [(1.0, 5.0), (0.0, 1.0)])
@pytest.mark.parametrize("stated", [True, False])
def test_mean_and_variance_are_those_of_the_process(
    signals: Signals, prior: str | None, scale: tuple[float, float], stated: bool
) -> None:
    generator = np.random.default_rng(1)
    items = np.sort(generator.choice(200, 30, replace=False))
    width = scale[1] - scale[0]
    score = scale[0] + width * generator.integers(0, 5, 30) / 4
    variance = None if stated else width**2 * generator.uniform(0.01, 0.1, 30)
    given = scored(items, score, variance, scale=scale)
    found = given.propagate(signals, prior)
    noise = np.full(30, NOISE) if variance is None else variance * (POINTS / width) ** 2
    assert found.hyperparameters is not None
    mean, spread = written_out(given, signals, found.hyperparameters, prior is not None, noise)
    np.testing.assert_allclose(
        found.score, scale[0] + width * (mean - 1) / POINTS, rtol=1e-3, atol=1e-3 * width
    )
    np.testing.assert_allclose(
        found.variance, spread * (width / POINTS) ** 2, rtol=5e-3, atol=1e-3 * width**2
    )
    assert ("stated" in found.noise) == stated
    assert len(found) == found.num_items == 200
    assert found.count.sum() == 30


def test_hyperparameters_are_of_the_largest_posterior(
    signals: Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(0)
    items = np.sort(generator.choice(200, 60, replace=False))
    y = 3 + signals.table[items, 0] + 0.3 * generator.normal(size=60)
    given = scored(items, np.clip(y, 1, 5))

    def density(fitted: dict[str, float]) -> float:
        low = dict(propagation.START)
        e = signals.embedding[items].astype(float)
        between = np.sqrt(((e[:, None] - e) ** 2).sum(2))
        e /= np.median(between[between > 0])
        t, labels = signals.table[items].astype(float), signals.labels[items]
        K = fitted["signals"] * kernel(t, t, LENGTH) + 1.0 + (fitted["extra"] + NOISE) * np.eye(60)
        K += fitted["features"] * (labels[:, None] == labels) * kernel(e, e, fitted["length"])
        r = given.score - 3
        logs = [(np.log(fitted[k]) - np.log(low[k])) / propagation.SPREAD[k] for k in low]
        return float(
            -0.5 * r @ np.linalg.solve(K, r) - 0.5 * np.linalg.slogdet(K)[1] - 0.5 * np.square(logs).sum()
        )

    best = given.propagate(signals).hyperparameters
    assert best is not None
    for name in best:
        for factor in (0.8, 1.25):
            assert density(best) >= density({**best, name: best[name] * factor}) - 1e-3


def test_many_answers_by_inducing_points_are_near_the_exact_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, bad = blobs(900, wrong=90)
    found = Signals.of(x, y)
    score = np.where(np.isin(np.arange(900), bad), 1.0, 4.0) + np.random.default_rng(0).normal(0, 0.3, 900)
    given = scored(np.arange(0, 900, 2), np.clip(score[::2], 1, 5))
    exact = given.propagate(found)
    assert exact.inducing == 0
    monkeypatch.setattr(propagation, "EXACT", 400)
    monkeypatch.setattr(propagation, "INDUCING", 300)
    few = given.propagate(found)
    assert few.inducing == 300
    assert np.corrcoef(exact.score, few.score)[0, 1] > 0.99
    assert np.abs(exact.score - few.score).mean() < 0.05
    assert np.corrcoef(exact.variance, few.variance)[0, 1] > 0.9
    assert (few.variance > 0).all()


def test_answers_reach_samples_that_nobody_was_asked_about() -> None:
    x, y, bad = blobs(600, wrong=120)
    found = Signals.of(x, y)
    truth = np.where(np.isin(np.arange(600), bad), 1.0, 4.0)
    items = ask_next(found, 54)
    noisy = np.clip(truth[items] + np.random.default_rng(0).normal(0, 0.6, 54).round(), 1, 5)
    given = scored(np.sort(items), noisy[np.argsort(items)])
    others = np.setdiff1d(np.arange(600), items)
    for prior in (None, "auto"):
        result = given.propagate(found, prior)
        assert np.corrcoef(result.score[others], truth[others])[0, 1] > 0.8
        weights = result.weights(power=2, temper=1.0)
        assert weights.shape == (600,)
        assert weights[bad].mean() < 0.5 * np.delete(weights, bad).mean()
    assert given.propagate(found).score.tolist() == given.propagate(found).score.tolist()


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    m=st.integers(1, 12),
    same=st.booleans(),
    prior=st.sampled_from([None, "auto"]),
)
@pytest.mark.jit
def test_any_answers_give_finite_scores(seed: int, m: int, same: bool, prior: str | None) -> None:
    generator = np.random.default_rng(seed)
    found = Signals.of(generator.normal(size=(30, 2)), np.arange(30) % 2)
    items = np.sort(generator.choice(30, m, replace=False))
    score = np.full(m, 3.0) if same else generator.integers(1, 6, m).astype(float)
    result = scored(items, score).propagate(found, prior)
    assert np.isfinite(result.score).all()
    assert (result.variance > 0).all()
    assert np.isfinite(result.weights(power=2, temper=1)).all()


def test_variance_is_smaller_where_people_answered(signals: Signals) -> None:
    items = np.arange(0, 200, 10)
    result = scored(items, np.full(20, 3.0)).propagate(signals)
    assert result.variance[items].mean() < np.delete(result.variance, items).mean()
    more = scored(items, np.full(20, 3.0), count=np.full(20, 5)).propagate(signals)
    assert more.variance[items].mean() < result.variance[items].mean()


def test_what_scores_mean_is_not_guessed(signals: Signals) -> None:
    items, good = np.arange(6), np.array([1.0, 5.0, 3.0, 1.0, 4.0, 5.0])
    same = Ratings.from_arrays(items, ["a"] * 6, [5.0] * 6)
    for method in ("mean", "calibrated"):
        with pytest.raises(InputError, match="scale="):
            same.aggregate(method).propagate(signals)
    found = Ratings.from_arrays(items, ["a"] * 6, [3.0, 4.0, 5.0] * 2).aggregate()
    assert "no scale was declared" in str(contradiction(found, signals))  # 3 may be the middle of the scale
    declared = Ratings.from_arrays(items, ["a"] * 6, [5.0] * 6, scale=(1, 5)).aggregate()
    assert "declared" not in str(contradiction(declared, signals))
    assert not contradiction(declared, signals).contradicts
    assert declared.propagate(signals).score.max() <= 5.1
    whole = scored(items, good)
    for change, named in (
        ({"score": good * 10}, "item 0"),
        ({"scale": (5.0, 1.0)}, "lowest score first"), ({"score": good[:-1]}, "score"),
        ({"variance": np.zeros(3)}, "variance"), ({"count": np.ones(7)}, "count"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=named):
            replace(whole, **change).propagate(signals)
    with pytest.raises(InputError, match="seed"):
        whole.propagate(signals, seed=-1)


def test_categories_without_worth_are_no_importance(signals: Signals, tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    rows = [f"{i},{rater},{('good', 'bad', 'ugly')[i % 3]}\n" for i in range(12) for rater in "ab"]
    path.write_text("item,rater,score\n" + "".join(rows))
    ratings = Ratings.read(path)
    without = ratings.aggregate("dawid_skene")
    assert any("worth" in note for note in without.notes)
    with pytest.raises(InputError, match="labels="):
        without.propagate(signals)
    known = ratings.aggregate("dawid_skene", labels={"good": 1.0, "bad": 0.0, "ugly": 0.5})
    assert np.isfinite(known.propagate(signals).score).all()


def test_bad_answers_are_refused(signals: Signals) -> None:
    good = scored([1, 2], [1.0, 5.0])
    for wrong, error, named in (
        (scored([], []), InputError, "no scores"), (scored([1, 200], [1, 2]), InputError, "200"),
        (scored([-1, 2], [1, 2]), InputError, "-1"), (scored([1, 1], [1, 2]), InputError, "item 1 has 2"),
        (scored([1, 2], [np.nan, 2]), InputError, "item 1"), (scored([1, 2], [1, np.inf]), InputError, "item 2"),
        (scored(["a", "b"], [1, 2]), InputTypeError, "items="),
        (scored([1, 2], [1, 2], scale=(1, np.inf)), InputError, "scale"),
    ):  # fmt: skip
        for call in (Priorities.propagate, contradiction):
            with pytest.raises(error, match=named):
                call(wrong, signals)
    with pytest.raises(InputTypeError, match="Signals"):
        good.propagate(3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="mine"):
        good.propagate(signals, "mine")
    with pytest.raises(InputError, match="careless"):
        contradiction(good, signals, careless=0)


def answers_to(kind: str, seed: int, careless: float = 0.05) -> tuple[Priorities, Signals]:
    """108 chosen answers in a pool whose labels are wrong at random or systematically, or not at all."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 6, 1500)
    x = 4 * generator.normal(size=(6, 8))[truth] + generator.normal(size=(1500, 8))
    labels = truth.copy()
    if kind == "random":
        moved = generator.choice(1500, 300, replace=False)
        labels[moved] = (labels[moved] + generator.integers(1, 6, 300)) % 6
    elif kind == "systematic":
        for c in range(3):
            members = np.flatnonzero(truth == c)
            labels[generator.choice(members, round(0.6 * members.size), replace=False)] = c + 3
    found = Signals.of(x, labels)
    items = np.sort(ask_next(found, 108, seed=seed))
    score = np.where(labels != truth, 1.0, 4.0)[items] + generator.normal(0, 0.5, 108).round()
    lost = generator.random(108) < careless
    score[lost] = generator.integers(1, 6, lost.sum())
    return scored(items, np.clip(score, 1, 5)), found


@pytest.mark.jit
def test_the_check_flags_systematic_errors_and_no_others() -> None:
    flagged = {
        kind: sum(contradiction(*answers_to(kind, seed)).contradicts for seed in range(10))
        for kind in ("systematic", "random", "none")
    }
    assert flagged["systematic"] >= 9
    assert flagged["random"] <= 1
    assert flagged["none"] <= 1


def test_what_the_check_says() -> None:
    told = contradiction(*answers_to("systematic", 0))
    assert told.contradicts
    assert "systematically" in str(told)
    assert told.unexpected > told.expected
    quiet = contradiction(*answers_to("random", 0))
    assert "do not contradict" in str(quiet)
    given, found = answers_to("none", 0)
    copies = replace(found, copies=np.full(len(found), 2))
    assert contradiction(given, copies).answers == 0
    assert not contradiction(given, copies).contradicts

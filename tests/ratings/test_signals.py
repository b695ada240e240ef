"""Signals, questions and propagation against brute force on few samples, and what each refuses."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hitl_fast._common.errors import InputError, InputTypeError, MissingExtraError
from hitl_fast.ratings import neighbours as neighbours_module
from hitl_fast.ratings.neighbours import components, neighbours
from hitl_fast.ratings.priorities import Priorities
from hitl_fast.ratings.questions import NOISE, ask_next, kernel
from hitl_fast.ratings.signals import COLUMNS, Signals, read_signals


def blobs(
    n: int = 120, classes: int = 3, d: int = 5, wrong: int = 10, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features in well-separated clusters, labels of which some are wrong, and which."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, classes, n)
    x = 4 * generator.normal(size=(classes, d))[truth] + generator.normal(size=(n, d))
    bad = generator.choice(n, wrong, replace=False)
    labels = truth.copy()
    labels[bad] = (labels[bad] + 1) % classes
    return x, labels, bad


@pytest.mark.jit  # the same in every pass
@settings(max_examples=20, deadline=None)
@given(
    n=st.integers(13, 60),
    d=st.integers(1, 8),
    k=st.integers(1, 10),
    seed=st.integers(0, 10**6),
    tied=st.booleans(),
)
def test_neighbours_are_those_of_every_pair(n: int, d: int, k: int, seed: int, tied: bool) -> None:
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(n, d)) * 10.0 ** generator.integers(-3, 4) + 5
    if tied:
        x[: n // 2] = x[0]  # many equal rows
    full = np.sqrt(((x[:, None] - x) ** 2).sum(2))
    np.fill_diagonal(full, np.inf)
    radius = float(np.quantile(full[np.isfinite(full)], 0.1))
    found = neighbours(x, k, radius)
    scale = full[np.isfinite(full)].max()
    np.testing.assert_allclose(found.distance, np.sort(full, axis=1)[:, :k], rtol=1e-4, atol=1e-3 * scale)
    np.testing.assert_allclose(
        found.distance, np.take_along_axis(full, found.index, 1), rtol=1e-6, atol=1e-9 * scale
    )
    assert (np.diff(found.distance) >= 0).all()
    assert (found.index != np.arange(n)[:, None]).all()
    # Components by repeated closure; distances within rounding of the radius may fall on either side.
    for slack, compare in ((1 - 1e-3, "merged"), (1 + 1e-3, "apart")):
        linked = (full <= radius * slack) | np.eye(n, dtype=bool)
        for _ in range(n.bit_length()):
            linked = (linked.astype(int) @ linked.astype(int)) > 0
        same = found.group[:, None] == found.group
        assert (same[linked]).all() if compare == "merged" else (linked[same]).all()


@pytest.mark.jit
@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 30), edges=st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29)), max_size=60))
def test_components_by_closure(n: int, edges: list[tuple[int, int]]) -> None:
    pairs = np.array([(a % n, b % n) for a, b in edges], np.int64).reshape(-1, 2)
    linked = np.eye(n, dtype=bool)
    linked[pairs[:, 0], pairs[:, 1]] = linked[pairs[:, 1], pairs[:, 0]] = True
    for _ in range(n.bit_length()):
        linked = (linked.astype(int) @ linked.astype(int)) > 0
    assert components(n, pairs).tolist() == linked.argmax(1).tolist()


def test_a_dense_group_is_one_group_however_large() -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(400, 4))
    x[100:300] = x[7] + 1e-6 * generator.normal(size=(200, 4))  # more than any list of neighbours holds
    group = neighbours(x, 3, 1e-3).group
    assert (group[100:300] == group[7]).all()
    assert (group == group[7]).sum() == 201


def test_an_index_finds_what_comparison_of_every_pair_does(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).normal(size=(3000, 8))
    x[1500:1600] = x[:100]  # exact copies, which come before the row itself in some lists
    exact = neighbours(x, 10, 0.01)
    monkeypatch.setattr(neighbours_module, "EXACT_ROWS", 1000)
    found = neighbours(x, 10, 0.01)
    assert exact.exact
    assert not found.exact
    assert (found.index != np.arange(3000)[:, None]).all()
    shared = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact.index, found.index, strict=True)])
    assert shared > 0.6  # 32 of 219 cells are searched
    assert np.array_equal(found.group, exact.group)
    monkeypatch.setattr(neighbours_module, "require", _missing)
    with pytest.raises(MissingExtraError, match="neighbours"):
        neighbours(x, 10, 0.01)


def _missing(module: str, extra: str, purpose: str) -> Any:
    raise MissingExtraError(f"{purpose} needs {module}: run pip install 'hitl-fast[{extra}]'")


def test_signals_are_those_of_the_formulas() -> None:
    x, y, _ = blobs(60, wrong=6)
    found = Signals.of(x, y)
    n, classes = len(x), 3
    # Leave-one-out ridge by refitting, in the dual, with the penalty that was chosen.
    centred = x - x.mean(0)
    rho = found.penalty * (centred**2).sum()
    scores = np.empty((n, classes))
    for i in range(n):
        rest = np.delete(np.arange(n), i)
        middle, mean = x[rest].mean(0), np.eye(classes)[y[rest]].mean(0)
        a = x[rest] - middle
        w = np.linalg.solve(a.T @ a + rho * np.eye(x.shape[1]), a.T @ (np.eye(classes)[y[rest]] - mean))
        scores[i] = (x[i] - middle) @ w + mean
    e = np.exp(found.temperature * (scores - scores.max(1, keepdims=True)))
    p = 0.98 * e / e.sum(1, keepdims=True) + 0.02 / classes
    full = np.sqrt(((x[:, None] - x) ** 2).sum(2))
    np.fill_diagonal(full, np.inf)
    order = np.argsort(full, axis=1)[:, :10]
    d = np.take_along_axis(full, order, 1)
    weight = np.exp(-((d / np.median(d)) ** 2))
    v = np.stack([(weight * (y[order] == c)).sum(1) / weight.sum(1) + 0.05 for c in range(classes)], axis=1)
    q = p * v / (p * v).sum(1, keepdims=True)
    np.testing.assert_allclose(found.quality, q[np.arange(n), y], rtol=1e-6)
    u = found.quality / found.copies
    mass = np.array([u[y == c].sum() for c in range(classes)])
    u *= np.sqrt(mass.min() / mass[y])
    auto = found.priorities()
    np.testing.assert_allclose(auto.score, np.minimum(1, u / np.quantile(u, 0.99)), rtol=1e-9)
    np.testing.assert_allclose(auto.weights(), 0.1 + 0.9 * auto.score)

    # The temperature is the likeliest.
    def likelihood(t: float) -> float:
        s = t * scores
        return float((s[np.arange(n), y] - np.log(np.exp(s).sum(1))).mean())

    assert likelihood(found.temperature) >= max(likelihood(found.temperature * f) for f in (0.9, 1.1)) - 1e-9
    assert found.table.shape == (n, len(COLUMNS))
    assert np.abs(found.table).max() <= 4
    own = (p * np.log(p)).sum(1)
    entropy = -(own - own.mean()) / own.std()
    np.testing.assert_allclose(found.table[:, -1], np.clip(entropy, -4, 4), rtol=1e-4, atol=1e-4)


def test_wrong_labels_and_copies_are_seen() -> None:
    x, y, bad = blobs(300, wrong=20)
    x, y = np.concatenate([x, x[:5] + 1e-3]), np.concatenate([y, y[:5]])
    found = Signals.of(x, y)
    assert set(np.argsort(found.quality)[:20]) >= set(bad[:15]) or np.median(found.quality[bad]) < 0.05
    assert np.median(np.delete(found.quality, bad)) > 0.9
    assert (found.copies[300:] == 2).all()
    assert (found.copies[5:300] == 1).mean() > 0.95
    assert found.priorities().score[bad].mean() < 0.2


@pytest.mark.parametrize("kind", ["tensor", "text", "bool", "float32", "cosine", "wide", "integer features"])
def test_kinds_of_input(kind: str) -> None:
    x, y, _ = blobs(80, classes=2, d=200 if kind == "wide" else 5)
    usual = Signals.of(x, y)
    given: dict[str, Any] = {"features": x, "labels": y}
    if kind == "tensor":
        given = {"features": torch.from_numpy(x), "labels": torch.from_numpy(y)}
    elif kind == "text":
        given["labels"] = np.array(["b", "c"])[y]
        assert Signals.of(**given).classes == ("b", "c")
    elif kind == "bool":
        given["labels"] = y == 1
    elif kind == "float32":
        given["features"] = x.astype(np.float32)
    elif kind == "cosine":
        given |= {"metric": "cosine", "radius": 0.01}
    elif kind == "integer features":
        given["features"] = np.round(100 * x).astype(np.int64)
    found = Signals.of(**given)
    same = kind in ("tensor", "text", "bool")
    np.testing.assert_allclose(found.quality, usual.quality, atol=1e-9 if same else 0.6)
    assert np.isfinite(found.table).all()
    assert found.embedding.shape == (80, min(16, x.shape[1]))


@pytest.mark.jit
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    kind=st.sampled_from(["constant", "equal rows", "one column", "far", "tiny", "rare"]),
)
def test_degenerate_features_give_finite_signals(seed: int, kind: str) -> None:
    generator = np.random.default_rng(seed)
    x, y = generator.normal(size=(40, 3)), generator.integers(0, 3, 40)
    y[:3] = 0, 1, 2
    if kind == "constant":
        x[:] = 3.0
    elif kind == "equal rows":
        x[5:30] = x[5]
    elif kind == "one column":
        x = x[:, :1]
    elif kind == "far":
        x[0] = 1e6
    elif kind == "tiny":
        x *= 1e-9
    else:
        y[:] = 0
        y[0] = 7
    found = Signals.of(x, y)
    for values in (found.quality, found.table, found.embedding, found.priorities().score):
        assert np.isfinite(values).all()
    assert ((found.quality > 0) & (found.quality < 1)).all()
    weights = found.priorities().weights()
    assert ((weights >= 0.1) & (weights <= 1)).all()
    assert len(set(ask_next(found, 10))) == 10


def test_given_groups_and_cleanlab_replace_parts() -> None:
    x, y, bad = blobs(120)
    grouped = Signals.of(x, y, groups=np.arange(120) // 3)
    assert (grouped.copies == 3).all()
    found = Signals.of(x, y, quality="cleanlab")
    assert np.median(found.quality[bad]) < 0.2 < np.median(np.delete(found.quality, bad))
    assert not np.allclose(found.quality, Signals.of(x, y).quality)


@pytest.mark.parametrize(
    ("change", "error", "named"),
    [
        ({"features": np.zeros((40, 0))}, InputError, "features"),
        ({"features": np.zeros(40)}, InputError, "features"),
        ({"features": np.full((40, 2), "a")}, InputTypeError, "features"),
        ({"features": np.zeros((40, 2), complex)}, InputTypeError, "features"),
        ({"features": np.zeros((5, 2)), "labels": np.arange(5)}, InputError, "12"),
        ({"labels": np.zeros(40, int)}, InputError, "one class"),
        ({"labels": np.arange(39)}, InputError, "40 samples"),
        ({"labels": np.arange(40) / 2}, InputTypeError, "labels"),
        ({"labels": np.zeros((40, 2), int)}, InputError, "labels"),
        ({"labels": [None] + [1] * 39}, InputTypeError, r"labels\[0\]"),
        ({"metric": "manhattan"}, InputError, "manhattan"),
        ({"radius": -1.0}, InputError, "radius"),
        ({"radius": float("nan")}, InputError, "radius"),
        ({"quality": "mine"}, InputError, "mine"),
        ({"groups": np.arange(3)}, InputError, "groups"),
        ({"features": np.full((40, 2), 1e30)}, InputError, "1e"),
        ({"features": np.full((40, 2), 1e-30)}, InputError, "1e-30"),
        ({"features": np.ma.array(np.ones((40, 2)), mask=np.eye(40, 2))}, InputError, "masked"),
        ({"radius": "far"}, InputError, "radius"),
        ({"seed": -1}, InputError, "seed"),
        ({"seed": 0.5}, InputTypeError, "seed"),
        ({"seed": True}, InputTypeError, "seed"),
        ({"labels": np.arange(40)}, InputError, "40 classes"),
        ({"labels": pandas.Series(np.arange(40) % 3)[::-1]}, InputError, "sort_index"),
    ],
)
def test_bad_signals_are_refused(change: dict[str, Any], error: type[Exception], named: str) -> None:
    generator = np.random.default_rng(0)
    given = {"features": generator.normal(size=(40, 2)), "labels": np.arange(40) % 3}
    with pytest.raises(error, match=named):
        Signals.of(**{**given, **change})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_first_value_that_is_not_finite_is_named(value: float) -> None:
    x = np.zeros((40, 3))
    x[17, 2] = x[30, 0] = value
    with pytest.raises(InputError, match=r"features\[17, 2\]"):
        Signals.of(x, np.arange(40) % 2)
    x = np.ones((40, 3))
    x[4] = 0
    with pytest.raises(InputError, match=r"features\[4\]"):
        Signals.of(x, np.arange(40) % 2, metric="cosine")


@pytest.mark.parametrize("offset", [0.0, -1e3, 1e8])
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e6])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_origin_and_scale_of_features_change_nothing(offset: float, scale: float, metric: str) -> None:
    x, y, _ = blobs(60)
    x = np.concatenate([x, x[:3] + 1e-4])  # near copies
    y = np.concatenate([y, y[:3]])
    if metric == "cosine":
        offset = 0.0  # which has directions change
    wanted, found = Signals.of(x, y, metric=metric), Signals.of((x + offset) * scale, y, metric=metric)
    np.testing.assert_array_equal(found.copies, wanted.copies)
    assert wanted.copies.max() > 1
    np.testing.assert_allclose(found.quality, wanted.quality, atol=1e-5)
    np.testing.assert_allclose(found.automatic(), wanted.automatic(), atol=1e-5)


def test_a_far_sample_makes_no_copies_of_the_others() -> None:
    x, y, _ = blobs(60)
    wanted = Signals.of(x, y).copies
    x[0] = 1e12
    found = Signals.of(x, y).copies
    assert found[0] == 1
    assert found.sum() <= wanted.sum() + 2  # medians of distances move a little


def test_half_precision_tensors_are_read() -> None:
    x, y, _ = blobs(60)
    wanted = Signals.of(torch.from_numpy(x).bfloat16().float(), y)
    np.testing.assert_array_equal(Signals.of(torch.from_numpy(x).bfloat16(), y).quality, wanted.quality)


def test_signals_of_a_file(tmp_path: Path) -> None:
    x, y, _ = blobs(50)
    np.savez(tmp_path / "s.npz", features=x, labels=y)
    np.testing.assert_array_equal(read_signals(tmp_path / "s.npz").quality, Signals.of(x, y).quality)
    np.savez(tmp_path / "bad.npz", features=x)
    (tmp_path / "text.npz").write_text("no")
    for name, named in (("bad.npz", "labels"), ("text.npz", "text.npz")):
        with pytest.raises(InputError, match=named):
            read_signals(tmp_path / name)


def brute(table: np.ndarray, candidates: list[int], known: list[int], n: int) -> list[int]:
    """The greedy choice, each time with the posterior covariance computed anew."""
    chosen: list[int] = []
    for _ in range(n):
        seen = known + chosen
        points = table.astype(np.float64)
        C = kernel(points, points)
        if seen:
            C = C - C[:, seen] @ np.linalg.solve(C[np.ix_(seen, seen)] + NOISE * np.eye(len(seen)), C[seen])
        gains = {c: (C[:, c] ** 2).sum() / (C[c, c] + NOISE) for c in candidates if c not in chosen}
        chosen.append(max(gains, key=lambda c: gains[c]))
    return chosen


@pytest.mark.parametrize("known", [[], [3, 17, 40], [3, 3, 3, 9]])
def test_questions_are_the_greedy_choice(known: list[int]) -> None:
    signals = Signals.of(*blobs(60)[:2])
    found = ask_next(signals, 12, answered=np.array(known, np.int64))
    free = [i for i in range(60) if i not in known]
    assert found.tolist() == brute(signals.table, free, known, 12)  # all are candidates and reference


def test_questions_avoid_what_is_known_and_spread_with_diversity() -> None:
    signals = Signals.of(*blobs(500)[:2])
    first = ask_next(signals, 50)
    second = ask_next(signals, 50, answered=first)
    assert len(set(first) | set(second)) == 100
    assert ask_next(signals, 50).tolist() == first.tolist()

    def closest(items: np.ndarray) -> float:
        near = kernel(signals.table[items].astype(float), signals.table[items].astype(float))
        np.fill_diagonal(near, 0)
        return float(near.max(1).mean())

    assert closest(ask_next(signals, 30, diversity=5.0)) < closest(ask_next(signals, 30))
    assert sorted(ask_next(signals, 450, answered=first)) == sorted(set(range(500)) - set(first))
    many = np.arange(450)
    assert set(ask_next(signals, 20, answered=np.tile(many, 10))) <= set(range(450, 500))


def test_bad_questions_are_refused() -> None:
    signals = Signals.of(*blobs(60)[:2])
    for wrong, error, named in (
        ({"n": 0}, InputError, "n must"), ({"n": 61}, InputError, "60"), ({"n": True}, InputError, "n must"),
        ({"n": 2.5}, InputError, "n must"), ({"diversity": -1}, InputError, "diversity"),
        ({"diversity": "a"}, InputError, "diversity"), ({"seed": -1}, InputError, "seed"),
        ({"answered": [60]}, InputError, "60"), ({"answered": [-1]}, InputError, "-1"),
        ({"answered": ["a"]}, InputTypeError, "integers"), ({"answered": [0.5]}, InputTypeError, "integers"),
        ({"signals": 3}, InputTypeError, "Signals"),
    ):  # fmt: skip
        with pytest.raises(error, match=named):
            ask_next(**{"signals": signals, "n": 5, **wrong})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="all 60"):
        ask_next(signals, 1, answered=np.arange(60))
    assert isinstance(signals.priorities(), Priorities)

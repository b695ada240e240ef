"""Leave-one-out ridge against its closed form, against one fit a sample, and at its edges."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hitl_kernels.leave_one_out_ridge import fits, leave_one_out_labels, leave_one_out_ridge, reference
from hypothesis import given, settings
from hypothesis import strategies as st

# Of scores of order 1, by penalty p: 1 - h is off by some 1e-16 / p, and may be as small as p.
TOLERANCE = {10.0: 1e-12, 1e-2: 1e-11, 1e-5: 1e-5}


def problem(n: int, width: int, k: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(n) % k)
    features = 2 + generator.standard_normal((k, width))[labels] + generator.standard_normal((n, width))
    return features, labels, generator.standard_normal((n, k))


def rho(features: np.ndarray, penalty: float) -> float:
    return penalty * float((reference.centred(features) ** 2).sum())


@pytest.mark.parametrize("penalty", TOLERANCE)
@pytest.mark.parametrize(("n", "width", "k"), [(2, 1, 1), (7, 3, 2), (31, 31, 4), (30, 97, 5), (83, 12, 3)])
def test_equals_one_fit_a_sample(n: int, width: int, k: int, penalty: float) -> None:
    features, labels, targets = problem(n, width, k)
    X, tolerance = reference.centred(features), TOLERANCE[penalty]
    for given_targets, dense in ((targets, targets), (labels, np.eye(labels.max() + 1)[labels])):
        expected = reference.refitted(features, dense, rho(features, penalty))
        closed, leverage = reference.leave_one_out(X @ X.T, dense, rho(features, penalty))
        np.testing.assert_allclose(closed, expected, rtol=tolerance, atol=tolerance)
        for source in ({"features": features}, {"gram": X @ X.T}):
            found = leave_one_out_ridge(given_targets, penalty, **source)  # type: ignore[arg-type]
            np.testing.assert_allclose(found.scores, expected, rtol=tolerance, atol=tolerance)
            np.testing.assert_allclose(found.leverage, leverage, rtol=0, atol=1e-15 / penalty + 1e-13)


def test_centres_a_gram_matrix() -> None:
    features, _, targets = problem(40, 60, 3)
    expected = leave_one_out_ridge(targets, 0.1, features=features)
    gram = features @ features.T
    held = gram.copy()
    found = leave_one_out_ridge(targets, 0.1, gram=gram)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(gram, held)


def test_blocks_of_rows_change_nothing_but_rounding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    features, labels, targets = problem(101, 7, 4)
    whole = leave_one_out_ridge(targets, 1e-3, features=features)
    classes = leave_one_out_labels(labels, 1e-3, features=features)
    assert 0 < (classes != labels).mean() < 0.7
    monkeypatch.setattr(fits, "BLOCK", 70)  # ten rows
    small = features.astype(np.float32)
    in_file = np.memmap(tmp_path / "rows", np.float32, "w+", shape=small.shape)
    in_file[:] = small
    for source in ({"features": features}, {"gram": features @ features.T}):
        blocked = leave_one_out_ridge(targets, 1e-3, **source)  # type: ignore[arg-type]
        np.testing.assert_allclose(blocked.scores, whole.scores, rtol=1e-10, atol=1e-10)
        assert (leave_one_out_labels(labels, 1e-3, **source) == classes).all()  # type: ignore[arg-type]
    held = leave_one_out_ridge(targets, 1e-3, features=small)
    np.testing.assert_array_equal(leave_one_out_ridge(targets, 1e-3, features=in_file).scores, held.scores)


@given(st.integers(0, 2**32 - 1), st.integers(2, 20), st.integers(1, 25))
@settings(max_examples=30, deadline=None)
def test_a_sample_says_nothing_of_itself(seed: int, n: int, width: int) -> None:
    features, _, targets = problem(n, width, 2, seed)
    i = seed % n
    moved = targets.copy()
    moved[i] += 100
    first, second = (leave_one_out_ridge(t, 0.1, features=features).scores for t in (targets, moved))
    np.testing.assert_allclose(first[i], second[i], rtol=1e-9, atol=1e-9)


@given(
    st.integers(0, 2**32 - 1), st.integers(2, 20), st.integers(1, 25), st.sampled_from([1e-200, 1e-3, 1e200])
)
@settings(max_examples=30, deadline=None)
def test_scale_rotation_and_place_of_features_do_not_count(
    seed: int, n: int, width: int, scale: float
) -> None:
    features, _, targets = problem(n, width, 2, seed)
    rotation = np.linalg.qr(np.random.default_rng(seed).standard_normal((width, width)))[0]
    expected = leave_one_out_ridge(targets, 0.01, features=features).scores
    found = leave_one_out_ridge(targets, 0.01, features=scale * ((features - 5) @ rotation)).scores
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("width", [3, 60])
@pytest.mark.parametrize("level", [0.0, 0.1, 1e200])
def test_constant_features_leave_the_mean_of_the_others(width: int, level: float) -> None:
    targets = np.arange(20.0)[:, None]
    expected = (targets.sum() - targets) / 19
    for values in (np.full((20, width), level), np.full((20, width), level, np.longdouble).astype(float)):
        found = leave_one_out_ridge(targets, 0.01, features=values)
        np.testing.assert_allclose(found.scores, expected, rtol=1e-12)
    if level < 1:
        gram = np.full((20, 20), level)
        np.testing.assert_allclose(leave_one_out_ridge(targets, 0.01, gram=gram).scores, expected, rtol=1e-12)


def test_takes_tensors_and_gives_tensors() -> None:
    features, labels, targets = problem(20, 5, 3)
    expected = leave_one_out_ridge(targets, 0.1, features=features)
    found = leave_one_out_ridge(targets, 0.1, features=torch.from_numpy(features).requires_grad_())
    assert isinstance(found.scores, torch.Tensor)
    np.testing.assert_array_equal(found.scores, expected.scores)
    labels_found = leave_one_out_labels(
        torch.from_numpy(labels), 0.1, features=torch.from_numpy(features).half()
    )
    assert labels_found.dtype == torch.int64
    wide = leave_one_out_ridge(labels.astype(np.uint8), 0.1, features=features[::-1][::-1], n_classes=9)
    assert wide.scores.shape == (20, 9)
    assert (wide.scores[:, 3:] == 0).all()


GOOD: dict[str, Any] = {"targets": np.zeros((4, 2)), "penalty": 0.1, "features": np.eye(4)}
NAN, INF = np.eye(4), np.eye(4)
NAN[2, 1], INF[3, 0] = np.nan, -np.inf


@pytest.mark.parametrize(
    ("change", "error", "names"),
    [
        ({"gram": np.eye(4)}, ValueError, "either features or gram"),
        ({"features": None}, ValueError, "either features or gram"),
        ({"penalty": 0}, ValueError, "penalty.*above 0, not 0"),
        ({"penalty": float("nan")}, ValueError, "penalty.*nan"),
        ({"features": NAN}, ValueError, r"features\[2, 1\] is nan"),
        ({"features": torch.from_numpy(INF)}, ValueError, r"features\[3, 0\] is -inf"),
        ({"features": None, "gram": NAN}, ValueError, r"gram\[2, 1\] is nan"),
        ({"features": None, "gram": np.zeros((4, 3))}, ValueError, r"\(n, n\), not \(4, 3\)"),
        ({"features": np.eye(4, dtype=int)}, TypeError, "features must hold floats, not int64"),
        ({"features": [[1.0], [2.0]]}, TypeError, "features.*list"),
        ({"features": np.ones((1, 3)), "targets": np.ones((1, 1))}, ValueError, "2 rows or more"),
        ({"targets": INF}, ValueError, r"targets\[3, 0\] is -inf"),
        ({"targets": np.zeros((3, 2))}, ValueError, r"\(4, K\).*\(3, 2\)"),
        ({"targets": np.zeros((4, 2)), "n_classes": 2}, ValueError, "n_classes"),
        ({"targets": np.array([0, 1, 2])}, ValueError, r"\(4,\).*\(3,\)"),
        ({"targets": np.array([0, 1, 2, -1])}, ValueError, "sample 3 is -1"),
        ({"targets": np.array([0, 1, 2, 1]), "n_classes": 2}, ValueError, "0 to 1.*sample 2 is 2"),
        ({"targets": np.zeros(4, bool)}, TypeError, "bool"),
    ],
)
def test_refuses(change: dict[str, Any], error: type[Exception], names: str) -> None:
    with pytest.raises(error, match=names):
        leave_one_out_ridge(**{**GOOD, **change})


def test_labels_must_be_integers() -> None:
    with pytest.raises(TypeError, match="labels must be"):
        leave_one_out_labels(np.zeros((4, 2)), 0.1, features=np.eye(4))

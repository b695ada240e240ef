"""CKA, RESQUE angle, probe error and class sums against plain definitions, in memory and from a file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from hitl_fast.shift import embedding_scores as scores
from hitl_fast.shift.embedding_scores import Embedding, class_sums, linear_cka, probe_error, resque_angle

CKA = 1e-6  # of float32 products, against float64 throughout


def embedding(n: int, width: int, seed: int = 0, n_classes: int = 4) -> Embedding:
    generator = np.random.default_rng(seed)
    classes = generator.permutation(np.arange(n) % n_classes)
    centres = generator.standard_normal((n_classes, width))
    rows = 3 + centres[classes] + generator.standard_normal((n, width))
    return Embedding(torch.from_numpy(rows.astype(np.float32)), classes, n_classes)


def in_file(values: Embedding, path: Path) -> Embedding:
    held = np.memmap(path, np.float32, "w+", shape=values.shape)
    held[:] = values.rows.numpy()
    return Embedding(np.memmap(path, np.float32, "r", shape=values.shape), values.classes, values.n_classes)


def both_ways(values: Embedding, path: Path) -> list[Embedding]:
    return [values, in_file(values, path)]


def plain_cka(a: np.ndarray, b: np.ndarray) -> float:
    a, b = (x.astype(np.float64) - x.mean(0, dtype=np.float64) for x in (a, b))
    return float(np.linalg.norm(a.T @ b) ** 2 / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b)))


@pytest.mark.parametrize(("n", "width"), [(50, 7), (9, 30), (6000, 40), (1500, 300), (300, 1500)])
def test_cka(n: int, width: int, tmp_path: Path) -> None:
    first, second = embedding(n, width), embedding(n, width, seed=1)
    expected = plain_cka(first.rows.numpy(), second.rows.numpy())
    for a, b in zip(both_ways(first, tmp_path / "a"), both_ways(second, tmp_path / "b"), strict=True):
        assert linear_cka(a, b) == pytest.approx(expected, abs=CKA)
    assert linear_cka(first, first) == pytest.approx(1, abs=1e-12)


def test_cka_of_wide_embeddings_goes_through_some_samples(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first, second = embedding(60, 90), embedding(60, 90, seed=1)
    monkeypatch.setattr(scores, "WIDEST", 80)  # 90 values are then too many
    monkeypatch.setattr(scores, "SAMPLES", 40)
    _, which = first.sample(40)
    assert len(set(which)) == 40
    expected = plain_cka(first.rows[which].numpy(), second.rows[which].numpy())
    for a, b in zip(both_ways(first, tmp_path / "a"), both_ways(second, tmp_path / "b"), strict=True):
        assert linear_cka(a, b) == pytest.approx(expected, abs=CKA)


def test_constant_embeddings_have_no_cka_and_zero_sums_no_angle() -> None:
    constant = Embedding(torch.full((1000, 3), 0.1), np.zeros(1000, np.int64), 1)
    assert linear_cka(constant, constant) is None
    assert linear_cka(constant, embedding(1000, 3)) is None
    assert resque_angle(np.zeros((2, 3)), np.ones((2, 3))) is None
    assert probe_error(constant) == 0


def test_class_sums(tmp_path: Path) -> None:
    values = embedding(3000, 600, n_classes=7)
    rows = values.rows.double().numpy()
    expected = np.stack([rows[values.classes == k].sum(0) for k in range(7)])
    for given in both_ways(values, tmp_path / "a"):
        np.testing.assert_allclose(class_sums(given), expected, rtol=1e-5)


def test_resque_angle() -> None:
    clean = np.array([[1.0, 0.0], [2.0, 2.0], [0.0, 3.0], [0.0, 0.0]])
    shifted = np.array([[0.0, 5.0], [1.0, 1.0], [0.0, -1.0], [1.0, 0.0]])
    assert resque_angle(clean, shifted) == pytest.approx((0.5 + 0 + 1) / 3)
    assert resque_angle(clean, 7 * clean) == pytest.approx(0, abs=1e-15)
    assert resque_angle(clean, clean.copy()) == 0


def refitted_error(values: Embedding) -> float:
    """The definition: as many fits as samples."""
    X = values.rows.double().numpy()
    targets = np.eye(values.n_classes)[values.classes]
    centred = X - X.mean(0)
    penalty = scores.RIDGE * np.trace(centred.T @ centred) / X.shape[1]
    wrong = 0
    for i in range(len(X)):
        kept = np.arange(len(X)) != i
        # The closed form leaves out a row of the centred, intercept-free problem with the penalty of all rows.
        fit = Ridge(alpha=penalty).fit(X[kept], targets[kept])
        wrong += int(fit.predict(X[i : i + 1]).argmax() != values.classes[i])
    return wrong / len(X)


@pytest.mark.parametrize(("n", "width"), [(80, 6), (40, 60), (61, 60)])
def test_probe_error_is_leave_one_out(n: int, width: int, tmp_path: Path) -> None:
    values = embedding(n, width)
    values = Embedding(
        values.rows + 2 * torch.randn(n, width, generator=torch.Generator().manual_seed(1)), values.classes, 4
    )
    expected = refitted_error(values)
    assert 0 < expected < 0.8
    for given in both_ways(values, tmp_path / "a"):
        assert probe_error(given) == expected


def test_probe_error_knows_signal_from_noise() -> None:
    separate = embedding(400, 20)
    assert probe_error(separate) < 0.05
    shuffled = Embedding(separate.rows, np.random.default_rng(0).permutation(separate.classes), 4)
    assert 0.6 < probe_error(shuffled) < 0.9  # chance is 0.75


def test_probe_error_of_wide_embeddings_takes_some_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    values = embedding(60, 50)
    noise = 3 * torch.randn(60, 50, generator=torch.Generator().manual_seed(1))
    values = Embedding(values.rows + noise, values.classes, 4)
    monkeypatch.setattr(scores, "WIDEST", 40)
    monkeypatch.setattr(scores, "SAMPLES", 20)
    rows, which = values.sample(20)
    expected = refitted_error(Embedding(rows, values.classes[which], 4))
    assert 0 < expected < 0.75
    assert probe_error(values) == expected


def test_embeddings_that_tell_nothing_do_as_well_as_a_guess() -> None:
    classes = np.arange(100) % 4
    collapsed = Embedding(torch.ones(100, 3), classes, 4)
    assert probe_error(collapsed) == 0.75  # leave-one-out alone would say 1: a left out class is the rarest


def test_rows_far_from_zero_are_centred_in_float64() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (0.1 + 1e-3 * torch.randn(200_000, 4, generator=generator) for _ in range(2))
    classes = np.zeros(200_000, np.int64)
    assert linear_cka(Embedding(first, classes, 1), Embedding(second, classes, 1)) < 1e-3

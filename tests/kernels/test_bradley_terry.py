"""Bradley-Terry: fast against reference, against choix, and against the truth that made the data."""

from typing import Any

import choix
import numpy as np
import pytest
from hitl_kernels.bradley_terry import bradley_terry, cpu, reference

TOLERANCE = 1e-7  # of scores, both implementations being converged to 1e-9


def drawn(
    seed: int, n_items: int, n: int, a: np.ndarray, tie: float = -np.inf
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    s = random.normal(0, 1.5, n_items)
    first = random.integers(0, n_items, n)
    second = (first + random.integers(1, n_items, n)) % n_items
    raters = random.integers(0, a.size, n)
    win, lose, _ = reference.probabilities(a[raters] * (s[first] - s[second]) / 2, tie)
    draw = random.random(n)
    outcome = np.where(draw < win, 1.0, np.where(draw < win + lose, 0.0, 0.5))
    return s, first, second, outcome, raters


@pytest.mark.parametrize(
    ("n_items", "n", "n_raters", "tie"),
    [(2, 1, 1, -np.inf), (2, 5, 1, 0.0), (7, 60, 1, -np.inf), (7, 61, 3, -0.5), (13, 400, 5, 0.5), (31, 97, 2, -1)],
)  # fmt: skip
def test_fast_equals_reference(n_items: int, n: int, n_raters: int, tie: float) -> None:
    a = np.linspace(0.2, 1.5, n_raters)
    _, first, second, outcome, raters = drawn(1, n_items, n, a, tie)
    arguments: Any = (first, second, outcome, raters, n_items, n_raters, 4.0, 2000, 1e-9)
    for ours, theirs in zip(cpu.bradley_terry(*arguments), reference.bradley_terry(*arguments), strict=True):
        if not isinstance(ours, int):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("alpha", [0.01, 0.1, 1.0])
def test_equals_choix_without_ties_and_raters(alpha: float) -> None:
    """choix penalises alpha |s|^2: a normal prior of variance 1 / (2 alpha)."""
    _, first, second, outcome, _ = drawn(2, 9, 300, np.ones(1))
    winners = np.where(outcome == 1, first, second)
    losers = np.where(outcome == 1, second, first)
    expected = choix.opt_pairwise(9, list(zip(winners, losers, strict=True)), alpha=alpha, tol=1e-12)
    found = bradley_terry(first, second, outcome, prior_variance=1 / (2 * alpha))
    np.testing.assert_allclose(found.score, expected, rtol=0, atol=1e-5)
    assert found.tie == -np.inf
    assert found.discrimination.tolist() == [1.0]


@pytest.mark.jit
def test_scores_cover_the_truth_and_raters_are_told_apart() -> None:
    covered, n_raters = [], 6
    a = np.array([1.0, 1.3, 0.8, 1.1, 0.0, -1.0])  # the last two answer at random, and against the scores
    for seed in range(20):
        s, first, second, outcome, raters = drawn(seed, 25, 1500, a, -0.3)
        model = bradley_terry(first, second, outcome, raters)
        assert np.corrcoef(model.score, s)[0, 1] > 0.95
        order = model.discrimination
        assert order[:4].min() > 0.3 > abs(order[4])
        assert order[5] < -0.3
        # the scores' unit is that of the average rater: compare up to a factor and an offset
        slope, offset = np.polyfit(model.score, s, 1)
        error = (slope * model.score + offset - s) / (slope * np.sqrt(model.variance))
        covered.append((np.abs(error) < 1.96).mean())
    assert 0.9 < np.mean(covered) <= 1.0
    assert n_raters == a.size


def test_ties_pull_items_together() -> None:
    first, second = np.array([0, 0, 1, 1] * 10), np.array([1, 1, 2, 2] * 10)
    wins = bradley_terry(first, second, np.ones(40)).score
    ties = bradley_terry(first, second, np.tile([1.0, 0.5], 20)).score
    assert wins[0] - wins[1] > ties[0] - ties[1] > 0
    same = bradley_terry(first, second, np.full(40, 0.5))
    np.testing.assert_allclose(same.score, 0, atol=1e-9)


def test_an_item_that_was_never_compared_keeps_its_prior() -> None:
    model = bradley_terry(np.array([0]), np.array([2]), np.array([1.0]), num_items=4, prior_variance=2.0)
    assert model.score[[1, 3]].tolist() == [0, 0]
    np.testing.assert_allclose(model.variance[[1, 3]], 2.0)
    assert model.variance[0] < 2


@pytest.mark.parametrize(
    ("change", "error", "named"),
    [
        ({"outcome": [0.7, 1]}, ValueError, r"outcome\[0\] is 0.7"),
        ({"second": [0, 2]}, ValueError, r"first\[0\] and second\[0\] are both 0"),
        ({"first": [0.5, 1]}, TypeError, "first must hold integers"),
        ({"outcome": [1]}, ValueError, "one length"),
        ({"raters": [0, -1]}, ValueError, r"raters\[1\] is -1"),
        ({"num_items": 2}, ValueError, r"second\[1\] is 2"),
        ({"num_items": 5000}, ValueError, "num_items is 5,000"),
        ({"prior_variance": 0.0}, ValueError, "prior_variance must be above 0"),
        ({"max_steps": 0}, ValueError, "max_steps must be 1 or more"),
        ({"first": []}, ValueError, r"first must have shape \(n,\)"),
    ],
)  # fmt: skip
def test_refuses(change: dict[str, Any], error: type[Exception], named: str) -> None:
    arguments: dict[str, Any] = {
        "first": [0, 1],
        "second": [1, 2],
        "outcome": [1, 0],
        "raters": [0, 0],
        **change,
    }
    arguments = {k: np.array(v, dtype=int) if v == [] else np.array(v) if isinstance(v, list) else v
                 for k, v in arguments.items()}  # fmt: skip
    with pytest.raises(error, match=named):
        bradley_terry(**arguments)

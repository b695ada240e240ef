"""Systematic draws: each item floor(n p) or ceil(n p) times, by construction and not by luck."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hitl_kernels.systematic import cpu, reference, systematic


def some_weights(n: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(n)
    holes = generator.random(n) * (generator.random(n) < 0.5)
    holes[0] = 1.0
    heavy = np.ones(n)
    heavy[n // 2] = 1e6
    return {
        "equal": np.full(n, 0.1),
        "random": generator.random(n),
        "holes": holes,
        "one_heavy": heavy,
        "power_law": 1.0 / np.arange(1, n + 1) ** 1.5,
        "huge": np.full(n, 1e308),
        "denormal": np.full(n, 1e-323),
    }


@pytest.mark.parametrize("shape", list(some_weights(1)))
@pytest.mark.parametrize(("n", "draws"), [(1, 5), (7, 7), (97, 40), (97, 1000), (1300, 1301)])
def test_counts_are_the_expectation_rounded_down_or_up(shape: str, n: int, draws: int) -> None:
    weights = some_weights(n)[shape]
    exact = [Fraction(w) for w in weights.tolist()]
    total = sum(exact)
    items = systematic(weights, draws, 3, 1)
    counts = np.bincount(items, minlength=n)
    assert counts.sum() == draws
    for count, weight in zip(counts.tolist(), exact, strict=True):
        expected = draws * weight / total
        nearest = round(expected)
        if abs(expected - nearest) <= Fraction(1, 2**48) * nearest:
            assert count == nearest
        else:
            assert math.floor(expected) <= count <= math.ceil(expected)


@pytest.mark.parametrize("shape", list(some_weights(1)))
@pytest.mark.parametrize("offset", [0.0, 0.3, 1 - 2.0**-53])
def test_counts_equal_the_definition(shape: str, offset: float) -> None:
    weights = some_weights(97)[shape]
    for draws in (1, 50, 97, 1000):
        assert np.array_equal(cpu.counts(weights, draws, offset), reference.counts(weights, draws, offset))


@pytest.mark.parametrize(("n", "draws"), [(1, 1), (7, 20), (97, 2100)])
def test_order_equals_the_definition(n: int, draws: int) -> None:
    weights = some_weights(n)["random"]
    assert np.array_equal(
        systematic(weights, draws, 2**40, 7), reference.systematic(weights, draws, 2**40, 7)
    )


def test_equal_weights_are_a_shuffle() -> None:
    found = [systematic(np.full(30, 0.1), 30, 0, epoch).tolist() for epoch in range(3)]
    assert [sorted(order) for order in found] == [list(range(30))] * 3
    assert found[0] != found[1] != found[2]

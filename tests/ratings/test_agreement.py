"""Krippendorff's alpha against published examples, against its definition, and where it is undefined."""

import math

import numpy as np
import pytest

from hitl_fast.ratings import Ratings
from hitl_fast.ratings.agreement import krippendorff

# Krippendorff, Computing Krippendorff's Alpha-Reliability (2011): A (binary), B (nominal), C (four observers)
BINARY = ("0 1 0 0 0 0 0 0 1 0", "1 1 1 0 0 1 0 0 0 0")
NOMINAL = ("a a b b d c c c e d d a", "b a b b b c c c e d d d")
FOUR = (
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
)
# The worked example of the English Wikipedia's article: three coders, 15 units
THREE = (". . . . . 3 4 1 2 1 1 3 3 . 3", "1 . 2 1 3 3 4 3 . . . . . . .", ". . 2 1 3 4 4 . 2 1 1 3 3 . 4")


def long(rows: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    cells = [
        (unit, rater, ord(cell) - ord("0"))
        for rater, row in enumerate(rows)
        for unit, cell in enumerate(row.split())
        if cell != "."
    ]
    units, raters, values = zip(*cells, strict=True)
    return np.array(units), np.array(raters), np.array(values, dtype=float)


@pytest.mark.parametrize(
    ("rows", "level", "alpha"),
    [
        (BINARY, "nominal", 0.095),
        (NOMINAL, "nominal", 0.692),
        (FOUR, "nominal", 0.743),
        (FOUR, "ordinal", 0.815),
        (FOUR, "interval", 0.849),
        (FOUR, "ratio", 0.797),
        (THREE, "nominal", 0.691),
        (THREE, "interval", 0.811),
    ],
)
def test_published_examples(rows: tuple[str, ...], level: str, alpha: float) -> None:
    units, raters, values = long(rows)
    assert f"{krippendorff(units, values, level).alpha:.3f}" == f"{alpha:.3f}"
    found = Ratings.from_arrays(units, raters, values).agreement(level)
    assert f"{found.alpha:.3f}" == f"{alpha:.3f}"
    assert found.low <= found.alpha <= found.high


def by_definition(units: np.ndarray, values: np.ndarray, level: str) -> float:
    """Pair by pair, ordinal differences by counting what lies between."""
    kept = [u for u in np.unique(units) if (units == u).sum() > 1]
    pooled = np.concatenate([values[units == u] for u in kept])

    def d2(c: float, k: float) -> float:
        if level == "nominal":
            return float(c != k)
        if level == "ordinal":
            low, high = min(c, k), max(c, k)
            between = ((pooled >= low) & (pooled <= high)).sum()
            return float((between - ((pooled == c).sum() + (pooled == k).sum()) / 2) ** 2) if c != k else 0.0
        return (c - k) ** 2 if level == "interval" else ((c - k) / (c + k)) ** 2 if c + k else 0.0

    observed = 0.0
    for u in kept:
        of = values[units == u]
        pairs = sum(d2(of[i], of[j]) for i in range(of.size) for j in range(of.size) if i != j)
        observed += pairs / (of.size - 1)
    n = pooled.size
    expected = sum(d2(pooled[i], pooled[j]) for i in range(n) for j in range(n) if i != j) / (n - 1)
    return 1 - observed / expected


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval", "ratio"])
@pytest.mark.parametrize(("n_units", "n"), [(2, 4), (5, 13), (20, 60)])
def test_equals_the_definition(n_units: int, n: int, level: str) -> None:
    generator = np.random.default_rng(n)
    units = np.concatenate([[0, 0], generator.integers(n_units, size=n)])
    values = np.concatenate([[0, 3], generator.integers(0, 4, size=n)]) * 0.5
    found = krippendorff(units, values, level, replicates=0)
    assert found.alpha == pytest.approx(by_definition(units, values, level), abs=1e-12)
    assert (found.low, found.high) == (-0.95, 0.95)


def test_interval_covers_and_repeats_itself() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(40):  # alpha of such raters is 0.5 in the limit: equal variance of items and of noise
        truth = generator.normal(size=60)
        units = np.repeat(np.arange(60), 3)
        values = truth[units] + generator.normal(size=180)
        found = krippendorff(units, values, "interval", replicates=200, seed=trial)
        covered += found.low < 0.5 < found.high
    assert 33 <= covered <= 40
    again = krippendorff(units, values, "interval", replicates=200, seed=trial)
    assert again == found
    assert krippendorff(units, values, "interval", replicates=200, seed=99).low != found.low
    narrow = krippendorff(units, values, "interval", replicates=200, confidence=0.5)
    assert narrow.high - narrow.low < found.high - found.low


def test_does_not_depend_on_order_or_names() -> None:
    units, raters, values = long(FOUR)
    order = np.random.default_rng(1).permutation(units.size)
    for level in ("nominal", "ordinal", "interval", "ratio"):
        first = Ratings.from_arrays(units, raters, values).agreement(level)
        names = np.array([f"画{u:02d}" for u in units])[order]
        second = Ratings.from_arrays(names, raters[order].astype(str), values[order]).agreement(level)
        assert first.alpha == pytest.approx(second.alpha, abs=1e-12)


def test_many_different_values() -> None:
    generator = np.random.default_rng(3)
    units = np.repeat(np.arange(200), 2)
    values = generator.normal(size=200)[units] + 1e6 + 1e-3 * generator.normal(size=400)
    assert krippendorff(units, values, "interval", replicates=10).alpha > 0.99
    assert krippendorff(units, values, "nominal", replicates=10).alpha < 0.5
    assert str(krippendorff(units, values, "ordinal", replicates=10)).startswith(
        "alpha 1.000 [1.000, 1.000] (ordinal, 200 items"
    )


def test_a_repeated_rating_counts_once() -> None:
    once = Ratings.from_arrays([0, 0, 1, 1], [0, 1, 0, 1], [1, 2, 3, 3])
    twice = Ratings.from_arrays([0, 0, 0, 1, 1], [0, 0, 1, 0, 1], [5, 1, 2, 3, 3])
    assert once.agreement() == twice.agreement()


def test_undefined_is_said() -> None:
    with pytest.raises(ValueError, match="agreement is undefined: 'anna' is the only rater"):
        Ratings.from_arrays([0, 1], ["anna", "anna"], [1, 2]).agreement()
    with pytest.raises(ValueError, match="agreement is undefined: no item was rated by two raters"):
        Ratings.from_arrays([0, 1], ["anna", "ben"], [1, 2]).agreement()
    with pytest.raises(ValueError, match="agreement is undefined: every score is 2, so nothing could differ"):
        Ratings.from_arrays([0, 0, 1], [0, 1, 0], [2, 2, 5]).agreement()


def test_resamples_in_which_nothing_differs_are_left_out() -> None:
    found = krippendorff(np.array([0, 0, 1, 1]), np.array([1.0, 1.0, 2.0, 2.0]), "nominal", replicates=50)
    assert (found.alpha, found.low, found.high) == (1, 1, 1)
    assert not math.isnan(krippendorff(np.array([0, 0]), np.array([1.0, 2.0]), "interval", replicates=3).low)


def test_refuses_what_it_cannot_read() -> None:
    units, values = np.array([0, 0, 1, 1]), np.array([-1.0, 2.0, 3.0, 3.0])
    with pytest.raises(
        ValueError, match="level must be one of nominal, ordinal, interval, ratio, not 'metric'"
    ):
        krippendorff(units, values, "metric")
    with pytest.raises(ValueError, match="confidence must be within 0 and 1, not 95"):
        krippendorff(units, values, "nominal", confidence=95)
    with pytest.raises(ValueError, match="replicates must be 0 or more, not -1"):
        krippendorff(units, values, "nominal", replicates=-1)
    with pytest.raises(ValueError, match="'ratio' needs scores of 0 or more; one is -1"):
        krippendorff(units, values, "ratio")
    many = np.arange(10_000.0)
    with pytest.raises(ValueError, match="at most 4,096 different scores, not 10,000"):
        krippendorff(np.repeat(np.arange(5000), 2), many, "ratio")

"""Ranks, pairs and means under weights are those of rows that are really repeated."""

import itertools

import numpy as np
import pytest
import scipy.stats

from hitl_fast.experiments.calibration.concordance import (
    Effort,
    Resamples,
    concordance,
    interval,
    kendall,
    resampled,
    spearman,
    within,
)

GENERATOR = np.random.default_rng(3)


def drawn(n: int) -> tuple[np.ndarray, Effort]:
    """Scores and efforts with ties, and the largest efforts censored."""
    x = GENERATOR.integers(0, 6, n).astype(float)
    values = GENERATOR.integers(0, 8, n).astype(float)
    return x, Effort(values, values == values.max())


def rows_of(weights: np.ndarray) -> Resamples:
    """Each row is a group of its own."""
    return Resamples(weights, np.arange(weights.shape[1]))


def order(effort: Effort) -> np.ndarray:
    return effort.values + effort.censored


@pytest.mark.filterwarnings("ignore:An input array is constant")
@pytest.mark.parametrize("n", [2, 5, 23])
def test_with_equal_weights_they_are_scipy_s(n: int) -> None:
    x, effort = drawn(n)
    ones = rows_of(np.ones((1, n)))
    for ours, theirs in ((spearman, scipy.stats.spearmanr), (kendall, scipy.stats.kendalltau)):
        np.testing.assert_allclose(
            ours(x[None], effort, ones)[0, 0], theirs(x, order(effort)).statistic, rtol=1e-12
        )


def test_a_weight_is_so_many_equal_rows() -> None:
    x, effort = drawn(17)
    weights = GENERATOR.integers(0, 4, (5, 17)).astype(float)
    for ours in (spearman, kendall, concordance):
        (found,) = ours(x[None], effort, rows_of(weights))
        for row, value in zip(weights.astype(int), found, strict=True):
            again = Effort(np.repeat(effort.values, row), np.repeat(effort.censored, row))
            repeated = ours(np.repeat(x, row)[None], again, rows_of(np.ones((1, row.sum()))))
            np.testing.assert_allclose(value, repeated[0, 0], rtol=1e-12)


def test_concordance_counts_pairs_of_known_order() -> None:
    x, effort = drawn(19)
    right = known = 0.0
    for i, j in itertools.permutations(range(19), 2):
        reached_first = not effort.censored[i] and (effort.values[i] < effort.values[j] or effort.censored[j])
        if reached_first:
            known += 1
            right += (x[i] < x[j]) + 0.5 * (x[i] == x[j])
    assert concordance(x[None], effort, rows_of(np.ones((1, 19))))[0, 0] == pytest.approx(
        right / known, rel=1e-12
    )


def test_a_censored_run_is_above_one_that_got_there_at_the_cap() -> None:
    effort = Effort(np.array([5.0, 5.0]), np.array([False, True]))
    assert concordance(np.array([[0.0, 1.0]]), effort, rows_of(np.ones((1, 2))))[0, 0] == 1
    assert spearman(np.array([[0.0, 1.0]]), effort, rows_of(np.ones((1, 2))))[0, 0] == pytest.approx(1)


def test_two_censored_runs_have_no_order() -> None:
    effort = Effort(np.array([5.0, 5.0]), np.array([True, True]))
    assert np.isnan(concordance(np.array([[0.0, 1.0]]), effort, rows_of(np.ones((1, 2))))[0, 0])


def test_strata_are_ranked_apart_and_undefined_ones_left_out() -> None:
    x = np.array([0.0, 1, 2, 12, 11, 10, 5, 5])
    effort = Effort(np.array([1.0, 2, 3, 1, 2, 3, 1, 2]), np.zeros(8, dtype=bool))
    strata = list("aaabbbcc")  # rises with effort, falls, is constant
    assert within(spearman, x, effort, strata, rows_of(np.ones((1, 8))))[0] == pytest.approx(0)


def test_a_stratum_within_a_group_counts_as_often_as_the_group_is_drawn() -> None:
    x = np.array([0.0, 1, 2, 12, 11, 10])
    effort = Effort(np.array([1.0, 2, 3, 1, 2, 3]), np.zeros(6, dtype=bool))
    strata = list("aaabbb")  # rises with effort, falls
    drawn = Resamples(np.array([[1.0, 1], [2, 1], [3, 0], [0, 2]]), np.repeat([0, 1], 3))
    np.testing.assert_allclose(within(spearman, x, effort, strata, drawn), [0, 1 / 3, 1, -1], atol=1e-12)


def test_several_scores_at_once_are_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever fits into memory at once, and whatever groups a stratum has rows of."""
    _, effort = drawn(40)
    scores = GENERATOR.integers(0, 9, (5, 40)).astype(float)
    strata, groups = np.repeat(np.arange(5), 8), np.repeat(np.arange(10), 4)
    resamples = resampled(groups, 30, 0)
    monkeypatch.setattr("hitl_fast.experiments.calibration.concordance.AT_ONCE", 500)
    for statistic in (spearman, kendall, concordance):
        found = within(statistic, scores, effort, strata, resamples)
        alone = [within(statistic, x, effort, strata, rows_of(resamples.weights)) for x in scores]
        np.testing.assert_allclose(found, alone, rtol=1e-12)


def test_the_interval_of_a_mean_over_groups_is_the_bootstrap_s() -> None:
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(12), 4)
    x = generator.normal(size=48) + 2.0 * np.repeat(generator.normal(size=12), 4) * np.tile(np.arange(4), 12)
    effort = Effort(np.tile(np.arange(4.0), 12), np.zeros(48, dtype=bool))
    found = interval(within(spearman, x, effort, groups, resampled(groups, 4000, 0)))
    each = [scipy.stats.spearmanr(x[groups == g], np.arange(4)).statistic for g in range(12)]
    means = generator.choice(each, (4000, 12)).mean(1)
    assert [found.low, found.high] == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.03)


def test_resamples_draw_whole_groups_from_the_seed() -> None:
    weights = resampled(list("aabbbc"), 50, seed=4).weights
    assert weights.shape == (51, 6)
    assert (weights[0] == 1).all()
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 2] == weights[:, 4]).all()
    np.testing.assert_array_equal(weights[1:, [0, 2, 5]].sum(1), 3)
    np.testing.assert_array_equal(weights, resampled(list("aabbbc"), 50, seed=4).weights)
    assert not np.array_equal(weights, resampled(list("aabbbc"), 50, seed=5).weights)


def test_an_interval_is_of_the_resamples_that_are_defined() -> None:
    found = interval(np.array([0.5, *np.linspace(0, 1, 101), np.nan]), level=0.9)
    assert found == pytest.approx((0.5, 0.05, 0.95))
    assert np.isnan(interval(np.array([0.5, np.nan])).low)

import numpy as np
import pytest

from hitl_fast._common.bootstrap import Interval, bootstrap, paired_difference


@pytest.mark.parametrize(
    ("draw", "mean"),
    [
        (lambda g: g.exponential(size=10), 1.0),
        (lambda g: 25.0 * (g.random(10) < 0.3), 7.5),  # differences of steps: few values, most of them 0
    ],
    ids=["skewed", "discrete"],
)
def test_the_paired_interval_covers_what_it_promises(draw, mean):
    # 400 experiments: 95 % +- three standard deviations of a binomial, less what ten pairs cost.
    generator = np.random.default_rng(0)
    hits = 0
    for seed in range(400):
        _, low, high = paired_difference(draw(generator), np.zeros(10), seed=seed, resamples=1000)
        hits += low <= mean <= high
    assert 0.90 <= hits / 400 <= 0.99


@pytest.mark.parametrize("d", [[0, 0, 25], [0.1 + 0.2, 0.3, 0.7], [25, 25, 50, 0, 25]])
def test_the_paired_interval_stays_within_the_differences_seen(d):
    value, low, high = paired_difference(d, np.zeros(len(d)), seed=0)
    assert min(d) <= low < value < high <= max(d)


def test_the_percentile_interval_covers_what_it_promises():
    generator = np.random.default_rng(1)
    hits = 0
    for seed in range(200):
        x = generator.normal(size=60)
        _, low, high = bootstrap(np.mean, x, seed=seed, level=0.8, resamples=300)
        hits += low <= 0 <= high
    assert 0.70 <= hits / 200 <= 0.89


def test_groups_widen_the_interval():
    generator = np.random.default_rng(2)
    groups = np.repeat(np.arange(5), 40)
    x = generator.normal(size=5)[groups] + 0.01 * generator.normal(size=200)
    alone, grouped = (bootstrap(np.mean, x, seed=0, groups=g) for g in (None, groups))
    assert grouped.high - grouped.low > 3 * (alone.high - alone.low)
    assert alone.value == grouped.value


@pytest.mark.parametrize("statistic", [np.mean, np.median])
@pytest.mark.parametrize("kinds", [None, 1, 6, 30])
def test_many_resamples_at_once_are_each_alone(statistic, kinds, monkeypatch):
    """The same draws from a seed, and the same numbers, as from the rows of each resample."""
    monkeypatch.setattr("hitl_fast._common.bootstrap.AT_ONCE", 500)
    generator = np.random.default_rng(6)
    for x in (
        generator.normal(size=31),
        generator.integers(-3, 3, 31),
        generator.normal(size=31).astype("f4"),
    ):
        groups = None if kinds is None else generator.integers(0, kinds, 31)
        fast = bootstrap(statistic, x, seed=1, resamples=70, groups=groups)
        plain = bootstrap(lambda rows: statistic(rows.astype(float)), x, seed=1, resamples=70, groups=groups)
        assert fast == pytest.approx(plain, rel=1e-6 if x.dtype == "f4" else 1e-12)


def test_a_mean_with_a_hole_is_of_the_resamples_without():
    for statistic in (np.mean, np.median):
        interval = bootstrap(statistic, [1.0, np.nan, 1.0, 1.0], seed=0)
        assert np.isnan(interval.value)
        assert (interval.low, interval.high) == (1, 1)


def test_undefined_resamples_are_left_out():
    def mean_of_ones(x):
        return x[x > 0].mean() if (x > 0).any() else np.nan

    interval = bootstrap(mean_of_ones, [0, 0, 1], seed=0)
    assert interval == (1, 1, 1)
    assert np.isnan(bootstrap(mean_of_ones, [0, 0, 0], seed=0).low)


def test_equal_differences_have_a_point_for_an_interval():
    interval = paired_difference([0.3, 0.4, 0.5], [0.1, 0.2, 0.3], seed=0)
    assert interval.low == interval.high == interval.value == pytest.approx(0.2)
    assert interval.excludes_zero
    assert not Interval(0.1, -0.1, 0.3).excludes_zero
    assert str(interval) == "0.2 [0.2, 0.2]"


def test_a_seed_decides_and_no_global_state_is_touched():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    x = np.random.default_rng(0).normal(size=20)
    assert bootstrap(np.mean, x, seed=3) == bootstrap(np.mean, x, seed=3) != bootstrap(np.mean, x, seed=4)
    assert paired_difference(x, x[::-1], seed=3) == paired_difference(x, x[::-1], seed=3)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bootstrap(np.mean, [], seed=0), "one length of 1 or more"),
        (lambda: bootstrap(np.mean, [1.0], [1.0, 2.0], seed=0), r"not \[1, 2\]"),
        (lambda: bootstrap(np.mean, [1.0], seed=0, level=1), "level"),
        (lambda: bootstrap(np.mean, [1.0], seed=0, resamples=0), "resamples"),
        (lambda: bootstrap(np.mean, [1.0, 2.0], seed=0, groups=[1]), r"groups must be \(2,\)"),
        (lambda: paired_difference([1.0], [1.0], seed=0), "2 or more"),
        (lambda: paired_difference([1.0, 2.0], [1.0], seed=0), r"\(2,\) and \(1,\)"),
        (lambda: paired_difference([1.0, np.nan], [1.0, 2.0], seed=0), "pair 1 is not finite"),
        (lambda: paired_difference([1.0, 2.0], [1.0, 4.0], seed=0, level=0), "level"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()

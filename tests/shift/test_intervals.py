"""Intervals over labelled samples hold the value of all samples as often as they claim."""

import numpy as np
import pytest
from hitl_kernels.rand_index import rand_index

from hitl_fast.shift.intervals import rand_index_interval, wilson

ALL = 20_000


def population(classes: int, agreement: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Classes, and clusters that are the class for a share of the samples."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(classes, size=ALL)
    clusters = np.where(generator.random(ALL) < agreement, labels, generator.integers(classes, size=ALL))
    return labels, clusters


@pytest.mark.jit
@pytest.mark.parametrize(("classes", "agreement"), [(10, 0.6), (4, 0.3), (4, 0.9)])
def test_intervals_of_the_rand_index_hold_it(classes: int, agreement: float) -> None:
    labels, clusters = population(classes, agreement, 0)
    truth = rand_index(labels, clusters)
    held, low_misses, draws = 0, 0, 0
    for labelled in (30, 100):
        for seed in range(40):
            which = np.random.default_rng(seed).choice(ALL, labelled, replace=False)
            ends = rand_index_interval(labels[which], clusters[which])
            if ends is None:  # few samples that are all alike: nothing is claimed
                continue
            held += ends[0] <= truth <= ends[1]
            low_misses += truth > ends[1]
            draws += 1
    assert draws >= 60
    assert held / draws >= 0.88
    assert low_misses / draws <= 0.1


@pytest.mark.parametrize("share", [0.5, 0.9, 0.98])
def test_intervals_of_a_share_hold_it(share: float) -> None:
    for of in (10, 30, 300):
        right = np.random.default_rng(of).binomial(of, share, 1000)
        held = np.mean([low <= share <= high for low, high in (wilson(int(r), of) for r in right)])
        assert held >= 0.9, of


def test_no_interval_of_samples_that_are_all_alike() -> None:
    ones = np.ones(40, np.int64)
    assert rand_index_interval(ones, ones) is None
    assert rand_index_interval(np.arange(40) % 3, np.arange(40) % 3) is None
    assert wilson(0, 5)[1] > 0.4

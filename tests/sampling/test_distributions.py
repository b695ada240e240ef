"""Does each method draw what it says? Exact small cases, and each weight shape; seeds fixed, Bonferroni over all.

A G-test compares counts with enumerated probabilities; cells too small for it are put together.
"""

import itertools

import numpy as np
import pytest
from hitl_kernels.systematic import systematic
from scipy.stats import chi2

from hitl_fast import PriorityBatchSampler, PrioritySampler, PriorityTree

TESTS = 40  # p-values in this file, at most
LEAST = 0.01 / TESTS
SMALL_CELL = 10.0

pytestmark = pytest.mark.jit


def p_value(counts: np.ndarray, expected: np.ndarray) -> float:
    """Of a G-test. Cells that cannot be must be empty; small ones are pooled, the smallest first."""
    assert counts[expected == 0].sum() == 0
    counts, expected = counts[expected > 0], expected[expected > 0]
    order = np.argsort(expected)
    counts, expected = counts[order].astype(float), expected[order]
    pooled = max(int(np.searchsorted(np.cumsum(expected), SMALL_CELL)) + 1, 1)
    counts = np.concatenate([[counts[:pooled].sum()], counts[pooled:]])
    expected = np.concatenate([[expected[:pooled].sum()], expected[pooled:]])
    if len(counts) == 1:
        return float(counts[0] == round(expected[0]))
    some = counts > 0
    g = 2 * np.sum(counts[some] * np.log(counts[some] / expected[some]))
    return float(chi2.sf(g, len(counts) - 1))


def shapes() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(1)
    n = 1000
    one_heavy, one_light = np.ones(n), np.ones(n)
    one_heavy[17], one_light[17] = 500.0, 1e-3
    power = 1.0 / np.arange(1, n + 1) ** 1.2
    holes = np.where(generator.random(n) < 0.5, 0.0, generator.random(n))
    return {
        "one_heavy": one_heavy,
        "one_light": one_light,
        "power_law": power,
        "shuffled": generator.permutation(power),
        "holes": holes,
        "huge": power * 1e308,
        "denormal": np.arange(n) * 5e-324,
        "one_item": np.ones(1),
    }


def probabilities(weights: np.ndarray) -> np.ndarray:
    scaled = weights / weights.max()
    return scaled / scaled.sum()


SHAPES = list(shapes())


@pytest.mark.parametrize("shape", SHAPES)
def test_independent(shape: str) -> None:
    weights, draws = shapes()[shape], 300_000
    (items,) = PriorityBatchSampler(weights, draws, draws, seed=1)
    counts = np.bincount(items, minlength=len(weights))
    assert p_value(counts, draws * probabilities(weights)) > LEAST


@pytest.mark.parametrize("shape", SHAPES)
def test_live(shape: str) -> None:
    weights, draws = shapes()[shape], 300_000
    (items,) = PriorityBatchSampler(weights, draws, draws, seed=2, live=True)
    counts = np.bincount(items, minlength=len(weights))
    assert p_value(counts, draws * probabilities(weights)) > LEAST


@pytest.mark.parametrize("shape", SHAPES)
def test_tree_samples(shape: str) -> None:
    """Stratified draws vary less than independent ones, so their G is smaller; the mean is the same."""
    weights = shapes()[shape]
    tree = PriorityTree(weights)
    items = np.concatenate([tree.sample(300, seed=0, step=step)[0] for step in range(1000)])
    counts = np.bincount(items, minlength=len(weights))
    assert p_value(counts, 300_000 * probabilities(weights)) > LEAST


@pytest.mark.parametrize("shape", SHAPES)
def test_without_replacement_begins_as_the_weights_say(shape: str) -> None:
    """The first draw of each of 20,000 epochs."""
    weights, epochs = shapes()[shape], 20_000
    sampler = PriorityBatchSampler(weights, 1, 1, "without_replacement", seed=3)
    first = [int(batch) for _ in range(epochs) for batch in sampler]
    assert p_value(np.bincount(first, minlength=len(weights)), epochs * probabilities(weights)) > LEAST


@pytest.mark.parametrize(
    ("weights", "k"), [([1.0, 2.0, 3.0, 4.0], 2), ([5.0, 1.0, 1.0, 0.0, 0.5], 4), ([1.0] * 4, 3)]
)
def test_without_replacement_is_the_sequential_law(weights: list[float], k: int) -> None:
    """Every ordered outcome, with the product of what is left as its probability."""
    outcomes = {}
    for outcome in itertools.permutations(np.flatnonzero(weights).tolist(), k):
        left, probability = sum(weights), 1.0
        for item in outcome:
            probability *= weights[item] / left
            left -= weights[item]
        outcomes[outcome] = probability
    epochs = 20_000
    sampler = PriorityBatchSampler(weights, k, k, "without_replacement", seed=4)
    names = {outcome: i for i, outcome in enumerate(outcomes)}
    found = [names[tuple(batch.tolist())] for _ in range(epochs) for batch in sampler]
    counts = np.bincount(found, minlength=len(outcomes))
    assert p_value(counts, epochs * np.array(list(outcomes.values()))) > LEAST


def test_systematic_shuffles_every_way_alike() -> None:
    orders = {order: i for i, order in enumerate(itertools.permutations(range(4)))}
    epochs = 20_000
    found = [orders[tuple(systematic(np.ones(4), 4, 5, epoch).tolist())] for epoch in range(epochs)]
    assert p_value(np.bincount(found, minlength=24), np.full(24, epochs / 24)) > LEAST


@pytest.mark.parametrize("shape", SHAPES)
def test_systematic_begins_as_the_weights_say(shape: str) -> None:
    """In random order the first of n draws is of item i with probability (draws of i) / n: p[i] on average."""
    weights, epochs = shapes()[shape], 20_000
    first = [systematic(weights, 50, 6, epoch)[0] for epoch in range(epochs)]
    assert p_value(np.bincount(first, minlength=len(weights)), epochs * probabilities(weights)) > LEAST


def test_systematic_rounds_up_as_often_as_the_fraction_says() -> None:
    weights, draws, epochs = np.array([1.0, 2.5, 0.25, 3.0, 0.7]), 7, 20_000
    expected = draws * probabilities(weights)
    rounded_up = np.zeros(5)
    for epoch in range(epochs):
        counts = np.bincount(systematic(weights, draws, 7, epoch), minlength=5)
        assert ((counts == np.floor(expected)) | (counts == np.ceil(expected))).all()
        rounded_up += counts - np.floor(expected)
    fractions = expected % 1
    z = (rounded_up - epochs * fractions) / np.sqrt(epochs * fractions * (1 - fractions))
    assert (2 * chi2.sf(z**2, 1) > LEAST).all()


def test_padding_is_drawn_from_the_weights() -> None:
    """Draw 5 of 6 on two ranks belongs to nobody's epoch but must still follow the weights."""
    weights = np.array([1.0, 0.0, 2.0, 5.0])
    sampler = PrioritySampler(weights, 5, "systematic", seed=8, rank=1, world_size=2)
    last = [list(sampler)[-1] for _ in range(10_000)]
    assert p_value(np.bincount(last, minlength=4), 10_000 * probabilities(weights)) > LEAST


def test_more_items_than_float32_can_count() -> None:
    """2**24 + 10 items: torch.multinomial refuses, and float32 sums gave the upper half no draws."""
    items, draws, cells = 2**24 + 10, 2_000_000, 256
    weights = np.ones(items, np.float32)
    weights[::3] = 0.25
    weights[2**24 :] = 2.0e5  # a tenth of all, on the ten last items
    (found,) = PriorityBatchSampler(weights, draws, draws, seed=9)
    p = probabilities(weights.astype(np.float64))
    cell = np.minimum(np.arange(items) // (2**24 // cells), cells)
    counts = np.bincount(cell[found], minlength=cells + 1)
    assert p_value(counts, draws * np.bincount(cell, weights=p)) > LEAST
    tail = np.bincount(found[found >= 2**24] - 2**24, minlength=10)
    assert p_value(tail, np.full(10, tail.sum() / 10)) > LEAST

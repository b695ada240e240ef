"""Batched updates and stratified draws of a tree of a million weights, beside cpprb."""

import cpprb
import numpy as np
import pytest
from race import race

from hitl_fast import PrioritySampler, PriorityTree

BATCH = 256


def test_update_and_draw() -> None:
    n = 10**6
    generator = np.random.default_rng(0)
    weights = generator.random(n) + 0.01
    tree = PriorityTree(weights)
    buffer = cpprb.PrioritizedReplayBuffer(n, {"a": {}}, alpha=1.0, eps=0.0)
    buffer.add(a=np.zeros(n), priorities=weights)
    batches = [(generator.integers(n, size=BATCH), generator.random(BATCH)) for _ in range(64)]
    turn = iter(range(10**9))

    def ours() -> None:
        tree.update(*batches[next(turn) % 64])

    def theirs() -> None:
        buffer.update_priorities(*batches[next(turn) % 64])

    def draw() -> np.ndarray:
        return tree.sample(BATCH, seed=1, step=next(turn))[0]

    current = np.array(weights)
    for indices, values in batches:
        tree.update(indices, values)
        current[indices] = values  # NumPy too lets the last of equal indices win
    assert tree.total == pytest.approx(current.sum(), rel=1e-12)
    inner = {"PriorityTree": 200, "cpprb": 20}
    shape = f"N={n} batch={BATCH}"
    options = {"dtype": "float64", "unit": "us", "rounds": 20, "inner": inner}
    race("priority_tree_update", {"PriorityTree": ours, "cpprb": theirs}, shape=shape, **options)
    race(
        "priority_tree_draw",
        {"PriorityTree": draw, "cpprb": lambda: buffer.sample(BATCH, beta=1.0)},
        shape=shape,
        **options,
    )


@pytest.mark.parametrize("n", [10**5, 10**7])
def test_other_sizes(n: int) -> None:
    generator = np.random.default_rng(0)
    tree = PriorityTree(generator.random(n))
    batches = [(generator.integers(n, size=BATCH), generator.random(BATCH)) for _ in range(64)]
    turn = iter(range(10**9))
    shape, options = (
        f"N={n} batch={BATCH}",
        {"dtype": "float64", "unit": "us", "inner": {"PriorityTree": 200}},
    )
    race(
        "priority_tree_update",
        {"PriorityTree": lambda: tree.update(*batches[next(turn) % 64])},
        shape=shape,
        **options,
    )
    race(
        "priority_tree_draw",
        {"PriorityTree": lambda: tree.sample(BATCH, seed=1, step=next(turn))},
        shape=shape,
        **options,
    )


def test_live_updates() -> None:
    """One update of 64 weights and the draw after it, in the middle of a live epoch."""
    n = 10**6
    generator = np.random.default_rng(0)
    sampler = PrioritySampler(generator.random(n), live=True)
    batches = [(generator.integers(n, size=64), generator.random(64)) for _ in range(64)]
    iterator = iter(sampler)
    turn = iter(range(10**9))

    def step() -> None:
        sampler.update(*batches[next(turn) % 64])
        next(iterator)

    race(
        "sampling_live_update",
        {"PrioritySampler": step},
        shape=f"N={n} update=64",
        dtype="float64",
        unit="us",
        inner={"PrioritySampler": 500},
    )

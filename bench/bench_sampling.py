"""An epoch of weighted draws beside torch, NumPy and SciPy."""

import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hitl_kernels.alias_table import alias_table, draw
from hitl_kernels.exponential_keys import exponential_keys, smallest
from hitl_kernels.philox import Purpose, Stream, uniforms
from problems import sample_weights as some_weights
from race import race, record
from scipy.stats import chi2
from scipy.stats.sampling import DiscreteAliasUrn
from torch.utils.data import WeightedRandomSampler

from hitl_fast import PriorityBatchSampler, PrioritySampler

BATCH = 1024


def exhaust(iterable: object) -> int:
    count = 0
    for _ in iterable:  # what a loop costs, and nothing else
        count += 1
    return count


@pytest.mark.parametrize("n", [10**5, 10**6, 10**7])
def test_epoch(n: int) -> None:
    """Iterate one epoch: n items, n draws. The alias table is built anew each time, as after an update."""
    weights = some_weights(n)
    sampler, batches = PrioritySampler(weights), PriorityBatchSampler(weights, BATCH)
    theirs = WeightedRandomSampler(torch.from_numpy(weights), n)

    def anew(which: PrioritySampler | PriorityBatchSampler) -> int:
        which.update([0], [float(np.random.default_rng().random())])
        return exhaust(which)

    assert anew(sampler) == exhaust(theirs) == n
    assert anew(batches) == -(-n // BATCH)
    rounds = 5 if n == 10**7 else 10
    race(
        "sampling_epoch",
        {
            "PrioritySampler": lambda: exhaust(sampler),
            "PrioritySampler, weights changed": lambda: anew(sampler),
            "WeightedRandomSampler": lambda: exhaust(theirs),
        },
        shape=f"N={n}",
        dtype="float64",
        rounds=rounds,
        warmup=1,
    )
    race(
        "sampling_epoch_batches",
        {
            "PriorityBatchSampler": lambda: exhaust(batches),
            "PriorityBatchSampler, weights changed": lambda: anew(batches),
            "WeightedRandomSampler": lambda: exhaust(theirs),
        },
        shape=f"N={n} batch={BATCH}",
        dtype="float64",
        rounds=rounds,
        warmup=1,
    )


@pytest.mark.parametrize("method", ["systematic", "without_replacement"])
def test_epoch_of_other_methods(method: str) -> None:
    n = 10**6
    batches = PriorityBatchSampler(some_weights(n), BATCH, n // 2, method)
    theirs = WeightedRandomSampler(torch.from_numpy(some_weights(n)), n // 2, method == "systematic")
    race(
        f"sampling_{method}",
        {"PriorityBatchSampler": lambda: exhaust(batches), "WeightedRandomSampler": lambda: exhaust(theirs)},
        shape=f"N={n} draws={n // 2} batch={BATCH}",
        dtype="float64",
    )


def beside_copying(op: str, call: Callable[[], object], moved: int, shape: str) -> None:
    """How many times longer a call takes than a copy of as many bytes on all threads, in the same run."""
    ours, theirs = torch.ones(1 << 24, dtype=torch.float64), torch.empty(1 << 24, dtype=torch.float64)
    times = []
    for _ in range(12):
        start = time.perf_counter()
        theirs.copy_(ours)
        between = time.perf_counter()
        call()
        rate = 2 * ours.nbytes / (between - start)  # read and written
        times.append((time.perf_counter() - between) * rate / moved)
    record(
        op, "hitl / copy of its bytes", "ratio", np.array(times[2:]), unit="x", shape=shape, dtype="float64"
    )


@pytest.mark.parametrize("n", [10**5, 10**6])
def test_build_and_draw(n: int) -> None:
    weights = some_weights(n)
    p = weights / weights.sum()
    stream = Stream(1, 0, Purpose.DRAW)
    generator = np.random.default_rng(1)
    table = alias_table(weights)
    masses = table[:, 0].copy()
    np.add.at(masses, table[:, 1].astype(np.int64), 1 - table[:, 0])
    np.testing.assert_allclose(masses / n, p, rtol=1e-6)
    race(
        "alias_table",
        {
            "hitl": lambda: draw(alias_table(weights), stream, 0, n),
            "numpy choice": lambda: generator.choice(n, n, p=p),
            "scipy DiscreteAliasUrn": lambda: DiscreteAliasUrn(p, random_state=generator).rvs(n),
        },
        shape=f"N={n} draws={n}",
        dtype="float64",
    )
    # Weights read, a table of two numbers a weight written and read, a cache line of it a draw, the draws written.
    beside_copying(
        "alias_table",
        lambda: draw(alias_table(weights), stream, 0, n),
        (8 + 16 + 16 + 64 + 8) * n,
        f"N={n} draws={n}",
    )


@pytest.mark.parametrize("n", [10**5, 10**6])
def test_without_replacement(n: int) -> None:
    weights = some_weights(n)
    k = n // 2
    tensor = torch.from_numpy(weights)
    stream = Stream(1, 0, Purpose.ORDER)
    keys = exponential_keys(weights, stream)
    assert np.array_equal(smallest(keys, k), np.argsort(keys, kind="stable")[:k])
    race(
        "exponential_keys",
        {
            "hitl": lambda: smallest(exponential_keys(weights, stream), k),
            "torch multinomial": lambda: torch.multinomial(tensor, k),
        },
        shape=f"N={n} k={k}",
        dtype="float64",
        rounds=20,
    )
    # Weights read, keys written, counted and spread; what is kept written as key and place, sorted, and written.
    beside_copying(
        "exponential_keys",
        lambda: smallest(exponential_keys(weights, stream), k),
        4 * 8 * n + (16 + 2 * 16 + 8) * k,
        f"N={n} k={k}",
    )


def test_uniforms() -> None:
    n = 10**6
    stream = Stream(1, 0, Purpose.DRAW)
    philox, pcg = np.random.Generator(np.random.Philox(1)), np.random.default_rng(1)
    race(
        "philox",
        {
            "hitl, one thread": lambda: uniforms(stream, 0, n),
            "numpy Philox 4x64": lambda: philox.random(2 * n),
            "numpy PCG64": lambda: pcg.random(2 * n),
        },
        shape=f"numbers={2 * n}",
        dtype="float64",
    )


def test_more_items_than_torch_takes() -> None:
    """2**24 + 10 items and as many draws; chi-square over 4,096 coarse cells."""
    n = 2**24 + 10
    weights = some_weights(n)
    with pytest.raises(RuntimeError, match="2\\^24"):
        next(iter(WeightedRandomSampler(torch.from_numpy(weights), 10)))
    batches = PriorityBatchSampler(weights, n)
    (found,) = batches
    cell = np.minimum(np.arange(n) // 4096, 4095)
    expected = n * np.bincount(cell, weights=weights / weights.sum())
    counts = np.bincount(cell[found.numpy()], minlength=len(expected))
    statistic = np.sum((counts - expected) ** 2 / expected)
    shape = f"N={n} batch={n}"
    p_value = float(chi2.sf(statistic, len(expected) - 1))
    assert p_value > 1e-3
    record(
        "sampling_epoch_batches",
        "PriorityBatchSampler",
        "chi-square p",
        p_value,
        unit="",
        shape=f"N={n}",
        dtype="float64",
    )
    race(
        "sampling_epoch_batches",
        {"PriorityBatchSampler": lambda: exhaust(batches)},
        shape=shape,
        dtype="float64",
        rounds=3,
        warmup=0,
    )

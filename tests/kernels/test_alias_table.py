"""The alias table: the weights can be read back from it, and draws follow it bit for bit on every path."""

import math

import numpy as np
import pytest
from hitl_kernels import policy
from hitl_kernels.alias_table import alias_table, cpu, draw, reference
from hitl_kernels.philox import Purpose, Stream

REBUILT = 1e-6  # relative, of each weight read back from the table

STREAM = Stream(5, 1, Purpose.DRAW)


def shapes(n: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(n)
    one_heavy, one_light = np.ones(n), np.ones(n)
    one_heavy[n // 2], one_light[n // 3] = 1e9, 1e-9
    power = 1.0 / np.arange(1, n + 1) ** 1.5
    holes = generator.random(n) * (generator.random(n) < 0.3)
    holes[-1] = 1.0
    return {
        "equal": np.full(n, 0.1),
        "random": generator.random(n) + 1e-3,
        "one_heavy": one_heavy,
        "one_light": one_light,
        "power_law": power,
        "shuffled": generator.permutation(power),
        "holes": holes,
        "only_one": np.eye(1, n, n - 1)[0],
        "huge": np.full(n, 1e308),
        "denormal": np.full(n, 5e-324) * (1 + np.arange(n) % 3),
        "far_apart": 10.0 ** np.linspace(-300, 300, n),
    }


def rebuilt(table: np.ndarray) -> np.ndarray:
    masses = table[:, 0].copy()
    np.add.at(masses, table[:, 1].astype(np.int64), 1 - table[:, 0])
    return masses / len(table)


@pytest.mark.parametrize("build", [alias_table, reference.build], ids=["numba", "reference"])
@pytest.mark.parametrize("shape", list(shapes(3)))
@pytest.mark.parametrize("n", [1, 2, 7, 97, 1500])
def test_the_weights_can_be_read_back(build, shape: str, n: int) -> None:
    weights = shapes(n)[shape]
    table = build(weights)
    scaled = weights / weights.max()
    expected = scaled / math.fsum(scaled)
    noticeable = expected > 1e-12 / n  # a smaller one drowns in the rounding of its bucket
    np.testing.assert_allclose(rebuilt(table)[noticeable], expected[noticeable], rtol=REBUILT)
    # No row leads to an item of weight 0.
    own = table[:, 0] > 0
    assert (weights[own] > 0).all()
    lent = table[:, 0] < 1
    assert (weights[table[lent, 1].astype(np.int64)] > 0).all()


@pytest.mark.jit
@pytest.mark.parametrize("shape", ["one_heavy", "power_law", "shuffled", "holes"])
def test_a_million_weights_can_be_read_back(shape: str) -> None:
    weights = shapes(1_000_003)[shape]
    masses = rebuilt(alias_table(weights))
    positive = weights > 0
    np.testing.assert_allclose(masses[positive], weights[positive] / math.fsum(weights), rtol=REBUILT)
    assert np.abs(masses[~positive]).max(initial=0) == 0


@pytest.mark.parametrize("shape", ["random", "holes", "only_one", "one_heavy"])
@pytest.mark.parametrize(("start", "stride"), [(0, 1), (3, 8), (2**33, 5)])
def test_draws_equal_the_definition(shape: str, start: int, stride: int) -> None:
    weights = shapes(97)[shape]
    table = alias_table(weights)
    draws = np.uint64(start) + np.arange(1100, dtype=np.uint64) * np.uint64(stride)
    items = draw(table, STREAM, start, 1100, stride)
    assert np.array_equal(items, reference.draw(table, STREAM, draws))
    assert (weights[items] > 0).all()


@pytest.mark.jit
def test_draws_do_not_depend_on_threads_or_on_how_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    table = alias_table(shapes(1000)["random"])
    count = 200_007
    whole = draw(table, STREAM, 0, count)
    monkeypatch.setattr(policy, "WORK_PER_THREAD", 1 << 40)
    assert np.array_equal(draw(table, STREAM, 0, count), whole)
    assert np.array_equal(draw(table, STREAM, 1, count // 3, 3), whole[1::3][: count // 3])


def test_threads_are_left_alone_in_a_forked_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """GNU OpenMP ends a forked child that starts threads with SIGTERM."""
    monkeypatch.setattr(policy, "WORK_PER_THREAD", 1)
    monkeypatch.setattr(cpu._draw, "several", None)
    monkeypatch.setattr(policy, "_PID", -1)
    assert draw(alias_table(np.ones(3)), STREAM, 0, 10).shape == (10,)


@pytest.mark.interpreter
@pytest.mark.parametrize("shape", ["random", "holes", "one_heavy"])
@pytest.mark.parametrize(("start", "stride"), [(0, 1), (2**33 + 1, 3)])
def test_triton_draws_the_same_items(shape: str, start: int, stride: int) -> None:
    import torch
    from hitl_kernels.alias_table import gpu

    table = alias_table(shapes(97)[shape])
    found = gpu.draw(torch.from_numpy(table), STREAM, start, 700, stride)
    assert np.array_equal(found.numpy(), draw(table, STREAM, start, 700, stride))


@pytest.mark.gpu
def test_a_gpu_draws_the_same_items() -> None:
    import torch

    table = alias_table(shapes(100_003)["shuffled"])
    found = draw(torch.from_numpy(table).cuda(), STREAM, 5, 1_000_000, 2)
    assert np.array_equal(found.cpu().numpy(), draw(table, STREAM, 5, 1_000_000, 2))

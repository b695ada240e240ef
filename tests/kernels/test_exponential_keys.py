"""Exponential keys: bits equal on every path, any weights, and the order that a full sort gives."""

import numpy as np
import pytest
from hitl_kernels.exponential_keys import NEVER, cpu, exponential_keys, reference, smallest
from hitl_kernels.philox import Purpose, Stream

LOG_ULPS = 4  # of NumPy's log, itself within 1

STREAM = Stream(3, 4, Purpose.ORDER)


def some_weights(n: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(n)
    return {
        "equal": np.ones(n),
        "random": generator.random(n),
        "holes": np.where(generator.random(n) < 0.5, 0.0, 1.0),
        "far_apart": 10.0 ** generator.uniform(-323, 308, n),
    }


@pytest.mark.parametrize("n", [1, 2, 97, 1025])
@pytest.mark.parametrize("shape", list(some_weights(1)))
def test_equals_the_definition(shape: str, n: int) -> None:
    weights = some_weights(n)[shape]
    keys = exponential_keys(weights, STREAM)
    assert np.array_equal(keys, reference.exponential_keys(weights, STREAM))
    assert np.array_equal(keys == NEVER, weights == 0)


def test_the_logarithm_is_close_to_the_librarys() -> None:
    x = np.concatenate(
        [np.random.default_rng(0).random(2000), 2.0 ** -np.arange(54.0), 1 - 2.0 ** -np.arange(1, 54)]
    )
    x = x[x > 0]
    found = reference.minus_log(x)
    assert (np.abs(found + np.log(x)) <= LOG_ULPS * np.spacing(-np.log(x))).all()


def test_keys_sort_as_quotients_do() -> None:
    weights = np.random.default_rng(1).random(500) + 0.01
    uniform = reference.uniforms(STREAM, np.arange(250, dtype=np.uint64)).T.ravel()
    quotients = -np.log(uniform + 2.0**-53) / weights
    assert np.array_equal(np.argsort(exponential_keys(weights, STREAM)), np.argsort(quotients))


def test_extreme_weights_come_in_the_order_of_their_size() -> None:
    weights = np.array([5e-324, 1e308, 0.0, 1e-310, 1.7e308, 1.0, 1e-300])
    order = smallest(exponential_keys(weights, STREAM), 6).tolist()
    assert set(order[:2]) == {1, 4}
    assert order[2:] == [5, 6, 3, 0]


@pytest.mark.parametrize("shape", list(some_weights(1)))
@pytest.mark.parametrize(("n", "sort_from"), [(1, 4096), (97, 4096), (97, 1), (1500, 1)])
def test_order_is_that_of_a_stable_sort(
    shape: str, n: int, sort_from: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "SORT_FROM", sort_from)
    weights = some_weights(n)[shape]
    weights[0] = 1.0
    keys = exponential_keys(weights, STREAM)
    positive = int(np.count_nonzero(weights))
    for k in {1, (positive + 1) // 2, positive}:
        assert np.array_equal(smallest(keys, k), reference.smallest(keys, k))


def test_equal_keys_come_by_item(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "SORT_FROM", 1)
    keys = np.array([5, -7, 5, NEVER, -7, 5, 4])
    assert smallest(keys, 6).tolist() == [1, 4, 6, 0, 2, 5]
    assert smallest(np.full(40, 9), 40).tolist() == list(range(40))


@pytest.mark.jit
@pytest.mark.parametrize("shape", list(some_weights(1)))
def test_order_of_many_does_not_depend_on_threads(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from hitl_kernels import policy

    weights = some_weights(300_001)[shape]
    keys = exponential_keys(weights, STREAM)
    found = smallest(keys, 100_000)
    assert np.array_equal(found, reference.smallest(keys, 100_000))
    monkeypatch.setattr(policy, "_PID", -1)  # one thread
    assert np.array_equal(exponential_keys(weights, STREAM), keys)
    assert np.array_equal(smallest(keys, 100_000), found)


@pytest.mark.interpreter
@pytest.mark.parametrize("shape", list(some_weights(1)))
@pytest.mark.parametrize("n", [1, 300])
def test_triton_makes_the_same_keys(shape: str, n: int) -> None:
    import torch

    weights = some_weights(n)[shape]
    from hitl_kernels.exponential_keys import gpu

    keys = exponential_keys(weights, STREAM)
    found = gpu.exponential_keys(torch.from_numpy(weights), STREAM)
    assert np.array_equal(found.numpy(), keys)
    assert np.array_equal(smallest(found, n).numpy(), smallest(keys, n))


@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")
def test_no_rounding_is_fused_away_on_a_gpu() -> None:
    import os
    import re

    if os.environ.get("TRITON_INTERPRET") == "1":
        return  # nothing is compiled in that pass
    import triton
    from hitl_kernels.exponential_keys import gpu
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel, signature, constants, options = gpu.KERNELS["keys"]
    source = ASTSource(kernel, signature, constants)
    ptx = triton.compile(source, target=GPUTarget("cuda", 80, 32), options=options).asm["ptx"]
    assert len(re.findall(r"mul\.rn\.f64", ptx)) >= 12  # a mul without .rn could still be fused by ptxas
    assert not re.findall(r"fma\.|mul\.f64|add\.f64|cvt\.f64\.f32|div\.(?!rn\.f64)\w*\.f64", ptx)


@pytest.mark.gpu
@pytest.mark.parametrize("shape", list(some_weights(1)))
def test_a_gpu_makes_the_same_keys(shape: str) -> None:
    import torch

    weights = some_weights(100_003)[shape]
    keys = exponential_keys(weights, STREAM)
    found = exponential_keys(torch.from_numpy(weights).cuda(), STREAM)
    assert np.array_equal(found.cpu().numpy(), keys)
    assert np.array_equal(smallest(found, 1000).cpu().numpy(), smallest(keys, 1000))

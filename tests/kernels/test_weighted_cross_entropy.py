"""Weighted cross entropy on the CPU: against its definition, against PyTorch in float64, and at its edges."""

import itertools
import math
from typing import Any

import numba
import numpy as np
import pytest
import torch
from hitl_kernels.weighted_cross_entropy import elementary, reference, weighted_cross_entropy
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

# dtype of the logits: tolerance of losses relative to 1 + |loss|, and of the gradient relative to its largest
# (to 1 where that is 0).
TOLERANCE = {
    torch.float64: (1e-13, 1e-13),
    torch.float32: (1e-6, 2e-6),
    torch.bfloat16: (1e-6, 2**-8),  # the loss is computed in float32, the gradient rounded once
    torch.float16: (1e-6, 2**-10),
}
SHAPES = [(1, 1), (1, 2), (5, 3), (64, 10), (131, 48), (67, 49), (3, 257)]


def problem(rows: int, classes: int, dtype: torch.dtype, probabilities: bool = False) -> tuple[Any, ...]:
    generator = torch.Generator().manual_seed(rows * 1000 + classes)
    logits = (5 * torch.randn(rows, classes, generator=generator)).to(dtype)
    weight = torch.rand(rows, generator=generator)
    weight[::4] = 0
    target = torch.randint(classes, (rows,), generator=generator)
    target[1::5] = -100
    if probabilities:
        target = torch.rand(rows, classes, generator=generator).softmax(1).to(dtype)
        target[:, ::3] = 0
    return logits, target, weight


def check(result: Any, logits: torch.Tensor, target: torch.Tensor, *others: Any, **options: Any) -> None:
    arrays = [None if value is None else value.double().numpy() for value in others[:1]]
    truth = target.double().numpy() if target.is_floating_point() else target.numpy()
    loss, losses, gradient = reference.weighted_cross_entropy(
        logits.double().numpy(), truth, *arrays, *others[1:], **options
    )
    of_loss, of_gradient = TOLERANCE[logits.dtype]
    assert result.loss.item() == pytest.approx(loss, rel=of_loss, abs=of_loss)
    np.testing.assert_array_less(np.abs(result.losses.numpy() - losses), of_loss * (1 + np.abs(losses)))
    largest = (np.abs(gradient).max() if logits.shape[1] > 1 else 0.0) or 1.0
    np.testing.assert_allclose(
        result.gradient.double().numpy() / largest, gradient / largest, rtol=0, atol=of_gradient
    )


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("probabilities", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize(("rows", "classes"), SHAPES)
def test_equals_the_definition(
    rows: int, classes: int, smoothing: float, probabilities: bool, dtype: torch.dtype
) -> None:
    logits, target, weight = problem(rows, classes, dtype, probabilities)
    for given_weight, denominator in itertools.product((weight, None), (None, 7.5)):
        divisor = None if denominator is None else torch.tensor(denominator)
        result = weighted_cross_entropy(logits, target, given_weight, divisor, label_smoothing=smoothing)
        check(result, logits, target, given_weight, denominator, label_smoothing=smoothing)


@pytest.mark.jit
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("rows", "classes"), [(1000, 2), (1000, 10), (257, 1000), (37, 50257)])
def test_equals_torch_in_float64(rows: int, classes: int, dtype: torch.dtype) -> None:
    logits, target, weight = problem(rows, classes, dtype)
    exact = logits.double().requires_grad_()
    losses = F.cross_entropy(exact, target, reduction="none")
    counts = ((target != -100) & (weight != 0)).sum()
    ((losses * weight).sum() / counts).backward()
    assert exact.grad is not None
    result = weighted_cross_entropy(logits, target, weight)
    of_loss, of_gradient = TOLERANCE[dtype]
    torch.testing.assert_close(
        result.losses.double(), torch.where(weight == 0, 0, losses.detach()), rtol=of_loss, atol=of_loss
    )
    scale = exact.grad.abs().max()
    # Fewer vector lanes add longer sums of float32, by which torch errs too: never be less exact than torch is here.
    same = logits.detach().clone().requires_grad_()
    ((F.cross_entropy(same, target, reduction="none") * weight.to(dtype)).sum() / counts).backward()
    assert same.grad is not None
    of_torch = float((same.grad.double() - exact.grad).abs().max() / scale)
    torch.testing.assert_close(
        result.gradient.double() / scale, exact.grad / scale, rtol=0, atol=max(of_gradient, of_torch)
    )
    assert result.denominator == counts


@pytest.mark.parametrize("classes", [7, 60])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_reads_strided_and_expanded_tensors_in_place(classes: int, dtype: torch.dtype) -> None:
    logits, target, weight = problem(6, classes, dtype)
    wide = torch.randn(6, 2 * classes).to(dtype)
    sequences = torch.randn(3, 4, classes).to(dtype)
    deep = torch.randn(2, 4, 3, 2, classes).to(dtype)
    forms = [
        logits.T.contiguous().T,
        wide[:, ::2],
        wide[:, 3 : 3 + classes],
        torch.randn(12, classes).to(dtype)[::2],
        logits[:1].expand(6, classes),
        sequences[:, :-1][:2],
        deep[:, 1:2, :, :1],
    ]
    for form in forms:
        shape = form.shape[:-1]
        here = target[: math.prod(shape)].view(shape), weight[: math.prod(shape)].view(shape)
        result = weighted_cross_entropy(form, *here)
        plain = weighted_cross_entropy(form.contiguous(), *here)
        for ours, theirs in zip(result, plain, strict=True):
            assert torch.equal(ours, theirs)
        assert result.gradient.shape == form.shape
        soft = torch.rand(*shape, 2 * classes).to(dtype)[..., ::2]
        assert torch.equal(
            weighted_cross_entropy(form, soft).gradient,
            weighted_cross_entropy(form.contiguous(), soft.contiguous()).gradient,
        )


@pytest.mark.parametrize("classes", [5, 70])
@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_weight_zero_leaves_the_row_out_whatever_it_holds(classes: int, bad: float) -> None:
    logits, _, _ = problem(6, classes, torch.float32)
    target, weight = torch.tensor([0, 1, 2, 3, 4, -100]), torch.tensor([0.5, 0.0, 2.0, 1.0, 0.0, 1.0])
    logits[1], logits[4, 4], logits[5] = bad, -math.inf, bad
    keep = torch.tensor([0, 2, 3])
    for truth in (target, F.one_hot(target.clamp(min=0), classes).float()):
        if truth.is_floating_point():
            weight[5] = 0
        result = weighted_cross_entropy(logits, truth, weight)
        rest = weighted_cross_entropy(logits[keep], truth[keep], weight[keep])
        assert torch.equal(result.loss, rest.loss)
        assert torch.equal(result.gradient[keep], rest.gradient)
        assert result.gradient[[1, 4, 5]].count_nonzero() == 0
        assert result.losses[[1, 4, 5]].count_nonzero() == 0


@pytest.mark.parametrize("classes", [5, 70])
def test_masked_classes_and_broken_rows_are_as_in_torch(classes: int) -> None:
    logits, _, _ = problem(6, classes, torch.float32)
    logits[0, 1], logits[1, 1] = -math.inf, -math.inf  # once a class that is not the target, once the target
    logits[2, 0], logits[3, 2], logits[4] = math.nan, math.inf, -math.inf
    target = torch.tensor([0, 1, 1, 1, 1, 1])
    result = weighted_cross_entropy(logits, target)
    leaf = logits.clone().requires_grad_()
    losses = F.cross_entropy(leaf, target, reduction="none")
    losses.mean().backward()
    torch.testing.assert_close(result.losses, losses.detach(), equal_nan=True)
    torch.testing.assert_close(result.gradient, leaf.grad, equal_nan=True)
    assert result.losses[1] == math.inf
    soft = F.one_hot(target, classes).float()
    # A class of probability 0 costs nothing, where torch has 0 * inf = nan.
    assert weighted_cross_entropy(logits[:1], soft[:1]).loss == result.losses[0]


@pytest.mark.parametrize("classes", [1, 9, 80])
def test_no_rows_and_no_counting_rows_give_zero(classes: int) -> None:
    empty = weighted_cross_entropy(torch.empty(0, classes), torch.empty(0, dtype=torch.long))
    assert empty.loss == 0
    assert empty.gradient.shape == (0, classes)
    none = weighted_cross_entropy(torch.randn(3, classes), torch.full((3,), -100))
    assert none.loss == 0
    assert none.gradient.count_nonzero() == 0
    single = weighted_cross_entropy(torch.zeros(classes), torch.tensor(0), torch.tensor(2.0))
    assert single.loss.item() == pytest.approx(2 * math.log(classes))
    assert single.losses.shape == ()


@pytest.mark.parametrize("classes", [10, 200])
def test_the_loss_alone_and_the_gradient_in_place_are_the_same(classes: int) -> None:
    logits, target, weight = problem(70, classes, torch.float32)
    whole = weighted_cross_entropy(logits, target, weight)
    alone = weighted_cross_entropy(logits, target, weight, gradient=False)
    assert alone.gradient is None
    torch.testing.assert_close(alone.losses, whole.losses, rtol=1e-6, atol=1e-6)
    scratch = logits.clone()
    placed = weighted_cross_entropy(scratch, target, weight, overwrite=True)
    assert placed.gradient.data_ptr() == scratch.data_ptr()
    torch.testing.assert_close(scratch, whole.gradient, rtol=1e-6, atol=1e-7)
    with pytest.raises(ValueError, match="overwrite needs gradient=True and logits that are a contiguous"):
        weighted_cross_entropy(logits[:, ::2], target, overwrite=True)
    scaled = weighted_cross_entropy(logits, target, weight, scale=torch.tensor(3.0))
    torch.testing.assert_close(scaled.gradient, 3 * whole.gradient, rtol=1e-6, atol=1e-9)


@pytest.mark.jit
@pytest.mark.parametrize("classes", [10, 300])
def test_nothing_depends_on_the_number_of_threads(classes: int) -> None:
    logits, target, weight = problem(1500, classes, torch.float32)
    before = numba.get_num_threads()
    results = []
    try:
        for threads in (1, before):
            numba.set_num_threads(threads)
            results.append(weighted_cross_entropy(logits, target, weight))
    finally:
        numba.set_num_threads(before)
    assert torch.equal(results[0].loss, results[1].loss)
    assert torch.equal(results[0].gradient, results[1].gradient)


def test_the_polynomials_are_as_near_as_float32_can_be() -> None:
    @numba.njit  # type: ignore[untyped-decorator]
    def apply(x: Any, powers: Any, logarithms: Any) -> None:
        for i in range(x.size):
            powers[i] = elementary.exp(-x[i])
            logarithms[i] = elementary.log(x[i])

    x = np.geomspace(1e-9, 86.9, 20_001).astype(np.float32)
    powers, logarithms = np.empty_like(x), np.empty_like(x)
    apply(x, powers, logarithms)  # compiled, or in Python where the JIT is off
    assert np.abs(powers / np.exp(-x.astype(np.float64)) - 1).max() < 1.5 * np.finfo(np.float32).eps
    exact = np.log(x.astype(np.float64))
    assert (np.abs(logarithms - exact) / np.maximum(np.abs(exact), 1e-3)).max() < 1.5 * np.finfo(
        np.float32
    ).eps
    edges = np.array([0.0, 88.0, 1e30, np.inf, np.nan], np.float32)
    powers, logarithms = np.empty_like(edges), np.empty_like(edges)
    with np.errstate(all="ignore"):
        apply(edges, powers, logarithms)
    np.testing.assert_array_equal(powers, np.array([1, 0, 0, 0, np.nan], np.float32))
    assert np.isnan(logarithms[-1])


@given(
    logits=st.lists(st.lists(st.floats(-1e4, 1e4, width=32), min_size=3, max_size=3), min_size=1, max_size=6),
    shift=st.floats(-1e3, 1e3, width=32),
)
@settings(max_examples=50, deadline=None)
def test_a_row_of_the_gradient_sums_to_zero_and_ignores_a_shift(
    logits: list[list[float]], shift: float
) -> None:
    x = torch.tensor(logits, dtype=torch.float64)
    target = torch.arange(len(logits)) % 3
    result = weighted_cross_entropy(x, target)
    torch.testing.assert_close(result.gradient.sum(1), torch.zeros(len(logits), dtype=torch.float64))
    moved = weighted_cross_entropy(x + shift, target)
    torch.testing.assert_close(moved.losses, result.losses, rtol=1e-9, atol=1e-9)


def test_a_loss_above_float32_is_inf() -> None:
    result = weighted_cross_entropy(torch.zeros(2, 4), torch.tensor([0, 1]), torch.full((2,), 3e38))
    assert result.loss == math.inf


LOGITS, TARGET = torch.zeros(2, 3, 4), torch.zeros(2, 3, dtype=torch.long)
LAST_NEGATIVE = torch.ones(2, 3, 4)
LAST_NEGATIVE[1, 2, 3] = -0.25
NEGATIVE = torch.tensor([[1.0, 1.0, 1.0], [1.0, -0.5, 1.0]])


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (TypeError, "logits must hold floating-point numbers, not torch.int64", (TARGET, TARGET)),
        (ValueError, r"logits must have shape \(..., classes\)", (torch.zeros(3, 0), TARGET[0])),
        (ValueError, r"target holds probabilities .* \(2, 3, 4\), not \(2, 3\)", (LOGITS, TARGET.float())),
        (TypeError, "target must hold class indices .* not torch.bool", (LOGITS, TARGET.bool())),
        (ValueError, r"target must have one class index a row, shape \(2, 3\)", (LOGITS, TARGET[0])),
        (TypeError, "weight must hold floating-point numbers, not torch.int64", (LOGITS, TARGET, TARGET)),
        (ValueError, r"weight must have one number a row.*class_weight\[target\]", (LOGITS, TARGET, torch.ones(4))),
        (ValueError, "denominator must be one number", (LOGITS, TARGET, None, torch.ones(2))),
        (ValueError, "denominator must be finite and > 0, not 0.0", (LOGITS, TARGET, None, torch.zeros(()))),
        (ValueError, "denominator must be finite and > 0, not nan", (LOGITS, TARGET, None, torch.tensor(math.nan))),
        (ValueError, r"weight\[1, 1\] is -0.5", (LOGITS, TARGET, NEGATIVE)),
        (ValueError, r"weight\[0, 0\] is nan", (LOGITS, TARGET, torch.full((2, 3), math.nan))),
        (ValueError, r"weight\[0, 0\] is inf", (LOGITS, TARGET, torch.full((2, 3), math.inf))),
        (ValueError, r"target\[0, 0\] is 4: a class index must lie in 0..3", (LOGITS, TARGET + 4)),
        (ValueError, r"target\[0, 0\] is -1: .* ignore_index=-100", (LOGITS, TARGET - 1)),
        (ValueError, "target is 7", (torch.zeros(4), torch.tensor(7))),
        (ValueError, "weight is on meta, logits on cpu", (LOGITS, TARGET, torch.ones(2, 3, device="meta"))),
        (ValueError, r"target\[0, 0\] holds a probability that is negative", (LOGITS, LOGITS - 1)),
        (ValueError, r"target\[1, 2\] holds a probability", (LOGITS.half(), LAST_NEGATIVE.half())),
    ],
)  # fmt: skip
def test_refuses_what_cannot_be(error: type[Exception], message: str, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(error, match=message):
        weighted_cross_entropy(*arguments)


@pytest.mark.parametrize("smoothing", [-0.1, 1.1, math.nan])
def test_refuses_smoothing_outside_the_unit_interval(smoothing: float) -> None:
    with pytest.raises(ValueError, match=r"label_smoothing must lie in \[0, 1\]"):
        weighted_cross_entropy(LOGITS, TARGET, label_smoothing=smoothing)


def test_a_target_of_a_row_of_weight_zero_is_not_looked_at() -> None:
    logits = torch.randn(2, 4)
    result = weighted_cross_entropy(logits, torch.tensor([1, 10**12]), torch.tensor([1.0, 0.0]))
    assert torch.equal(result.loss, weighted_cross_entropy(logits[:1], torch.tensor([1])).loss)


def test_other_integers_and_half_precision_weights_are_read() -> None:
    logits, target, weight = problem(9, 6, torch.float32)
    expected = weighted_cross_entropy(logits, target.clamp(min=0), weight.half().float())
    for kind in (torch.uint8, torch.int32):
        result = weighted_cross_entropy(logits, target.clamp(min=0).to(kind), weight.half())
        assert torch.equal(result.gradient, expected.gradient)
        assert torch.equal(result.loss, expected.loss)

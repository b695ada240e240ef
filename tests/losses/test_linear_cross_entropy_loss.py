"""weighted_linear_cross_entropy: the layer and the loss a few rows at a time are the layer and the loss."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hitl_kernels.weighted_cross_entropy import reference
from torch import nn
from torch.nn import functional as F

from hitl_fast.losses import (
    WeightedLinearCrossEntropyLoss,
    weighted_cross_entropy,
    weighted_linear_cross_entropy,
)
from hitl_fast.losses.linear import _operator
from hitl_fast.losses.linear_in_chunks import weighted_linear_cross_entropy as core

# dtype: (relative, absolute) of results against the definition in float64.
TOLERANCE = {
    torch.float64: (1e-12, 1e-13),
    torch.float32: (2e-5, 2e-6),
    torch.bfloat16: (
        2**-5,
        2**-6,
    ),  # logits and their gradient are rounded on the way, as in a layer of its own
    torch.float16: (2**-8, 2**-9),
}


def definition(
    hidden: np.ndarray,  # [rows, features]
    linear_weight: np.ndarray,  # [classes, features]
    target: np.ndarray,  # [rows]
    weight: np.ndarray | None = None,  # [rows]
    bias: np.ndarray | None = None,  # [classes]
    denominator: float | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> tuple[float, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The loss, the cross entropy of each row, and the gradients of hidden, linear_weight and bias."""
    hidden, linear_weight = hidden.astype(np.float64), linear_weight.astype(np.float64)
    logits = hidden @ linear_weight.T + (0.0 if bias is None else bias.astype(np.float64))
    loss, losses, slope = reference.weighted_cross_entropy(
        logits, target, weight, denominator, ignore_index, label_smoothing
    )
    return loss, losses, slope @ linear_weight, slope.T @ hidden, slope.sum(axis=0)


def problem(dtype: torch.dtype, rows: int = 7, features: int = 4, classes: int = 11) -> tuple[Any, ...]:
    generator = torch.Generator().manual_seed(rows)
    hidden = torch.randn(rows, features, generator=generator).to(dtype).requires_grad_()
    table = torch.randn(classes, features, generator=generator).to(dtype).requires_grad_()
    bias = torch.randn(classes, generator=generator).to(dtype).requires_grad_()
    target = torch.randint(classes, (rows,), generator=generator)
    target[1::4] = -100
    weight = torch.rand(rows, generator=generator).to(torch.promote_types(dtype, torch.float32))
    weight[::3] = 0
    return hidden, table, bias, target, weight.requires_grad_()


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("chunk", [1, 3, None])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_core_equals_the_definition(dtype: torch.dtype, chunk: int | None, smoothing: float) -> None:
    hidden, table, bias, target, weight = problem(dtype)
    for offset, divisor in itertools.product((bias, None), (None, 2.5)):
        result = core(
            hidden,
            table,
            target,
            weight,
            offset,
            None if divisor is None else torch.tensor(divisor),
            label_smoothing=smoothing,
            chunk=chunk,
        )
        arrays = [value.detach().double().numpy() for value in (hidden, table, weight)]
        right = definition(
            *arrays[:2],
            target.numpy(),
            arrays[2],
            None if offset is None else offset.detach().double().numpy(),
            divisor,
            label_smoothing=smoothing,
        )
        relative, absolute = TOLERANCE[dtype]
        for ours, exact in zip(result, right, strict=False):
            torch.testing.assert_close(
                ours.double(), torch.as_tensor(exact, dtype=torch.float64), rtol=relative, atol=absolute
            )
            assert ours.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("outer", [1.0, 3.0])
def test_gradients_equal_those_of_torch(dtype: torch.dtype, outer: float) -> None:
    hidden, table, bias, target, weight = problem(dtype)
    (outer * weighted_linear_cross_entropy(hidden, table, target, weight, bias, 3.0)).backward()
    exact = [value.detach().double().requires_grad_() for value in (hidden, table, bias, weight)]
    losses = F.cross_entropy(F.linear(*exact[:3]), target, reduction="none")
    (outer * (losses * exact[3]).sum() / 3).backward()
    relative, absolute = TOLERANCE[dtype]
    counts = (weight != 0) & (target != -100)
    torch.testing.assert_close(
        weight.grad.double(),
        torch.where(counts, exact[3].grad, 0),
        rtol=relative,
        atol=max(absolute, 4 * absolute * outer),
    )
    for value, right in zip((hidden, table, bias), exact, strict=False):
        assert value.grad.dtype == dtype
        torch.testing.assert_close(
            value.grad.double(), right.grad, rtol=relative, atol=absolute * (1 + outer)
        )


def test_gradcheck() -> None:
    hidden, table, bias, target, weight = problem(torch.float64)
    denominator = torch.tensor(4.0, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        weight.clamp_(min=0.1)  # at 0 the loss is not continuous in the weight

    def loss(h: torch.Tensor, t: torch.Tensor, b: torch.Tensor, w: torch.Tensor, d: torch.Tensor) -> Any:
        return weighted_linear_cross_entropy(h, t, target, w, b, d, label_smoothing=0.1)

    assert torch.autograd.gradcheck(loss, (hidden, table, bias, weight, denominator))


def test_makes_only_the_gradients_that_are_asked_for() -> None:
    hidden, table, bias, target, weight = problem(torch.float32)
    frozen = table.detach(), target, weight.detach(), bias.detach()
    weighted_linear_cross_entropy(hidden, *frozen).backward()
    ours, hidden.grad = hidden.grad, None
    weighted_linear_cross_entropy(hidden, table, target, weight.detach(), bias).backward()
    torch.testing.assert_close(ours, hidden.grad)
    with torch.no_grad():
        loss = weighted_linear_cross_entropy(hidden, table, target, weight, bias)
    assert not loss.requires_grad
    nothing = core(hidden, table, target, gradients=(False, False, False))
    assert nothing[2:5] == (None, None, None)


@pytest.mark.parametrize("chunk", [1, 3, None])
@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_rows_left_out_may_hold_anything(chunk: int | None, broken: float) -> None:
    hidden, table, bias, target, weight = (t.detach() for t in problem(torch.float64))
    left_out = (target == -100) | (weight == 0)
    assert left_out.any()
    denominator = torch.tensor(4.0, dtype=torch.float64)
    expected = core(hidden, table, target, weight, bias, denominator, chunk=chunk)
    hidden[left_out] = broken
    found = core(hidden, table, target, weight, bias, denominator, chunk=chunk)
    for ours, theirs in zip(found, expected, strict=True):
        if ours is not None and ours is not found[1]:  # losses of rows left out are told as they are
            torch.testing.assert_close(ours, theirs)
    kept = core(hidden[~left_out], table, target[~left_out], weight[~left_out], bias, denominator)
    torch.testing.assert_close(found[3], kept[3])


def test_sequences_and_no_rows() -> None:
    head = nn.Linear(4, 6)
    hidden, target, weight = torch.randn(2, 3, 4), torch.zeros(2, 3).long(), torch.rand(2, 3)
    ours = weighted_linear_cross_entropy(hidden[:, :-1], head.weight, target[:, 1:], weight[:, 1:], head.bias)
    theirs = weighted_cross_entropy(head(hidden[:, :-1]), target[:, 1:], weight[:, 1:])
    torch.testing.assert_close(ours, theirs)
    empty = weighted_linear_cross_entropy(torch.empty(0, 4), head.weight, torch.empty(0).long())
    empty.backward()
    assert empty == 0
    assert head.weight.grad.count_nonzero() == 0


def test_autocast_casts_as_a_layer_does() -> None:
    head = nn.Linear(4, 6)
    hidden, target = torch.randn(5, 4), torch.arange(5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = weighted_linear_cross_entropy(hidden, head.weight, target, None, head.bias)
        theirs = F.cross_entropy(head(hidden), target)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, theirs)
    ours.backward()
    grad, head.weight.grad = head.weight.grad, None
    theirs.backward()
    assert grad.dtype == torch.float32
    torch.testing.assert_close(grad, head.weight.grad, rtol=2**-5, atol=2**-7)


def test_a_second_backward_and_a_second_derivative() -> None:
    hidden, table, bias, target, weight = problem(torch.float32)
    loss = 2 * weighted_linear_cross_entropy(hidden, table, target, weight, bias)
    first = torch.autograd.grad(loss, (hidden, table, bias), retain_graph=True)
    second = torch.autograd.grad(loss, (hidden, table, bias), retain_graph=True)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)
    (slope,) = torch.autograd.grad(loss, hidden, create_graph=True)
    with pytest.raises(RuntimeError, match="weighted_linear_cross_entropy has no second derivative"):
        slope.sum().backward()


def test_the_loss_may_be_changed_in_place() -> None:
    hidden, table, bias, target, weight = problem(torch.float32)
    denominator = torch.tensor(3.0, requires_grad=True)
    leaves = hidden, table, bias, weight, denominator
    loss = weighted_linear_cross_entropy(hidden, table, target, weight, bias, denominator)
    expected = torch.autograd.grad(loss / 4, leaves)
    loss = weighted_linear_cross_entropy(hidden, table, target, weight, bias, denominator)
    loss /= 4
    for ours, right in zip(torch.autograd.grad(loss, leaves), expected, strict=True):
        torch.testing.assert_close(ours, right)


def test_a_model_without_data_has_shapes() -> None:
    hidden, table, bias, target, weight = (value.detach().to("meta") for value in problem(torch.float32))
    table.requires_grad_()
    weighted_linear_cross_entropy(hidden, table, target, weight, bias).backward()
    assert table.grad.shape == table.shape


def test_small_weights_do_not_underflow_in_float16() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(16, 4, generator=generator).half().requires_grad_()
    table = (0.1 * torch.randn(500, 4, generator=generator)).half().requires_grad_()
    target, weight = torch.arange(16), torch.full((16,), 1e-6)
    weight[3] = 0
    (2.0**20 * weighted_linear_cross_entropy(hidden, table, target, weight)).backward()
    exact = [value.detach().double().requires_grad_() for value in (hidden, table)]
    losses = F.cross_entropy(F.linear(*exact), target, reduction="none")
    (2.0**20 * (losses * weight).sum() / 15).backward()
    for value, right in zip((hidden, table), exact, strict=True):
        assert (value.grad - right.grad).norm() < 2**-8 * right.grad.norm()
    table.grad = None
    weighted_linear_cross_entropy(hidden, table, target, torch.zeros(16)).backward()
    assert table.grad.count_nonzero() == 0


def test_a_product_over_many_rows_does_not_overflow_in_float16() -> None:
    hidden = torch.full((3_000, 2), 64.0, dtype=torch.float16)
    table = torch.zeros(3, 2, dtype=torch.float16, requires_grad=True)
    weighted_linear_cross_entropy(hidden, table, torch.zeros(3_000).long()).backward()
    # Every row gives 64 * (1/3 - one-hot); their sum, 128,000, is inf in float16, their mean is not.
    expected = torch.tensor([[-128 / 3], [64 / 3], [64 / 3]]).expand(3, 2)
    torch.testing.assert_close(table.grad.float(), expected, rtol=2**-9, atol=0)


def test_opcheck_and_compile() -> None:
    hidden, table, bias, target, weight = problem(torch.float32)
    for given in ((weight, bias, torch.tensor(3.0)), (None, None, None)):
        torch.library.opcheck(
            _operator,
            (hidden, table, target, *given, -100, 0.1, True, True, given[1] is not None, False),
        )

    def step(h: torch.Tensor, t: torch.Tensor, b: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return 2 * weighted_linear_cross_entropy(h, t, target, w, b)

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    layer = (hidden, table, bias)
    expected = torch.autograd.grad(step(*layer, weight), (*layer, weight))
    for ours, right in zip(
        torch.autograd.grad(compiled(*layer, weight), (*layer, weight)), expected, strict=True
    ):
        torch.testing.assert_close(ours, right)


def test_the_module_is_the_function() -> None:
    hidden, table, bias, target, weight = problem(torch.float32)
    module = WeightedLinearCrossEntropyLoss(ignore_index=3, label_smoothing=0.2)
    target = target.clamp(min=0)
    expected = weighted_linear_cross_entropy(hidden, table, target, weight, bias, 2, 3, 0.2)
    assert torch.equal(module(hidden, table, target, weight, bias, 2), expected)
    assert "ignore_index=3" in repr(module)


@pytest.mark.parametrize(
    ("error", "message", "change"),
    [
        (TypeError, "hidden must be a torch.Tensor, not list", {"hidden": []}),
        (TypeError, "linear_weight must be a torch.Tensor", {"linear_weight": None}),
        (TypeError, "bias must be a torch.Tensor, not list", {"bias": [0.0]}),
        (TypeError, "hidden must hold floating-point numbers", {"hidden": torch.zeros(7, 4).long()}),
        (ValueError, r"hidden must have shape \(..., features\)", {"hidden": torch.zeros(())}),
        (ValueError, r"linear_weight must have shape \(classes, 4\)", {"linear_weight": torch.zeros(11, 3)}),
        (TypeError, "linear_weight is torch.float64", {"linear_weight": torch.zeros(11, 4).double()}),
        (ValueError, "linear_weight is on meta", {"linear_weight": torch.zeros(11, 4, device="meta")}),
        (ValueError, r"bias must have shape \(11,\), not \(4,\)", {"bias": torch.zeros(4)}),
        (TypeError, "bias is torch.float16", {"bias": torch.zeros(11).half()}),
        (TypeError, "target must hold class indices", {"target": torch.zeros(7, 11)}),
        (ValueError, r"target\[0\] is 11", {"target": torch.full((7,), 11)}),
        (ValueError, "target must have one class index a row", {"target": torch.zeros(6).long()}),
        (ValueError, "denominator must be finite and > 0", {"denominator": -1}),
    ],
)
def test_refuses_what_cannot_be(error: type[Exception], message: str, change: dict[str, Any]) -> None:
    hidden, table, _, _, _ = problem(torch.float32)
    arguments = {"hidden": hidden, "linear_weight": table, "target": torch.zeros(7).long(), **change}
    with pytest.raises(error, match=message):
        weighted_linear_cross_entropy(**arguments)

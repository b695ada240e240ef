"""weighted_bce_with_logits and weighted_mse: PyTorch's losses with weights, and one rule for the denominator."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from hitl_fast.losses import (
    WeightedBCEWithLogitsLoss,
    WeightedMSELoss,
    weighted_bce_with_logits,
    weighted_mse,
)
from hitl_fast.losses.elementwise import _divisor

PAIRS = [
    pytest.param(weighted_bce_with_logits, F.binary_cross_entropy_with_logits, id="bce"),
    pytest.param(weighted_mse, F.mse_loss, id="mse"),
]
Loss = Callable[..., torch.Tensor]


def problem(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(4, 3, generator=generator).to(dtype).requires_grad_()
    target = torch.rand(4, 3, generator=generator).to(dtype)
    weight = torch.tensor([0.5, 2.0, 1.0, 3.0], dtype=torch.float64, requires_grad=True)
    return values, target, weight


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_values_and_gradients(ours: Loss, theirs: Loss) -> None:
    values, target, weight = problem()
    for share in (weight, weight[:, None].expand(4, 3) * 1):
        loss = ours(values, target, share)
        column = share if share.dim() == 2 else share[:, None]
        right = (theirs(values, target, reduction="none") * column).sum() / 12
        torch.testing.assert_close(loss, right)
        for one, other in zip(
            torch.autograd.grad(loss, (values, weight), retain_graph=True),
            torch.autograd.grad(right, (values, weight), retain_graph=True),
            strict=True,
        ):
            torch.testing.assert_close(one, other)
    denominator = torch.tensor(5.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, w, d: ours(x, target, w, d), (values, weight, denominator))


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_weights_of_one_are_the_mean_of_torch(ours: Loss, theirs: Loss, dtype: torch.dtype) -> None:
    values, target, _ = problem(dtype)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    expected = theirs(values.to(wide), target.to(wide))
    for weight in (None, torch.ones(4), torch.ones(4, 3)):
        torch.testing.assert_close(ours(values, target, weight), expected)
    torch.testing.assert_close(ours(values, target, None, 6.0), 2 * expected)


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_weight_zero_leaves_out_whatever_is_there(ours: Loss, theirs: Loss) -> None:
    values, target, _ = problem(torch.float32)
    with torch.no_grad():
        values[1], values[2], target[3] = math.nan, math.inf, math.nan
    weight = torch.tensor([2.0, 0.0, 0.0, 0.0], requires_grad=True)
    loss = ours(values, target, weight)
    torch.testing.assert_close(loss, 2 * theirs(values[:1], target[:1]))
    loss.backward()
    assert torch.isfinite(values.grad).all()
    assert values.grad[1:].count_nonzero() == 0
    assert weight.grad[1:].count_nonzero() == 0
    assert ours(values, target, torch.zeros(4)) == 0


def test_a_half_precision_sum_does_not_overflow() -> None:
    loss = weighted_mse(torch.full((4096,), 16.0).half(), torch.zeros(4096).half(), torch.ones(4096))
    assert loss == 256


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_compiles_in_one_graph_and_still_looks_at_the_values(ours: Loss, theirs: Loss) -> None:
    compiled = torch.compile(lambda x, y, w, d: ours(x, y, w, d), fullgraph=True, backend="aot_eager")
    values, target, weight = problem()
    denominator = torch.tensor(5.0, dtype=torch.float64, requires_grad=True)
    leaves = (values, weight, denominator)
    expected = torch.autograd.grad(ours(values, target, weight, denominator), leaves)
    result = torch.autograd.grad(compiled(values, target, weight, denominator), leaves)
    for one, other in zip(result, expected, strict=True):
        torch.testing.assert_close(one, other)
    with pytest.raises(ValueError, match=r"weight\[0\] is -0.5"):
        compiled(values, target, -weight, denominator)


def test_opcheck_of_the_denominator() -> None:
    values, _, weight = problem(torch.float32)
    given = torch.tensor(3.0, requires_grad=True)
    torch.library.opcheck(_divisor, (weight.detach(), given, values.detach(), 3, False))
    torch.library.opcheck(_divisor, (None, None, values.detach(), 12, False))


def test_the_modules_are_the_functions() -> None:
    values, target, weight = problem(torch.float32)
    positive = torch.tensor([1.0, 2.0, 3.0])
    module = WeightedBCEWithLogitsLoss(pos_weight=positive)
    assert torch.equal(
        module(values, target, weight), weighted_bce_with_logits(values, target, weight, pos_weight=positive)
    )
    torch.testing.assert_close(
        module(values, target), F.binary_cross_entropy_with_logits(values, target, pos_weight=positive)
    )
    assert torch.equal(WeightedMSELoss()(values, target, weight, 2), weighted_mse(values, target, weight, 2))


@pytest.mark.parametrize(
    ("error", "message", "change"),
    [
        (TypeError, "prediction must be a torch.Tensor, not float", {"prediction": 1.0}),
        (TypeError, "prediction must hold floating-point", {"prediction": torch.zeros(4, 3).long()}),
        (ValueError, r"target must have the shape of prediction, \(4, 3\)", {"target": torch.zeros(4)}),
        (TypeError, "target must hold real numbers", {"target": torch.zeros(4, 3).cfloat()}),
        (TypeError, "weight must hold floating-point numbers", {"weight": torch.ones(4).long()}),
        (ValueError, r"weight must have the shape .* not \(3,\)", {"weight": torch.ones(3)}),
        (ValueError, r"weight\[2\] is -1", {"weight": torch.tensor([1.0, 1, -1, 1])}),
        (ValueError, r"weight\[1, 0\] is nan", {"weight": torch.ones(4, 3).index_fill(0, torch.tensor([1]), math.nan)}),
        (ValueError, "denominator must be finite and > 0", {"denominator": 0}),
        (ValueError, "denominator must be finite and > 0, not -2", {"denominator": torch.tensor(-2.0)}),
        (ValueError, "denominator must be one number", {"denominator": torch.ones(2)}),
        (ValueError, "target is on meta", {"target": torch.zeros(4, 3, device="meta")}),
    ],
)  # fmt: skip
def test_refuses_what_cannot_be(error: type[Exception], message: str, change: dict[str, Any]) -> None:
    arguments = {"prediction": torch.zeros(4, 3), "target": torch.zeros(4, 3), **change}
    with pytest.raises(error, match=message):
        weighted_mse(**arguments)

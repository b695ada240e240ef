"""Linear layer and weighted cross entropy fused into one PyTorch operator."""

from __future__ import annotations

from typing import Any

import torch
from hitl_kernels.weighted_cross_entropy import accumulator

from hitl_fast._common.errors import InputTypeError

from .arguments import (
    Array,
    CrossEntropyModule,
    Denominator,
    denominator_tensor,
    first_derivative,
    of_weight_and_denominator,
    optional,
    refuse_options,
    remember,
    scaled,
    tensor,
)
from .linear_in_chunks import validate
from .linear_in_chunks import weighted_linear_cross_entropy as kernel

NAME = "weighted_linear_cross_entropy"


def weighted_linear_cross_entropy(
    hidden: torch.Tensor,
    linear_weight: torch.Tensor,
    target: Array,
    weight: Array | None = None,
    bias: torch.Tensor | None = None,
    denominator: Denominator = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    *,
    check: bool = False,
) -> torch.Tensor:
    """`weighted_cross_entropy` of ``F.linear(hidden, linear_weight, bias)``, whose logits never exist at once.

    ::

        loss = weighted_cross_entropy(hidden @ linear_weight.T + bias, target, weight, denominator)

    Rows are taken a few at a time: their logits, loss and gradient, and from those their share of the gradients
    of hidden, linear_weight and bias, where these are asked for. What remains in memory are the gradients.

    Args:
        hidden: (..., features) float16, bfloat16, float32 or float64. Under autocast it, linear_weight and bias
            are cast as ``F.linear`` would cast them.
        linear_weight: (classes, features), the weight of an ``nn.Linear``; dtype of hidden.
        target: (...) class indices.
        weight: (...) finite, not negative, per sample or token; None for 1 everywhere.
        bias: (classes,) or None; dtype of hidden.
        denominator, ignore_index, label_smoothing, check: as in `weighted_cross_entropy`.

    Returns:
        () float32, or float64 for float64 hidden.

    Raises:
        TypeError, ValueError, RuntimeError: as `weighted_cross_entropy`; target holds probabilities.

    Source: the chunks follow Hsu et al., Liger Kernel, 2024, sec. 3.2 (fused linear cross entropy).

    >>> head = torch.nn.Linear(8, 1000)
    >>> hidden, target = torch.randn(32, 8), torch.arange(32)
    >>> loss = weighted_linear_cross_entropy(hidden, head.weight, target, torch.ones(32), head.bias)
    >>> torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(head(hidden), target))
    """
    for name, value in (("hidden", hidden), ("linear_weight", linear_weight), ("bias", bias)):
        if not isinstance(value, torch.Tensor) and not (name == "bias" and value is None):
            raise InputTypeError(f"{name} must be a torch.Tensor, not {type(value).__name__}")
    refuse_options(ignore_index, label_smoothing)
    layer = [hidden, linear_weight, *([] if bias is None else [bias])]
    kind = hidden.device.type
    if kind != "meta" and torch.is_autocast_enabled(kind) and hidden.dtype != torch.float64:
        layer = [value.to(torch.get_autocast_dtype(kind)) for value in layer]
    wanted = [torch.is_grad_enabled() and value.requires_grad for value in layer]
    loss: torch.Tensor = _operator(
        layer[0],
        layer[1],
        tensor(target, "target"),
        optional(weight, "weight"),
        None if bias is None else layer[2],
        denominator_tensor(denominator, hidden.device),
        ignore_index,
        label_smoothing,
        wanted[0],
        wanted[1],
        bias is not None and wanted[2],
        check,
    )[0]
    return loss


@torch.library.custom_op(
    "hitl_fast::weighted_linear_cross_entropy",
    mutates_args=(),
    schema="(Tensor hidden, Tensor linear_weight, Tensor target, Tensor? weight, Tensor? bias,"
    " Tensor? denominator, int ignore_index, float label_smoothing, bool want_hidden, bool want_weight,"
    " bool want_bias, bool check) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def _operator(
    hidden: torch.Tensor,
    linear_weight: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    denominator: torch.Tensor | None,
    ignore_index: int,
    label_smoothing: float,
    want_hidden: bool,
    want_weight: bool,
    want_bias: bool,
    check: bool,
) -> tuple[torch.Tensor, ...]:
    loss, losses, *grads, divisor = kernel(
        hidden,
        linear_weight,
        target,
        weight,
        bias,
        denominator,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        gradients=(want_hidden, want_weight, want_bias),
        check=check,
    )
    return loss, losses, *(hidden.new_empty(0) if grad is None else grad for grad in grads), divisor


@_operator.register_fake
def _shapes(
    hidden: torch.Tensor,
    linear_weight: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    denominator: torch.Tensor | None,
    ignore_index: int,
    label_smoothing: float,
    want_hidden: bool,
    want_weight: bool,
    want_bias: bool,
    check: bool,
) -> tuple[torch.Tensor, ...]:
    validate(hidden, linear_weight, target, weight, bias, denominator, label_smoothing)
    dtype = accumulator(hidden.dtype)
    return (
        hidden.new_empty((), dtype=dtype),
        hidden.new_empty(hidden.shape[:-1], dtype=dtype),
        hidden.new_empty(hidden.shape, dtype=dtype) if want_hidden else hidden.new_empty(0),
        hidden.new_empty(linear_weight.shape, dtype=dtype) if want_weight else hidden.new_empty(0),
        hidden.new_empty(linear_weight.shape[:1], dtype=dtype) if want_bias else hidden.new_empty(0),
        hidden.new_empty((), dtype=torch.float64),
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(*output[1:])
    ctx.dtype = inputs[0].dtype
    kept = remember(ctx, output[0], inputs[3], inputs[5], ctx.needs_input_grad[5])
    ctx.save_for_backward(kept, *output[1:])


def _backward(ctx: Any, outer: torch.Tensor | None, *others: None) -> tuple[Any, ...]:
    loss, losses, grad_hidden, grad_weight, grad_bias, divisor = ctx.saved_tensors
    wanted = ctx.needs_input_grad
    grads: list[torch.Tensor | None] = [None] * 12
    if outer is None:
        return tuple(grads)
    for place, grad in ((0, grad_hidden), (1, grad_weight), (4, grad_bias)):
        if wanted[place]:
            grads[place] = scaled(grad, outer).to(ctx.dtype)
    grads[3], grads[5] = of_weight_and_denominator(ctx, outer, loss, losses, divisor, (wanted[3], wanted[5]))
    return tuple(None if grad is None else first_derivative(grad, NAME) for grad in grads)


_operator.register_autograd(_backward, setup_context=_setup)


class WeightedLinearCrossEntropyLoss(CrossEntropyModule):
    """`weighted_linear_cross_entropy` as a module; the layer stays the caller's.

    >>> head, criterion = torch.nn.Linear(8, 100), WeightedLinearCrossEntropyLoss()
    >>> loss = criterion(torch.randn(4, 8), head.weight, torch.arange(4), torch.ones(4), head.bias)
    """

    def forward(
        self,
        hidden: torch.Tensor,
        linear_weight: torch.Tensor,
        target: Array,
        weight: Array | None = None,
        bias: torch.Tensor | None = None,
        denominator: Denominator = None,
    ) -> torch.Tensor:
        rest = (weight, bias, denominator, self.ignore_index, self.label_smoothing)
        return weighted_linear_cross_entropy(hidden, linear_weight, target, *rest, check=self.check)

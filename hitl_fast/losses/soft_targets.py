"""Gradients of probabilities as targets, as distillation and learnt labels need them."""

from __future__ import annotations

import math
from typing import Any

import torch

from .arguments import first_derivative


def rows_that_count(logits: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
    """The default denominator for probabilities: rows whose weight is not 0, at least 1; () float64."""
    if weight is None:
        return logits.new_full((), max(math.prod(logits.shape[:-1]), 1), dtype=torch.float64)
    return (weight != 0).sum().clamp(min=1).to(torch.float64)


class TargetGradient(torch.autograd.Function):
    """Returns the loss unchanged, and gives the probabilities their gradient.

    With s the smoothing and D the denominator::

        d loss / d target[i, c] = - weight[i] (1 - s) log softmax(logits[i])[c] / D

    and 0 for rows of weight 0.
    """

    @staticmethod
    def forward(
        ctx: Any,
        loss: torch.Tensor,
        target: torch.Tensor,
        logits: torch.Tensor,
        weight: torch.Tensor | None,
        denominator: torch.Tensor,
        label_smoothing: float,
    ) -> torch.Tensor:
        ctx.save_for_backward(logits, weight, denominator)
        ctx.scale, ctx.dtype = 1 - label_smoothing, target.dtype
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, outer: torch.Tensor) -> tuple[Any, ...]:
        logits, weight, denominator = ctx.saved_tensors
        dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
        factor = (outer * ctx.scale / denominator).to(dtype)
        slope = -torch.log_softmax(logits.to(dtype), -1) * factor
        if weight is not None:
            column = weight.detach().to(dtype)[..., None]
            slope = torch.where(column == 0, 0.0, slope * column)
        return outer, first_derivative(slope.to(ctx.dtype), "weighted_cross_entropy"), None, None, None, None

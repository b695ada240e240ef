"""Shared by the losses: argument conversion, the denominator, and the guard against second derivatives."""

from __future__ import annotations

import math
import numbers
from typing import Any, TypeAlias

import numpy as np
import torch
from hitl_kernels.weighted_cross_entropy import backend
from torch import nn

from hitl_fast._common.errors import InputError, InputTypeError

Array: TypeAlias = "torch.Tensor | np.ndarray[Any, Any]"
Denominator: TypeAlias = "torch.Tensor | float | None"


def tensor(value: Array, name: str) -> torch.Tensor:
    """A tensor unchanged, an array as a tensor."""
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, np.ndarray):
        # PyTorch takes no other byte order and no step backwards, and warns of what cannot be written to.
        if not value.flags.writeable or not value.dtype.isnative or min(value.strides, default=0) < 0:
            value = value.astype(value.dtype.newbyteorder("="), order="C")
        return torch.from_numpy(value)
    raise InputTypeError(f"{name} must be a torch.Tensor or a numpy.ndarray, not {type(value).__name__}")


def optional(value: Array | None, name: str) -> torch.Tensor | None:
    return None if value is None else tensor(value, name)


def denominator_tensor(value: Denominator, device: torch.device) -> torch.Tensor | None:
    """A denominator given as a number becomes a float64 tensor on the device."""
    if value is None or isinstance(value, torch.Tensor):
        return value
    if not isinstance(value, numbers.Real):
        raise InputTypeError(f"denominator must be a number, a tensor or None, not {type(value).__name__}")
    if not 0 < value < math.inf:
        raise InputError(f"denominator must be finite and > 0, not {value}")
    return torch.full((), float(value), dtype=torch.float64, device=device)


def refuse_options(ignore_index: int, label_smoothing: float) -> None:
    """Option types are validated: a wrong one would never equal a target."""
    if not isinstance(ignore_index, numbers.Integral):
        raise InputTypeError(f"ignore_index must be an int, not {type(ignore_index).__name__}")
    if not isinstance(label_smoothing, numbers.Real):
        raise InputTypeError(f"label_smoothing must be a number, not {type(label_smoothing).__name__}")


def scaled(values: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """``values * factor`` in a backward pass; in place where no later backward pass can need ``values``."""
    traced = type(values) is not torch.Tensor or values.is_meta or torch.compiler.is_compiling()
    if traced or torch._C._autograd._get_current_graph_task_keep_graph():
        return values * factor
    result: torch.Tensor = backend(values.device).scale_(values, factor)
    return result


class FirstDerivative(torch.autograd.Function):
    """The identity; differentiating it raises, because the second derivative would be silently incomplete."""

    @staticmethod
    def forward(gradient: torch.Tensor, name: str) -> torch.Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.name = inputs[1]

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        raise RuntimeError(
            f"{ctx.name} has no second derivative: its gradient is made in the forward pass. For"
            " create_graph=True use torch.nn.functional.cross_entropy(..., reduction='none') times the weights"
        )


def first_derivative(gradient: torch.Tensor, name: str) -> torch.Tensor:
    """Mark a gradient that is about to be recorded (``create_graph=True``) as one not to differentiate again."""
    if not torch.is_grad_enabled():
        return gradient
    result: torch.Tensor = FirstDerivative.apply(gradient.detach().requires_grad_(), name)  # type: ignore[no-untyped-call]
    return result


def remember(
    ctx: Any, loss: torch.Tensor, weight: torch.Tensor | None, denominator: torch.Tensor | None, wanted: bool
) -> torch.Tensor | None:
    """Store dtypes and shapes for the gradients of weight and denominator; return the loss if the latter is needed.

    A copy of the loss, because callers change it in place: ``loss /= steps``, ``loss += penalty``.
    """
    ctx.like_weight = None if weight is None else weight.dtype
    ctx.like_denominator = None if denominator is None else (denominator.dtype, denominator.shape)
    return loss.clone() if wanted else None


def of_weight_and_denominator(
    ctx: Any,
    outer: torch.Tensor,
    loss: torch.Tensor | None,
    losses: torch.Tensor,
    divisor: torch.Tensor,
    wanted: tuple[bool, bool],
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Gradients of ``sum(weight * losses) / divisor`` for the two, None where not needed."""
    of_weight = of_denominator = None
    if ctx.like_weight is not None and wanted[0]:
        of_weight = (losses * (outer / divisor)).to(ctx.like_weight)
    if loss is not None and wanted[1]:
        dtype, shape = ctx.like_denominator
        of_denominator = (-outer * loss / divisor).to(dtype).reshape(shape)
    return of_weight, of_denominator


class CrossEntropyModule(nn.Module):
    """The options that both cross entropies have."""

    def __init__(
        self, ignore_index: int = -100, label_smoothing: float = 0.0, *, check: bool = False
    ) -> None:
        super().__init__()
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing
        self.check = check

    def extra_repr(self) -> str:
        return f"ignore_index={self.ignore_index}, label_smoothing={self.label_smoothing}"

"""Weighted means of PyTorch's own elementwise losses, which memory bandwidth already limits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from hitl_kernels.weighted_cross_entropy import FLOATS, position
from torch import nn
from torch.nn import functional as F

from hitl_fast._common.errors import InputError, InputTypeError

from .arguments import Array, Denominator, denominator_tensor, optional, tensor


def weighted_bce_with_logits(
    logits: torch.Tensor,
    target: Array,
    weight: Array | None = None,
    denominator: Denominator = None,
    pos_weight: torch.Tensor | None = None,
    *,
    check: bool = False,
) -> torch.Tensor:
    """Binary cross entropy of logits with a weight for every sample, or for every element.

    ::

        loss = sum_i weight[i] (- target[i] log sigmoid(logits[i]) - (1 - target[i]) log sigmoid(-logits[i]))
               / denominator

    Weights of 1 give ``F.binary_cross_entropy_with_logits``. Weight 0 is the same as leaving the elements out, in
    loss, gradient and default denominator, also where their loss is inf or NaN.

    Args:
        logits: (...) floating point; half precision is computed in float32.
        target: the shape of logits, probabilities in [0, 1].
        weight: the shape of logits or of its first dimensions, e.g. (samples,) for logits (samples, labels);
            finite, not negative. May require a gradient.
        denominator: None for the number of elements that count (at least 1); a number or a tensor of one for
            gradient accumulation and data-parallel means, as in `weighted_cross_entropy`.
        pos_weight: as in ``F.binary_cross_entropy_with_logits``.
        check: look at the values on CUDA too, which waits for the device.

    Returns:
        () float32, or float64 for float64 logits.

    Raises:
        TypeError: an argument has a wrong type or dtype.
        ValueError: shapes or devices that differ; a weight that is negative or not finite, a denominator that is
            not > 0 (on the CPU always; on CUDA with ``check=True``, without it the loss is NaN).

    Source: Bishop, Pattern Recognition and Machine Learning, 2006, eq. 4.90.

    >>> loss = weighted_bce_with_logits(torch.zeros(3), torch.tensor([0.0, 1.0, 1.0]), torch.tensor([1.0, 2.0, 0.0]))
    >>> round(loss.item(), 4)  # 3 log 2 / 2
    1.0397
    """

    def losses(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.binary_cross_entropy_with_logits(x, y, pos_weight=pos_weight, reduction="none")

    return _weighted_mean(losses, "logits", logits, target, weight, denominator, check)


def weighted_mse(
    prediction: torch.Tensor,
    target: Array,
    weight: Array | None = None,
    denominator: Denominator = None,
    *,
    check: bool = False,
) -> torch.Tensor:
    """Squared error with a weight for every sample, or for every element.

    ::

        loss = sum_i weight[i] (prediction[i] - target[i])**2 / denominator

    Args:
        prediction: (...) floating point; half precision is computed in float32.
        target: the shape of prediction.
        weight, denominator, check: as in `weighted_bce_with_logits`.

    Returns:
        () float32, or float64 for float64 predictions.

    Raises:
        TypeError, ValueError: as `weighted_bce_with_logits`.

    Source: weighted least squares, e.g. Bishop, 2006, exercise 3.3.

    >>> weighted_mse(torch.zeros(2, 2), torch.tensor([[1.0, 1.0], [3.0, 3.0]]), torch.tensor([4.0, 0.0])).item()
    4.0
    """

    def losses(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.mse_loss(x, y, reduction="none")

    return _weighted_mean(losses, "prediction", prediction, target, weight, denominator, check)


def _weighted_mean(
    losses: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    name: str,
    values: torch.Tensor,
    target: Array,
    weight: Array | None,
    denominator: Denominator,
    check: bool,
) -> torch.Tensor:
    if not isinstance(values, torch.Tensor):
        raise InputTypeError(f"{name} must be a torch.Tensor, not {type(values).__name__}")
    truth, share = tensor(target, "target"), optional(weight, "weight")
    given = denominator_tensor(denominator, values.device)
    _validate(name, values, truth, share, given)
    dtype = values.dtype if values.dtype == torch.float64 else torch.float32
    values, truth = values.to(dtype), truth.to(dtype)
    if share is None:
        total, each = losses(values, truth).sum(), values.numel()
    else:
        each = math.prod(values.shape[share.dim() :])
        column = share.reshape(share.shape + (1,) * (values.dim() - share.dim())).to(dtype)
        counts = column != 0
        # Masked before the loss, so that its gradient is not NaN, and after it, for the gradient of the weight.
        loss = losses(torch.where(counts, values, 0), torch.where(counts, truth, 0))
        total = (column * torch.where(counts, loss, 0)).sum()
    divisor: torch.Tensor = _divisor(share, given, values.detach(), each, check)
    return (total / divisor).to(dtype)


def _validate(
    name: str,
    values: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    denominator: torch.Tensor | None,
) -> None:
    if values.dtype not in FLOATS:
        raise InputTypeError(f"{name} must hold floating-point numbers, not {values.dtype}")
    if target.shape != values.shape:
        raise InputError(
            f"target must have the shape of {name}, {tuple(values.shape)}, not {tuple(target.shape)}"
        )
    if target.is_complex():
        raise InputTypeError(f"target must hold real numbers, not {target.dtype}")
    if weight is not None:
        if weight.dtype not in FLOATS:
            raise InputTypeError(f"weight must hold floating-point numbers, not {weight.dtype}")
        if weight.shape != values.shape[: weight.dim()]:
            raise InputError(
                f"weight must have the shape of {name}, {tuple(values.shape)}, or of its first dimensions,"
                f" not {tuple(weight.shape)}"
            )
    if denominator is not None and denominator.numel() != 1:
        raise InputError(f"denominator must be one number, not of shape {tuple(denominator.shape)}")
    for other, given in (("target", target), ("weight", weight), ("denominator", denominator)):
        if given is not None and given.device != values.device:
            raise InputError(f"{other} is on {given.device}, {name} on {values.device}: move it there")


# An operator, so that traced code checks the values too.
@torch.library.custom_op(
    "hitl_fast::divisor",
    mutates_args=(),
    schema="(Tensor? weight, Tensor? denominator, Tensor values, SymInt each, bool check) -> Tensor",
)
def _divisor(
    weight: torch.Tensor | None,
    denominator: torch.Tensor | None,
    values: torch.Tensor,
    each: int,
    check: bool,
) -> torch.Tensor:
    """The denominator in float64: given, or ``each`` elements for every weight that is not 0.

    Off the CPU and without ``check`` it is NaN for an invalid weight or denominator.
    """
    result = torch.full((), float(max(each, 1)), dtype=torch.float64, device=values.device)
    fine = torch.ones((), dtype=torch.bool, device=values.device)
    look = check or values.device.type == "cpu"
    if weight is not None:
        proper = (weight >= 0) & (weight < math.inf)
        fine = proper.all()
        if look and not fine:
            first = int((~proper.reshape(-1)).nonzero()[0])
            raise InputError(
                f"weight{position(first, weight.shape)} is {weight.reshape(-1)[first].item()}:"
                " a weight must be finite and not negative (0 leaves it out)"
            )
        result = (weight != 0).sum().mul(each).clamp(min=1).to(torch.float64)
    if denominator is not None:
        result = denominator.reshape(()).to(torch.float64, copy=True)
        if look and not 0 < float(result) < math.inf:
            raise InputError(f"denominator must be finite and > 0, not {float(result)}")
        fine = fine & (result > 0) & (result < math.inf)
    return torch.where(fine, result, math.nan)


@_divisor.register_fake
def _divisor_shape(
    weight: torch.Tensor | None,
    denominator: torch.Tensor | None,
    values: torch.Tensor,
    each: int,
    check: bool,
) -> torch.Tensor:
    return values.new_empty((), dtype=torch.float64)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    denominator = inputs[1]
    ctx.like = None if denominator is None else (denominator.dtype, denominator.shape)


def _backward(ctx: Any, outer: torch.Tensor) -> tuple[Any, ...]:
    grad = None if ctx.like is None else outer.to(ctx.like[0]).reshape(ctx.like[1])
    return None, grad, None, None, None


_divisor.register_autograd(_backward, setup_context=_setup)


class WeightedBCEWithLogitsLoss(nn.Module):
    """`weighted_bce_with_logits` as a module.

    >>> criterion = WeightedBCEWithLogitsLoss()
    >>> loss = criterion(torch.zeros(2, 3), torch.ones(2, 3), torch.tensor([1.0, 0.5]))
    """

    pos_weight: torch.Tensor | None

    def __init__(self, pos_weight: torch.Tensor | None = None, *, check: bool = False) -> None:
        super().__init__()
        self.register_buffer("pos_weight", pos_weight)
        self.check = check

    def forward(
        self,
        logits: torch.Tensor,
        target: Array,
        weight: Array | None = None,
        denominator: Denominator = None,
    ) -> torch.Tensor:
        return weighted_bce_with_logits(
            logits, target, weight, denominator, self.pos_weight, check=self.check
        )


class WeightedMSELoss(nn.Module):
    """`weighted_mse` as a module.

    >>> loss = WeightedMSELoss()(torch.zeros(2, 3), torch.ones(2, 3), torch.tensor([1.0, 0.5]))
    """

    def __init__(self, *, check: bool = False) -> None:
        super().__init__()
        self.check = check

    def forward(
        self,
        prediction: torch.Tensor,
        target: Array,
        weight: Array | None = None,
        denominator: Denominator = None,
    ) -> torch.Tensor:
        return weighted_mse(prediction, target, weight, denominator, check=self.check)

"""The last linear layer and weighted cross entropy together, a few rows at a time."""

from __future__ import annotations

from typing import NamedTuple

import torch
from hitl_kernels.weighted_cross_entropy import FLOATS, accumulator, backend, divisor_of
from hitl_kernels.weighted_cross_entropy import validate as validate_loss

from hitl_fast._common.errors import InputError, InputTypeError

__all__ = ["LinearCrossEntropy", "validate", "weighted_linear_cross_entropy"]

# Logits that exist at a time. 2**24 of float32 are 64 MB: enough rows for the matrix products to run at full
# speed, a twelfth of what (4096, 50257) would take.
LOGITS = 1 << 24
# Rows at a time in float16, whose products are rounded to float16 as well: a class that all rows push one way
# overflows only where their hidden values are above 65504 / 256 on average.
ROWS_OF_HALF = 256


class LinearCrossEntropy(NamedTuple):
    """What the rows give; sums and gradients in float32, or float64 for float64."""

    loss: torch.Tensor
    losses: torch.Tensor
    grad_hidden: torch.Tensor | None
    grad_weight: torch.Tensor | None
    grad_bias: torch.Tensor | None
    denominator: torch.Tensor


def weighted_linear_cross_entropy(
    hidden: torch.Tensor,
    linear_weight: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    denominator: torch.Tensor | None = None,
    *,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    gradients: tuple[bool, bool, bool] = (True, True, True),
    check: bool = False,
    chunk: int | None = None,
) -> LinearCrossEntropy:
    """Weighted cross entropy of ``hidden @ linear_weight.T + bias``, and the gradients of all three.

    With G = d sum_i weight[i] losses[i] / d logits, made for ``chunk`` rows at a time in the place of their
    logits::

        grad_hidden = G linear_weight / denominator
        grad_weight = G' hidden / denominator
        grad_bias = sum of G over rows / denominator

    Sums over rows are made in float32 (float64 for float64), chunk after chunk, and divided at the end. In
    float16 G is made with weights over the largest one, so that small weights do not underflow, and for at most
    256 rows at a time, so that a product over rows does not overflow. ``chunk`` changes results by rounding only,
    and so does the number of threads of the matrix products.

    Args:
        hidden: (..., features) float16, bfloat16, float32 or float64.
        linear_weight: (classes, features), dtype of hidden.
        target: (...) class indices.
        weight, denominator, ignore_index, label_smoothing, check: as in
            `hitl_kernels.weighted_cross_entropy.weighted_cross_entropy`.
        bias: (classes,), dtype of hidden.
        gradients: which of hidden, linear_weight and bias need one.
        chunk: rows at a time; None for as many as make 2**24 logits. At most 256 in float16.

    Raises:
        TypeError, ValueError: as there, and for shapes, dtypes and devices that do not fit together.

    Source: the chunks follow Hsu et al., Liger Kernel, 2024, sec. 3.2 (fused linear cross entropy).

    >>> result = weighted_linear_cross_entropy(torch.ones(3, 2), torch.zeros(4, 2), torch.tensor([0, 1, 1]))
    >>> round(result.loss.item(), 4)  # log 4
    1.3863
    """
    validate(hidden, linear_weight, target, weight, bias, denominator, label_smoothing)
    classes, features = linear_weight.shape
    matrix, indices = hidden.detach().reshape(-1, features), target.reshape(-1)
    rows, dtype, device = matrix.shape[0], accumulator(hidden.dtype), backend(hidden.device)
    stand_in = hidden.new_empty(()).expand(*hidden.shape[:-1], classes)
    divisor = divisor_of(stand_in, target, weight, denominator, ignore_index, check)
    weights = None if weight is None else weight.detach().reshape(-1)
    table = linear_weight.detach()
    chunk = max(1, min(rows, chunk or LOGITS // classes))
    largest = torch.ones((), dtype=torch.float64, device=hidden.device)
    if hidden.dtype == torch.float16:
        chunk = min(chunk, ROWS_OF_HALF)
        if weights is not None and rows:
            peak = weights.amax().double()
            largest = torch.where(peak == 0, largest, peak)
    factor = 1 / largest
    logits = device.empty((chunk, classes), hidden.dtype, hidden.device)
    losses = torch.empty(rows, dtype=dtype, device=hidden.device)
    grad_hidden = torch.empty(rows, features, dtype=dtype, device=hidden.device) if gradients[0] else None
    grad_weight = device.empty((classes, features), dtype, hidden.device).zero_() if gradients[1] else None
    grad_bias = torch.zeros(classes, dtype=dtype, device=hidden.device) if gradients[2] else None
    for start in range(0, rows, chunk):
        some = slice(start, min(start + chunk, rows))
        part, block = matrix[some], logits[: some.stop - some.start]
        if bias is None:
            torch.mm(part, table.T, out=block)
        else:
            torch.addmm(bias.detach(), part, table.T, out=block)
        device.fill(
            block,
            indices[some],
            None if weights is None else weights[some],
            factor,
            ignore_index,
            label_smoothing,
            losses[some],
            block if any(gradients) else None,
        )
        if grad_hidden is not None:
            grad_hidden[some] = block @ table
        if grad_weight is not None:
            left_out = indices[some] == ignore_index
            if weights is not None:
                left_out |= weights[some] == 0
            _add_product(grad_weight, block, _without(part, left_out))
        if grad_bias is not None:
            grad_bias += block.sum(0, dtype=dtype)
    for grad in (grad_hidden, grad_weight, grad_bias):
        if grad is not None:
            grad.div_(divisor / largest)
    return LinearCrossEntropy(
        device.mean(losses, weights, divisor),
        losses.view(hidden.shape[:-1]),
        None if grad_hidden is None else grad_hidden.view(hidden.shape),
        grad_weight,
        grad_bias,
        torch.full((), divisor, dtype=torch.float64) if isinstance(divisor, float) else divisor,
    )


def _without(part: torch.Tensor, left_out: torch.Tensor) -> torch.Tensor:
    """Zeros for rows left out, whose zero gradients would turn into NaN where a row is not finite."""
    if part.device.type == "cpu" and not left_out.any():  # elsewhere asking would wait for the device
        return part
    return part.masked_fill(left_out[:, None], 0)


def _add_product(total: torch.Tensor, block: torch.Tensor, part: torch.Tensor) -> None:
    if total.dtype == block.dtype:
        total.addmm_(block.T, part)
    else:
        total += block.T @ part


def validate(
    hidden: torch.Tensor,
    linear_weight: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    denominator: torch.Tensor | None,
    label_smoothing: float,
) -> None:
    """Refuses wrong shapes, dtypes and devices; values are not looked at."""
    if hidden.dtype not in FLOATS:
        raise InputTypeError(f"hidden must hold floating-point numbers, not {hidden.dtype}")
    if hidden.dim() < 1 or hidden.shape[-1] < 1:
        raise InputError(f"hidden must have shape (..., features), not {tuple(hidden.shape)}")
    if linear_weight.dim() != 2 or linear_weight.shape[1] != hidden.shape[-1] or linear_weight.shape[0] < 1:
        raise InputError(
            f"linear_weight must have shape (classes, {hidden.shape[-1]}) for hidden of shape"
            f" {tuple(hidden.shape)}, not {tuple(linear_weight.shape)}"
        )
    classes = linear_weight.shape[0]
    if bias is not None and bias.shape != (classes,):
        raise InputError(f"bias must have shape ({classes},), not {tuple(bias.shape)}")
    for name, tensor in (("linear_weight", linear_weight), ("bias", bias)):
        if tensor is not None and tensor.dtype != hidden.dtype:
            raise InputTypeError(f"{name} is {tensor.dtype}, hidden {hidden.dtype}: they must be the same")
        if tensor is not None and tensor.device != hidden.device:
            raise InputError(f"{name} is on {tensor.device}, hidden on {hidden.device}: move it there")
    if target.is_floating_point():
        raise InputTypeError(
            f"target must hold class indices, not {target.dtype}: probabilities would be as large as the logits"
            " that are not made here; use weighted_cross_entropy"
        )
    logits = hidden.new_empty(()).expand(*hidden.shape[:-1], classes)
    validate_loss(logits, target, weight, denominator, label_smoothing)

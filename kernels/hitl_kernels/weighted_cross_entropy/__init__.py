"""Weighted cross entropy: the loss of every row and the gradient of the logits in one pass over them."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch

from .._dispatch import implementation_on
from . import cpu
from .layout import position

__all__ = [
    "CrossEntropy",
    "accumulator",
    "backend",
    "divisor_of",
    "position",
    "validate",
    "weighted_cross_entropy",
]

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class CrossEntropy(NamedTuple):
    """What one pass over the logits gives."""

    loss: torch.Tensor
    losses: torch.Tensor
    gradient: torch.Tensor | None
    denominator: torch.Tensor


def weighted_cross_entropy(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None = None,
    denominator: torch.Tensor | None = None,
    *,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    gradient: bool = True,
    overwrite: bool = False,
    scale: torch.Tensor | None = None,
    check: bool = False,
) -> CrossEntropy:
    """Cross entropy of each row, their weighted sum, and the gradient of that sum.

    With p the smoothed truth of row i (one-hot or ``target[i]``, times 1 - s, plus s / classes)::

        losses[i] = - sum_c p[c] log softmax(logits[i])[c]
        loss = sum_i weight[i] losses[i] / denominator
        gradient[i] = weight[i] (sum(p) softmax(logits[i]) - p) / denominator

    A row with weight 0 or target ``ignore_index`` is left out: its loss and gradient are 0, whatever it holds. A
    class of probability 0 adds 0, also where its logit is -inf. Float32 and half precision are computed in
    float32 (sums over rows in float64), float64 in float64. Nothing depends on the number of threads.

    Args:
        logits: (..., classes) float16, bfloat16, float32 or float64, of any strides.
        target: (...) class indices, or (..., classes) probabilities.
        weight: (...) not negative; None for 1 everywhere.
        denominator: one number > 0; None for the number of rows that count, at least 1.
        ignore_index: the class index of rows to leave out; not looked at with probabilities.
        label_smoothing: share of the truth that is spread evenly over the classes, in [0, 1].
        gradient: whether to make it.
        overwrite: let it take the place of ``logits``, which have to be a contiguous matrix.
        scale: one number that the gradient is multiplied by before it is rounded to its dtype.
        check: on CUDA wait for the device to look at the values. Without it an invalid value makes the loss
            NaN. On the CPU values are always looked at.

    Returns:
        loss () and losses (...) in float32, or float64 for float64 logits; gradient (..., classes) in the
        dtype of the logits, or None; denominator () float64.

    Raises:
        TypeError, ValueError: see `validate`, and a class index outside 0 .. classes - 1, a probability or
            weight that is negative or not finite (each with its first position), a denominator not > 0.

    Source: Bridle, Probabilistic interpretation of feedforward classification network outputs, 1990;
    smoothing as Szegedy et al., Rethinking the Inception architecture, 2016, sec. 7.

    >>> result = weighted_cross_entropy(torch.zeros(2, 4), torch.tensor([1, 3]), torch.tensor([1.0, 0.0]))
    >>> round(result.loss.item(), 4)  # log 4
    1.3863
    >>> result.gradient
    tensor([[ 0.2500, -0.7500,  0.2500,  0.2500],
            [ 0.0000,  0.0000,  0.0000,  0.0000]])
    """
    validate(logits, target, weight, denominator, label_smoothing)
    if overwrite and not (gradient and logits.dim() == 2 and logits.is_contiguous()):
        raise ValueError("overwrite needs gradient=True and logits that are a contiguous matrix")
    divisor = divisor_of(logits, target, weight, denominator, ignore_index, check)
    device, shape = backend(logits.device), logits.shape
    losses = torch.empty(shape[:-1], dtype=accumulator(logits.dtype), device=logits.device)
    slope = None
    if gradient:
        slope = logits if overwrite else device.empty(shape, logits.dtype, logits.device)
    factor = (1.0 if scale is None else scale.detach().double().reshape(())) / divisor
    bad = device.fill(logits, target, weight, factor, ignore_index, label_smoothing, losses, slope)
    if bad is not None:
        raise ValueError(
            f"target{position(bad, shape[:-1])} holds a probability that is negative or not finite"
        )
    return CrossEntropy(
        device.mean(losses, weight, divisor),
        losses,
        slope,
        torch.full((), divisor, dtype=torch.float64) if isinstance(divisor, float) else divisor,
    )


def backend(device: torch.device) -> Any:
    """The module whose kernels run on a device. Triton is imported only when it has to be."""
    return implementation_on(__name__, device)


def divisor_of(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    denominator: torch.Tensor | None,
    ignore_index: int,
    check: bool,
) -> torch.Tensor | float:
    """The denominator: a number on the CPU, after a look at the values; a tensor that nobody waits for elsewhere."""
    if logits.device.type == "cpu":
        return examine(logits, target, weight, denominator, ignore_index)
    if check:
        examine(logits, target, weight, denominator, ignore_index)
    rows = math.prod(logits.shape[:-1])
    divisor: torch.Tensor
    divisor = backend(logits.device).denominator(target, weight, rows, denominator, ignore_index)
    return divisor


def validate(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    denominator: torch.Tensor | None,
    label_smoothing: float,
) -> None:
    """Refuses wrong shapes, dtypes and devices; values are not looked at."""
    if logits.dtype not in FLOATS:
        raise TypeError(f"logits must hold floating-point numbers, not {logits.dtype}")
    if logits.dim() < 1 or logits.shape[-1] < 1:
        raise ValueError(
            f"logits must have shape (..., classes) with classes >= 1, not {tuple(logits.shape)}"
        )
    if logits.device.type not in ("cpu", "cuda", "meta"):
        raise ValueError(f"logits are on {logits.device}: there are kernels for cpu and cuda")
    leading = logits.shape[:-1]
    if target.dtype in FLOATS:
        if target.shape != logits.shape:
            raise ValueError(
                f"target holds probabilities ({target.dtype}), so it must have the shape of logits,"
                f" {tuple(logits.shape)}, not {tuple(target.shape)}"
            )
    elif target.dtype == torch.bool or target.dtype.is_complex:
        raise TypeError(f"target must hold class indices (integers) or probabilities, not {target.dtype}")
    elif target.shape != leading:
        raise ValueError(
            f"target must have one class index a row, shape {tuple(leading)} for logits of shape"
            f" {tuple(logits.shape)} (classes last: for (N, C, ...) pass logits.movedim(1, -1)), not"
            f" {tuple(target.shape)}"
        )
    if weight is not None:
        if weight.dtype not in FLOATS:
            raise TypeError(f"weight must hold floating-point numbers, not {weight.dtype}")
        if weight.shape != leading:
            raise ValueError(
                f"weight must have one number a row, shape {tuple(leading)}, not {tuple(weight.shape)};"
                " for a weight per class pass class_weight[target]"
            )
    if denominator is not None and denominator.numel() != 1:
        raise ValueError(f"denominator must be one number, not of shape {tuple(denominator.shape)}")
    for name, tensor in (("target", target), ("weight", weight), ("denominator", denominator)):
        if tensor is not None and tensor.device != logits.device:
            raise ValueError(f"{name} is on {tensor.device}, logits on {logits.device}: move it there")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing must lie in [0, 1], not {label_smoothing}")


def examine(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    denominator: torch.Tensor | None,
    ignore_index: int,
) -> float:
    """The denominator, after a look at the classes and weights; on CUDA this waits for the device.

    Raises:
        ValueError: one of them is invalid; its first position is named.
    """
    classes, shape = logits.shape[-1], logits.shape[:-1]
    indices = None if target.is_floating_point() else target.cpu()
    weights = None if weight is None else weight.cpu()
    count, bad_weight, bad_target = cpu.examine(indices, weights, math.prod(shape), classes, ignore_index)
    if bad_weight >= 0:
        assert weights is not None
        raise ValueError(
            f"weight{position(bad_weight, shape)} is {weights.reshape(-1)[bad_weight].item()}:"
            " a weight must be finite and not negative (0 leaves the row out)"
        )
    if bad_target >= 0:
        assert indices is not None
        raise ValueError(
            f"target{position(bad_target, shape)} is {indices.reshape(-1)[bad_target].item()}: a class index"
            f" must lie in 0..{classes - 1}, or be ignore_index={ignore_index} to leave the row out"
        )
    if denominator is None:
        return float(max(count, 1))
    value = float(denominator)
    if not 0 < value < math.inf:
        raise ValueError(f"denominator must be finite and > 0, not {value}")
    return value


def accumulator(dtype: torch.dtype) -> torch.dtype:
    """What logits of a dtype are computed in."""
    return torch.float64 if dtype == torch.float64 else torch.float32

"""Weighted cross entropy in Numba: the loss and its gradient while a row is in the cache."""

from __future__ import annotations

import math

import numpy as np
import torch

from .. import policy
from .layout import matrices
from .narrow_rows import narrow_rows
from .wide_rows import Array, probability_rows, wide_rows

# Up to so many classes the rows of a tile are transposed: (8192, 10) takes 0.06 ms, row by row 0.22 ms; the two
# meet near 64 classes.
NARROW = 48
WORK_PER_LOGIT = 1.0  # nanoseconds, about
# Elements that are converted at a time where the kernel cannot read the tensors as they lie: 1 MB of float32.
CONVERTED = 1 << 18
HALF = (torch.float16, torch.bfloat16)
# From this many bytes on NumPy asks the system for huge pages, which PyTorch does not: to touch 412 MB of
# fresh pages took 100 ms from torch.empty and 24 ms from numpy.empty; the loss and its gradient take 60 ms.
HUGE = 1 << 22


def empty(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """``torch.empty``, in huge pages where it is large."""
    size = math.prod(shape) * dtype.itemsize
    if size < HUGE:
        return torch.empty(shape, dtype=dtype, device=device)
    return torch.from_numpy(np.empty(size, np.uint8)).view(dtype).view(shape)


def examine(
    target: torch.Tensor | None, weight: torch.Tensor | None, rows: int, classes: int, ignore_index: int
) -> tuple[int, int, int]:
    """How many rows count, and the first row with an invalid weight and with an invalid class (-1: none)."""
    indices = np.zeros(rows, np.int64) if target is None else _array(target, torch.int64)
    weights = np.ones(rows, np.float32) if weight is None else _array(weight, weight.dtype)
    ignore = -1 if target is None else ignore_index
    count, bad_weight, bad_target = _examine(indices, weights, classes, ignore)
    return int(count), int(bad_weight), int(bad_target)


def mean(losses: torch.Tensor, weight: torch.Tensor | None, divisor: torch.Tensor | float) -> torch.Tensor:
    """The weighted sum of the losses, made in float64, over the divisor."""
    weights = np.empty(0, np.float32) if weight is None else _array(weight, weight.dtype)
    total = _total(losses.numpy().reshape(-1), weights)
    value = total / float(divisor)
    if value > torch.finfo(losses.dtype).max:
        value = math.inf  # torch.full refuses what overflows
    return torch.full((), value, dtype=losses.dtype)  # torch.tensor takes 6 us, this 2


def scale_(values: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """``values *= factor`` in place, without a pass over them where the factor is 1."""
    return values if float(factor) == 1 else values.mul_(factor)


def fill(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    factor: torch.Tensor | float,
    ignore_index: int,
    label_smoothing: float,
    losses: torch.Tensor,
    gradient: torch.Tensor | None,
) -> int | None:
    """Fill ``losses`` (...) and ``gradient`` (..., classes) = factor * weight * d losses / d logits.

    Both are contiguous; ``gradient`` may be ``logits`` itself where it is a contiguous matrix. Returns
    the first row with invalid target probabilities, or None.
    """
    settings = (float(factor), label_smoothing, ignore_index)
    soft = target.is_floating_point()
    tensors = (logits.detach(), target.detach()) if soft else (logits.detach(),)
    indices = None if soft else _array(target, torch.int64)
    nothing = np.empty(0, np.float64 if losses.dtype == torch.float64 else np.float32)
    weights = nothing if weight is None else _array(weight, losses.dtype)
    for rows, parts in matrices(*tensors):
        whole = rows == slice(0, losses.numel())
        bad = _fill(
            parts,
            None if indices is None else indices[rows],
            weights[rows],
            settings,
            losses if whole else losses.view(-1)[rows],
            gradient if whole or gradient is None else gradient.view(-1, parts[0].shape[1])[rows],
        )
        if bad >= 0:
            return int(rows.start + bad)
    return None


def _fill(
    parts: tuple[torch.Tensor, ...],
    indices: Array | None,
    weights: Array,
    settings: tuple[float, float, int],
    losses: torch.Tensor,
    gradient: torch.Tensor | None,
) -> int:
    """Rows that lie as a matrix: at once where the kernel can read them, else converted a few at a time."""
    readable = all(part.dtype == losses.dtype and part.stride(1) == 1 for part in parts)
    rows, classes = parts[0].shape
    if readable and (gradient is None or gradient.dtype == losses.dtype):
        return _run(parts, indices, weights, settings, losses, gradient)
    step = max(1, CONVERTED // classes)
    scratch = None if gradient is None else torch.empty(min(step, rows), classes, dtype=losses.dtype)
    for start in range(0, rows, step):
        some = slice(start, min(start + step, rows))
        slope = None if scratch is None else scratch[: some.stop - some.start]
        bad = _run(
            tuple(part[some].to(losses.dtype).contiguous() for part in parts),
            None if indices is None else indices[some],
            weights[some],
            settings,
            losses.view(-1)[some],
            slope,
        )
        if bad >= 0:
            return start + bad
        if gradient is not None and slope is not None:
            gradient.view(rows, classes)[some].copy_(slope)
    return -1


def _run(
    parts: tuple[torch.Tensor, ...],
    indices: Array | None,
    weights: Array,
    settings: tuple[float, float, int],
    losses: torch.Tensor,
    gradient: torch.Tensor | None,
) -> int:
    classes = parts[0].shape[1]
    in_place = gradient is not None and gradient.data_ptr() == parts[0].data_ptr()
    result = losses.numpy().reshape(-1)
    values, stride = _flat(parts[0]), parts[0].stride(0)
    bits = values.view(np.int32 if result.dtype == np.float32 else np.int64)
    slopes = np.empty(0, result.dtype) if gradient is None else gradient.numpy().reshape(-1)
    factor, smoothing, ignore_index = settings
    work = WORK_PER_LOGIT * parts[0].numel()
    with np.errstate(all="ignore"):  # inf and NaN are the caller's; NumPy would warn with the JIT off
        if indices is None:
            valid = np.ones(result.size, np.bool_)
            probability_rows(
                work, values, bits, stride, _flat(parts[1]), parts[1].stride(0), classes, weights, factor, smoothing,
                result, slopes, valid,
            )  # fmt: skip
            return -1 if valid.all() else int(np.argmin(valid))
        rest = (classes, indices, weights, factor, ignore_index, smoothing, result, slopes)
        if classes <= NARROW:
            narrow_rows(work, values, stride, *rest)
        else:
            wide_rows(work, values, bits, stride, *rest, in_place)
    return -1


def _flat(part: torch.Tensor) -> Array:
    """The memory from the first to the last element of a matrix with neighbouring columns."""
    rows, classes = part.shape
    if part.is_contiguous():
        return part.numpy().reshape(-1)
    span = (rows - 1) * part.stride(0) + classes if part.numel() else 0
    return part.as_strided((span,), (1,)).numpy()


def _array(tensor: torch.Tensor, dtype: torch.dtype) -> Array:
    if tensor.dtype == dtype and tensor.is_contiguous() and dtype not in HALF:
        return tensor.detach().numpy().reshape(-1)  # a third of the time of what follows
    if dtype in HALF:
        dtype = torch.float32
    return tensor.detach().reshape(-1).to(dtype).contiguous().numpy()


@policy.compiled
def _examine(target: Array, weight: Array, classes: int, ignore_index: int) -> tuple[int, int, int]:
    """Count, then find the first invalid row only if there is one: the first loop has no branches and vectorises."""
    count, wrong = 0, 0
    for i in range(target.size):
        share, label = weight[i], target[i]
        counts = (share != 0) & (label != ignore_index)
        count += counts
        wrong += (share < 0) | (share == math.inf) | (share != share)
        wrong += counts & ((label < 0) | (label >= classes))
    if wrong:
        for i in range(target.size):
            if not 0 <= weight[i] < math.inf:
                return count, i, -1
            if weight[i] != 0 and target[i] != ignore_index and not 0 <= target[i] < classes:
                return count, -1, i
    return count, -1, -1


@policy.compiled_fast
def _total(losses: Array, weight: Array) -> float:
    result = 0.0
    for i in range(losses.size):
        result += (weight[i] if weight.size else 1.0) * np.float64(losses[i])
    return result

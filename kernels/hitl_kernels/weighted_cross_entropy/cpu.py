"""Weighted cross entropy in Numba: the loss and its gradient while a row is in the cache."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
import torch

from hitl_kernels import policy

from .elementary import exp, from_bits, log
from .layout import matrices

Array = np.ndarray[Any, Any]

# Up to here a tile of rows is transposed, so that vectors run along rows: (8192, 10) in 0.06 ms against
# 0.22 ms row by row; the two meet near 64 classes.
NARROW = 48
TILE = 64
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
    """How many rows count, and the first row whose weight or class cannot be (-1: none)."""
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
    the first row whose target probabilities cannot be, or None.
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
    with np.errstate(all="ignore"):  # inf and NaN are the caller's; only heard where the JIT is off
        if indices is None:
            valid = np.ones(result.size, np.bool_)
            _probability_rows(
                values, bits, stride, _flat(parts[1]), parts[1].stride(0), classes, weights, factor, smoothing,
                result, slopes, valid,
            )  # fmt: skip
            return -1 if valid.all() else int(np.argmin(valid))
        rest = (classes, indices, weights, factor, ignore_index, smoothing, result, slopes)
        if classes <= NARROW:
            _narrow_rows(values, stride, *rest)
        else:
            _wide_rows(values, bits, stride, *rest, in_place)
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
    """Count, then look for a culprit only if there is one: the first loop has no branches and vectorises."""
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


@policy.compiled_parallel
def _narrow_rows(
    logits: Array,
    stride: int,
    classes: int,
    target: Array,
    weight: Array,
    factor: float,
    ignore_index: int,
    smoothing: float,
    losses: Array,
    gradient: Array,
) -> None:
    rows = losses.size
    for run in numba.prange((rows + 4 * TILE - 1) // (4 * TILE)):
        scratch = np.empty((classes + 4) * TILE, losses.dtype)
        for start in range(run * 4 * TILE, min(rows, (run + 1) * 4 * TILE), TILE):
            stop = min(start + TILE, rows)
            _narrow_tile(
                logits[start * stride :],
                stride,
                classes,
                target[start:stop],
                weight[start:stop],
                factor,
                ignore_index,
                smoothing,
                losses[start:stop],
                gradient[start * classes : stop * classes],
                scratch,
            )


@policy.compiled_fast
def _narrow_tile(
    logits: Array,
    stride: int,
    classes: int,
    target: Array,
    weight: Array,
    factor: float,
    ignore_index: int,
    smoothing: float,
    losses: Array,
    gradient: Array,
    scratch: Array,  # [classes + 4, TILE]: the logits transposed, then four values a row
) -> None:
    rows = losses.size
    peak = scratch[classes * TILE : classes * TILE + rows]
    mass = scratch[(classes + 1) * TILE : (classes + 1) * TILE + rows]
    drift = scratch[(classes + 2) * TILE : (classes + 2) * TILE + rows]
    share = scratch[(classes + 3) * TILE : (classes + 3) * TILE + rows]
    for r in range(rows):
        peak[r] = -math.inf
        mass[r] = 0
        drift[r] = 0
        share[r] = 0 if target[r] == ignore_index else factor
    if weight.size:
        for r in range(rows):
            share[r] *= weight[r]
    for c in range(classes):
        column = scratch[c * TILE : c * TILE + rows]
        for r in range(rows):
            column[r] = logits[r * stride + c]
        for r in range(rows):
            peak[r] = column[r] if column[r] > peak[r] else peak[r]
    for c in range(classes):
        column = scratch[c * TILE : c * TILE + rows]
        if smoothing > 0:
            for r in range(rows):
                drift[r] += column[r] - peak[r]
        for r in range(rows):
            column[r] = exp(column[r] - peak[r])
            mass[r] += column[r]
    even, keep = losses.dtype.type(smoothing / classes), losses.dtype.type(1 - smoothing)
    for r in range(rows):
        losses[r] = log(mass[r])
    for r in range(rows):
        if target[r] == ignore_index or (weight.size and weight[r] == 0):
            losses[r] = 0
        else:
            losses[r] -= keep * (logits[r * stride + target[r]] - peak[r])
            if smoothing > 0:
                losses[r] -= even * drift[r]
    if gradient.size:
        for r in range(rows):
            peak[r] = share[r] / mass[r]
        for c in range(classes):
            column = scratch[c * TILE : c * TILE + rows]
            for r in range(rows):
                slope = column[r] * peak[r] - share[r] * even
                gradient[r * classes + c] = slope if share[r] != 0 else losses.dtype.type(0)
        for r in range(rows):
            if share[r] != 0:
                gradient[r * classes + target[r]] -= share[r] * keep


@policy.compiled_parallel
def _wide_rows(
    logits: Array,
    bits: Array,
    stride: int,
    classes: int,
    target: Array,
    weight: Array,
    factor: float,
    ignore_index: int,
    smoothing: float,
    losses: Array,
    gradient: Array,
    in_place: bool,
) -> None:
    for i in numba.prange(losses.size):
        slope = gradient[i * classes : (i + 1) * classes]
        if target[i] == ignore_index or (weight.size and weight[i] == 0):
            losses[i] = 0
            slope[:] = 0
        else:
            share = (weight[i] if weight.size else 1.0) * factor
            span = slice(i * stride, i * stride + classes)
            losses[i] = _wide_row(logits[span], bits[span], target[i], share, smoothing, slope, in_place)


@policy.compiled_fast
def _wide_row(
    row: Array, bits: Array, target: int, share: float, smoothing: float, slope: Array, in_place: bool
) -> Any:
    peak = _largest(bits)
    lead = row[target] - peak
    drift = _drift(row, peak) if smoothing > 0 else row.dtype.type(0)
    if slope.size == 0:
        mass = _sum_of_exp(row, peak)
    elif in_place:
        mass = _exp_in_place(slope, peak)
    else:
        mass = _exp_into(row, peak, slope)
    if slope.size:
        scale, shift = slope.dtype.type(share / mass), slope.dtype.type(share * smoothing / row.size)
        for j in range(slope.size):
            slope[j] = slope[j] * scale - shift
        slope[target] -= share * (1 - smoothing)
    log_mass = math.log(mass)
    loss = log_mass - lead
    if smoothing > 0:
        loss = (1 - smoothing) * loss + smoothing * (log_mass - drift / row.size)
    return loss


@policy.compiled_parallel
def _probability_rows(
    logits: Array,
    bits: Array,
    stride: int,
    target: Array,
    target_stride: int,
    classes: int,
    weight: Array,
    factor: float,
    smoothing: float,
    losses: Array,
    gradient: Array,
    valid: Array,
) -> None:
    for i in numba.prange(losses.size):
        slope = gradient[i * classes : (i + 1) * classes]
        if weight.size and weight[i] == 0:
            losses[i] = 0
            slope[:] = 0
        else:
            share = (weight[i] if weight.size else 1.0) * factor
            span = slice(i * stride, i * stride + classes)
            truth = target[i * target_stride : i * target_stride + classes]
            losses[i], valid[i] = _probability_row(logits[span], bits[span], truth, share, smoothing, slope)


@policy.compiled_fast
def _probability_row(
    row: Array, bits: Array, truth: Array, share: float, smoothing: float, slope: Array
) -> tuple[float, bool]:
    peak = _largest(bits)
    drift = _drift(row, peak) if smoothing > 0 else row.dtype.type(0)
    total, against, proper = row.dtype.type(0), row.dtype.type(0), 0
    for j in range(row.size):
        q = truth[j]
        total += q
        against += q * (row[j] - peak) if q != 0 else row.dtype.type(0)
        proper += 1 if 0 <= q < math.inf else 0
    mass = _sum_of_exp(row, peak) if slope.size == 0 else _exp_into(row, peak, slope)
    whole = (1 - smoothing) * total + smoothing
    if slope.size:
        scale, shift = slope.dtype.type(share * whole / mass), slope.dtype.type(share * smoothing / row.size)
        keep = slope.dtype.type(share * (1 - smoothing))
        for j in range(slope.size):
            slope[j] = slope[j] * scale - shift - keep * truth[j]
    loss = whole * math.log(mass) - (1 - smoothing) * against
    if smoothing > 0:
        loss -= smoothing * drift / row.size
    return loss, proper == row.size


@policy.compiled_fast
def _largest(bits: Array) -> Any:
    """The largest number of a row, by its bits: a maximum of floats does not vectorise where NaN may occur."""
    magnitude, sign = bits.dtype.type(np.iinfo(bits.dtype).max), bits.itemsize * 8 - 1
    best = bits.dtype.type(np.iinfo(bits.dtype).min)
    for j in range(bits.size):
        # Negative floats fall as their bits rise.
        best = max(best, bits.dtype.type(bits[j] ^ (bits.dtype.type(bits[j] >> sign) & magnitude)))
    return from_bits(bits.dtype.type(best ^ (bits.dtype.type(best >> sign) & magnitude)))


@policy.compiled_fast
def _drift(row: Array, peak: Any) -> Any:
    drift = row.dtype.type(0)
    for j in range(row.size):
        drift += row[j] - peak
    return drift


@policy.compiled_fast
def _sum_of_exp(row: Array, peak: Any) -> Any:
    mass = row.dtype.type(0)
    for j in range(row.size):
        mass += exp(row[j] - peak)
    return mass


@policy.compiled_fast
def _exp_into(row: Array, peak: Any, result: Array) -> Any:
    mass = row.dtype.type(0)
    for j in range(row.size):
        value = exp(row[j] - peak)
        result[j] = value
        mass += value
    return mass


@policy.compiled_fast
def _exp_in_place(row: Array, peak: Any) -> Any:
    """`_exp_into` of a row into itself; two names for one row would keep the loop from vectorising."""
    mass = row.dtype.type(0)
    for j in range(row.size):
        value = exp(row[j] - peak)
        row[j] = value
        mass += value
    return mass

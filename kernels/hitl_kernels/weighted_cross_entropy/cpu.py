"""Weighted cross entropy in Numba: the loss and its gradient while a row is in the cache."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
import torch

from hitl_kernels import policy

from .exp import exp, from_bits
from .layout import matrices

Array = np.ndarray[Any, Any]

# Up to here a tile of rows is transposed, so that vectors run along rows: (8192, 10) in 0.06 ms against
# 0.22 ms row by row; the two meet near 64 classes.
NARROW = 48
TILE = 64
# Elements that are converted at a time where the kernel cannot read the tensors as they lie: 1 MB of float32.
CONVERTED = 1 << 18
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
    indices = np.empty(0, np.int64) if target is None else _array(target, torch.int64)
    weights = np.empty(0, np.float32) if weight is None else _array(weight, weight.dtype)
    count, bad_weight, bad_target = _examine(indices, weights, rows, classes, ignore_index)
    return int(count), int(bad_weight), int(bad_target)


def total(losses: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
    """The weighted sum of the losses, in float64."""
    weights = np.empty(0, np.float32) if weight is None else _array(weight, weight.dtype)
    return torch.tensor(_total(losses.numpy(), weights), dtype=torch.float64)


def scale_(values: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """``values *= factor`` in place, without a pass over them where the factor is 1."""
    return values if factor == 1 else values.mul_(factor)


def fill(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    factor: torch.Tensor,
    ignore_index: int,
    label_smoothing: float,
    losses: torch.Tensor,
    gradient: torch.Tensor | None,
) -> int | None:
    """Fill ``losses`` [rows] and ``gradient`` [rows, classes] = factor * weight * d losses / d logits.

    ``gradient`` may be ``logits`` itself where it is a contiguous matrix. Returns the first row whose target
    probabilities cannot be, or None.
    """
    weights = None if weight is None else weight.detach().reshape(-1).to(losses.dtype)
    tensors = [logits.detach()]
    if target.is_floating_point():
        tensors.append(target.detach())
        indices = None
    else:
        indices = target.reshape(-1).to(torch.int64)
    for rows, parts in matrices(*tensors):
        bad = _fill(
            parts,
            None if indices is None else indices[rows],
            None if weights is None else weights[rows],
            (float(factor), label_smoothing, ignore_index),
            losses[rows],
            None if gradient is None else gradient[rows],
        )
        if bad >= 0:
            return int(rows.start + bad)
    return None


def _fill(
    parts: tuple[torch.Tensor, ...],
    indices: torch.Tensor | None,
    weights: torch.Tensor | None,
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
            None if weights is None else weights[some],
            settings,
            losses[some],
            slope,
        )
        if bad >= 0:
            return start + bad
        if gradient is not None and slope is not None:
            gradient[some].copy_(slope)
    return -1


def _run(
    parts: tuple[torch.Tensor, ...],
    indices: torch.Tensor | None,
    weights: torch.Tensor | None,
    settings: tuple[float, float, int],
    losses: torch.Tensor,
    gradient: torch.Tensor | None,
) -> int:
    classes = parts[0].shape[1]
    in_place = gradient is not None and gradient.data_ptr() == parts[0].data_ptr()
    nothing = np.empty(0, losses.numpy().dtype)
    values = [_flat(part) for part in parts]
    bits = values[0].view(np.int32 if losses.dtype == torch.float32 else np.int64)
    slopes = nothing if gradient is None else gradient.view(-1).numpy()
    shares = nothing if weights is None else weights.numpy()
    factor, smoothing, ignore_index = settings
    with np.errstate(all="ignore"):  # inf and NaN are the caller's; only heard where the JIT is off
        if indices is None:
            valid = np.ones(losses.numel(), np.bool_)
            _probability_rows(
                values[0], bits, parts[0].stride(0), values[1], parts[1].stride(0), classes, shares, factor,
                smoothing, losses.numpy(), slopes, valid,
            )  # fmt: skip
            return -1 if valid.all() else int(np.argmin(valid))
        shape = parts[0].stride(0), classes
        if classes <= NARROW:
            _narrow_rows(
                values[0],
                *shape,
                indices.numpy(),
                shares,
                factor,
                ignore_index,
                smoothing,
                losses.numpy(),
                slopes,
            )
        else:
            _wide_rows(
                values[0], bits, *shape, indices.numpy(), shares, factor, ignore_index, smoothing,
                losses.numpy(), slopes, in_place,
            )  # fmt: skip
    return -1


def _flat(part: torch.Tensor) -> Array:
    """The memory from the first to the last element of a matrix with neighbouring columns."""
    rows, classes = part.shape
    span = (rows - 1) * part.stride(0) + classes if part.numel() else 0
    return part.as_strided((span,), (1,)).numpy()


def _array(tensor: torch.Tensor, dtype: torch.dtype) -> Array:
    if tensor.dtype in (torch.float16, torch.bfloat16):
        dtype = torch.float32
    return tensor.detach().reshape(-1).to(dtype).contiguous().numpy()


@policy.compiled
def _examine(
    target: Array, weight: Array, rows: int, classes: int, ignore_index: int
) -> tuple[int, int, int]:
    count, bad_weight, bad_target = 0, -1, -1
    for i in range(rows):
        if weight.size:
            if not 0 <= weight[i] < math.inf:
                bad_weight = i
                break
            if weight[i] == 0:
                continue
        if target.size:
            if target[i] == ignore_index:
                continue
            if not 0 <= target[i] < classes:
                bad_target = i
                break
        count += 1
    return count, bad_weight, bad_target


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
        scratch = np.empty((classes + 3) * TILE, losses.dtype)
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
    scratch: Array,  # [classes + 3, TILE]: the logits transposed, then three values a row
) -> None:
    rows = losses.size
    peak = scratch[classes * TILE : classes * TILE + rows]
    mass = scratch[(classes + 1) * TILE : (classes + 1) * TILE + rows]
    drift = scratch[(classes + 2) * TILE : (classes + 2) * TILE + rows]
    for r in range(rows):
        peak[r] = -math.inf
        mass[r] = 0
        drift[r] = 0
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
    for r in range(rows):
        share = (weight[r] if weight.size else 1.0) * factor
        if target[r] == ignore_index or (weight.size and weight[r] == 0):
            losses[r], share = 0, 0.0
        else:
            log_mass = math.log(mass[r])
            loss = log_mass - (logits[r * stride + target[r]] - peak[r])
            if smoothing > 0:
                loss = (1 - smoothing) * loss + smoothing * (log_mass - drift[r] / classes)
            losses[r] = loss
        peak[r] = share / mass[r]
        drift[r] = share
    if gradient.size:
        for c in range(classes):
            column = scratch[c * TILE : c * TILE + rows]
            for r in range(rows):
                slope = column[r] * peak[r]
                if smoothing > 0:
                    slope -= drift[r] * (smoothing / classes)
                gradient[r * classes + c] = 0 if drift[r] == 0 else slope
        for r in range(rows):
            if drift[r] != 0:
                gradient[r * classes + target[r]] -= drift[r] * (1 - smoothing)


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

"""Weighted cross entropy of many classes, or of probabilities: row by row, while a row is in the cache."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

from .. import policy
from .elementary import exp, from_bits

Array = np.ndarray[Any, Any]


@policy.compiled_by_size
def wide_rows(
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


@policy.compiled_by_size
def probability_rows(
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

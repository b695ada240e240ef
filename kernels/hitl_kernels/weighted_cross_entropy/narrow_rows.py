"""Weighted cross entropy of few classes: a tile of rows is transposed, so that vectors run along rows."""

from __future__ import annotations

import math

import numba
import numpy as np

from .. import policy
from .elementary import exp, log
from .wide_rows import Array

TILE = 64


@policy.compiled_by_size
def narrow_rows(
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

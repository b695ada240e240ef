"""Weights of the loss that undo the weighting of the draws."""

from __future__ import annotations

import math

import numpy as np
import torch

from hitl_fast._common.errors import InputError

from .weights import Array, Weights, as_indices


def importance_weights(weights: Weights, indices: Array, beta: float, floor: float) -> Array:
    """``(N p[i]) ** -beta`` over its mean; see ``PrioritySampler.importance_weights``."""
    where = as_indices(indices, weights.values.size)
    if not math.isfinite(beta):
        raise InputError(f"beta is {beta}, expected a finite number")
    if not 0.0 <= floor <= 1.0:
        raise InputError(f"floor is {floor}, expected 0 to 1")
    values = weights.values[where]
    if floor == 0.0 and not values.all():
        position = int((values == 0).argmax())
        raise InputError(
            f"indices[{position}] is item {where[position]} of weight 0, which is never drawn; give a floor"
        )
    # Logarithms, as N p may leave float64 where weights are far apart.
    with np.errstate(divide="ignore"):
        log_np = np.maximum(np.log(values) - weights.log_mean, np.log(floor))
    found = np.exp(-beta * log_np - (-beta * log_np).max(initial=-np.inf))
    found = found / found.mean() if found.size else found
    return torch.from_numpy(found).to(indices.device) if isinstance(indices, torch.Tensor) else found

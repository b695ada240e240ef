"""The definition of a linear layer under weighted cross entropy, and its gradients by the chain rule."""

from __future__ import annotations

from typing import Any

import numpy as np

from hitl_kernels.weighted_cross_entropy import reference

Array = np.ndarray[Any, Any]


def weighted_linear_cross_entropy(
    hidden: Array,  # [rows, features]
    linear_weight: Array,  # [classes, features]
    target: Array,  # [rows]
    weight: Array | None = None,  # [rows]
    bias: Array | None = None,  # [classes]
    denominator: float | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> tuple[float, Array, Array, Array, Array]:
    """The loss, the cross entropy of each row, and the gradients of hidden, linear_weight and bias."""
    hidden, linear_weight = hidden.astype(np.float64), linear_weight.astype(np.float64)
    logits = hidden @ linear_weight.T + (0.0 if bias is None else bias.astype(np.float64))
    loss, losses, slope = reference.weighted_cross_entropy(
        logits, target, weight, denominator, ignore_index, label_smoothing
    )
    return loss, losses, slope @ linear_weight, slope.T @ hidden, slope.sum(axis=0)

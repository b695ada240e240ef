"""The definition of weighted cross entropy and its gradient, one line a formula."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def weighted_cross_entropy(
    logits: Array,  # [rows, classes]
    target: Array,  # [rows] class indices, or [rows, classes] probabilities
    weight: Array | None = None,  # [rows]
    denominator: float | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> tuple[float, Array, Array]:
    """The loss, the cross entropy of each row (0 where the row does not count), and d loss / d logits."""
    x = logits.astype(np.float64)
    rows, classes = x.shape
    weight = np.ones(rows) if weight is None else weight.astype(np.float64)
    counts = weight != 0
    if target.ndim == 1:
        counts = counts & (target != ignore_index)
        truth = np.zeros_like(x)
        truth[np.flatnonzero(counts), target[counts]] = 1.0
    else:
        truth = target.astype(np.float64)
    truth = (1 - label_smoothing) * truth + label_smoothing / classes
    with np.errstate(invalid="ignore", divide="ignore"):
        shifted = x - x.max(axis=1, keepdims=True)
        log_probability = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        terms = np.where(
            truth == 0, 0.0, -truth * log_probability
        )  # 0 * inf is 0: what has no mass costs nothing
        slope = truth.sum(axis=1, keepdims=True) * np.exp(log_probability) - truth
    losses = np.where(
        counts, terms.sum(axis=1), 0.0
    )  # left out, not multiplied by 0: inf and NaN stay out too
    if denominator is None:
        denominator = max(int(counts.sum()), 1)
    loss = float((weight * losses)[counts].sum() / denominator)
    gradient = np.where(counts[:, None], weight[:, None] * slope, 0.0) / denominator
    return loss, losses, gradient

"""Quantiles of residuals that hold for one more, unseen: each on its own, or from a group of its own."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
TIE = 1e-9  # shares and caps that differ by less are equal


def weights_of(residuals: Floats, groups: NDArray[np.intp] | None) -> Floats:
    """Of each past retraining; what they lack to 1 is the weight of infinity."""
    n = len(residuals)
    if groups is None:
        return np.full(n, 1 / (n + 1))
    sizes = np.bincount(groups)
    worth = n / (1 + (n / len(sizes) - 1) * intraclass(residuals, groups, sizes))
    return np.asarray(worth / (worth + 1) / (len(sizes) * sizes[groups]))


def weights_of_some(residuals: Floats, groups: NDArray[np.intp] | None, there: NDArray[np.bool_]) -> Floats:
    """Of those past retrainings that are ``there`` alone: the fewer they are, the more weighs infinity."""
    members = None if groups is None else np.unique(groups[there], return_inverse=True)[1]
    return weights_of(residuals[there], members)


def intraclass(residuals: Floats, groups: NDArray[np.intp], sizes: NDArray[np.intp]) -> float:
    """Share of the residuals' variance that is between groups (one-way analysis of variance), within 0 and 1."""
    finite = np.isfinite(residuals)
    values = np.where(finite, residuals, residuals[finite].max() if finite.any() else 0.0)
    n, k = len(values), len(sizes)
    if k == 1:
        return 1.0  # nothing tells how much others would differ from the only group
    means = np.bincount(groups, values) / sizes
    between = float((sizes * (means - values.mean()) ** 2).sum()) / (k - 1)
    if n == k:
        return 1.0
    within = float(((values - means[groups]) ** 2).sum()) / (n - k)
    size = (n - float((sizes**2).sum()) / n) / (k - 1)
    total = between + (size - 1) * within
    return float(np.clip((between - within) / total, 0, 1)) if total > 0 else 1.0


def quantile(values: Floats, weights: Floats, share: float) -> float:
    """The smallest value that has this share of the weight at or below it; infinity if all together have less."""
    order = np.argsort(values)
    place = int(np.searchsorted(np.cumsum(weights[order]), share - TIE))
    return float(values[order][place]) if place < len(values) else math.inf

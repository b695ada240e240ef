"""Leave-one-out values of ridge regression, by the closed form of its hat matrix, and by fitting once a sample."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
FLOOR = 1e-9  # of 1 - leverage


def centred(features: Floats) -> Floats:
    return np.asarray(features - features.mean(0))


def leave_one_out(gram: Floats, targets: Floats, rho: float) -> tuple[Floats, Floats]:
    """Leave-one-out values (n, K) and leverages (n,) of kernel ridge with an intercept.

    Args:
        gram: (n, n), K = X X' of centred features.
        targets: (n, K), R.
        rho: the penalty, absolute.
    """
    n = len(gram)
    w, U = np.linalg.eigh(gram)
    hat = (U * (w / (w + rho))) @ U.T
    mean = targets.mean(0)
    fitted = hat @ (targets - mean) + mean
    leverage = np.diag(hat) + 1 / n
    scores = targets - (targets - fitted) / np.maximum(1 - leverage, FLOOR)[:, None]
    return scores, leverage


def refitted(features: Floats, targets: Floats, rho: float) -> Floats:
    """The definition: sample i predicted by the ridge that is fitted to all others, their own mean as intercept."""
    scores = np.empty_like(targets)
    for i in range(len(features)):
        kept = np.arange(len(features)) != i
        mean, level = features[kept].mean(0), targets[kept].mean(0)
        X = features[kept] - mean
        weights = np.linalg.solve(X.T @ X + rho * np.eye(X.shape[1]), X.T @ (targets[kept] - level))
        scores[i] = (features[i] - mean) @ weights + level
    return scores

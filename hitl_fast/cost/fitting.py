"""Steps of fitting a cost model: the offset before the logarithm, the cap, folds, cross-fitted curves and errors."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from . import curves
from .conformal import Floats
from .curves import Curve
from .estimate import Energy
from .history import History

FOLDS = 20
# Of the retrainings, this share of those that may lie outside the interval can be stopped earlier than the cap.
EARLY = 0.25
SMALL = 0.1


def offset_of(effort: Floats) -> float:
    """What is added before the logarithm where some efforts are 0: a tenth of the median of the others.

    With less, the step from nothing to next to nothing would be the largest of all, and set the width of the intervals.
    """
    return SMALL * float(np.median(effort[effort > 0])) if (effort == 0).any() else 0.0


def cap_of(past: History, level: float) -> float:
    ends = np.sort(past.effort[past.censored])
    if not len(ends):
        return math.inf
    return float(ends[min(int(EARLY * (1 - level) * len(past.effort)), len(ends) - 1)])


def bounds_of(offset: float, cap: float) -> tuple[float, float]:
    return (math.log(offset) if offset else -math.inf), (
        math.log(cap + offset) if cap < math.inf else math.inf
    )


def folds_of(past: History, seed: int) -> NDArray[np.intp]:
    if past.groups is not None:
        return past.groups
    n = len(past.effort)
    return np.asarray(np.random.default_rng(seed).permutation(n) % min(n, FOLDS), dtype=np.intp)


def cross_fit(
    method: str,
    X: Floats,
    z: Floats,
    given_up: NDArray[np.bool_],
    folds: NDArray[np.intp],
    bounds: tuple[float, float],
) -> tuple[tuple[Curve, ...], Floats]:
    """The curve without each fold, and what it says of the retrainings in it."""
    found, centres = [], np.empty(len(z))
    for fold in range(int(folds.max()) + 1):
        out = folds == fold
        found.append(curves.fitted(method, X[~out], z[~out], given_up[~out]))
        centres[out] = np.clip(found[-1](X[out]), *bounds)
    return tuple(found), centres


def errors_of(z: Floats, centres: Floats, early: NDArray[np.bool_]) -> Floats:
    """Absolute errors of log effort; of a retraining that was given up early, only if the centre is below it."""
    return np.where(early, np.maximum(z - centres, 0), np.abs(z - centres))


def energy_of(
    past: History, z: Floats, centres: Floats, folds: NDArray[np.intp], residuals: Floats
) -> Energy | None:
    there = (past.joules > 0) & (past.effort > 0)
    if not there.any():
        return None
    ratio = np.full(len(z), np.nan)
    ratio[there] = np.log(past.joules[there] / past.effort[there])
    mean = float(ratio[there].mean())
    means = [ratio[there & (folds != fold)] for fold in range(int(folds.max()) + 1)]
    fold_means = np.array([float(rest.mean()) if len(rest) else mean for rest in means])
    spread = np.abs((z - centres) + (ratio - fold_means[folds]))
    spread = np.where(np.isinf(residuals) & there, np.inf, spread)
    return Energy(int(there.sum()), mean, tuple(map(float, fold_means)), tuple(map(float, spread)))

"""Log effort as a function of scores: fitted by scikit-learn, kept as a few numbers that JSON can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hitl_fast._common.errors import InputError

from .conformal import Floats

METHODS = ("isotonic", "log_linear", "ridge")
PENALTIES = np.logspace(-3, 3, 13)
ROUNDS = 50
CLOSE = 1e-3  # in log effort: a thousandth


@dataclass(frozen=True)
class Steps:
    """Monotone in one score; between knots a line, beyond the outer ones their values."""

    knots: tuple[float, ...]
    values: tuple[float, ...]

    def __call__(self, X: Floats) -> Floats:
        return np.asarray(np.interp(X[:, 0], self.knots, self.values))


@dataclass(frozen=True)
class Line:
    """``X @ coefficients + intercept``; no coefficients: a constant."""

    coefficients: tuple[float, ...]
    intercept: float

    def __call__(self, X: Floats) -> Floats:
        return np.asarray(X[:, : len(self.coefficients)] @ np.array(self.coefficients) + self.intercept)


Curve = Steps | Line


def fitted(method: str, X: Floats, z: Floats, censored: NDArray[np.bool_]) -> Curve:
    """The curve of least squares, where a censored retraining counts only while the curve is below it.

    ``sum over reached of (z - f(x))^2 + sum over censored of max(0, z - f(x))^2``, by majorisation: fit, lift each
    censored target to what the fit says of it if that is more, and fit again; no round makes the sum larger.

    Args:
        method: isotonic, log_linear, ridge, or constant (the scores are not looked at).
        X: (n, k).
        z: (n,) log effort; of a censored retraining, where it was given up.
        censored: (n,).
    """
    import sklearn

    target = z
    with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
        penalty = _penalty(X, z) if method == "ridge" else 0.0
        for _ in range(ROUNDS):
            curve = _regress(method, X, target, penalty)
            lifted = np.where(censored, np.maximum(z, curve(X)), z)
            if np.abs(lifted - target).max() <= CLOSE:
                break
            target = lifted
    return curve


def _regress(method: str, X: Floats, z: Floats, penalty: float) -> Curve:
    if method == "constant":
        return Line((), float(z.mean()))
    if method == "isotonic":
        from sklearn.isotonic import IsotonicRegression

        increasing = bool(np.cov(X[:, 0], z)[0, 1] >= 0)
        found = IsotonicRegression(increasing=increasing, out_of_bounds="clip").fit(X[:, 0], z)
        return Steps(tuple(map(float, found.X_thresholds_)), tuple(map(float, found.y_thresholds_)))
    from sklearn.linear_model import LinearRegression, Ridge

    mean, spread = X.mean(0), _spread(X)
    model = Ridge(alpha=penalty) if method == "ridge" else LinearRegression()
    found = model.fit((X - mean) / spread, z)
    slopes = found.coef_ / spread
    return Line(tuple(map(float, slopes)), float(found.intercept_ - mean @ slopes))


def _penalty(X: Floats, z: Floats) -> float:
    """The ridge penalty with the least leave-one-out error."""
    from sklearn.linear_model import RidgeCV

    return float(RidgeCV(alphas=PENALTIES).fit((X - X.mean(0)) / _spread(X), z).alpha_)


def _spread(X: Floats) -> Floats:
    spread = X.std(0)
    return np.asarray(np.where(spread > 0, spread, 1.0))


def from_json(held: Mapping[str, Any], scores: int) -> Curve:
    """The curve of so many scores whose fields these are.

    Raises:
        KeyError, TypeError, ValueError: they are not.
    """
    if "knots" in held:
        knots, values = (tuple(map(float, held[name])) for name in ("knots", "values"))
        rise = bool(knots) and len(knots) == len(values) and bool((np.diff(knots) >= 0).all())
        if not (rise and scores == 1 and np.isfinite(knots + values).all()):
            raise InputError("knots must rise and have a value each, of one score")
        return Steps(knots, values)
    line = Line(tuple(map(float, held["coefficients"])), float(held["intercept"]))
    if (
        len(line.coefficients) not in (0, scores)
        or not np.isfinite([*line.coefficients, line.intercept]).all()
    ):
        raise InputError(f"a line must have {scores} finite coefficients and an intercept")
    return line

"""Log effort as a function of scores: least squares or scikit-learn, kept as a few numbers that JSON can hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
        knots = np.array(self.knots)
        unit = _unit(knots)  # the slope between subnormal knots is infinite
        with np.errstate(over="ignore"):
            return np.asarray(np.interp(X[:, 0] / unit, knots / unit, self.values))


@dataclass(frozen=True)
class Line:
    """``(X / units) @ coefficients + intercept``; no coefficients: a constant; no units: 1 each.

    Units are powers of 2, of scores so large or small that a coefficient would be 0 or infinite. Far from the scores
    that it was fitted to, the value may be infinite; it is NaN where two scores are, in opposite directions.
    """

    coefficients: tuple[float, ...]
    intercept: float
    units: tuple[float, ...] = ()

    def __call__(self, X: Floats) -> Floats:
        X = X[:, : len(self.coefficients)]
        with np.errstate(over="ignore", invalid="ignore"):
            if self.units:
                X = X / np.array(self.units)
            return np.asarray(X @ np.array(self.coefficients) + self.intercept)


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
        regress = _regression(method, X, z)
        for _ in range(ROUNDS):
            curve = regress(target)
            lifted = np.where(censored, np.maximum(z, curve(X)), z)
            if np.abs(lifted - target).max() <= CLOSE:
                break
            target = lifted
    return curve


def _regression(method: str, X: Floats, z: Floats) -> Callable[[Floats], Curve]:
    """The curve through (X, targets) as a function of the targets; ``z`` chooses the ridge penalty."""
    if method == "constant":
        return lambda target: Line((), float(target.mean()))
    if method == "isotonic":
        return lambda target: _monotone(X[:, 0], target)
    # X stays the same from round to round, so that one decomposition does: scikit-learn's classes would check and
    # decompose it 50 times (150 s for 3 in the ridge models of the calibration study).
    units = np.array([_unit(column) for column in X.T])
    X = X / units
    mean, spread = X.mean(0), _spread(X)
    rows = (X - mean) / spread
    if method == "ridge":
        solve = np.linalg.solve(rows.T @ rows + _penalty(rows, z) * np.eye(X.shape[1]), rows.T)
    else:
        solve = np.linalg.pinv(rows)

    def line(target: Floats) -> Line:
        slopes = solve @ (target - target.mean()) / spread
        scaled = tuple(map(float, units)) if (units != 1).any() else ()
        return Line(tuple(map(float, slopes)), float(target.mean() - mean @ slopes), scaled)

    return line


def _monotone(x: Floats, z: Floats) -> Steps:
    from sklearn.isotonic import IsotonicRegression

    unit = _unit(x)
    x = x / unit
    increasing = bool(np.cov(x, z)[0, 1] >= 0)
    found = IsotonicRegression(increasing=increasing, out_of_bounds="clip").fit(x, z)
    return Steps(tuple(map(float, found.X_thresholds_ * unit)), tuple(map(float, found.y_thresholds_)))


def _unit(x: Floats) -> float:
    """1, or a power of 2 near the largest score where that is far from 1.

    scikit-learn merges scores that are 1e-16 apart; sums and slopes of others leave the range of floats.
    """
    exponent = int(np.frexp(np.abs(x).max())[1])
    return float(2.0 ** min(exponent, 1023)) if abs(exponent) > 20 else 1.0


def _penalty(rows: Floats, z: Floats) -> float:
    """The ridge penalty with the least leave-one-out error."""
    from sklearn.linear_model import RidgeCV

    return float(RidgeCV(alphas=PENALTIES).fit(rows, z).alpha_)


def _spread(X: Floats) -> Floats:
    """(k,) standard deviations, 1 for a constant score; of scores whose squares are 0 or infinite too."""
    scale = np.abs(X - X.mean(0)).max(0)
    spread = np.where(scale > 0, scale, 1.0)
    return np.asarray(np.where(scale > 0, spread * ((X - X.mean(0)) / spread).std(0), 1.0))


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
    units = tuple(map(float, held.get("units", ())))
    line = Line(tuple(map(float, held["coefficients"])), float(held["intercept"]), units)
    if units and (len(units) != len(line.coefficients) or not all(0 < unit < np.inf for unit in units)):
        raise InputError("a line must have no units, or one above 0 for each coefficient")
    if (
        len(line.coefficients) not in (0, scores)
        or not np.isfinite([*line.coefficients, line.intercept]).all()
    ):
        raise InputError(f"a line must have {scores} finite coefficients and an intercept")
    return line

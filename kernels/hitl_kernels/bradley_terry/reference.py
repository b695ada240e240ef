"""What `bradley_terry` means, in plain NumPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

PRIOR_DISCRIMINATION = 1.0  # mean and variance of a rater's discrimination
Comparisons = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # first, second, outcome, raters
FIRST_TIE = -1.0  # where the logarithm of the tie parameter starts


def probabilities(u: np.ndarray, tie: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """P(first), P(second) and P(tie) of u = a d / 2; tie is minus infinity where there are none."""
    logits = np.stack([u, -u, np.full_like(u, tie)])
    p = np.exp(logits - logits.max(0))
    return tuple(p / p.sum(0))


def objective(
    first: np.ndarray, second: np.ndarray, outcome: np.ndarray, raters: np.ndarray, s: np.ndarray, a: np.ndarray,
    tie: float, prior_variance: float,
) -> float:  # fmt: skip
    """Logarithm of the posterior, less a constant."""
    win, lose, draw = probabilities(a[raters] * (s[first] - s[second]) / 2, tie)
    likelihood = np.where(outcome == 1, win, np.where(outcome == 0, lose, draw))
    prior = (s**2).sum() / prior_variance + ((a - PRIOR_DISCRIMINATION) ** 2).sum() / PRIOR_DISCRIMINATION
    return float(np.log(likelihood).sum() - prior / 2)


def slopes(
    first: np.ndarray, second: np.ndarray, outcome: np.ndarray, u: np.ndarray, tie: float
) -> tuple[np.ndarray, np.ndarray, float, float]:
    """First derivative and minus the second of each likelihood in u, and of all of them in the tie parameter."""
    win, lose, draw = probabilities(u, tie)
    gradient = (outcome == 1).astype(float) - (outcome == 0) - (win - lose)
    curvature = win + lose - (win - lose) ** 2
    return gradient, curvature, float(((outcome == 0.5) - draw).sum()), float((draw * (1 - draw)).sum())


def move_scores(
    data: Comparisons, s: np.ndarray, a: np.ndarray, tie: float, prior_variance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Scores after a Newton step, and minus the second derivatives of the posterior in them."""
    first, second, outcome, raters = data
    gradient, curvature, _, _ = slopes(first, second, outcome, a[raters] * (s[first] - s[second]) / 2, tie)
    hessian = np.eye(s.size) / prior_variance
    h = a[raters] ** 2 / 4 * curvature
    for i, j, sign in ((first, first, 1), (second, second, 1), (first, second, -1), (second, first, -1)):
        np.add.at(hessian, (i, j), sign * h)
    g = -s / prior_variance
    np.add.at(g, first, a[raters] / 2 * gradient)
    np.add.at(g, second, -a[raters] / 2 * gradient)
    move = np.linalg.solve(hessian, g)
    return s + move * _share(lambda t: objective(*data, s + t * move, a, tie, prior_variance)), hessian


def curvature_of_raters(
    data: Comparisons, s: np.ndarray, a: np.ndarray, tie: float
) -> tuple[np.ndarray, np.ndarray]:
    """First derivative and minus the second of the posterior in the discriminations."""
    first, second, outcome, raters = data
    difference = s[first] - s[second]
    gradient, curvature, _, _ = slopes(first, second, outcome, a[raters] * difference / 2, tie)
    g = np.bincount(raters, difference / 2 * gradient, a.size) - (a - 1) / PRIOR_DISCRIMINATION
    return g, np.bincount(raters, difference**2 / 4 * curvature, a.size) + 1 / PRIOR_DISCRIMINATION


def move_raters(
    data: Comparisons, s: np.ndarray, a: np.ndarray, tie: float, prior_variance: float
) -> np.ndarray:
    g, h = curvature_of_raters(data, s, a, tie)
    return np.asarray(a + g / h * _share(lambda t: objective(*data, s, a + t * g / h, tie, prior_variance)))


def move_tie(data: Comparisons, s: np.ndarray, a: np.ndarray, tie: float, prior_variance: float) -> float:
    first, second, outcome, raters = data
    _, _, g, h = slopes(first, second, outcome, a[raters] * (s[first] - s[second]) / 2, tie)
    return tie + g / h * _share(lambda t: objective(*data, s, a, tie + t * g / h, prior_variance))


def bradley_terry(
    first: np.ndarray,
    second: np.ndarray,
    outcome: np.ndarray,
    raters: np.ndarray,
    n_items: int,
    n_raters: int,
    prior_variance: float,
    max_steps: int,
    tolerance: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float, int, float]:
    """Newton steps for scores, raters and ties in turn, each halved until the posterior does not fall."""
    data = (first, second, outcome, raters)
    s, a = np.zeros(n_items), np.full(n_raters, PRIOR_DISCRIMINATION)
    tie = FIRST_TIE if (outcome == 0.5).any() else -np.inf
    change, step, hessian = np.inf, 0, np.eye(n_items)
    while change > tolerance and step < max_steps:
        before = s
        s, hessian = move_scores(data, s, a, tie, prior_variance)
        a = move_raters(data, s, a, tie, prior_variance) if n_raters > 1 else a
        tie = move_tie(data, s, a, tie, prior_variance) if np.isfinite(tie) else tie
        change, step = float(np.abs(s - before).max()), step + 1
    error = 1 / np.sqrt(curvature_of_raters(data, s, a, tie)[1]) if n_raters > 1 else np.zeros(1)
    return s, np.diag(np.linalg.inv(hessian)).copy(), a, error, tie, step, change


def _share(value: Callable[[float], float]) -> float:
    """The largest of 1, 1/2, 1/4 ... of a step at which the posterior does not fall; 0 after twenty."""
    now = value(0.0)
    return next((0.5**k for k in range(20) if value(0.5**k) >= now - 1e-12 * abs(now)), 0.0)

"""Sums over comparisons in one pass each; the matrix of items by items is factorised by LAPACK."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..policy import compiled
from .reference import FIRST_TIE, PRIOR_DISCRIMINATION

HALVINGS = 20
SLACK = 1e-12  # rounding of the posterior, relative


@compiled
def _posterior(first, second, outcome, raters, s, a, tie):  # type: ignore[no-untyped-def]
    """Logarithm of the likelihood."""
    total = 0.0
    for k in range(first.size):
        u = a[raters[k]] * (s[first[k]] - s[second[k]]) / 2
        top = max(abs(u), tie)
        scale = top + math.log(math.exp(u - top) + math.exp(-u - top) + math.exp(tie - top))
        if outcome[k] == 1.0:
            total += u - scale
        elif outcome[k] == 0.0:
            total -= u + scale
        else:
            total += tie - scale
    return total


@compiled
def _sums(first, second, outcome, raters, s, a, tie, hessian, of_items, of_raters, of_tie):  # type: ignore[no-untyped-def]
    """Gradients and minus the second derivatives of the likelihood: of items, of raters and of ties."""
    for k in range(first.size):
        i, j, r = first[k], second[k], raters[k]
        d = s[i] - s[j]
        u = a[r] * d / 2
        top = max(abs(u), tie)
        win, lose, draw = math.exp(u - top), math.exp(-u - top), math.exp(tie - top)
        z = win + lose + draw
        win, lose, draw = win / z, lose / z, draw / z
        gradient = lose - win
        if outcome[k] == 1.0:
            gradient += 1.0
        elif outcome[k] == 0.0:
            gradient -= 1.0
        else:
            of_tie[0] += 1.0
        curvature = win + lose - (win - lose) ** 2
        h = a[r] * a[r] / 4 * curvature
        hessian[i, i] += h
        hessian[j, j] += h
        hessian[i, j] -= h
        hessian[j, i] -= h
        of_items[i] += a[r] / 2 * gradient
        of_items[j] -= a[r] / 2 * gradient
        of_raters[r, 0] += d / 2 * gradient
        of_raters[r, 1] += d * d / 4 * curvature
        of_tie[0] -= draw
        of_tie[1] += draw * (1 - draw)


class _Fit:
    """Scores, discriminations and the tie parameter on their way to the largest posterior."""

    def __init__(
        self, comparisons: tuple[np.ndarray, ...], n_items: int, n_raters: int, prior_variance: float
    ) -> None:
        self.comparisons, self.prior_variance = comparisons, prior_variance
        self.s, self.a = np.zeros(n_items), np.full(n_raters, PRIOR_DISCRIMINATION)
        self.tie = FIRST_TIE if bool((comparisons[2] == 0.5).any()) else -math.inf

    def posterior(self, s: np.ndarray, a: np.ndarray, tie: float) -> float:
        prior = float(s @ s) / self.prior_variance
        prior += float(((a - PRIOR_DISCRIMINATION) ** 2).sum()) / PRIOR_DISCRIMINATION
        return float(_posterior(*self.comparisons, s, a, tie)) - prior / 2

    def sums(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Minus the second derivatives of the scores, and the sums of `_sums`."""
        hessian = np.zeros((self.s.size, self.s.size))
        hessian[np.diag_indices_from(hessian)] = 1 / self.prior_variance
        of_items, of_raters, of_tie = np.zeros(self.s.size), np.zeros((self.a.size, 2)), np.zeros(2)
        _sums(*self.comparisons, self.s, self.a, self.tie, hessian, of_items, of_raters, of_tie)
        return hessian, of_items - self.s / self.prior_variance, of_raters, of_tie

    def move_scores(self) -> np.ndarray:
        hessian, gradient, _, _ = self.sums()
        move = np.linalg.solve(hessian, gradient)
        self.s = self.s + move * self._share(lambda t: self.posterior(self.s + t * move, self.a, self.tie))
        return hessian

    def move_raters(self) -> None:
        _, _, sums, _ = self.sums()
        gradient = sums[:, 0] - (self.a - PRIOR_DISCRIMINATION) / PRIOR_DISCRIMINATION
        move = gradient / (sums[:, 1] + 1 / PRIOR_DISCRIMINATION)
        self.a = self.a + move * self._share(lambda t: self.posterior(self.s, self.a + t * move, self.tie))

    def move_tie(self) -> None:
        _, _, _, (gradient, curvature) = self.sums()
        move = float(gradient / curvature)
        self.tie += move * self._share(lambda t: self.posterior(self.s, self.a, self.tie + t * move))

    def _share(self, value: Callable[[float], float]) -> float:
        """The largest of 1, 1/2, 1/4 ... of a step at which the posterior does not fall; 0 after twenty."""
        now = self.posterior(self.s, self.a, self.tie)
        for halving in range(HALVINGS):
            share = 0.5**halving
            if value(share) >= now - SLACK * abs(now):
                return share
        return 0.0


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
    """As the reference."""
    fit = _Fit((first, second, outcome, raters), n_items, n_raters, prior_variance)
    change, step = math.inf, 0
    hessian = np.empty(0)
    while change > tolerance and step < max_steps:
        before = fit.s
        hessian = fit.move_scores()
        if n_raters > 1:
            fit.move_raters()
        if math.isfinite(fit.tie):
            fit.move_tie()
        change, step = float(np.abs(fit.s - before).max()), step + 1
    _, _, of_raters, _ = fit.sums()
    error = 1 / np.sqrt(of_raters[:, 1] + 1 / PRIOR_DISCRIMINATION) if n_raters > 1 else np.zeros(1)
    variance = np.diag(np.linalg.inv(hessian)).copy()
    return fit.s, variance, fit.a, error, fit.tie, step, change

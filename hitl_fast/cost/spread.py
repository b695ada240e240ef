"""From past residuals to the interval of a new effort, at the sizes of the past or at others."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hitl_fast._common.bootstrap import Interval

from .carry import Carried
from .conformal import Floats, quantile

TINY = 1e-300  # in place of an effort of 0, which has no logarithm


@dataclass(frozen=True)
class Spread:
    """What past retrainings were off by.

    Attributes:
        residuals: (n,) absolute, of ``log(effort + offset)``.
        weights: (n,) what they lack to 1 is at infinity.
        level: of the intervals.
        offset: in the unit of the effort.
        median: effort of those that reached their target; None: unknown, which counts as below all.
    """

    residuals: Floats
    weights: Floats
    level: float
    offset: float
    median: float | None

    def interval(self, centre: float, centres: Floats, other: Carried) -> Interval:
        """Of effort, from the logarithm that is predicted, with each retraining's fold and without."""
        if not other.measured:
            return Interval(self._effort(centre), 0.0, math.inf)
        spread, weights = other.combined(self.residuals, self.weights)
        low = -quantile((spread - centres[:, None]).ravel(), weights.ravel(), self.level)
        if any(other.lost):
            middle = -math.inf if self.median is None else math.log(self.median + self.offset or TINY)
            lost = np.where(centres + self.residuals > middle, other.lost[1], other.lost[0])
            weights = weights * (1 - lost)[:, None]
        high = quantile((centres[:, None] + spread).ravel(), weights.ravel(), self.level)
        if other.errors:  # errors of either sign can cancel, but other sizes make nothing surer
            low = min(low, -quantile(self.residuals - centres, self.weights, self.level))
            high = max(high, quantile(centres + self.residuals, self.weights, self.level))
        return Interval(*(self._effort(end) for end in (centre, min(low, centre), max(high, centre))))

    def _effort(self, logarithm: float) -> float:
        try:
            return max(math.exp(logarithm) - self.offset, 0.0)
        except OverflowError:
            return math.inf

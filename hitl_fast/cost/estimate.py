"""What a cost model returns: efforts with intervals, and what they were compared with."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hitl_fast._common.bootstrap import Interval
from hitl_fast._common.trackers import flat


@dataclass(frozen=True)
class Rival:
    """A simpler predictor, cross-validated beside the model.

    Attributes:
        name: "accuracy_drop" alone, or "no score": the same effort whatever the shift.
        error: by what factor it is off, typically: exp of the mean absolute error of log effort.
        excess: its mean absolute error of log effort less the model's, with a 95 % bootstrap interval.
    """

    name: str
    error: float
    excess: Interval

    @property
    def as_good(self) -> bool:
        """Whether the model is not shown to predict better than this: the interval reaches 0."""
        return not self.excess.low > 0


@dataclass(frozen=True)
class Energy:
    """Log joules per unit of effort, where they were measured: mean, and residuals of log joules."""

    retrainings: int
    mean: float
    fold_means: tuple[float, ...]
    residuals: tuple[float, ...]  # one a retraining, NaN where it measured no joules


@dataclass(frozen=True)
class CostEstimate:
    """What retraining will take.

    An upper end of infinity says: at least the cap at which others were given up; or, as a note tells, that there are
    too few past retrainings for intervals of this level.

    Attributes:
        effort: value and interval, in ``unit``.
        unit: what the model predicts: epochs, samples, flops or joules.
        epochs: ``effort``, where that is in epochs, or in samples and ``dataset_size`` was given; else None.
        kwh: None where nothing tells the energy of a unit of effort.
        gco2e: grams of CO2 equivalent; None without ``kwh``, or without an intensity of the grid.
        level: how often such intervals hold the truth.
        notes: what to know before relying on it.
    """

    effort: Interval
    unit: str
    epochs: Interval | None
    kwh: Interval | None
    gco2e: Interval | None
    level: float
    notes: tuple[str, ...]

    def __str__(self) -> str:
        epochs = None if self.unit == "epochs" else self.epochs
        shown = [(self.unit, self.effort), ("epochs", epochs), ("kWh", self.kwh), ("gCO2e", self.gco2e)]
        lines = [f"{name:<8}{interval_text(value)}" for name, value in shown if value is not None]
        return "\n".join(
            [*lines, f"{percent(self.level)} intervals", *(f"note: {note}" for note in self.notes)]
        )

    def metrics(self) -> dict[str, float]:
        """A flat dict of numbers for a tracker: effort, epochs, kwh and gco2e with the ends of their intervals.

        An end that is not known, as of an effort at the cap "or more", is left out.
        """
        found: dict[str, float] = {}
        for name in ("effort", "epochs", "kwh", "gco2e"):
            interval: Interval | None = getattr(self, name)
            if interval is not None:
                found |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
        return flat({**found, "level": self.level})


def percent(level: float) -> str:
    """A level as it was given: 99.9 is not 100.

    >>> percent(0.8), percent(0.999)
    ('80%', '99.9%')
    """
    return f"{round(100 * level, 6):g}%"


def interval_text(interval: Interval) -> str:
    """An interval for people: ``12 (8.1 to 20)``, ``30 (12 or more)``."""
    value, low, high = (f"{end:.3g}" for end in interval)
    return f"{value} ({low} or more)" if math.isinf(interval.high) else f"{value} ({low} to {high})"

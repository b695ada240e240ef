"""From the data-set and batch size of past retrainings to others: what stays the same, and how far off that was.

Measured by ``hitl-fast experiment calibration --sizes`` (docs/sizes.md), with one learning rate of Adam at every size:
samples seen until one target grew with the training samples N and the batch B to the powers of ``LAW``: hardly any with
N, and with B between constant samples (0) and constant steps (1). Epochs are samples seen over the data set's size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np

from hitl_fast._common.bootstrap import Interval
from hitl_fast._common.errors import InputError, InputTypeError

from .conformal import Floats
from .estimate import percent

# By how much sizes differed in the measurement.
MEASURED = {"dataset_size": 3.0, "batch_size": 2.0}
QUANTILES = tuple((2 * i + 1) / 20 for i in range(10))  # that stand for the errors of a law


@dataclass(frozen=True)
class Law:
    """What sizes do to samples seen, by ``dataset_size`` and ``batch_size``.

    Attributes:
        powers: samples seen grow with the size to this power.
        errors: ``QUANTILES`` of how far off that was, in absolute logarithms, at sizes ``MEASURED`` times apart.
        within: the factors that these shares of the retrainings were within.
        lost: of the retrainings that reached their target at the larger size, the share that did not at the smaller
            one: of those that took at most the median effort, and of the others.
    """

    powers: Mapping[str, float]
    errors: Mapping[str, tuple[float, ...]]
    within: Mapping[str, Mapping[float, float]]
    lost: Mapping[str, tuple[float, float]]


LAW = Law(
    powers={"dataset_size": -0.1, "batch_size": 0.7},
    errors={
        "dataset_size": (0.03, 0.06, 0.07, 0.11, 0.12, 0.17, 0.24, 0.32, 0.44, 0.9),
        "batch_size": (0.02, 0.06, 0.09, 0.09, 0.15, 0.2, 0.21, 0.23, 0.32, 0.43),
    },
    within={
        "dataset_size": {0.5: 1.14, 0.8: 1.45, 0.9: 1.84},
        "batch_size": {0.5: 1.2, 0.8: 1.32, 0.9: 1.5},
    },
    lost={"dataset_size": (0.03, 0.45), "batch_size": (0.0, 0.0)},
)
FROM = {"dataset_size": ("samples", "epochs"), "batch_size": ("samples", "steps")}
ALIKE = 1.01

Range = tuple[float, float]


@dataclass(frozen=True)
class Carried:
    """What other sizes make of a prediction.

    Attributes:
        effort: factor on the effort, in the model's own unit.
        samples: factor on samples seen, and so on operations and energy.
        errors: absolute logarithms of how far off those may be, for each size that is another: each as likely.
        measured: False where nothing was measured at the level of the intervals.
        lost: shares of retrainings that are to be expected not to reach the target at all, for want of samples: of
            those that took at most the median effort of the past, and of the others.
        epochs_per_sample: 1 over the data set's size that was asked for; None where none was.
        notes: what was assumed, and how far off that was.
        doubts: those notes that say that sizes are further from the past than measured.
    """

    effort: float = 1.0
    samples: float = 1.0
    errors: tuple[tuple[float, ...], ...] = ()
    measured: bool = True
    lost: tuple[float, float] = (0.0, 0.0)
    epochs_per_sample: float | None = None
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    def combined(self, residuals: Floats, weights: Floats) -> tuple[Floats, Floats]:
        """(n, m) absolute residuals plus and minus every error, and what each weighs; m is 1 without errors.

        Of two sizes, the errors are ``QUANTILES`` of the first ones plus and minus the second ones.
        """
        if not self.errors:
            return residuals[:, None], weights[:, None]
        errors, *others = map(np.array, self.errors)
        for more in others:
            errors = np.quantile(np.abs(errors[:, None] + np.concatenate([more, -more])), QUANTILES)
        signed = np.concatenate([errors, -errors])
        spread = np.abs(residuals[:, None] + signed)
        return spread, np.repeat(weights[:, None] / len(signed), len(signed), axis=1)


def carried(
    asked: Mapping[str, float | None],
    past: Mapping[str, Range | None],
    effort: str,
    level: float,
    law: Law = LAW,
) -> Carried:
    """What the sizes that are asked for make of a prediction.

    Args:
        asked: dataset_size and batch_size; None: that of the past.
        past: lowest and highest of the past retrainings; None: the history does not tell.
        effort: the model's unit.
        level: of its intervals.
        law: what sizes do.

    Raises:
        ValueError: a size is not a positive finite number; the history does not tell its own, or has several where
            effort in epochs or another batch needs one.
        TypeError: a size is not a number.
    """
    found = Carried()
    for name, value in asked.items():
        if value is not None:
            _check_size(name, value)
            found = _with(
                found, name, float(value), _known(past[name], name, value, effort), effort, level, law
            )
    size = asked["dataset_size"]
    return found if size is None else replace(found, epochs_per_sample=1 / float(size))


def _known(known: Range | None, name: str, value: float, effort: str) -> Range:
    if known is None:
        several = " and ".join(repr(column) for column in FROM[name])
        raise InputError(
            f"{name}={value:g}: the history has no column {name!r} of every retraining, nor both {several}, so the size"
            f" that its efforts are of is unknown: add {name!r} to the history and fit again"
        )
    if (name == "batch_size" or effort == "epochs") and known[1] > ALIKE * known[0]:
        advice = "with effort='samples'" if name == "dataset_size" else "on those of one batch size"
        raise InputError(
            f"{name}={value:g}: that of the past retrainings is {known[0]:g} to {known[1]:g}, so that no one factor"
            f" leads from their {effort} to others: fit {advice}"
        )
    return known


def _with(
    found: Carried, name: str, value: float, known: Range, effort: str, level: float, law: Law
) -> Carried:
    """One size more."""
    nearest = min(max(value, known[0]), known[1])  # of several sizes in the past, each did as measured
    apart = max(value / nearest, nearest / value)
    apart = 1.0 if apart <= ALIKE else apart
    of_samples = (value / nearest) ** law.powers[name]
    of_effort = of_samples * (nearest / value if (name, effort) == ("dataset_size", "epochs") else 1.0)
    told = name.replace("_", " ")
    distance = math.log(apart) / math.log(MEASURED[name])
    within, share = factor_within(name, level, law), percent(level)
    off = (
        f"how far off that is was not measured at {share}"
        if math.isinf(within)
        else f"{share} of retrainings at sizes {MEASURED[name]:g} times apart were within a factor of {within:.2f}"
        " of that, which the intervals allow for"
    )
    assumed = f"samples seen are taken to grow with it to the power of {law.powers[name]:g}"
    notes = [f"{told} {value:g} (past: {_text(known)}): {assumed}; {off}"]
    low, high = (min(1.0, share * distance) if value < known[0] else 0.0 for share in law.lost[name])
    if low or high:
        notes.append(
            f"from {MEASURED[name]:g} times fewer samples {law.lost[name][1]:.0%} of the retrainings that had taken"
            f" more than the median effort did not reach the target at all, and {law.lost[name][0]:.0%} of the others"
        )
    doubts = []
    if distance > 1 + 1e-9:
        doubts.append(
            f"{told} {value:g} is {apart:.3g} times from that of the past retrainings: more than the"
            f" {MEASURED[name]:g} times that were measured"
        )
    errors = (tuple(distance * error for error in law.errors[name]),) if distance else ()
    return replace(
        found, effort=found.effort * of_effort, samples=found.samples * of_samples, errors=(*found.errors, *errors),
        measured=found.measured and not (distance and math.isinf(within)),
        lost=(max(found.lost[0], low), max(found.lost[1], high)),
        notes=(*found.notes, *notes, *doubts), doubts=(*found.doubts, *doubts),
    )  # fmt: skip


def factor_within(name: str, level: float, law: Law = LAW) -> float:
    """The factor that at least so many of the measured retrainings were within; infinity above the last level."""
    return next(
        (factor for measured, factor in sorted(law.within[name].items()) if level <= measured), math.inf
    )


def scaled(interval: Interval, factor: float) -> Interval:
    """An interval times a factor."""
    return Interval(*(end * factor for end in interval))


def _check_size(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InputTypeError(f"{name} must be a number of samples, not {value!r}")
    if not 0 < float(value) < math.inf:
        raise InputError(f"{name} must be a number of samples above 0, not {value!r}")


def _text(known: Range) -> str:
    low, high = known
    return f"{low:g}" if high <= ALIKE * low else f"{low:g} to {high:g}"

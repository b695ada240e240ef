"""From the data-set and batch size of past retrainings to others: what stays the same, and how far off that was.

Measured by ``hitl-fast experiment calibration --sizes`` (docs/sizes.md), with one learning rate of Adam at every size:
samples seen until one target grew with the training samples N and the batch B to the ``POWERS``: hardly any with N, and
with B between constant samples (0) and constant steps (1). Epochs are samples seen over the data set's size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

from hitl_fast._common.bootstrap import Interval
from hitl_fast._common.errors import InputError, InputTypeError

POWERS = {"dataset_size": -0.1, "batch_size": 0.7}
# By how much sizes differed in the measurement; the factors that so many of its retrainings were within; and the share
# that did not reach, from the smaller size, the target that the larger one had reached.
MEASURED = {"dataset_size": 3.0, "batch_size": 2.0}
WITHIN = {
    "dataset_size": {0.5: 1.14, 0.8: 1.45, 0.9: 1.84},
    "batch_size": {0.5: 1.2, 0.8: 1.32, 0.9: 1.5},
}
LOST = {"dataset_size": 0.24, "batch_size": 0.0}
FROM = {"dataset_size": ("samples", "epochs"), "batch_size": ("samples", "steps")}
ALIKE = 1.01

Range = tuple[float, float]


@dataclass(frozen=True)
class Carried:
    """What other sizes make of a prediction.

    Attributes:
        effort: factor on the effort, in the model's own unit.
        samples: factor on samples seen, and so on operations and energy.
        widen: factor that intervals are widened by at each end; infinity where nothing was measured at that level.
        lost: share of retrainings that is to be expected not to reach the target at all, for want of samples.
        epochs_per_sample: 1 over the data set's size that was asked for; None where none was.
        notes: what was assumed, and how far off that was.
        doubts: those notes that say that sizes are further from the past than measured.
    """

    effort: float = 1.0
    samples: float = 1.0
    widen: float = 1.0
    lost: float = 0.0
    epochs_per_sample: float | None = None
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def carried(
    asked: Mapping[str, float | None], past: Mapping[str, Range | None], effort: str, level: float
) -> Carried:
    """What the sizes that are asked for make of a prediction.

    Args:
        asked: dataset_size and batch_size; None: that of the past.
        past: lowest and highest of the past retrainings; None: the history does not tell.
        effort: the model's unit.
        level: of its intervals.

    Raises:
        ValueError: a size is not a positive finite number; the history does not tell its own, or has several where
            effort in epochs or another batch needs one.
        TypeError: a size is not a number.
    """
    found = Carried()
    for name, value in asked.items():
        if value is not None:
            _check_size(name, value)
            found = _with(found, name, float(value), _known(past[name], name, value, effort), effort, level)
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


def _with(found: Carried, name: str, value: float, known: Range, effort: str, level: float) -> Carried:
    """One size more."""
    nearest = min(max(value, known[0]), known[1])  # of several sizes in the past, each did as measured
    apart = max(value / nearest, nearest / value)
    apart = 1.0 if apart <= ALIKE else apart
    of_samples = (value / nearest) ** POWERS[name]
    of_effort = of_samples * (nearest / value if (name, effort) == ("dataset_size", "epochs") else 1.0)
    told = name.replace("_", " ")
    assumed = f"samples seen are taken to grow with it to the power of {POWERS[name]:g}"
    distance = math.log(apart) / math.log(MEASURED[name])
    within = factor_within(name, level)
    widen = within**distance if distance else 1.0
    off = (
        f"how far off that is was not measured at {level:.0%}"
        if math.isinf(within)
        else f"{level:.0%} of retrainings at sizes {MEASURED[name]:g} times apart were within a factor of {within:.2f}"
        f" of that; intervals are widened by {widen:.2f}"
    )
    notes = [f"{told} {value:g} (past: {_text(known)}): {assumed}; {off}"]
    lost = LOST[name] * distance if value < known[0] else 0.0
    if lost:
        less = f"{MEASURED[name]:g} times fewer samples"
        notes.append(f"{LOST[name]:.0%} of retrainings from {less} did not reach the target at all")
    doubts = []
    if distance > 1 + 1e-9:
        doubts.append(
            f"{told} {value:g} is {apart:.3g} times from that of the past retrainings: more than the"
            f" {MEASURED[name]:g} times that were measured"
        )
    return replace(
        found, effort=found.effort * of_effort, samples=found.samples * of_samples, widen=found.widen * widen,
        lost=found.lost + lost, notes=(*found.notes, *notes, *doubts), doubts=(*found.doubts, *doubts),
    )  # fmt: skip


def factor_within(name: str, level: float) -> float:
    """The factor that at least so many of the measured retrainings were within; infinity above the last level."""
    return next((factor for measured, factor in sorted(WITHIN[name].items()) if level <= measured), math.inf)


def scaled(interval: Interval, factor: float, widen: float = 1.0) -> Interval:
    """An interval times a factor, its ends further apart."""
    value, low, high = (end * factor for end in interval)
    if math.isinf(widen):
        return Interval(value, 0.0, math.inf)
    return Interval(value, low / widen, high * widen)


def _check_size(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InputTypeError(f"{name} must be a number of samples, not {value!r}")
    if not 0 < float(value) < math.inf:
        raise InputError(f"{name} must be a number of samples above 0, not {value!r}")


def _text(known: Range) -> str:
    low, high = known
    return f"{low:g}" if high <= ALIKE * low else f"{low:g} to {high:g}"

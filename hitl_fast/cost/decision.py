"""Retrain, keep, or use another model: what accuracies and predicted costs speak for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hitl_fast._common.bootstrap import Interval
from hitl_fast._common.errors import InputError

from .estimate import CostEstimate, interval_text

ROUNDING = 1e-9  # 0.96 - 0.95 is a point, though not in binary
KEEP, OTHER, RETRAIN = "keep", "use other", "retrain"


@dataclass(frozen=True)
class Candidate:
    """A model on a shift: accuracies within 0 and 1, None where unknown, and what retraining it will take."""

    model: str
    shift: str
    clean: float | None
    shifted: float | None
    estimate: CostEstimate


@dataclass(frozen=True)
class Decision:
    """What to do with a candidate, why, and which model to use in its place, if that is the advice."""

    candidate: Candidate
    advice: str
    reason: str
    other: str | None = None


def decide(
    candidates: Sequence[Candidate], *, tolerance: float = 1.0, budget_kwh: float | None = None
) -> list[Decision]:
    """Advice on each model and shift, in their order: the first of these that holds.

    1. keep: accuracy fell by no more than the tolerance.
    2. use other: another model on the same shift is, as it is, within the tolerance of this one's clean accuracy.
    3. use other: one whose clean accuracy is within it costs less to retrain: the intervals do not meet, and the budget
       may suffice.
    4. keep: even the lower end of the cost is above the budget.
    5. retrain.

    Costs are compared in kWh where these are known, else in the unit of the cost model.

    Args:
        tolerance: percentage points of accuracy, at least 0.
        budget_kwh: for one retraining.

    Raises:
        ValueError: a negative number, the same model and shift twice, a budget where kWh are unknown, or
            costs to compare that are in several units.
    """
    if not 0 <= tolerance < math.inf:
        raise InputError(f"tolerance must be percentage points of accuracy, at least 0, not {tolerance}")
    if budget_kwh is not None:
        if not 0 <= budget_kwh < math.inf:
            raise InputError(f"budget_kwh must be a number of kWh, at least 0, not {budget_kwh}")
        if any(candidate.estimate.kwh is None for candidate in candidates):
            raise InputError("a budget in kWh needs joules: in the history, or joules_per_epoch")
    names = [(candidate.model, candidate.shift) for candidate in candidates]
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"there are {names.count(name)} reports of model {name[0]!r} on shift {name[1]!r}"
            )
    _check_accuracies(candidates)
    slack = tolerance / 100 + ROUNDING
    return [
        _one(own, [c for c in candidates if c.shift == own.shift and c is not own], slack, budget_kwh)
        for own in candidates
    ]


def _check_accuracies(candidates: Sequence[Candidate]) -> None:
    """Refuse accuracies that are no shares."""
    for candidate in candidates:
        for side in ("clean", "shifted"):
            value = getattr(candidate, side)
            if value is not None and not 0 <= value <= 1:
                raise InputError(
                    f"the {side} accuracy of model {candidate.model!r} on shift {candidate.shift!r} must be within 0"
                    f" and 1, not {value}"
                )


def _one(own: Candidate, others: Sequence[Candidate], tolerance: float, budget: float | None) -> Decision:
    if own.clean is None or own.shifted is None:
        reason = "its accuracy is unknown"
    else:
        drop = own.clean - own.shifted
        if drop <= tolerance:
            fall = f"fell by {_points(drop)}, within the tolerance" if drop > 0 else "did not fall"
            return Decision(own, KEEP, f"accuracy {fall}")
        good = [c for c in others if c.shifted is not None and c.shifted >= own.clean - tolerance]
        if good:
            best = max(good, key=lambda c: c.shifted or 0.0)
            return Decision(own, OTHER, f"{best.model} is {best.shifted:.1%} accurate as it is", best.model)
        reason = f"accuracy fell by {_points(drop)}"
    cost, unit = _cost(own)
    most = math.inf if budget is None else budget
    as_good = [c for c in others if _fits(c, own, tolerance)]
    _check_units([own, *as_good])
    rivals = sorted(
        (c for c in as_good if _cost(c)[0].low <= most),
        key=lambda c: (_cost(c)[0].value, c.model),
    )
    cheaper = [c for c in rivals if _cost(c)[0].high < cost.low]
    if cheaper:
        best = cheaper[0]
        told = f"retraining {best.model} takes {interval_text(_cost(best)[0])} {unit}, this {interval_text(cost)}"
        return Decision(own, OTHER, told, best.model)
    if rivals and _cost(rivals[0])[0].value < cost.value:
        reason += f"; {rivals[0].model} may take less, but the intervals meet"
    if cost.low > most:
        return Decision(
            own, KEEP, f"{reason}, but retraining takes {cost.low:.3g} kWh or more: over the budget"
        )
    if cost.high > most:
        reason += "; may pass the budget"
    return Decision(own, RETRAIN, reason)


def _fits(other: Candidate, own: Candidate, tolerance: float) -> bool:
    """Whether the other, once retrained, can be expected to be as accurate."""
    return other.clean is not None and own.clean is not None and other.clean >= own.clean - tolerance


def _check_units(compared: Sequence[Candidate]) -> None:
    units = sorted({_cost(candidate)[1] for candidate in compared})
    if len(units) > 1:
        raise InputError(
            f"costs on shift {compared[0].shift!r} are in {' and '.join(units)}, which cannot be compared: predict all"
            " by one cost model"
        )


def _cost(candidate: Candidate) -> tuple[Interval, str]:
    estimate = candidate.estimate
    return (estimate.effort, estimate.unit) if estimate.kwh is None else (estimate.kwh, "kWh")


def _points(drop: float) -> str:
    return f"{100 * drop:.1f} points"

"""Whether a change saved energy: two sets of runs, an interval, and the meters' own uncertainty."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from hitl_fast._common.errors import InputError, InputTypeError
from hitl_fast._common.trackers import flat

from .intervals import detrended, drift, paired_t, two_sample
from .report import EnergyReport
from .results import Window

Run = float | int | Window | EnergyReport
SIDES = {"A": "baseline", "B": "treatment"}


@dataclass(frozen=True)
class Comparison:
    """Treatment against baseline, in joules a run; negative is saved.

    Attributes:
        baseline_joules: mean of the baseline's runs.
        treatment_joules: mean of the treatment's runs.
        difference_joules: treatment - baseline; without its linear trend over time where the runs alternate.
        percent: the same in percent of the baseline.
        interval_joules: interval of the difference from one run to another; None if a side has one run.
        interval_percent: the same in percent of the baseline's mean.
        meter_joules: what the meters may be off by, on top of that.
        confidence: of the interval.
        runs: number of runs of either side.
        claim: whether the interval, widened by ``meter_joules``, leaves out 0, all runs measured the same, and no drift
            explains the difference as well.
        verdict: one sentence, with the reason where no claim is possible.
        design: ``alternating`` or ``blocks`` (all runs of a side before those of the other), from the times of the
            runs or ``order``; ``paired``; ``unknown``.
        warning: what to know of the design; empty if nothing.
    """

    baseline_joules: float
    treatment_joules: float
    difference_joules: float
    percent: float
    interval_joules: tuple[float, float] | None
    interval_percent: tuple[float, float] | None
    meter_joules: float
    confidence: float
    runs: tuple[int, int]
    claim: bool
    verdict: str
    design: str = "unknown"
    warning: str = ""

    def __str__(self) -> str:
        return f"{self.verdict}; {self.warning}" if self.warning else self.verdict

    def metrics(self) -> dict[str, float]:
        """A flat dict of numbers, as trackers of experiments take it."""
        found = {
            "baseline_joules": self.baseline_joules,
            "treatment_joules": self.treatment_joules,
            "difference_joules": self.difference_joules,
            "percent": self.percent,
            "meter_joules": self.meter_joules,
            "claim": float(self.claim),
        }
        if self.interval_joules is not None:
            found["interval_low_joules"], found["interval_high_joules"] = self.interval_joules
        return flat(found)


def compare(
    baseline: Iterable[Run],
    treatment: Iterable[Run],
    *,
    paired: bool = False,
    order: str | None = None,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Difference in joules between two sets of runs, with an interval that holds for few runs and with outliers.

    Of independent runs it is the wider of two: Welch's t interval, which outliers widen, and the bootstrap-t interval
    ``d - s q(t*)``, which follows skewed runs. Of runs whose order in time is known and that alternate, the difference
    is the coefficient of the side in a regression on side and position, which a drift of the machine does not bias. Of
    pairs it is Student's interval of the mean difference.

    Runs in blocks cannot tell a change from a drift of the machine: ``warning`` says so, and there is no claim where
    the runs of the same side drift.

    Args:
        baseline: runs as joules, windows, or reports (their totals), in the order in which they were made.
        treatment: the same.
        paired: whether run i of one side belongs to run i of the other, as with a common seed.
        order: which side each run in time was of, as "ABBA", A being the baseline; by default from the times of windows
            of one meter and of reports.
        confidence: above 0 and below 1.
        resamples: at least 100.
        seed: of the resampling; the program's own random state is neither read nor changed.

    Raises:
        ValueError: a side is empty, a run has no measured joules, or ``order`` does not fit the runs.

    Sources: Welch, The generalization of Student's problem when several different population variances are involved,
    Biometrika 34, 1947; Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 12.5.

    >>> result = compare([100.0, 104.0, 98.0, 101.0, 102.0], [80.0, 82.0, 79.0, 83.0, 81.0])
    >>> result.claim, round(result.percent, 1)
    (True, -19.8)
    >>> compare([100.0, 104.0, 108.0, 112.0], [116.0, 120.0, 124.0, 128.5]).claim  # 4 J a run more, whichever side
    False
    """
    if not 0 < confidence < 1:
        raise InputError(f"confidence must lie between 0 and 1, not {confidence}")
    if resamples < 100:
        raise InputError(f"resamples must be at least 100, not {resamples}")
    baseline, treatment = list(baseline), list(treatment)
    one, doubt_one = _joules("baseline", baseline)
    two, doubt_two = _joules("treatment", treatment)
    if paired and len(one) != len(two):
        raise InputError(f"paired=True needs as many runs of either side, not {len(one)} and {len(two)}")
    sides = _order(order, len(one), len(two)) or _observed_order(baseline, treatment)
    design = "paired" if paired else _design(sides)
    mean_one, mean_two = math.fsum(one) / len(one), math.fsum(two) / len(two)
    difference = mean_two - mean_one
    refusal = _unlike(baseline, treatment)
    interval: tuple[float, float] | None = None
    if min(len(one), len(two)) >= 2:
        if design == "paired":
            interval = paired_t(one, two, confidence)
        elif design == "alternating" and sides is not None and len(one) + len(two) > 4:
            difference, interval = detrended(one, two, sides, confidence)
        else:
            interval = two_sample(one, two, confidence, resamples, seed)
            refusal = refusal or _drifting(one, two, confidence)
    # The meters' doubt has one sign on both sides at worst the other: it does not average out.
    meter = sum(doubt_one) / len(one) + sum(doubt_two) / len(two)
    percent = 100 / mean_one
    if not refusal and interval is not None and interval[0] == interval[1]:
        refusal = "no claim: the runs of each side are identical, so that nothing is known of their spread"
    claim = not refusal and interval is not None and (interval[0] - meter > 0 or interval[1] + meter < 0)
    return Comparison(
        baseline_joules=mean_one,
        treatment_joules=mean_two,
        difference_joules=difference,
        percent=difference * percent,
        interval_joules=interval,
        interval_percent=None if interval is None else (interval[0] * percent, interval[1] * percent),
        meter_joules=meter,
        confidence=confidence,
        runs=(len(one), len(two)),
        claim=claim,
        verdict=refusal or _verdict(difference, percent, interval, meter, confidence, (len(one), len(two))),
        design=design,
        warning=_BLOCKS if design == "blocks" else "",
    )


compare_energy = compare  # its name in `hitl_fast`, where a plain "compare" would not say what

_BLOCKS = (
    "all runs of one side came before those of the other, so that a drift of the machine looks like a change: "
    'run them alternately, as `hitl-fast compare-energy "COMMAND A" "COMMAND B"` does'
)


def _joules(side: str, runs: Iterable[Run]) -> tuple[list[float], list[float]]:
    joules, doubts = [], []
    for position, run in enumerate(runs):
        window = run.total if isinstance(run, EnergyReport) else run
        if isinstance(window, Window):
            value, doubt = window.total_joules, window.uncertainty_joules or 0.0
        elif isinstance(window, (int, float)) and not isinstance(window, bool):
            value, doubt = float(window), 0.0
        else:
            raise InputTypeError(
                f"{side}[{position}] must be joules, a Window or an EnergyReport, not {run!r:.80}"
            )
        if value is None:
            raise InputError(f"{side}[{position}] has no measured joules")
        if not 0 < value < math.inf:
            raise InputError(f"{side}[{position}] must be joules above 0, not {value}")
        joules.append(value)
        doubts.append(doubt)
    if not joules:
        raise InputError(f"{side} has no runs")
    return joules, doubts


def _order(order: str | None, baseline: int, treatment: int) -> str | None:
    if order is None:
        return None
    if not isinstance(order, str):
        raise InputTypeError(f'order must be a string of A and B as "ABBA", not {order!r:.80}')
    wrong = next((i for i, side in enumerate(order) if side not in SIDES), None)
    if wrong is not None:
        raise InputError(f"order[{wrong}] must be A (baseline) or B (treatment), not {order[wrong]!r}")
    for side, count in (("A", baseline), ("B", treatment)):
        if order.count(side) != count:
            raise InputError(f"order names {SIDES[side]} {order.count(side)} times, and it has {count} runs")
    return order


def _observed_order(baseline: Sequence[Run], treatment: Sequence[Run]) -> str | None:
    """Sides in order of time, None where it is unknown: numbers, windows of several meters, reports of one second."""
    spans = [(*_span(run), "A") for run in baseline] + [(*_span(run), "B") for run in treatment]
    if any(math.isnan(start) for start, _, _ in spans):
        return None
    spans.sort()
    if any(later[0] < earlier[1] or later[0] == earlier[0] for earlier, later in pairwise(spans)):
        return None  # runs of one machine one after another do not overlap: these are on different clocks
    return "".join(side for _, _, side in spans)


def _span(run: Run) -> tuple[float, float]:
    """Start and end in seconds, on a clock of its own; NaN where unknown."""
    if isinstance(run, Window):
        return run.start, run.start + run.seconds
    if isinstance(run, EnergyReport):
        from datetime import datetime

        try:
            start = datetime.strptime(run.started, "%Y-%m-%dT%H:%M:%S%z").timestamp()
        except ValueError:
            return math.nan, math.nan
        return start, start + max(run.total.seconds - 1, 0)  # whole seconds are recorded
    return math.nan, math.nan


def _design(sides: str | None) -> str:
    if sides is None:
        return "unknown"
    changes = sum(one != two for one, two in pairwise(sides))
    return "blocks" if changes == 1 and len(sides) > 2 else "alternating" if changes > 1 else "unknown"


def _drifting(one: Sequence[float], two: Sequence[float], confidence: float) -> str:
    """Why a change of the runs of the same side over time may be the whole difference; "" if it is not."""
    slope, low, high = drift(one, two, confidence)
    apart = (len(one) + len(two)) / 2  # runs between the middles of two blocks
    explained = max(abs(low), abs(high)) * apart
    if low <= 0 <= high or explained < abs(math.fsum(two) / len(two) - math.fsum(one) / len(one)):
        return ""
    return (
        f"no claim: runs of the same side drift by {slope:+.3g} J a run, which explains the difference as well; "
        "run the sides alternately"
    )


def _unlike(baseline: Sequence[Run], treatment: Sequence[Run]) -> str:
    """Why the runs' totals are not of the same parts of the machine; "" if they are. A lost sensor saves nothing."""
    parts: list[str] | None = None
    for side, runs in (("baseline", baseline), ("treatment", treatment)):
        for position, run in enumerate(runs):
            window = run.total if isinstance(run, EnergyReport) else run
            if not isinstance(window, Window):
                continue
            if "lost_sensor" in window.flags:
                return f"no claim: {side}[{position}] lost a sensor, and its total lacks what that would have counted"
            # Another GPU is a GPU still; what packages count already is in no total.
            names = ["GPU" if name.startswith("GPU-") else name for name in window.joules or ()]
            measured = sorted(name for name in names if not name.startswith(("core", "uncore", "psys")))
            if parts is not None and measured != parts:
                return (
                    f"no claim: the total of {side}[{position}] is of {', '.join(measured)}, "
                    f"that of the runs before it of {', '.join(parts)}"
                )
            parts = measured
    return ""


def _verdict(
    difference: float,
    percent: float,
    interval: tuple[float, float] | None,
    meter: float,
    confidence: float,
    runs: tuple[int, int],
) -> str:
    changed = f"{abs(difference):.4g} J a run ({abs(difference * percent):.3g} %)"
    direction = "saved" if difference < 0 else "cost"
    if interval is None:
        return f"no claim: {runs[0]} and {runs[1]} runs; at least two runs a side are needed"
    if not all(map(math.isfinite, interval)):
        return f"no claim: {runs[0]} and {runs[1]} runs are too few for a {confidence:.0%} interval"
    spread = f"{confidence:.0%} interval {interval[0]:.4g} to {interval[1]:.4g} J"
    if interval[0] <= 0 <= interval[1]:
        return f"no claim: it {direction} {changed}, but the {spread} holds 0"
    if interval[0] - meter <= 0 <= interval[1] + meter:
        return f"no claim: it {direction} {changed}, {spread}, but the meters may be off by {meter:.4g} J"
    return f"it {direction} {changed}, {spread}, meters within {meter:.4g} J"

"""Whether a change saved energy: two sets of runs, an interval, and the meters' own doubt."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hitl_fast._common.errors import InputError, InputTypeError

from .report import EnergyReport
from .results import Window

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Run = float | int | Window | EnergyReport


@dataclass(frozen=True)
class Comparison:
    """Treatment against baseline, in joules a run; negative is saved.

    Attributes:
        baseline_joules: mean of the baseline's runs.
        treatment_joules: mean of the treatment's runs.
        difference_joules: treatment - baseline.
        percent: the same in percent of the baseline.
        interval_joules: bootstrap interval of the difference from one run to another; None if a side has one run.
        interval_percent: the same in percent of the baseline's mean.
        meter_joules: what the meters may be off by, on top of that.
        confidence: of the interval.
        runs: number of runs of either side.
        claim: whether the interval, widened by ``meter_joules``, leaves out 0, and all runs measured the same.
        verdict: one sentence, with the reason where no claim is possible.
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

    def __str__(self) -> str:
        return self.verdict


def compare(
    baseline: Iterable[Run],
    treatment: Iterable[Run],
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Difference in joules between two sets of runs, with a bootstrap-t interval.

    ``t* = (d* - d) / s*`` over resampled runs, ``s* = sqrt(var_a/n_a + var_b/n_b)``; the interval is
    ``d - s q(t*)``. It stays honest for the handful of runs that one has, where percentiles of d* are too narrow.

    Args:
        baseline: runs as joules, windows, or reports (their totals).
        treatment: the same.
        confidence: above 0 and below 1.
        resamples: at least 100.
        seed: of the resampling; the program's own random state is neither read nor changed.

    Raises:
        ValueError: a side is empty, or a run has no measured joules.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 12.5.

    >>> result = compare([100.0, 104.0, 98.0, 101.0, 102.0], [80.0, 82.0, 79.0, 83.0, 81.0])
    >>> result.claim, round(result.percent, 1)
    (True, -19.8)
    """
    import numpy as np

    if not 0 < confidence < 1:
        raise InputError(f"confidence must lie between 0 and 1, not {confidence}")
    if resamples < 100:
        raise InputError(f"resamples must be at least 100, not {resamples}")
    baseline, treatment = list(baseline), list(treatment)
    one, doubt_one = _joules("baseline", baseline)
    two, doubt_two = _joules("treatment", treatment)
    unlike = _unlike(baseline, treatment)
    a, b = np.array(one), np.array(two)
    difference = float(b.mean() - a.mean())
    # The meters' doubt has one sign on both sides at worst the other: it does not average out.
    meter = sum(doubt_one) / len(a) + sum(doubt_two) / len(b)
    interval = _interval(a, b, confidence, resamples, seed)
    percent = 100 / float(a.mean())
    claim = not unlike and interval is not None and (interval[0] - meter > 0 or interval[1] + meter < 0)
    return Comparison(
        baseline_joules=float(a.mean()),
        treatment_joules=float(b.mean()),
        difference_joules=difference,
        percent=difference * percent,
        interval_joules=interval,
        interval_percent=None if interval is None else (interval[0] * percent, interval[1] * percent),
        meter_joules=meter,
        confidence=confidence,
        runs=(len(a), len(b)),
        claim=claim,
        verdict=unlike or _verdict(difference, percent, interval, meter, confidence, (len(a), len(b))),
    )


compare_energy = compare  # its name in `hitl_fast`, where a plain "compare" would not say what


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


def _interval(
    a: NDArray[np.float64], b: NDArray[np.float64], confidence: float, resamples: int, seed: int
) -> tuple[float, float] | None:
    import numpy as np

    if min(len(a), len(b)) < 2:
        return None
    error = _standard_error(a, b)
    if error == 0:
        return float(b.mean() - a.mean()), float(b.mean() - a.mean())
    generator = np.random.default_rng(seed)
    x = a[generator.integers(0, len(a), (resamples, len(a)))]
    y = b[generator.integers(0, len(b), (resamples, len(b)))]
    shift = (y.mean(1) - x.mean(1)) - (b.mean() - a.mean())
    spread = np.sqrt(x.var(1, ddof=1) / len(a) + y.var(1, ddof=1) / len(b))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (
            shift / spread
        )  # a resample of one run repeated has no spread: infinitely far out, as it should be
    t = np.where(np.isnan(t), 0.0, t)
    low, high = np.quantile(t, [(1 - confidence) / 2, (1 + confidence) / 2], method="closest_observation")
    difference = b.mean() - a.mean()
    return float(difference - high * error), float(difference - low * error)


def _standard_error(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return math.sqrt(float(a.var(ddof=1)) / len(a) + float(b.var(ddof=1)) / len(b))


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
        return (
            f"no claim: {runs[0]} and {runs[1]} runs; two a side are the least that tell chance from change"
        )
    if not all(map(math.isfinite, interval)):
        return f"no claim: {runs[0]} and {runs[1]} runs are too few for a {confidence:.0%} interval"
    spread = f"{confidence:.0%} interval {interval[0]:.4g} to {interval[1]:.4g} J"
    if interval[0] <= 0 <= interval[1]:
        return f"no claim: it {direction} {changed}, but the {spread} holds 0"
    if interval[0] - meter <= 0 <= interval[1] + meter:
        return f"no claim: it {direction} {changed}, {spread}, but the meters may be off by {meter:.4g} J"
    return f"it {direction} {changed}, {spread}, meters within {meter:.4g} J"

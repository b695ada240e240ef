"""Numbers and verdicts as the page and the terminal show them."""

from __future__ import annotations

import math

from hitl_fast._common.bootstrap import Interval

from .analysis import Comparison


def percent(interval: Interval) -> str:
    """A share with its interval: "31 % [22, 40]"."""
    value, low, high = (round(100 * v) if math.isfinite(v) else v for v in interval)  # an integer has no -0
    return f"{value} % [{low}, {high}]"


def verdict(c: Comparison) -> str:
    """In words; with what budgets that ended before the target leave open."""
    if c.verdict == "undecided":
        return (
            "undecided: a budget ended too early" if c.reached or c.against_reached else "neither got there"
        )
    bound = (
        "at least" if c.verdict == "costs" and c.bound == "at most" else c.bound
    )  # to save less is to cost more
    return f"{c.verdict}, {bound}" if bound else c.verdict


def bounded(c: Comparison) -> str:
    """Operations saved, with what is known of runs that did not reach the target."""
    told = percent(c.flops)
    return f"{told} (within the budget)" if c.bound == "within the budget" else f"{c.bound} {told}".strip()


def points(interval: Interval) -> str:
    """A difference of accuracies in percentage points: "+2.1 [1.0, 3.2]"."""
    value, low, high = (100 * v for v in interval)
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"


def steps(value: float | None) -> str:
    return "never" if value is None or math.isinf(value) else f"{value:g}"


def number(value: float) -> str:
    """Two digits of a number over many orders of magnitude: "12", "3,400", "2.1e+09", "never"."""
    if math.isinf(value):
        return "never"
    short = float(f"{value:.2g}")
    return f"{short:,.0f}" if 10 <= short < 1e6 else f"{short:g}"

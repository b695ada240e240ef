"""Intervals and lists in words, for pages."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hitl_fast._common.bootstrap import Interval


def listed(parts: Sequence[str], word: str = "and") -> str:
    """All parts, the last one after the word.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return f"{', '.join(parts[:-1])} {word} {parts[-1]}" if len(parts) > 1 else "".join(parts)


def apart(behind: Interval) -> str:
    """Whether something is behind what it is compared with, ahead of it, or neither is shown.

    >>> apart(Interval(0.2, 0.1, 0.3))
    'behind by 0.20 [0.10, 0.30]'
    """
    if not behind.excludes_zero:
        return f"not significantly different, {plain(behind)}"
    if behind.value > 0:
        return f"behind by {plain(behind)}"
    return f"ahead by {plain(Interval(-behind.value, -behind.high, -behind.low))}"


def plain(interval: Interval) -> str:
    """A value and its interval.

    >>> plain(Interval(0.5, 0.25, 0.75))
    '0.50 [0.25, 0.75]'
    """
    if math.isnan(interval.value):
        return "–"
    value, low, high = (f"{round(number, 2) + 0.0:.2f}" for number in interval)  # no -0.00
    return f"{value} [{low}, {high}]"


def cell(interval: Interval) -> str:
    """The same, in one line of a table."""
    return plain(interval).replace(" ", "\u00a0")

"""The energy of a window from readings of power: its integral, and by how much that may be off.

A device shows a mean over up to ``lag``, or a value that is up to ``lag`` old. What it shows around an edge differs
from the power there by the range of powers shown from ``lag`` before it to ``lag`` after it, or, where later ones are
not known yet, of what the device can draw. A load in step with the mean shows no range: what a mean a over ``lag``
stands for may all have been used early or late, which moves the integral by up to a lag / 2; half of that is stated.

Between two readings, power may change and change back: of N readings at random times, a power that none of them shows
lasts no longer than 3 / N of the window in 95 % of all cases (rule of three: Hanley and Lippman-Hand, JAMA 249, 1983).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from ..units import PER_MICROJOULE, SECOND
from .channel import Change
from .interpolation import Estimate

AROUND = 2 * SECOND  # how far from a window powers are that it may have had as well


def edge(time: int, readings: Sequence[Change], lag: int, limit: int) -> Estimate:
    """Energy used up to ``time``. A reading is (milliwatts, when, microjoules until then); each is held."""
    at = max(bisect_right(readings, time, key=_when) - 1, 0)
    power, moment, total = readings[at]
    value = total + power * max(time - moment, 0) // PER_MICROJOULE
    first = max(bisect_right(readings, time - lag, key=_when) - 1, 0)
    last = bisect_left(readings, time + lag, key=_when)
    near = [reading[0] for reading in readings[first : last + 1]]
    swing = max(near) - min(near)
    if last == len(readings):
        swing = max(limit - min(near), max(near))
    late = max(swing, max(near) // 4) * lag // PER_MICROJOULE
    return Estimate(value, value - late, value + late, value)


def most(start: int, end: int, readings: Sequence[Change], lag: int) -> int:
    """Microjoules of a window at the highest power shown around it, with all of a mean that reaches beyond an edge."""
    first = max(bisect_right(readings, start - lag, key=_when) - 1, 0)
    last = bisect_left(readings, end + lag, key=_when)
    return max(reading[0] for reading in readings[first : last + 1]) * (end - start + lag) // PER_MICROJOULE


def unseen(start: int, end: int, readings: Sequence[Change]) -> int:
    """Microjoules by which powers between the readings of a window may change its energy."""
    first, last = bisect_left(readings, start, key=_when), bisect_right(readings, end, key=_when)
    near = readings[
        bisect_left(readings, start - AROUND, key=_when) : bisect_right(readings, end + AROUND, key=_when)
    ]
    powers = [reading[0] for reading in near] or [0]
    whole = (max(powers) - min(powers)) * (end - start) // PER_MICROJOULE
    return whole * 3 // max(last - first, 3)


def _when(reading: Change) -> int:
    return reading[1]

"""Numbers that stand for "no answer" in many files (-1, 99, -999) and are no ratings."""

from __future__ import annotations

import math

import numpy as np

# Code -> how many times as far as the other scores reach it must lie beyond them. Codes of two digits are scores of a
# scale to 100, so that they are codes only beside scores of a scale of one digit or so.
DISTANCES = {
    -9999.0: 1, -999.0: 1, -99.0: 3, -88.0: 3, -9.0: 1, -8.0: 1, 77.0: 3, 88.0: 3, 98.0: 3, 99.0: 3, 888.0: 1,
    999.0: 1, 9999.0: 1,
}  # fmt: skip
CODES = (-1.0, *DISTANCES)
BETWEEN_STEPS = (-8.0, -1.0)  # codes that a scale with values between its steps may hold


def missing_code(scores: np.ndarray) -> float | None:
    """The score of a question that likely stands for no answer; None where there is none.

    -1 is one beside steps from 0 or 1 up to 3 or more, unless all steps from -1 to 3 are used: then that is the scale.
    Another is one where it is farther from the others than these reach from 0, or three times as far.
    """
    codes = np.isin(scores, CODES)
    rest = scores[~codes]
    if not codes.any() or rest.size < 2:
        return None
    low, high = float(rest.min()), float(rest.max())
    reach = max(high, 0.0) - min(low, 0.0)
    steps = bool((rest == np.round(rest)).all())
    for code in np.unique(scores[codes]).tolist():
        if code in BETWEEN_STEPS and not steps:
            continue
        if code == -1:
            if low >= 0 and high >= 3 and not (high == 3 and np.unique(rest).size == 4):
                return float(code)
        elif max(low - code, code - high) > DISTANCES[code] * max(reach, 1.0):
            return float(code)
    return None


def possible_scale(scores: np.ndarray) -> tuple[float, float]:
    """A scale of round numbers that holds the scores: an example of what a user may declare.

    >>> possible_scale(np.array([1.0, 5.0, 99.0])), possible_scale(np.array([-1.0, 4.0]))
    ((0.0, 100.0), (-10.0, 10.0))
    """
    top = 10.0 ** max(1, math.ceil(math.log10(max(1.0, float(np.abs(scores).max())))))
    return (-top if (scores < 0).any() else 0.0), top

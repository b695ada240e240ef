"""Numbers that stand for "no answer" in many files (-1, 99, -999) and are no ratings."""

from __future__ import annotations

import numpy as np

CODES = (-9999.0, -999.0, -99.0, -88.0, -9.0, -8.0, -1.0, 77.0, 88.0, 98.0, 99.0, 888.0, 999.0, 9999.0)


def missing_code(values: np.ndarray) -> float | None:
    """The score among the different ones of a question that likely stands for no answer; None where there is none.

    -1 is one where all others are integers from 0 to 3 or more. Another is one where it is farther from the others
    than these are from each other.
    """
    codes = np.isin(values, CODES)
    rest = values[~codes]
    if not codes.any() or rest.size < 2 or (rest != np.round(rest)).any():
        return None
    low, high = float(rest.min()), float(rest.max())
    for code in values[codes].tolist():
        beyond = max(low - code, code - high)
        if beyond > high - low or (code == -1 and low >= 0 and high >= 3):
            return float(code)
    return None

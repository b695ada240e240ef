"""Sums of weights that lose nothing that matters, in a fixed order."""

import math

import numpy as np

from . import policy

LANES, BLOCK = 8, 1024


def power_of_two(largest: float) -> float:
    """The scale that brings the largest weight near 1; not above 2**1022, where all weights are denormal."""
    return math.ldexp(1.0, min(-math.frexp(largest)[1], 1022))


@policy.compiled
def total(weights: np.ndarray, scale: float) -> float:
    """Sum of the scaled weights: eight lanes (which vectorise) in blocks, what rounding takes from those kept."""
    n = weights.size
    found, lost = 0.0, 0.0
    lanes = np.empty(LANES)
    for begin in range(0, n, BLOCK):
        end = min(begin + BLOCK, n)
        whole = begin + (end - begin) // LANES * LANES
        lanes[:] = 0.0
        for i in range(begin, whole, LANES):
            for lane in range(LANES):
                lanes[lane] += weights[i + lane] * scale
        for i in range(whole, end):
            lanes[i - whole] += weights[i] * scale
        found, error = two_sum(found, lanes.sum())
        lost += error
    return found + lost


@policy.compiled_inline
def two_sum(a: float, b: float) -> tuple[float, float]:
    """The sum and what rounding took from it (Knuth)."""
    rounded = a + b
    shadow = rounded - a
    return rounded, (a - (rounded - shadow)) + (b - shadow)

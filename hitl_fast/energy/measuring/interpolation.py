"""What is known of the energy at any moment from a counter that shows a new value only now and then.

A counter refreshed every 100 ms shows, at time t, what had been used at its last refresh u <= t. When exactly that
was is hidden: between the last reading that showed the old value and the first that shows the new one. With the
value v refreshed at some u in [a, b] and power within [0, P], for any t::

    v - P max(b - t, 0)  <=  E(t)  <=  v + P max(t - a, 0)

and ``v <= E(t)`` only if ``b <= t``, ``E(t) <= v`` only if ``t <= a``, which the same two terms say. All values
around t are intersected. A steady power is not assumed, and a steady period only where it was observed. P is what the
device can draw, or less where the values around t tell; see `power_around`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from ..units import PER_MICROJOULE
from .channel import Change

AROUND = 4  # values on either side that can bound an energy
SIDE = 8  # values on either side that tell the power
BEFORE = 4  # values needed before an edge


class Estimate(NamedTuple):
    """Microjoules at a moment: the estimate, the interval that holds the true value, and the linear interpolation.

    The estimate is the middle of the interval. The difference of two middles says nothing of a window within one
    period; there the linear interpolation does.
    """

    value: int
    low: int
    high: int
    linear: int


def energy_at(
    time: int,
    changes: Sequence[Change],
    refresh: int,
    power: int,
    *,
    unit: int = 0,
    pace: tuple[int, int] | None = None,
    missing: Callable[[int], int] | None = None,
) -> Estimate:
    """Energy used up to ``time``.

    Args:
        changes: as a `Channel` records them, the first one being the reading at its start.
        refresh: upper bound on the time between two new values.
        power: milliwatts that are not exceeded.
        unit: microjoules of a count, by which a value may be too low.
        pace: shortest and longest time between two values, where that was observed.
        missing: how many microjoules a value first seen at a time may lack, as against those around the window's
            opening: below 0 where they may lack what it has.
    """
    at = max(bisect_right(changes, time, key=_seen) - 1, 0)  # the last value seen by then
    near = changes[max(at - AROUND, 0) : at + 1 + AROUND]
    lacking = [0] * len(near) if missing is None else [missing(seen) for _, seen, _ in near]
    if pace is not None and len(set(lacking)) == 1:  # a counter that began anew has kept no pace
        near = _narrowed(near, *pace)
    low = max(
        total + min(lack, 0) - _energy(power, seen - time)
        for (_, seen, total), lack in zip(near, lacking, strict=True)
    )
    high = min(
        total + max(lack, 0) + unit + _energy(power, time - max(old, seen - refresh))
        for (old, seen, total), lack in zip(near, lacking, strict=True)
    )
    if low > high:  # more power than was thought possible
        low, high = high, low
    linear = min(max(_linear(time, near, refresh), low), high)
    # No later value bounds it from above: at the mean power of before, rather than half way to the highest.
    return Estimate((low + high) // 2 if at + 1 < len(changes) else linear, low, high, linear)


def _linear(time: int, near: Sequence[Change], refresh: int) -> int:
    """At the mean power between the two values around ``time``, or of before where there is no later one."""
    at = max(bisect_right(near, time, key=_seen) - 1, 0)
    one, two = (near[at], near[at + 1]) if at + 1 < len(near) else (near[0], near[-1])
    start, end = _middle(one, refresh), _middle(two, refresh)
    power = (two[2] - one[2]) * PER_MICROJOULE // max(end - start, 1)
    return near[at][2] + power * max(time - _middle(near[at], refresh), 0) // PER_MICROJOULE


def _middle(change: Change, refresh: int) -> int:
    return change[1] - min(change[1] - change[0], refresh) // 2


def power_around(time: int, changes: Sequence[Change]) -> int | None:
    """Milliwatts that are not expected to be exceeded near ``time``; None where either side is not known yet.

    One and a half times the highest mean between two values, of the eight on either side: power may step at an edge.
    This is what makes the interval one of 95 % and not a certain one: a spike much shorter than a period may exceed it.
    """
    at = bisect_right(changes, time, key=_seen)
    if at < BEFORE or at == len(changes):
        return None
    near = changes[max(at - SIDE, 0) : at + SIDE]
    means = [_mean(one, two) for one, two in pairwise(near)]
    return max(means) * 3 // 2 or None


def _mean(one: Change, two: Change) -> int:
    return (two[2] - one[2]) * PER_MICROJOULE // max(two[1] - one[1], 1)


def _narrowed(near: Sequence[Change], shortest: int, longest: int) -> list[Change]:
    """When each value came, narrowed by the shortest and longest time between two of them.

    Only where no value can have been missed: not two within the time in which the later one came.
    """
    result = list(near)
    for i in range(len(result) - 2, -1, -1):
        (old, seen, _), (after, until, _) = result[i], result[i + 1]
        if near[i + 1][1] - near[i + 1][0] < shortest:
            result[i] = _consistent(max(old, after - longest), min(seen, until - shortest), result[i])
    for i in range(1, len(result)):
        (old, seen, _), (after, until, _) = result[i], result[i - 1]
        if near[i][1] - near[i][0] < shortest:
            result[i] = _consistent(max(old, after + shortest), min(seen, until + longest), result[i])
    return result


def _consistent(first: int, last: int, change: Change) -> Change:
    return (first, last, change[2]) if first <= last else change


def _energy(power: int, elapsed: int) -> int:
    return power * elapsed // PER_MICROJOULE if elapsed > 0 else 0


def _seen(change: Change) -> int:
    return change[1]

"""What a counter that is refreshed now and then stood for at any moment between two refreshes.

A counter refreshed every 100 ms shows, at time t, what had been used at its last refresh u <= t. Read as it is, an
edge of a window is off by up to one refresh at full power. But u is known to lie between the last reading that
showed the old value and the first that showed the new one, the next value bounds the energy at t from above, and
the power around t is known from the neighbouring values. Intersecting those intervals gives a much smaller one,
whose middle is the estimate.

What is assumed: within the refresh that t falls into, power stays between the lowest and the highest mean of the
refreshes around it, widened by a quarter of their spread on either side. A level held for two refreshes or more
satisfies this; a spike shorter than a refresh may not.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from ..units import PER_MICROJOULE
from .channel import Change

AROUND = 8  # changes looked at on either side


class Estimate(NamedTuple):
    """Microjoules at a moment: the estimate and the interval that holds the true value."""

    value: int
    low: int
    high: int


class Refresh(NamedTuple):
    """The counter took the value ``total`` somewhere between ``first`` and ``last`` (nanoseconds)."""

    first: int
    last: int
    total: int


def energy_at(time: int, changes: Sequence[Change], refresh: int, peak: int) -> Estimate:
    """Energy used up to ``time``.

    Args:
        changes: as a `Channel` records them, the first one being the reading at its start.
        refresh: upper bound on the time between two new values.
        peak: milliwatts to assume where no neighbour tells.
    """
    # Among the changes first seen by then, the last; at least the first of all.
    at = max(bisect_right(changes, time, key=_seen) - 1, 0)
    start = max(at - AROUND, 0)
    around = _sharpened([_refresh(change, refresh) for change in changes[start : at + 1 + AROUND]])
    here = around[at - start]
    low_power, high_power = _powers(around, at - start) or (0, peak)
    elapsed = max(time - here.first, 0)
    low = here.total + low_power * max(time - here.last, 0) // PER_MICROJOULE
    high = here.total + high_power * elapsed // PER_MICROJOULE
    if at + 1 == len(changes):
        # Nothing newer was seen: no upper bound but the power, and not beyond one refresh.
        low = here.total
        high = here.total + high_power * min(elapsed, refresh) // PER_MICROJOULE
        return Estimate((low + high) // 2, low, high)
    following = around[at - start + 1]
    until = max(following.last - time, 0)
    low = max(low, following.total - high_power * until // PER_MICROJOULE)
    high = min(high, following.total - low_power * max(following.first - time, 0) // PER_MICROJOULE)
    low, high = max(low, here.total), min(high, following.total)
    if low > high:  # the assumption does not hold here: what is certain without it
        low, high = here.total, following.total
    return Estimate((low + high) // 2, low, high)


def _seen(change: Change) -> int:
    return change[1]


def _refresh(change: Change, refresh: int) -> Refresh:
    before, after, total = change
    return Refresh(max(before, after - refresh), after, total)


def _sharpened(around: list[Refresh]) -> list[Refresh]:
    """Narrow when each value came, from neighbours that were watched closely and one steady period."""
    watched = [
        i
        for i in range(1, len(around))
        if _width(around[i - 1 : i + 1]) * 4 <= around[i].last - around[i - 1].last
    ]
    if not watched:
        return around
    closest = min(_width(around[i - 1 : i + 1]) for i in watched)
    watched = [i for i in watched if _width(around[i - 1 : i + 1]) <= 2 * closest]
    period = _period([(around[i - 1], around[i]) for i in watched])
    result = list(around)
    for i in range(watched[-1] - 2, -1, -1):
        # The last reading that showed value i is the lower end of the interval in which the next one came.
        result[i] = _narrowed(around[i], result[i + 1], around[i + 1].first, period)
    return result


def _width(values: list[Refresh]) -> int:
    return max(value.last - value.first for value in values)


def _period(pairs: list[tuple[Refresh, Refresh]]) -> tuple[int, int]:
    """Shortest and longest period that the watched pairs allow, the far apart ones being the sharper ruler."""
    shortest = min(two.first - one.last for one, two in pairs)
    longest = max(two.last - one.first for one, two in pairs)
    start, end = pairs[0][0], pairs[-1][1]
    periods = round((end.last - start.last) * 2 / (shortest + longest))
    sharper = (end.first - start.last) // periods, -(-(end.last - start.first) // periods)
    if periods * (longest - shortest) < shortest and sharper[0] >= shortest and sharper[1] <= longest:
        return sharper
    return shortest, longest


def _narrowed(value: Refresh, following: Refresh, last_seen: int, period: tuple[int, int]) -> Refresh:
    """``value`` came at the last whole number of periods before ``following`` that is not after ``last_seen``."""
    shortest, longest = period
    parts = []
    for periods in range(1, 8):
        first, last = following.first - periods * longest, following.last - periods * shortest
        if first > last_seen:
            continue
        parts.append((max(value.first, first), min(value.last, last)))
        if last <= last_seen:
            break
    parts = [(first, last) for first, last in parts if first <= last]
    if not parts:
        return value  # not periodic after all
    return Refresh(min(p[0] for p in parts), max(p[1] for p in parts), value.total)


def _powers(around: list[Refresh], at: int) -> tuple[int, int] | None:
    """Lowest and highest power to expect between ``around[at]`` and the next, in milliwatts; None if unknown.

    From the stretches before, between and after the two, each as short as what is known of their times allows.
    """
    after = min(at + 1, len(around) - 1)
    before = ((i, at) for i in range(at - 1, -1, -1))
    between = (
        (i, j) for width in range(1, len(around)) for i in range(after - width, at + 1) for j in (i + width,)
    )
    behind = ((after, j) for j in range(after + 1, len(around)))
    chosen = [
        next((pair for pair in pairs if _apart(around, *pair)), None) for pairs in (before, between, behind)
    ]
    stretches = [(around[pair[0]], around[pair[1]]) for pair in chosen if pair is not None]
    if not stretches:
        return None
    lows = [(two.total - one.total) * PER_MICROJOULE // (two.last - one.first) for one, two in stretches]
    highs = [-(-(two.total - one.total) * PER_MICROJOULE // (two.first - one.last)) for one, two in stretches]
    low, high = min(lows), max(highs)
    spread = max(max(lows) - low, high - min(highs)) // 4
    return max(low - spread, 0), high + spread


def _apart(around: list[Refresh], i: int, j: int) -> bool:
    """Whether the time between two values is known to a third: closer ones tell no power."""
    if not 0 <= i < j < len(around):
        return False
    return 3 * (around[j].first - around[i].last) >= 2 * (around[j].last - around[i].first) > 0

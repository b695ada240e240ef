"""From two readings of every channel to the numbers of a window."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from threading import current_thread

from ..reporting.results import Window, ordered
from ..sensors.domain import IN_TOTAL
from ..units import FAST, PER_MICROJOULE, SECOND
from . import power_window
from .channel import STILL, Change, Channel, CounterChannel
from .cuda_events import Mark
from .interpolation import Estimate, energy_at, power_around
from .power_channel import PowerChannel
from .recorder import Reading, Recorder

# A channel's numbers: microjoules estimated, lowest, highest, counted; and whether there is a value at all.
WIDTH = 5


class Record:
    """A window being taken or taken. Its readings are dropped once its numbers are settled."""

    __slots__ = (
        "anchors", "closing", "end", "error", "marks", "name", "numbers", "opening", "since", "start", "thread",
        "until",
    )  # fmt: skip

    def __init__(self, name: str, reading: Reading, mark: Mark | None) -> None:
        self.name = name
        self.thread = current_thread().name
        self.opening: Reading | None = reading
        self.closing: Reading | None = None
        # After the opening and before the closing reading: reading is not part of the window.
        self.start = self.end = reading.end
        # With both readings: what they missed concerns this window.
        self.since = self.until = reading.start
        self.marks: tuple[Mark, Mark | None] | None = None if mark is None else (mark, None)
        self.anchors: list[Estimate] | None = None  # energies at the opening edge, once they are settled
        self.error: str | None = None
        self.numbers: array[int] | None = None

    def close(self, reading: Reading, mark: Mark | None, error: str | None) -> None:
        self.end, self.until, self.error = reading.start, reading.end, error
        if self.marks is not None:
            self.marks = (self.marks[0], mark)
        self.closing = reading  # last: from now on others may look


def anchors(record: Record, recorder: Recorder, changes: Sequence[Sequence[Change]]) -> list[Estimate]:
    """Each channel's energy at the opening edge, from the values around it, which are forgotten after a while."""
    assert record.opening is not None
    return [_opening(record, recorder, i, changes[i]) for i in range(len(recorder.channels))]


def _opening(record: Record, recorder: Recorder, i: int, changes: Sequence[Change]) -> Estimate:
    assert record.opening is not None
    channel, state = recorder.channels[i], record.opening.states[i]
    if state[0] < changes[0][1]:  # forgotten by now
        late = (channel.peak or channel.limit) * channel.refresh // PER_MICROJOULE
        return Estimate(state[1], state[1], state[1] + late, state[1])
    if isinstance(channel, PowerChannel):
        return power_window.edge(record.start, changes, channel.lag, channel.limit)
    return _energy_at(
        channel, record, record.start, changes, _limit(recorder, i, record.start, record.start, 0), state[2]
    )


def _energy_at(
    channel: Channel, record: Record, time: int, changes: Sequence[Change], limit: int, slack: int
) -> Estimate:
    """The neighbours of an edge tell how much power to expect, but not within less than two of their periods."""
    short = record.closing is not None and record.end - record.start < 2 * channel.refresh
    if _hidden(channel) and not short:
        limit = min(limit, power_around(time, changes) or limit)
    return energy_at(
        time,
        changes,
        channel.longest,
        limit,
        unit=channel.quantum,
        pace=channel.pace,
        missing=_missing(channel, slack),
    )


def _missing(channel: Channel, slack: int) -> Callable[[int], int] | None:
    """What values lack since a counter began anew, or was away; None where it never did."""
    slacks = tuple(channel.slacks)
    if not slacks or not channel.slow:
        return None

    def missing(seen: int) -> int:
        before = [grown for time, grown in slacks if time <= seen]
        return (before[-1] if before else 0) - slack

    return missing


def numbers(record: Record, recorder: Recorder, changes: Sequence[Sequence[Change]]) -> array[int]:
    """Each channel's numbers, one after another. ``changes`` are copies made under the recorder's lock."""
    starts = record.anchors or anchors(record, recorder, changes)
    result = array("q")
    for i in range(len(recorder.channels)):
        result.extend(_numbers(record, recorder, i, starts[i], changes[i]))
    return result


def _numbers(
    record: Record, recorder: Recorder, i: int, start: Estimate, changes: Sequence[Change]
) -> tuple[int, int, int, int, int]:
    assert record.opening is not None
    assert record.closing is not None
    channel = recorder.channels[i]
    (after0, total0, slack0), (after1, total1, slack1) = record.opening.states[i], record.closing.states[i]
    counted, doubt = total1 - total0, slack1 - slack0
    elapsed = record.end - record.start
    unread = after0 == after1 and (channel.lost or isinstance(channel, PowerChannel))
    if unread or _silent(channel, changes, counted, elapsed):
        return 0, 0, 0, counted, 0
    if isinstance(channel, PowerChannel):
        return _of_power(channel, record, start, changes, counted, doubt)
    limit = _limit(recorder, i, record.start, record.end, counted)
    fresh = max(channel.refresh, FAST)
    stale = record.start - after0 > fresh, record.end - after1 > fresh
    if record.marks is None and not channel.slow and not any(stale):
        if _hidden(channel):
            end = _energy_at(channel, record, record.end, changes, limit, slack0)
            low, high = end.low - start.high - doubt, end.high - start.low + doubt
            return counted, min(low, counted), max(high, counted), counted, 1
        # As read, between the reading's own two moments, each of them shown up to a refresh late.
        late = limit * channel.refresh // PER_MICROJOULE + channel.quantum
        more = limit * max(after1 - after0 - elapsed, 0) // PER_MICROJOULE
        return counted, counted - late - more - doubt, counted + late + doubt, counted, 1
    if stale[1] and channel.lost:
        # Nothing after the last good reading: up to the highest power seen, all the time.
        most = total1 + doubt + limit * (record.end - after1) // PER_MICROJOULE
        end = Estimate(total1, total1, most, total1)
    else:
        end = _energy_at(channel, record, record.end, changes, limit, slack0)
    if channel.slow:
        doubt = 0  # what values lack is in the bounds of either edge
    low = max(end.low - start.high, 0)
    high = min(end.high - start.low, limit * elapsed // PER_MICROJOULE + channel.unit)
    within = elapsed < channel.refresh
    value = end.linear - start.linear if within else end.value - start.value
    value = min(max(value, low), max(high, low))
    return value, low - doubt, max(high, low) + doubt, counted, 1


def _of_power(
    channel: PowerChannel,
    record: Record,
    start: Estimate,
    changes: Sequence[Change],
    counted: int,
    doubt: int,
) -> tuple[int, int, int, int, int]:
    elapsed = record.end - record.start
    end = power_window.edge(record.end, changes, channel.lag, channel.limit)
    value = max(end.value - start.value, 0)
    resolution = elapsed // PER_MICROJOULE  # of a milliwatt
    doubt = max(doubt, power_window.unseen(record.start, record.end, changes)) + resolution
    late = end.high - end.value + start.high - start.value
    if channel.lost:  # nothing after the last good reading
        late += channel.limit * max(record.end - changes[-1][1], 0) // PER_MICROJOULE
    low, high = max(value - late - doubt, 0), value + late + doubt
    if elapsed < 2 * channel.lag:
        low, high = 0, max(high, power_window.most(record.start, record.end, changes, channel.lag))
    return value, low, max(min(high, channel.limit * elapsed // PER_MICROJOULE), value), counted, 1


def _silent(channel: Channel, changes: Sequence[Change], counted: int, elapsed: int) -> bool:
    """Whether a counter stood still too long to be believed: whatever is switched on uses energy."""
    if counted or channel.domain.kind not in IN_TOTAL:
        return False
    if isinstance(channel, PowerChannel):
        return not channel.valid
    patience = STILL if channel.dead or not channel.rare else max(STILL, 3 * channel.refresh)
    never = len(changes) == 1 and channel.after - channel.moved > patience
    return channel.dead or never or elapsed >= patience


def _limit(recorder: Recorder, i: int, start: int, end: int, counted: int) -> int:
    """Power that is not exceeded, in milliwatts.

    Of a counter that shows new values rarely: what such a device can draw. A fast one tells more: one and a half
    times the highest mean of the window and its surroundings, else of the run so far.
    """
    channel = recorder.channels[i]
    if channel.slow or (_hidden(channel) and end - start < 2 * channel.refresh):
        return channel.limit
    margin = SECOND // 2
    seen = recorder.timeline.peak(i, start - margin, end + margin) or channel.peak
    mean = counted * PER_MICROJOULE // max(end - start, channel.refresh, 1)
    # Nothing has moved yet: what was used since the value last changed may be as much as a device can draw.
    return min(max(seen, mean) * 3 // 2 or channel.limit, max(channel.limit, seen, mean))


def _hidden(channel: Channel) -> bool:
    """Whether much can be used between two values: of a counter known to be slow, or that was seen to be so.

    Of the latter the window's value is as read all the same: one that is moved by hand is not interpolated.
    """
    return channel.slow or (channel.refresh > FAST and isinstance(channel, CounterChannel))


def window(
    record: Record, values: array[int], recorder: Recorder, started: int, *, partial: bool = False
) -> Window:
    """The result that a caller sees. ``partial``: a sensor that belongs into the total cannot be read at all."""
    joules, doubts, estimates, flags, peaks, counted = {}, {}, {}, {}, {}, {}
    elapsed = record.end - record.start
    total = low = high = 0
    of_total: set[str] = set()
    any_in_total = False
    for i, channel in enumerate(recorder.channels):
        name = channel.domain.name
        value, lowest, highest, count, present = values[i * WIDTH : (i + 1) * WIDTH]
        if channel.domain.status == "estimated":
            estimates[name] = value / 1e6
            continue
        flags[name] = _flags(channel, record, elapsed, bool(present))
        in_total = channel.domain.kind in IN_TOTAL
        if in_total and not (channel.dead and channel.domain.kind == "dram"):  # some boards have none
            of_total.update(flags[name])
        if not present:
            partial = partial or in_total
            continue
        counted[name] = count
        joules[name] = value / 1e6
        doubts[name] = max(highest - value, value - lowest) / 1e6
        peak = recorder.timeline.peak(i, record.start, record.end)
        if peak is not None:
            peaks[name] = peak / 1e3
        if in_total:
            any_in_total = True
            total, low, high = total + value, low + lowest, high + highest
    if partial and any_in_total:
        of_total.add("partial")
    if estimates:
        of_total.add("estimated")
    return Window(
        name=record.name,
        start=(record.start - started) / SECOND,
        seconds=elapsed / SECOND,
        joules=joules or None,
        total_joules=total / 1e6 if any_in_total else None,
        uncertainty_joules=max(high - total, total - low) / 1e6 if any_in_total else None,
        uncertainties=doubts,
        estimated_joules=estimates or None,
        flags=ordered(of_total),
        domain_flags=flags,
        peak_watts=peaks,
        counted_microjoules=counted,
        error=record.error,
        thread=record.thread,
    )


def _flags(channel: Channel, record: Record, elapsed: int, present: bool) -> tuple[str, ...]:
    flags = {
        kind
        for time, kind in tuple(channel.events)
        # A wrap that the opening reading found was before the window; a reading that failed is missing in it.
        if (record.start if kind == "wrap" else record.since - 1) < time <= record.until
    }
    if _is_short(channel, record, elapsed):
        flags.add("short")
    if not present:
        flags.add("lost_sensor")
    return ordered(flags)


def _is_short(channel: Channel, record: Record, elapsed: int) -> bool:
    """Whether a window has too few values of a counter in or before it for more than the widest bound."""
    if isinstance(channel, PowerChannel):
        return elapsed < 2 * channel.lag
    if channel.slow:
        return elapsed < 2 * channel.refresh or channel.known is None or record.start < channel.known
    return elapsed < channel.refresh

"""One run of a meter: its channels, its windows and its sampling thread."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise

from ..reporting.results import Window
from ..sensors.domain import Domain
from ..units import FAST, MILLISECOND, SECOND
from . import device_locks
from .channel import Channel, CounterChannel
from .cuda_events import EventClock, synchronize
from .native_sampler import FASTEST_IN_PYTHON, NativeSampler, native_sampler
from .power_channel import PowerChannel
from .recorder import Recorder, heartbeat
from .windows import Record, anchors, numbers, window

LEARNT = 6  # values of a counter that tell its pace

_live: weakref.WeakSet[Session] = weakref.WeakSet()


class Session:
    """Windows over the channels of a run.

    Args:
        channels: what is counted.
        domains: everything else, with its reason.
        interval: nanoseconds between two samples.
        wait: whether edges wait for the GPUs; otherwise they are marked in their streams.
        release: called once when the session ends.
    """

    def __init__(
        self,
        channels: Sequence[Channel],
        domains: Sequence[Domain],
        *,
        interval: int,
        wait: bool = True,
        release: Callable[[], None] = lambda: None,
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self.recorder = Recorder(channels, interval=interval, clock=clock)
        self.domains = tuple(domains)
        self._partial = any(domain.missing for domain in domains)
        self.records: list[Record] = []
        self.clock = clock
        self.forked = False
        self._thread_time = 0  # CPU time of the sampler so far
        self._own_reading = 0  # of the recorder's time, the part that the sampler spent
        self.stopped: int | None = None
        self._interval = min(interval, heartbeat(channels))
        self._wait = wait
        self._events = None if wait else EventClock(clock)
        self._release = release
        self._ending = threading.Lock()
        self._waking = threading.Lock()  # released to wake the sampler
        self._thread: threading.Thread | None = None
        self._native: NativeSampler | None = None
        self._pending: deque[Record] = deque()  # windows whose numbers are not settled
        self._rare = [
            channel for channel in self.recorder.channels if channel.rare and channel.domain.in_total
        ]
        self._slow = list(self._rare)  # those that are not lost
        self._chasing = False
        self._unknown: list[CounterChannel] = []  # said to be fast, and not seen to be so yet
        self._looked = False
        self._powers = [
            c for c in self.recorder.channels if isinstance(c, PowerChannel) and c.domain.in_total
        ]
        self._chance = 1
        self._edge = 0
        self.started = clock()
        self._due = self.started
        self._settle_at = self.started
        self.whole = Record("total", self.recorder.read(), None)
        _live.add(self)

    def begin(self) -> None:
        """Start sampling."""
        self.watch_from_now()
        if self.recorder.channels:
            self._native = native_sampler(self.recorder, self._interval)
            self._waking.acquire()
            self._thread = threading.Thread(target=self._run, name="hitl-fast-energy", daemon=True)
            self._thread.start()

    def open(self, name: str) -> Record:
        """The opening edge of a window."""
        if self.stopped is not None:
            raise RuntimeError(f"window {name!r} cannot begin: the meter has been stopped")
        mark = None
        if self._wait:
            synchronize()
        elif self._events is not None:
            mark = self._events.mark()
        record = Record(name, self.recorder.read(), mark)
        self.records.append(record)  # appending needs no lock
        self._pending.append(record)
        if self._slow:
            self._chase(record.start)
        return record

    def close(self, record: Record, error: str | None = None) -> None:
        """The closing edge. A window that is still open when the meter stops ends there."""
        mark = None
        if self._wait:
            synchronize()
        elif self._events is not None and record.marks is not None:
            mark = self._events.mark()
        reading = self.recorder.read()
        record.close(reading, mark, error)
        if self._slow:
            self._chase(reading.end)

    def _chase(self, edge: int) -> None:
        """Have the next new values of slow counters watched closely: they tell what an edge fell between."""
        self._edge = edge
        if not self._chasing:
            self._chasing = True
            if self._thread is not None:
                self._wake()

    def _wake(self) -> None:
        with suppress(RuntimeError):  # it is awake already
            self._waking.release()

    def _run(self) -> None:
        delay = 0
        while self.stopped is None:
            self._waking.acquire(timeout=delay / SECOND)
            if self.stopped is not None:
                break
            try:
                delay = self.tick()
            except Exception:  # a fault of ours must not end up in somebody's training
                delay = self._interval
        self._thread_time = time.thread_time_ns()

    def tick(self) -> int:
        """One turn of the sampler; returns nanoseconds until the next."""
        now = self.clock()
        if now >= self._due:
            interval = self._interval
            if self._native is not None and self._native.running:
                interval = self._native.pause
                reading = self.recorder.sample(self._native.replay)
            else:
                reading = self.recorder.sample()
            # On a fixed grid; what was missed is not made up for.
            self._due += ((now - self._due) // interval + 1) * interval
        else:
            reading = self.recorder.read()
        self._own_reading += reading.end - reading.start
        if now >= self._settle_at:
            self._settle_at = now + 2 * SECOND
            self.settle(now)
            self._thread_time = time.thread_time_ns()
        delay = self._watch(reading.end) if self._rare else self._due - reading.end
        if self._unknown:
            delay = min(delay, self._learn())
        if self._powers:
            delay = min(delay, self._at_random())
        return max(delay, MILLISECOND // 2)

    def _at_random(self) -> int:
        """25 to 75 ms: readings of power on a grid would see a load in step with it always in the same state."""
        self._chance = (self._chance * 6364136223846793005 + 1442695040888963407) % 2**64  # Knuth's MMIX
        return SECOND // 40 + (self._chance >> 32) * SECOND // 20 // 2**32

    def _learn(self) -> int:
        """Nanoseconds until the next look at counters that are said to be fast, the longer the rarer they move.

        Some are not. The first look lasts until each has moved twice, or three milliseconds: nearly all are done then.
        """
        begin = now = self.clock()
        looks = 0 if self._looked else 200  # in three milliseconds
        self._looked = True
        while looks and now - begin < 3 * MILLISECOND and any(_apart(c) > FAST for c in self._unknown):
            looks -= 1
            now = self.recorder.read().end
        for channel in self._unknown:
            if len(channel.changes) > LEARNT and _apart(channel) > FAST:
                # Its values were never watched closely: they may be as far apart as looks.
                channel.refresh = max(channel.refresh, _apart(channel))
                channel.longest = max(channel.longest, channel.refresh)
        self._unknown = [
            channel
            for channel in self._unknown
            if _apart(channel) > FAST
            and len(channel.changes) <= LEARNT
            and not (channel.dead or channel.lost)
        ]
        return min([(now - channel.moved) // 8 for channel in self._unknown], default=self._interval)

    def _watch(self, now: int) -> int:
        """Nanoseconds until the next look at counters that are refreshed rarely."""
        for channel in self._rare:
            channel.observe()
        self._slow = [channel for channel in self._rare if not channel.lost]
        # Twice a refresh and a half: then a value's time is known to well under a refresh.
        delay = min(
            [self._due - now, *(max(channel.refresh * 2 // 5, SECOND // 40) for channel in self._slow)]
        )
        if self._chasing:
            waits = [_until_next(channel, self._edge, now) for channel in self._slow]
            watched = [wait for wait in waits if wait is not None]
            self._chasing = bool(watched)
            delay = min([delay, *watched])
        return max(delay, MILLISECOND // 2)

    @property
    def overhead(self) -> int:
        """Nanoseconds: CPU time of the sampler, and what the windows' edges took."""
        native = 0 if self._native is None else self._native.cpu
        return self._thread_time + native + self.recorder.busy - self._own_reading

    def settle(self, now: int, *, final: bool = False) -> None:
        """Give the edges that lie back far enough their energies, and closed windows their numbers."""
        if not self._pending and self.whole.anchors is not None and not final:
            return
        lags = [4 * channel.lag for channel in self._powers]
        patience = max([*(3 * channel.refresh for channel in self._slow), *lags], default=0)
        changes = self.changes()
        pending = [self.whole, *(self._pending.popleft() for _ in range(len(self._pending)))]
        for record in pending:
            placed = self._place(record)
            if record.anchors is None and placed and record.start + patience < now:
                record.anchors = anchors(record, self.recorder, changes)
            if record.closing is not None and (final or (placed and record.end + patience < now)):
                record.numbers = numbers(record, self.recorder, changes)
                record.opening = record.closing = None
            elif record is not self.whole:
                self._pending.append(record)

    def catch_up(self) -> None:
        """Add the compiled loop's rows to the timeline before it is asked for peaks, if the last look is long ago."""
        native = self._native
        if native is None or self.stopped is not None or not native.running:
            return
        if self.clock() - (self.recorder.sampled or 0) > FASTEST_IN_PYTHON:
            self.recorder.sample(native.replay)

    def changes(self) -> list[list[tuple[int, int, int]]]:
        with self.recorder.lock:
            return [list(channel.changes) for channel in self.recorder.channels]

    def _place(self, record: Record) -> bool:
        """Move a marked window's edges to when the GPUs reached them; False while they have not."""
        if record.marks is None or self._events is None:
            return True
        start, end = (None if mark is None else self._events.resolve(mark) for mark in record.marks)
        if start is None:
            return False
        record.start = record.since = start
        if record.closing is None:
            return True
        if end is not None:
            record.end = record.until = max(start, end)
        return end is not None

    def windows(self) -> tuple[Window, ...]:
        """All closed windows, the latest of them as well as they can be known by now."""
        self.catch_up()
        records = [r for r in tuple(self.records) if r.numbers is not None or r.closing is not None]
        changes = self.changes()
        return tuple(self._window(record, changes) for record in records)

    def _window(self, record: Record, changes: list[list[tuple[int, int, int]]]) -> Window:
        opening, closing = record.opening, record.closing  # before the numbers, which replace them
        values = record.numbers
        if values is None and opening is not None and closing is not None:
            self._place(record)
            values = numbers(record, self.recorder, changes)
        return window(
            record,
            values if values is not None else array("q"),
            self.recorder,
            self.started,
            partial=self._partial,
        )

    def one(self, record: Record) -> Window:
        self.catch_up()
        return self._window(record, self.changes())

    def total(self) -> Window:
        """From the start to the stop, or to now."""
        if self.stopped is None and self.whole.opening is not None and not self.forked:
            now = Record("total", self.whole.opening, None)
            now.thread, now.anchors = self.whole.thread, self.whole.anchors
            now.close(self.recorder.read(), None, None)
            return self.one(now)
        return self.one(self.whole)

    def end(self) -> None:
        """Stop sampling and give everything back; the results stay."""
        if self.forked or self.stopped is not None:
            return
        self._linger()
        with self._ending:
            if self.stopped is not None:
                return
            self.stopped = self.clock()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            self._wake()
            thread.join(5)  # longer only if a driver hangs; the thread is a daemon
        if self._native is not None:
            self._native.stop()
        last = self.recorder.sample(None if self._native is None else self._native.replay)
        self.whole.close(last, None, None)
        self.settle(self.stopped, final=True)
        self.recorder.close(last)
        self._release()
        _live.discard(self)

    def watch_from_now(self) -> None:
        """Look at counters closely from here on: when their values come decides how sharp an edge is."""
        self._looked = False
        self._unknown = [
            channel
            for channel in self.recorder.channels
            if isinstance(channel, CounterChannel) and channel.domain.in_total and not channel.rare
        ]
        if self._rare:
            self._chase(self.clock())

    def lingering(self) -> tuple[Callable[[], bool], int]:
        """Whether the end of a short window still lacks the value that follows it, and until when to wait for one.

        A refresh, a quarter of a second at most.
        """
        slow = [channel for channel in self._slow if len(channel.changes) > 1]
        refresh = max([channel.refresh for channel in (*slow, *self._powers)], default=0)
        ends = [
            r.end for r in tuple(self._pending) if r.closing is not None and r.end - r.start < 50 * refresh
        ]
        last = max(ends, default=0)
        lag = max([channel.lag for channel in self._powers], default=0)
        return (
            lambda: any(c.moved <= last for c in slow) or any(c.after < last + c.lag for c in self._powers),
            last + min(max(refresh * 5 // 4, 2 * lag), SECOND // 4),
        )

    def _linger(self) -> None:
        missing, until = self.lingering()
        while self._thread is not None and self.clock() < until and missing():
            time.sleep(0.002)

    def orphan(self) -> None:
        """In a forked child: the parent measures; here nothing is read, and windows have only their seconds."""
        self.forked = True
        self._thread = self._native = None
        self._ending, self._waking = threading.Lock(), threading.Lock()
        reason = f"process {os.getppid()} measures it; this one was forked from it"
        gone = [
            replace(c.domain, status="unavailable", method="", reason=reason) for c in self.recorder.channels
        ]
        for channel in self.recorder.channels:
            channel.sensor.close()
        self.domains = (*gone, *self.domains)
        self.recorder = Recorder((), interval=self._interval, clock=self.clock)
        self._pending.clear()
        self.records, self._rare, self._slow, self._events = [], [], [], None
        self._powers, self._unknown = [], []
        self.whole = Record("total", self.recorder.read(), None)


def _apart(channel: CounterChannel) -> int:
    """Nanoseconds that two new values of a counter were apart, at most, where they were watched best."""
    recent = list(channel.changes)[1:]  # the first is no new value
    return min((two[1] - one[0] for one, two in pairwise(recent)), default=SECOND)


def _until_next(channel: Channel, edge: int, now: int) -> int | None:
    """Nanoseconds until a slow channel should be looked at; None once two values after the edge have been seen."""
    if (
        channel.lost
        or not channel.domain.in_total
        or now - edge > max((3 if channel.pace else 6) * channel.refresh, SECOND // 20)
    ):
        return None
    changes = channel.changes
    wanted = 2 if channel.pace else 5  # values after the edge
    if len(changes) >= wanted and changes[-wanted][1] > edge:
        return None
    fine = max(channel.refresh // 50, MILLISECOND)
    if len(changes) > 1 and changes[-1][1] - changes[-1][0] <= 2 * fine:
        period = changes[-1][1] - changes[-2][1]
        # Where the last two values were both watched, look again just before the next one is due.
        if changes[-2][1] - changes[-2][0] <= 2 * fine and changes[-1][1] + period - 2 * fine > now:
            return changes[-1][1] + period - 2 * fine - now
    return fine


def _stop_all() -> None:
    for session in list(_live):
        session.end()


def _forked() -> None:
    for session in list(_live):
        session.orphan()
    _live.clear()
    device_locks.close_inherited()


atexit.register(_stop_all)
if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(after_in_child=_forked)

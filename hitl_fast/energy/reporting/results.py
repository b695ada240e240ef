"""What a meter returns: plain data, with an uncertainty beside every number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hitl_fast._common.errors import InputError

from ..sensors.domain import Domain
from .carbon import Carbon, carbon

UNCERTAINTY_LEVEL = 0.95

# In the order in which reports list them.
FLAGS = ("gap", "wrap", "glitch", "partial", "short", "estimated", "lost_sensor")


@dataclass(frozen=True)
class Window:
    """Energy between two moments.

    Attributes:
        name: as given.
        start: seconds after the meter started.
        seconds: how long it took.
        joules: joules by domain, interpolated at the edges where a counter is refreshed rarely; None where nothing
            could be measured, never 0.
        total_joules: packages + memory + GPUs; None where none of them was measured. Cores, uncore and psys count
            again what packages count, and estimates are no measurement: neither is in it.
        uncertainty_joules: the true total lies within this of `total_joules`, from refresh periods, gaps, wraps
            and lost sensors; the sensors' own accuracy is not known to us and not in it.
        uncertainties: the same by domain.
        estimated_joules: CPU time x declared watts, where that was asked for.
        flags: of all domains in the total, ``gap`` (readings are missing where the value rests on them), ``wrap``
            (a counter wrapped around, and that was accounted for), ``glitch`` (a reading was impossible and does not
            count), ``partial`` (a package, memory or GPU could not be read and is not in the total), ``short`` (too
            few values of a counter in or before the window to narrow its interval), ``estimated``
            (`estimated_joules` is there), ``lost_sensor``.
        domain_flags: the same by domain, for all of them.
        peak_watts: highest mean power between two samples, by domain, where the window is long enough for two.
        counted_microjoules: what each counter moved by between the two readings, exactly, not interpolated.
        error: type of the exception that ended the window, if one did.
        thread: name of the thread that opened it.
    """

    name: str
    start: float
    seconds: float
    joules: Mapping[str, float] | None
    total_joules: float | None
    uncertainty_joules: float | None
    uncertainties: Mapping[str, float] = field(default_factory=dict)
    estimated_joules: Mapping[str, float] | None = None
    flags: tuple[str, ...] = ()
    domain_flags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    peak_watts: Mapping[str, float] = field(default_factory=dict)
    counted_microjoules: Mapping[str, int] = field(default_factory=dict)
    error: str | None = None
    thread: str = ""

    @property
    def watts(self) -> float | None:
        """Mean power of the total."""
        return None if self.total_joules is None or not self.seconds else self.total_joules / self.seconds

    def carbon(self, grams_per_kwh: float | None = None, *, country: str | None = None) -> Carbon | None:
        """Carbon of the total, see `carbon`; None where nothing was measured."""
        if self.total_joules is None:
            return None
        return carbon(
            self.total_joules,
            grams_per_kwh,
            country=country,
            uncertainty_joules=self.uncertainty_joules or 0.0,
        )


@dataclass(frozen=True)
class Overhead:
    """What measuring itself took.

    Attributes:
        cpu_seconds: CPU time of the sampling thread plus the time that windows' edges took.
        reads: how often all sensors were read.
        samples: samples in the timeline.
        longest_gap_seconds: between two samples; a C call that holds the GIL makes it long.
    """

    cpu_seconds: float
    reads: int
    samples: int
    longest_gap_seconds: float


@dataclass(frozen=True)
class Timeline:
    """Joules since the start at each sample, by domain; ``seconds`` after the meter started."""

    seconds: tuple[float, ...]
    joules: Mapping[str, tuple[float, ...]]

    def watts(self, domain: str, span: float = 0.0) -> list[tuple[float, float]]:
        """(middle of the interval in seconds, mean watts) over intervals of at least ``span`` seconds."""
        points = []
        last = 0
        joules = self.joules[domain]
        for i in range(1, len(self.seconds)):
            elapsed = self.seconds[i] - self.seconds[last]
            if elapsed > 0 and elapsed >= span:
                middle = (self.seconds[i] + self.seconds[last]) / 2
                points.append((middle, (joules[i] - joules[last]) / elapsed))
                last = i
        return points


@dataclass(frozen=True)
class RunResults:
    """The fields of an `EnergyReport`.

    Attributes:
        windows: in the order in which they were opened.
        total: from the meter's start to its stop (or to now).
        domains: every part of the machine, measured or not, by name.
        overhead: what measuring took.
        timeline: joules over time.
        refresh_seconds: by domain, the longest time that its counter stood still.
        started: wall clock time of the start, ISO 8601 with time zone.
        host: name of the machine.
        complete: whether the run had ended; False in a file that was written while it went on, None in files of
            before that was recorded.
        uncertainty_level: how often the true energy lies within the stated uncertainty, at least.
    """

    windows: tuple[Window, ...]
    total: Window
    domains: Mapping[str, Domain]
    overhead: Overhead
    timeline: Timeline
    refresh_seconds: Mapping[str, float]
    started: str
    host: str
    complete: bool | None = True
    uncertainty_level: float | None = UNCERTAINTY_LEVEL

    def by_name(self) -> dict[str, Window]:
        """Windows of one name added up: seconds, joules, uncertainties; flags united."""
        names = dict.fromkeys(window.name for window in self.windows)
        return {name: add(w for w in self.windows if w.name == name) for name in names}


def add(windows: Iterable[Window]) -> Window:
    """Windows one after another as one; a domain that one of them lacks is left out and flagged lost_sensor.

    >>> one = Window("step", 0.0, 1.0, {"package-0": 5.0}, 5.0, 0.1, {"package-0": 0.1})
    >>> add([one, one]).total_joules
    10.0
    """
    parts = list(windows)
    if not parts:
        raise InputError("windows is empty: there is nothing to add up")
    measured = [part for part in parts if part.joules is not None]
    names = list(dict.fromkeys(name for part in measured for name in part.joules or ()))
    whole = [name for name in names if all(name in (part.joules or {}) for part in parts)]
    flags = {flag for part in parts for flag in part.flags}
    if len(whole) < len(names):
        flags.add("lost_sensor")
    known = all(part.total_joules is not None for part in parts)
    domain_flags = {
        name: ordered(flag for part in parts for flag in part.domain_flags.get(name, ())) for name in names
    }
    estimates = {name for part in parts for name in part.estimated_joules or ()}
    return Window(
        name=parts[0].name,
        start=parts[0].start,
        seconds=sum(part.seconds for part in parts),
        joules={name: sum((part.joules or {})[name] for part in parts) for name in whole} if whole else None,
        total_joules=sum(part.total_joules or 0.0 for part in parts) if known else None,
        uncertainty_joules=sum(part.uncertainty_joules or 0.0 for part in parts) if known else None,
        uncertainties={name: sum(part.uncertainties[name] for part in parts) for name in whole},
        estimated_joules={
            name: sum((part.estimated_joules or {}).get(name, 0.0) for part in parts)
            for name in sorted(estimates)
        }
        or None,
        flags=ordered(flags),
        domain_flags=domain_flags,
        peak_watts={
            name: max(part.peak_watts[name] for part in parts if name in part.peak_watts)
            for name in names
            if any(name in part.peak_watts for part in parts)
        },
        counted_microjoules={
            name: sum(part.counted_microjoules.get(name, 0) for part in parts) for name in whole
        },
        error=next((part.error for part in parts if part.error), None),
        thread=parts[0].thread,
    )


def ordered(flags: Iterable[str]) -> tuple[str, ...]:
    present = set(flags)
    return tuple(flag for flag in FLAGS if flag in present)

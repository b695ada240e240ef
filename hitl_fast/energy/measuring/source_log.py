"""Readings of the user's own sources over a run, and the energy between two moments from them."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from hitl_fast._common.errors import InputError, InputTypeError

from ..reporting.results import Window, ordered
from ..sensors.domain import Domain, Status
from ..sensors.sources import Joules

Sample = tuple[float, float]  # seconds since 1970, joules or watts


def checked(sources: Iterable[Any]) -> list[Any]:
    """The sources, if they offer what `EnergySource` asks for and have names of their own."""
    found = list(sources)
    names: set[str] = set()
    for i, source in enumerate(found):
        for attribute in ("name", "kind", "refresh", "read"):
            if not hasattr(source, attribute):
                raise InputTypeError(f"sources[{i}] has no {attribute}: see hitl_fast.energy.EnergySource")
        if source.kind not in ("wall", "other"):
            raise InputError(f"sources[{i}].kind must be 'wall' or 'other', not {source.kind!r}")
        if not 0 < source.refresh < float("inf"):
            raise InputError(f"sources[{i}].refresh must be seconds above 0, not {source.refresh!r}")
        if _in_total(source) and source.kind == "wall":
            raise InputError(
                f"sources[{i}]: a wall meter contains what the total counts, so in_total must be False"
            )
        if source.name in names:
            raise InputError(f"sources[{i}].name is {source.name!r}, as that of a source before it")
        names.add(source.name)
    return found


def _in_total(source: Any) -> bool:
    return bool(getattr(source, "in_total", False))


def with_sources(window: Window, logs: Sequence[SourceLog], epoch: float) -> Window:
    """The window with the joules of the sources beside its own, and in its total where a source asks for that.

    ``epoch``: seconds since 1970 at the start of the meter.
    """
    if not logs:
        return window
    joules, doubts = dict(window.joules or {}), dict(window.uncertainties)
    flags = dict(window.domain_flags)
    total, doubt, of_total = window.total_joules, window.uncertainty_joules, set(window.flags)
    lacking = False
    for log in logs:
        name, start = log.source.name, epoch + window.start
        found = log.energy(start, start + window.seconds)
        flags[name] = ("lost_sensor",) if found is None else ("gap",) if found.gap else ()
        if found is not None:
            joules[name], doubts[name] = found.joules, found.doubt
        if _in_total(log.source):
            of_total.update(flags[name])
            lacking = lacking or found is None
            if found is not None:
                total, doubt = (total or 0.0) + found.joules, (doubt or 0.0) + found.doubt
    if lacking and total is not None:
        of_total.add("partial")
    return replace(
        window, joules=joules or None, uncertainties=doubts, domain_flags=flags, total_joules=total,
        uncertainty_joules=doubt, flags=ordered(of_total),
    )  # fmt: skip


@dataclass(frozen=True)
class Energy:
    """Joules between two moments, what they may be off by, and whether readings are missing."""

    joules: float
    doubt: float
    gap: bool


class SourceLog:
    """Reads a source from a thread of its own, so that a slow one delays neither an edge nor a sample."""

    def __init__(self, source: Any) -> None:
        self.source = source
        self.problem = ""
        self._samples: list[Sample] = []
        self._counts = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"hitl-fast-{source.name}", daemon=True)
        self._thread.start()

    @property
    def domain(self) -> Domain:
        """How it stands with the source by now."""
        lost = bool(self.problem) and not self._samples
        method = "" if lost else "own source"
        status: Status = "unavailable" if lost else "measured"
        added = _in_total(self.source)
        return Domain(
            self.source.name,
            self.source.kind,
            status,
            method,
            self.problem,
            missing=lost and added,
            added=added,
        )

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(5)

    def _run(self) -> None:
        while self._read() and not self._stopped.wait(self.source.refresh):
            pass
        self._read()

    def _read(self) -> bool:
        """Take a sample; False where the source has only a history."""
        before = time.time()
        try:
            value = self.source.read()
        except Exception as problem:  # whatever a meter does, the run goes on
            self.problem = f"{type(problem).__name__}: {problem}"
            return True
        if value is None:
            return False
        self._counts = isinstance(value, Joules)
        self._samples.append(((before + time.time()) / 2, float(value)))
        return True

    def energy(self, start: float, end: float) -> Energy | None:
        """Between two moments in seconds since 1970; None where readings do not reach the window."""
        samples, counts = self._samples, self._counts
        history = getattr(self.source, "history", None)
        if history is not None and not samples:
            try:
                found = list(history(start, end))
            except OSError as problem:
                self.problem = str(problem)
                return None
            counts = any(isinstance(value, Joules) for _, value in found)
            samples = sorted((moment, float(value)) for moment, value in found)
        elif not samples and not self.problem:
            self.problem = "no reading yet"
        reach = 3 * self.source.refresh
        near = samples[
            max(bisect_left(samples, (start, -1e300)) - 1, 0) : bisect_left(samples, (end, 1e300)) + 1
        ]
        near = [sample for sample in near if start - reach <= sample[0] <= end + reach]
        if not near:
            return None
        return _counted(near, start, end) if counts else _integrated(near, start, end, reach)


def _integrated(near: Sequence[Sample], start: float, end: float, reach: float) -> Energy:
    """Trapezoids; in doubt is half of each swing while it lasts, and half of all power beyond the first and last."""
    joules = doubt = 0.0
    longest = max([b[0] - a[0] for a, b in pairwise(near)], default=0.0)
    for (first, one), (last, two) in pairwise(near):
        left, right = max(first, start), min(last, end)
        if right > left:
            slope = (two - one) / (last - first)
            joules += (right - left) * (one + slope * ((left + right) / 2 - first))
            doubt += (right - left) * abs(two - one) / 2
    for missing, power in ((near[0][0] - start, near[0][1]), (end - near[-1][0], near[-1][1])):
        missing = min(max(missing, 0.0), end - start)
        joules += missing * power
        doubt += missing * power / 2
    beyond = max(near[0][0] - start, end - near[-1][0])
    return Energy(joules, doubt, longest > reach or beyond > reach)


def _counted(near: Sequence[Sample], start: float, end: float) -> Energy | None:
    """A counter's difference, interpolated at the edges; in doubt is all that it counted around either edge."""
    if len(near) < 2 or any(two[1] < one[1] for one, two in pairwise(near)):
        return None
    mean = (near[-1][1] - near[0][1]) / max(near[-1][0] - near[0][0], 1e-9)
    values, doubt = [], 0.0
    for moment in (start, end):
        at = min(max(bisect_left(near, (moment, -1e300)), 1), len(near) - 1)
        one, two = near[at - 1], near[at]
        share = (moment - one[0]) / max(two[0] - one[0], 1e-9)
        inside = 0 <= share <= 1
        values.append(one[1] + share * (two[1] - one[1]) if inside else near[0 if share < 0 else -1][1])
        outside = abs(moment - near[0 if share < 0 else -1][0]) * mean
        if not inside:
            values[-1] += outside if share > 1 else -outside
        doubt += two[1] - one[1] if inside else max(outside, two[1] - one[1])
    return Energy(max(values[1] - values[0], 0.0), doubt, False)

"""Meters of one's own: what an object must offer to be measured beside the built-in sensors, and four that do."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from typing import Literal, Protocol, runtime_checkable

from hitl_fast._common.errors import InputError


class Joules(float):
    """A counter: energy since some moment in the past."""


class Watts(float):
    """Power now."""


@runtime_checkable
class EnergySource(Protocol):
    """What ``EnergyMeter(sources=[...])`` takes.

    Attributes:
        name: its key in every result, unique.
        kind: ``wall`` for a meter between the machine and the grid, else ``other``.
        refresh: seconds between two readings worth making.
        in_total: optional; whether its joules are added to the total of packages, memory and GPUs, which must not
            contain what it measures: a wall meter contains them all, and is its own total.
        history: optional; ``history(start, end)`` in seconds since 1970 returns (seconds, reading) pairs of a log that
            is read after the run, in place of ``read``.
    """

    name: str
    kind: Literal["wall", "other"]
    refresh: float

    def read(self) -> Joules | Watts | None:
        """The reading now; None for a log that is read after the run. Called from a thread of its own; may be slow."""


class CsvLog:
    """The log of a wall meter: a time and watts, or a time and watt hours that count up, a line.

    Times are ISO 8601 (local where they name no zone) or seconds since 1970. Read when results are asked for, so that
    the file may grow meanwhile; an unfinished last line is left for later.

    Args:
        path: a CSV file with a header.
        time: name of the column of times.
        watts: name of the column of watts, or
        watt_hours: name of the column of watt hours.

    Raises:
        ValueError: not exactly one of ``watts`` and ``watt_hours`` is given.
    """

    kind: Literal["wall", "other"] = "wall"

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        time: str = "time",
        watts: str | None = None,
        watt_hours: str | None = None,
        name: str = "wall",
        refresh: float = 1.0,
    ) -> None:
        if (watts is None) == (watt_hours is None):
            raise InputError("give watts or watt_hours, the name of the column to read")
        self.path, self.name, self.refresh = os.fspath(path), name, refresh
        self._time, self._column = time, str(watts or watt_hours)
        self._counts = watts is None

    def read(self) -> None:
        return None

    def history(self, start: float, end: float) -> Iterator[tuple[float, Joules | Watts]]:
        """(seconds since 1970, reading) of all lines; ``start`` and ``end`` need not cut them."""
        import csv

        with open(self.path, encoding="utf-8-sig", newline="") as file:
            text = file.read()
        rows = csv.DictReader(text[: text.rfind("\n") + 1].splitlines())
        for column in (self._time, self._column):
            if column not in (rows.fieldnames or ()):
                raise InputError(
                    f"{self.path} has no column {column!r}: it has {', '.join(rows.fieldnames or ())}"
                )
        for line, row in enumerate(rows, 2):
            try:
                value = float(row[self._column])
                seconds = _seconds(row[self._time])
            except (TypeError, ValueError):
                raise InputError(f"{self.path}, line {line}: no time and number: {row}") from None
            yield seconds, Joules(3600 * value) if self._counts else Watts(value)


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        from datetime import datetime

        return datetime.fromisoformat(text.strip().replace("Z", "+00:00")).timestamp()


class HomeAssistantLog:
    """Home Assistant's export of an entity's history: a CSV file with entity_id, state and last_changed.

    It has a line a change, so that power is held until the next one, and is in doubt for ``refresh`` before that.
    Entities of other names and states that are no numbers (``unavailable``) are passed over; an unavailable sensor's
    power is not held.

    Args:
        path: the file; exported after the run.
        watts: entity_id of a power sensor in watts, or
        kilowatt_hours: entity_id of an energy sensor in kWh that counts up.
        refresh: seconds between two states that the sensor reports, at most; for energy, between two changes.

    Raises:
        ValueError: not exactly one of ``watts`` and ``kilowatt_hours`` is given; on reading, the file is another.
    """

    kind: Literal["wall", "other"] = "wall"

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        watts: str | None = None,
        kilowatt_hours: str | None = None,
        name: str = "wall",
        refresh: float = 30.0,
    ) -> None:
        if (watts is None) == (kilowatt_hours is None):
            raise InputError("give watts or kilowatt_hours, the entity_id to read")
        self.path, self.name, self.refresh = os.fspath(path), name, refresh
        self._entity = str(watts or kilowatt_hours)
        self._counts = watts is None

    def read(self) -> None:
        return None

    def history(self, start: float, end: float) -> Iterator[tuple[float, Joules | Watts]]:
        """(seconds since 1970, reading) around ``start`` to ``end``, held readings repeated."""
        states = sorted(self._states(), key=lambda state: state[0])
        if self._counts:
            yield from ((when, Joules(3.6e6 * value)) for when, value in states if value is not None)
            return
        first, last = start - 2 * self.refresh, end + 2 * self.refresh
        for (when, value), (until, _) in zip(states, [*states[1:], (last, None)], strict=False):
            if value is None:
                continue
            moment = max(when, first)
            # The next state may have come up to a refresh before it was reported.
            while moment < min(until - self.refresh, last):
                yield moment, Watts(value)
                moment += self.refresh
            if first <= until - self.refresh <= last and until - self.refresh > when:
                yield until - self.refresh, Watts(value)
            elif when >= first:
                yield when, Watts(value)

    def _states(self) -> Iterator[tuple[float, float | None]]:
        import csv

        with open(self.path, encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            absent = [c for c in ("entity_id", "state", "last_changed") if c not in (rows.fieldnames or ())]
            if absent:
                raise InputError(
                    f"{self.path} has no column {absent[0]!r}: it is no history exported by Home Assistant"
                )
            entities = set()
            for line, row in enumerate(rows, 2):
                entities.add(row["entity_id"])
                if row["entity_id"] != self._entity:
                    continue
                try:
                    when = _seconds(row["last_changed"])
                except (TypeError, ValueError):
                    raise InputError(f"{self.path}, line {line}: no time: {row}") from None
                try:
                    value = float(row["state"])
                except (TypeError, ValueError):
                    value = math.nan
                yield when, value if math.isfinite(value) else None
        if self._entity not in entities:
            raise InputError(
                f"{self.path} has no entity {self._entity!r}: it has {', '.join(sorted(entities))}"
            )


class HttpPlug:
    """A smart plug in the local network: its power, from the JSON at a URL. See `shelly` and `tasmota`.

    Args:
        url: of the JSON.
        keys: where in it the watts are.
    """

    kind: Literal["wall", "other"] = "wall"

    def __init__(self, url: str, keys: tuple[str, ...], *, name: str = "wall", refresh: float = 1.0) -> None:
        if not url.startswith(("http://", "https://")):
            raise InputError(f"url must begin with http:// or https://, not {url!r}")
        self.url, self.name, self.refresh = url, name, refresh
        self._keys = keys

    def read(self) -> Watts:
        import urllib.request  # 20 ms that only a plug needs

        with urllib.request.urlopen(self.url, timeout=max(self.refresh, 2.0)) as answer:
            value = json.load(answer)
        for key in self._keys:
            value = value[key]
        if not math.isfinite(watts := float(value)):
            raise ValueError(f"{self.url} reports {value} W")
        return Watts(watts)


def shelly(host: str, *, channel: int = 0, name: str = "wall", refresh: float = 1.0) -> HttpPlug:
    """A Shelly plug of the second generation or later, through its RPC ``Switch.GetStatus`` (``apower``, watts)."""
    return HttpPlug(
        f"http://{host}/rpc/Switch.GetStatus?id={channel}", ("apower",), name=name, refresh=refresh
    )


def tasmota(host: str, *, name: str = "wall", refresh: float = 1.0) -> HttpPlug:
    """A Tasmota plug, through its command ``Status 8`` (``StatusSNS.ENERGY.Power``, watts)."""
    keys = ("StatusSNS", "ENERGY", "Power")
    return HttpPlug(f"http://{host}/cm?cmnd=Status%208", keys, name=name, refresh=refresh)

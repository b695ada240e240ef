"""Meters of one's own: what an object must offer to be measured beside the built-in sensors, and three that do."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from datetime import datetime
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
        kind: ``wall`` for a meter between the machine and the grid, else ``other``. Neither is added to the total of
            packages, memory and GPUs: a wall meter contains them.
        refresh: seconds between two readings worth making.
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
        return datetime.fromisoformat(text.strip().replace("Z", "+00:00")).timestamp()


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

"""The report of a run, with a method for each format that it can be written in."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from hitl_fast._common.errors import InputError
from hitl_fast._common.files import write_text
from hitl_fast._common.trackers import flat

from ..sensors.domain import Domain
from .results import Overhead, RunResults, Timeline, Window

FORMAT = "hitl_fast.energy"
SCHEMA_VERSION = 2  # 1 was written as "hitl_fast.energy/1" and had no version of its own


@dataclass(frozen=True)
class EnergyReport(RunResults):
    """Everything about one run of a meter: the fields of `RunResults`, and the formats they can be written in."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data, with the format's name and the version of its schema."""
        return {"format": FORMAT, "schema_version": SCHEMA_VERSION, **asdict(self)}

    def metrics(self) -> dict[str, float]:
        """A flat dict of numbers: seconds, joules and uncertainty of the run and of each window name.

        Joules by domain are there too. What was not measured is left out.
        """
        found: dict[str, float] = {}
        for name, window in {**self.by_name(), "": self.total}.items():
            prefix = f"energy/{name}/" if name else "energy/"
            found[f"{prefix}seconds"] = window.seconds
            if window.total_joules is not None:
                found[f"{prefix}joules"] = window.total_joules
                found[f"{prefix}uncertainty_joules"] = window.uncertainty_joules or 0.0
            found |= {
                f"{prefix}joules_of/{domain}": joules for domain, joules in (window.joules or {}).items()
            }
        return flat(found)

    def thinned(self, samples: int) -> EnergyReport:
        """The same with every k-th sample of the timeline, so that at most ``samples`` remain."""
        step = -(-len(self.timeline.seconds) // samples) or 1
        joules = {name: values[::step] for name, values in self.timeline.joules.items()}
        return replace(self, timeline=Timeline(self.timeline.seconds[::step], joules))

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """The report as JSON; also written to ``path``, beside and then renamed, if one is given."""
        text = json.dumps(self.to_dict(), indent=2) + "\n"
        if path is not None:
            write_text(path, text)
        return text

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> EnergyReport:
        """Read what `to_json` wrote, now or with an earlier version.

        Raises:
            ValueError: the file is not an energy report, or a newer version of this package wrote it.
        """
        name = os.fspath(path)
        with open(path, encoding="utf-8") as file:
            try:
                data = json.load(file)
            except ValueError as problem:
                raise InputError(f"{name} is not an energy report: {problem}") from None
        version = _version(data)
        if version is None:
            raise InputError(f"{name} is not an energy report: it has no format {FORMAT!r}")
        if version > SCHEMA_VERSION:
            raise InputError(
                f"{name} has schema version {version} and this version reads up to {SCHEMA_VERSION}: upgrade hitl-fast"
            )
        try:
            return cls(**_fields(data))
        except (KeyError, TypeError, AttributeError) as problem:
            raise InputError(f"{name} is not a whole energy report: {problem}") from None

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """One row a window and domain."""
        from .export import csv_text

        write_text(path, csv_text(self))

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """The rows of `to_csv` as Parquet; needs pyarrow."""
        from .export import write_parquet

        write_parquet(self, path)

    def to_trace(self, path: str | os.PathLike[str]) -> None:
        """Watts as counters and windows as slices, for Perfetto (ui.perfetto.dev) or chrome://tracing."""
        from .export import trace_text

        write_text(path, trace_text(self))

    def to_openmetrics(self, path: str | os.PathLike[str] | None = None) -> str:
        """Joules and seconds by window and domain as OpenMetrics text, as Prometheus reads it."""
        from .export import openmetrics_text

        text = openmetrics_text(self)
        if path is not None:
            write_text(path, text)
        return text

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Watts over time with the windows shaded, as PNG, SVG or PDF; needs matplotlib."""
        from .plot import plot

        plot(self, path)

    def _repr_html_(self) -> str:
        from .export import html

        return html(self)

    def __str__(self) -> str:
        from .export import table

        return table(self)


def _version(data: Any) -> int | None:
    """The schema version of a parsed file, None where it is no energy report."""
    if not isinstance(data, dict):
        return None
    if data.get("format") == f"{FORMAT}/1":
        return 1
    version = data.get("schema_version")
    return version if data.get("format") == FORMAT and isinstance(version, int) else None


def _fields(data: Mapping[str, Any]) -> dict[str, Any]:
    timeline = data["timeline"]
    joules = {name: tuple(values) for name, values in timeline["joules"].items()}
    return {
        "windows": tuple(_window(window) for window in data["windows"]),
        "total": _window(data["total"]),
        "domains": {name: Domain(**domain) for name, domain in data["domains"].items()},
        "overhead": Overhead(**data["overhead"]),
        "timeline": Timeline(tuple(timeline["seconds"]), joules),
        "refresh_seconds": data["refresh_seconds"],
        "started": data["started"],
        "host": data["host"],
        # Added with version 2; unknown of an older file.
        "complete": data.get("complete"),
        "uncertainty_level": data.get("uncertainty_level"),
    }


def _window(data: Mapping[str, Any]) -> Window:
    flags = {name: tuple(value) for name, value in data["domain_flags"].items()}
    return Window(**{**data, "flags": tuple(data["flags"]), "domain_flags": flags})

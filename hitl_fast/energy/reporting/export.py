"""Reports as CSV, Parquet, Chrome trace, OpenMetrics and a table to read."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator
from typing import Any

from hitl_fast._common.errors import MissingExtraError
from hitl_fast._common.files import atomic_path
from hitl_fast._common.notebook import html_table

from .results import RunResults, Window

COLUMNS = (
    "window", "start", "seconds", "domain", "kind", "status", "joules", "uncertainty_joules",
    "counted_microjoules", "peak_watts", "flags", "error", "thread",
)  # fmt: skip


def rows(report: RunResults) -> Iterator[dict[str, Any]]:
    """One row a window and domain, and one with the domain ``total`` where there is a total."""
    for window in (*report.windows, report.total):
        base = {
            "window": window.name, "start": window.start, "seconds": window.seconds,
            "error": window.error, "thread": window.thread,
        }  # fmt: skip
        for name, joules in (window.joules or {}).items():
            domain = report.domains[name]
            yield base | {
                "domain": name, "kind": domain.kind, "status": "measured", "joules": joules,
                "uncertainty_joules": window.uncertainties[name],
                "counted_microjoules": window.counted_microjoules.get(name),
                "peak_watts": window.peak_watts.get(name),
                "flags": " ".join(window.domain_flags.get(name, ())),
            }  # fmt: skip
        for name, joules in (window.estimated_joules or {}).items():
            yield base | {
                "domain": name, "kind": report.domains[name].kind, "status": "estimated", "joules": joules,
                "uncertainty_joules": None, "counted_microjoules": None, "peak_watts": None, "flags": "estimated",
            }  # fmt: skip
        yield base | {
            "domain": "total", "kind": "total",
            "status": "unavailable" if window.total_joules is None else "measured",
            "joules": window.total_joules, "uncertainty_joules": window.uncertainty_joules,
            "counted_microjoules": None, "peak_watts": None, "flags": " ".join(window.flags),
        }  # fmt: skip


def csv_text(report: RunResults) -> str:
    """What is absent is empty, not 0."""
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows(report))
    return file.getvalue()


def write_parquet(report: RunResults, path: str | os.PathLike[str]) -> None:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError("Parquet needs pyarrow: pip install 'hitl-fast[energy]'") from None
    text, real = pyarrow.string(), pyarrow.float64()
    types = dict.fromkeys(COLUMNS, text) | dict.fromkeys(
        ("start", "seconds", "joules", "uncertainty_joules", "peak_watts"), real
    )
    types["counted_microjoules"] = pyarrow.int64()
    schema = pyarrow.schema([(name, types[name]) for name in COLUMNS])
    table = pyarrow.Table.from_pylist(list(rows(report)), schema=schema)
    with atomic_path(path) as temporary:
        pyarrow.parquet.write_table(table, temporary)


def trace_text(report: RunResults) -> str:
    """Trace Event Format: a counter track a domain, a slice a window; microseconds since the start."""
    events: list[dict[str, Any]] = [
        {"ph": "M", "pid": 1, "name": "process_name", "args": {"name": f"energy on {report.host}"}}
    ]
    threads = list(dict.fromkeys(window.thread for window in report.windows))
    for number, thread in enumerate(threads, 1):
        events.append({"ph": "M", "pid": 1, "tid": number, "name": "thread_name", "args": {"name": thread}})
    for name in report.timeline.joules:
        for seconds, watts in report.timeline.watts(name, span(report, name)):
            event = {"ph": "C", "pid": 1, "name": f"{name} watts", "ts": seconds * 1e6, "args": {"W": watts}}
            events.append(event)
    events += [
        {
            "ph": "X", "pid": 1, "tid": threads.index(window.thread) + 1, "name": window.name,
            "ts": window.start * 1e6, "dur": window.seconds * 1e6,
            "args": {
                "joules": window.total_joules, "uncertainty_joules": window.uncertainty_joules,
                "flags": list(window.flags),
            },
        }
        for window in report.windows
    ]  # fmt: skip
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}) + "\n"


def span(report: RunResults, domain: str) -> float:
    """Intervals over which a domain's watts mean something: a counter refreshed rarely moves in jumps."""
    refresh = report.refresh_seconds.get(domain, 0.0)
    return 4 * refresh if refresh > 0.005 else 0.0


def openmetrics_text(report: RunResults) -> str:
    """Counters by window name and domain; windows of one name are added up, as a counter does.

    The whole run has families of its own (``hitl_energy_run_...``), so that a window called "total" is no duplicate.
    """
    families = [
        _Family("hitl_energy", "counter", "joules", "Energy used, by window and domain."),
        _Family(
            "hitl_energy_uncertainty",
            "gauge",
            "joules",
            "The true energy lies within this of the measured one.",
        ),
        _Family("hitl_energy_window", "counter", "seconds", "Time spent, by window."),
        _Family(
            "hitl_energy_run", "counter", "joules", "Energy used from the start of the meter, by domain."
        ),
        _Family("hitl_energy_run_uncertainty", "gauge", "joules", "The same for the energy of the run."),
        _Family("hitl_energy_run_time", "counter", "seconds", "Time since the start of the meter."),
    ]
    for window in report.by_name().values():
        _add_samples(families[:3], window, {"window": window.name})
    _add_samples(families[3:], report.total, {})
    return "\n".join([*(line for family in families for line in family.lines), "# EOF"]) + "\n"


class _Family:
    """One metric family: its header, and a line a sample."""

    def __init__(self, name: str, kind: str, unit: str, text: str) -> None:
        full = f"{name}_{unit}"
        self._sample = f"{full}_total" if kind == "counter" else full
        self.lines = [f"# TYPE {full} {kind}", f"# UNIT {full} {unit}", f"# HELP {full} {text}"]

    def add(self, value: float, labels: dict[str, str]) -> None:
        inside = ",".join(f'{name}="{_escaped(label)}"' for name, label in labels.items())
        self.lines.append(f"{self._sample}{{{inside}}} {value!r}" if inside else f"{self._sample} {value!r}")


def _add_samples(families: list[_Family], window: Window, labels: dict[str, str]) -> None:
    energy, doubt, seconds = families
    seconds.add(window.seconds, labels)
    for name, joules in (window.joules or {}).items():
        both = {**labels, "domain": name}
        energy.add(joules, both)
        doubt.add(window.uncertainties[name], both)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def table(report: RunResults) -> str:
    """Joules by window name and domain, or why there are none."""
    lines = []
    summed = report.by_name()
    counts = {name: sum(w.name == name for w in report.windows) for name in summed}
    titles = [name if counts[name] == 1 else f"{name} x{counts[name]}" for name in summed]
    width = max([len(title) for title in (*titles, "window", "total")])
    lines.append(f"{'window':<{width}} {'seconds':>10} {'joules':>12} {'+-':>10} {'watts':>9}  flags")
    total = report.total
    for title, window in zip((*titles, "total"), (*summed.values(), total), strict=True):
        lines.append(f"{title:<{width}} {_line(window)}")
    lines.append("")
    for name, domain in report.domains.items():
        joules = (total.joules or {}).get(name, (total.estimated_joules or {}).get(name))
        value = "" if joules is None else f"{joules:.6g} J, "
        apart = "" if domain.in_total or joules is None else "not in the total, "
        lines.append(f"{name}: {value}{apart}{str(domain).partition(': ')[2]}")
        if domain.fix:
            lines.append(f"  to make it readable: {domain.fix}")
    cost = report.overhead
    lines.append(f"measuring took {cost.cpu_seconds:.3g} s of CPU time for {cost.reads} readings")
    return "\n".join(lines)


def html(report: RunResults) -> str:
    """Seconds, joules and their uncertainty by window name, as a table for notebooks."""
    rows: list[tuple[object, ...]] = []
    for name, window in (*report.by_name().items(), ("total", report.total)):
        joules = "not measured" if window.total_joules is None else window.total_joules
        rows.append((name, window.seconds, joules, window.uncertainty_joules, " ".join(window.flags)))
    return html_table("Energy", rows, ("window", "seconds", "joules", "+-", "flags"))


def _line(window: Window) -> str:
    if window.total_joules is None:
        # What is measured may be in no total: psys or a wall meter alone.
        absent = "no total" if window.joules else "not measured"
        return f"{window.seconds:>10.3f} {absent:>12} {'':>10} {'':>9}  {' '.join(window.flags)}".rstrip()
    watts = "" if window.watts is None else f"{window.watts:.2f}"
    doubt = window.uncertainty_joules or 0.0
    flags = " ".join(window.flags)
    return f"{window.seconds:>10.3f} {window.total_joules:>12.3f} {doubt:>10.3g} {watts:>9}  {flags}".rstrip()

"""RAPL through perf_event, where powercap is masked as in many containers.

The kernel's ``power`` event source counts in units of ``events/energy-pkg.scale`` joules, on one processor of each
package (``cpumask``), and extends the counters to 64 bits, so that they do not wrap around. Opening needs
``kernel.perf_event_paranoid`` of 0 or less, or CAP_PERFMON.

Source: perf_event_open(2), Documentation/ABI/testing/sysfs-bus-event_source-devices-events of Linux.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from .domain import IN_TOTAL, Domain, Kind

EVENTS: dict[str, tuple[str, Kind]] = {
    "energy-pkg": ("package", "package"),
    "energy-ram": ("dram", "dram"),
    "energy-cores": ("core", "core"),
    "energy-gpu": ("uncore", "uncore"),
    "energy-psys": ("psys", "psys"),
}
_NUMBERS = {"x86_64": 298, "AMD64": 298, "aarch64": 241}  # of the system call
_CLOSE_ON_EXEC = 8
_SIZE = 64  # PERF_ATTR_SIZE_VER0: type, size, config and zeros

Open = Callable[[int, int, int], int]  # (type, config, processor) -> file descriptor


class PerfZone(NamedTuple):
    """An event on one processor that can be counted."""

    domain: Domain
    open: Callable[[], PerfCounter]


class PerfCounter:
    """An open event; reads microjoules."""

    def __init__(self, descriptor: int, scale: float) -> None:
        self._descriptor = descriptor
        self._scale = scale * 1e6
        function = ctypes.PyDLL(None).read  # keeps the GIL, see rapl.py
        buffer = ctypes.create_string_buffer(8)

        def read() -> int:
            if function(descriptor, buffer, 8) != 8:
                raise OSError(errno.EIO, "the event gave no count")
            return int(struct.unpack("Q", buffer.raw)[0] * self._scale)

        self.read = read

    def alive(self) -> bool:
        return self._descriptor >= 0

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def perf_event_open(kind: int, config: int, processor: int) -> int:
    """Open an event that counts everything on a processor."""
    import platform

    number = _NUMBERS.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, f"perf_event_open is not known on {platform.machine()}")
    attributes = struct.pack("IIQ", kind, _SIZE, config).ljust(_SIZE, b"\0")
    call = ctypes.CDLL(None, use_errno=True).syscall
    descriptor = int(
        call(ctypes.c_long(number), attributes, -1, processor, -1, ctypes.c_ulong(_CLOSE_ON_EXEC))
    )
    if descriptor < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return descriptor


def discover(system: str, opener: Open = perf_event_open) -> tuple[list[PerfZone], list[Domain]]:
    """Events below ``system`` (``/sys``) that can be counted, and those that cannot, each with its reason."""
    device = os.path.join(system, "bus", "event_source", "devices", "power")
    try:
        kind = int(_text(os.path.join(device, "type")))
        processors = list(_processors(_text(os.path.join(device, "cpumask"))))
    except (OSError, ValueError):
        return [], []
    zones: list[PerfZone] = []
    broken: list[Domain] = []
    for event, (label, part) in EVENTS.items():
        path = os.path.join(device, "events", event)
        try:
            config, scale = _config(_text(path)), float(_text(f"{path}.scale"))
        except (OSError, ValueError):
            continue  # this processor has no such event
        for processor in processors[:1] if part == "psys" else processors:
            name = label if part == "psys" else f"{label}-{_package(system, processor, processors)}"
            domain = Domain(name, part, "measured", "counter", "RAPL through perf_event", path)
            try:
                opener_ = _bound(opener, kind, config, processor, scale)
                opener_().close()
            except OSError as problem:
                broken.append(_unavailable(domain, problem))
            else:
                zones.append(PerfZone(domain, opener_))
    return zones, broken


def _bound(opener: Open, kind: int, config: int, processor: int, scale: float) -> Callable[[], PerfCounter]:
    return lambda: PerfCounter(opener(kind, config, processor), scale)


def _unavailable(domain: Domain, problem: OSError) -> Domain:
    reason, fix = f"perf_event: {problem.strerror}", ""
    if problem.errno in (errno.EACCES, errno.EPERM):
        reason = "perf_event: not permitted; needs CAP_PERFMON or kernel.perf_event_paranoid of 0"
        fix = "sudo sysctl kernel.perf_event_paranoid=0"
    missing = domain.kind in IN_TOTAL
    return Domain(domain.name, domain.kind, "unavailable", "", reason, domain.source, fix, missing)


def _config(text: str) -> int:
    """``event=0x02,umask=0x01``: the event's number in bits 0 to 7, the mask in the next eight."""
    fields = dict(field.split("=") for field in text.split(",") if "=" in field)
    return (
        int(fields["event"], 0) | int(fields.get("umask", "0"), 0) << 8 if "event" in fields else _no_event()
    )


def _no_event() -> int:
    raise ValueError("no event")


def _processors(text: str) -> Iterator[int]:
    """``0,28`` or ``0-1``."""
    for part in text.split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def _package(system: str, processor: int, processors: list[int]) -> str:
    """``0`` or, where several processors of the mask are of one package, ``0-die-1``."""
    place = os.path.join(system, "devices", "system", "cpu", "cpu{}", "topology", "{}")

    def number(which: int, what: str, otherwise: int) -> int:
        try:
            return int(_text(place.format(which, what)))
        except (OSError, ValueError):
            return otherwise

    package = number(processor, "physical_package_id", processors.index(processor))
    alike = [p for p in processors if number(p, "physical_package_id", processors.index(p)) == package]
    if len(alike) == 1:
        return str(package)
    return f"{package}-die-{number(processor, 'die_id', alike.index(processor))}"


def _text(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read().strip()

"""RAPL through the kernel's powercap files: packages and memory of Intel and AMD processors.

Every zone is a folder with ``name``, ``energy_uj`` and ``max_energy_range_uj``. The counter has 32 significant bits
and is refreshed about every millisecond. Since CVE-2020-8694 only root may read it unless somebody allows it.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

from ..units import MILLISECOND
from .domain import IN_TOTAL, Domain, Kind

ROOT = "/sys/class/powercap"
REFRESH = MILLISECOND
_DIE = re.compile(r"(package-\d+)-die-\d+")


class Zone(NamedTuple):
    """A zone that can be counted: its domain, the file, and the counter's modulus (None where unknown)."""

    domain: Domain
    path: str
    modulus: int | None


def _held_pread() -> Callable[[int, object, int, int], int]:
    # os.pread lets go of the GIL, and getting it back takes 5 ms a file beside a busy thread: the four files of one
    # reading were smeared over 23 ms (99 %). A pread that keeps the GIL takes 0.09 ms.
    function = ctypes.PyDLL(None).pread
    function.restype = ctypes.c_ssize_t
    return function  # type: ignore[no-any-return]


class CounterFile:
    """An open ``energy_uj``; opening once and reading at offset 0 takes a tenth of opening anew."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.read = _reader(self._descriptor)

    @property
    def descriptor(self) -> int:
        """The open file's number; it stays when the file is opened anew."""
        return self._descriptor

    def alive(self) -> bool:
        """Whether the open file is still the one at its path; one that was replaced is opened anew."""
        try:
            if os.fstat(self._descriptor).st_nlink:
                return True
            fresh = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        os.dup2(fresh, self._descriptor, inheritable=False)
        os.close(fresh)
        return True

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _reader(descriptor: int) -> Callable[[], int]:
    """Reads the number in an open file; a closure, because this runs four times at every edge of a window."""
    pread = _held_pread()
    buffer = ctypes.create_string_buffer(32)

    def read() -> int:
        count = pread(descriptor, buffer, 31, 0)
        if count > 0:
            return int(buffer.raw[:count])
        # For the system's own error, and once more for a file that was empty while someone rewrote it.
        return int(os.pread(descriptor, 31, 0))

    return read


def discover(root: str = ROOT) -> tuple[list[Zone], list[Domain]]:
    """Zones to count, and the domains that cannot or must not be counted, each with its reason."""
    folders = sorted(_zones(root), key=_order)
    if not folders:
        return [], [Domain("package-0", "package", "unavailable", reason=_why_none(root), source=root)]
    zones: dict[str, Zone] = {}
    others: dict[str, Domain] = {}
    for folder in folders:
        zone = _zone(folder)
        name = zone.domain.name
        if name in zones:
            mirror = f"{name}-mirror" if _interface(folder) == "intel-rapl-mmio" else f"{name}-again"
            reason = f"the same counter as {name} ({zones[name].path}) through another interface"
            others[mirror] = _out(zone.domain, reason, name=mirror)
        elif zone.domain.status == "measured":
            zones[name] = zone
            others.pop(name, None)
        else:
            others.setdefault(name, zone.domain)
    for name, twin in _mirrored_dies(zones):
        others[name] = _out(
            zones.pop(name).domain, f"this die shows the counter of the whole socket, as {twin} does"
        )
    locked = [domain.source for domain in others.values() if domain.fix]
    unlock = fix(locked)
    domains = [replace(domain, fix=unlock) if domain.fix else domain for domain in others.values()]
    return list(zones.values()), domains


def fix(paths: list[str]) -> str:
    """The command that lets everybody read the counters until the next boot."""
    return "sudo chmod a+r " + " ".join(paths)


def _zones(folder: str) -> Iterator[str]:
    """Folders with a counter below ``folder``, each once: /sys/class/powercap has nested zones as links, too."""
    seen = set()
    for path in _walk(folder):
        real = os.path.realpath(path)
        if real not in seen:
            seen.add(real)
            yield path


def _walk(folder: str, depth: int = 0) -> Iterator[str]:
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return
    for name in names:
        path = os.path.join(folder, name)
        if "rapl" not in name or depth > 3 or not os.path.isdir(path):
            continue
        if os.path.exists(os.path.join(path, "energy_uj")):
            yield path
        yield from _walk(path, depth + 1)


def _interface(folder: str) -> str:
    return os.path.basename(folder).partition(":")[0]


def _order(folder: str) -> tuple[bool, list[int | str]]:
    """MSR before its MMIO mirror, then by number."""
    base = os.path.basename(folder)
    return _interface(folder) == "intel-rapl-mmio", [
        int(p) if p.isdigit() else p for p in re.split(r"(\d+)", base)
    ]


def _zone(folder: str) -> Zone:
    path = os.path.join(folder, "energy_uj")
    name, kind = _name(folder)
    domain = Domain(name, kind, "measured", "counter", source=path)
    try:
        file = CounterFile(path)
        try:
            file.read()
        finally:
            file.close()
    except PermissionError:
        reason = "only root may read its counter (CVE-2020-8694)"
        return Zone(_unreadable(domain, reason, fix([path])), path, None)
    except (OSError, ValueError) as problem:
        return Zone(_unreadable(domain, f"reading its counter failed: {problem}"), path, None)
    try:
        modulus = int(_text(os.path.join(folder, "max_energy_range_uj"))) + 1
    except (OSError, ValueError):
        reason = "its range is unreadable: what it used while it wrapped around is left out and flagged"
        return Zone(Domain(name, kind, "measured", "counter", reason, path), path, None)
    return Zone(domain, path, modulus)


def _out(domain: Domain, reason: str, *, name: str | None = None) -> Domain:
    return Domain(name or domain.name, domain.kind, "unavailable", "", reason, domain.source)


def _unreadable(domain: Domain, reason: str, fix: str = "") -> Domain:
    missing = domain.kind in IN_TOTAL
    return Domain(domain.name, domain.kind, "unavailable", "", reason, domain.source, fix, missing)


def _name(folder: str) -> tuple[str, Kind]:
    """``package-0``, ``dram-0`` (of package-0), ``dram-0-die-1``, ``psys``: unique across sockets and dies."""
    try:
        own = _text(os.path.join(folder, "name"))
    except OSError:
        own = os.path.basename(folder)
    kinds: dict[str, Kind] = {"dram": "dram", "core": "core", "uncore": "uncore", "psys": "psys"}
    if own.startswith("package"):
        return own, "package"
    kind = kinds.get(own, "other")
    if kind == "psys":
        return own, kind
    return own + _socket(folder), kind


def _socket(folder: str) -> str:
    """``-0`` or ``-0-die-1``, from the package zone above: intel-rapl:0:2 belongs to intel-rapl:0."""
    base = os.path.basename(folder)
    above = base.rpartition(":")[0]
    real = os.path.realpath(folder)
    for parent in (os.path.dirname(real), os.path.join(os.path.dirname(folder), above)):
        try:
            package = _text(os.path.join(parent, "name"))
        except OSError:
            continue
        if package.startswith("package"):
            return package.removeprefix("package")
    return "-" + base.partition(":")[2].partition(":")[0]


def _mirrored_dies(zones: dict[str, Zone]) -> list[tuple[str, str]]:
    """Dies of one socket that show one and the same counter, as Zen 1 and Zen 2 do: (to drop, the one to keep).

    A die's counter lies between two readings of another's, taken before and after it, only if it is the same
    counter: two of 32 bits would meet by chance once in thousands of years. Two that are still at 0 are kept.
    """
    kept: dict[str, list[str]] = {}
    mirrored = []
    for name, zone in zones.items():
        die = _DIE.fullmatch(name)
        if not die:
            continue
        socket = die[1]
        twin = next((k for k in kept.get(socket, []) if _same(zones[k].path, zone.path)), None)
        if twin:
            mirrored.append((name, twin))
        else:
            kept.setdefault(socket, []).append(name)
    return mirrored


def _same(one: str, other: str) -> bool:
    try:
        first, between, last = int(_text(one)), int(_text(other)), int(_text(one))
    except (OSError, ValueError):
        return False
    return 0 < first <= between <= last


def _text(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read().strip()


def _why_none(root: str) -> str:
    if os.path.isdir(root):
        return f"no RAPL zone in {root}: {_surroundings()}"
    return f"{root} does not exist: {_surroundings()}"


def _surroundings() -> str:
    """The likeliest cause, from what this machine says of itself."""
    if os.path.exists("/.dockerenv") or os.path.exists("/run/.containerenv"):
        return (
            "a container sees it only with -v /sys/devices/virtual/powercap:/sys/devices/virtual/powercap:ro"
        )
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            virtual = any(line.startswith("flags") and " hypervisor" in line for line in file)
    except OSError:
        virtual = False
    if virtual:
        return "this is a virtual machine, and its host passes no counters on"
    return "the processor has none, or the kernel module is not loaded (sudo modprobe intel_rapl_msr)"

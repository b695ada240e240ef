"""Linux hwmon sensors of processors, modules and GPUs: ``energy*_input`` (microjoules), ``power*_input`` (microwatts).

Only drivers whose labels say what is measured are counted. Others (a fan controller's, a power supply's) are not looked
at: what they contain is unknown, and reading some of them takes milliseconds.

Sources: Documentation/hwmon/ (amd_energy, ina3221, acpi_power_meter) and Documentation/ABI/testing/
(sysfs-driver-intel-xe-hwmon, -i915-hwmon) of Linux; NVIDIA Grace Performance Tuning Guide, power telemetry.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ..units import MILLISECOND, MOST_MILLIWATTS
from .domain import Domain, Kind
from .rapl import CounterFile, fix

REFRESH = 100 * MILLISECOND


class HwmonSensor(NamedTuple):
    """A sensor that can be counted: ``lag`` is what its power is averaged over, None for a counter of energy."""

    domain: Domain
    open: Callable[[], CounterFile]
    lag: int | None
    limit: int


class PowerFile(CounterFile):
    """An open ``power*_input``; its microwatts as milliwatts, and never 0 for what is less than one."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        microwatts = self.read
        self.read = lambda: -(-microwatts() // 1000)


class RailFile(CounterFile):
    """The INA3221 of a Jetson, where it shows millivolts and milliamperes: their product in milliwatts."""

    def __init__(self, volts: str, amperes: str) -> None:
        super().__init__(volts)
        self._other = CounterFile(amperes)
        millivolts, milliamperes = self.read, self._other.read
        self.read = lambda: -(-millivolts() * milliamperes() // 1000)

    def close(self) -> None:
        super().close()
        self._other.close()


def discover(root: str) -> tuple[list[HwmonSensor], list[Domain]]:
    """Sensors of known drivers under ``root`` (``/sys/class/hwmon``), and those that cannot be read, and why."""
    found: list[HwmonSensor] = []
    broken: list[Domain] = []
    for folder in _folders(root):
        driver = _text(os.path.join(folder, "name"))
        if driver not in _DRIVERS:
            continue
        for sensor in _DRIVERS[driver](folder, driver, len(found) + len(broken)):
            problem = _problem(sensor)
            if problem is None:
                found.append(sensor)
            else:
                broken.append(problem)
    return found, broken


def _problem(sensor: HwmonSensor) -> Domain | None:
    domain = sensor.domain
    try:
        file = sensor.open()
        try:
            file.read()
        finally:
            file.close()
    except PermissionError:
        reason, command = "only root may read it", fix([domain.source])
    except (OSError, ValueError) as problem:
        reason, command = f"reading it failed: {problem}", ""
    else:
        return None
    missing = domain.kind in ("package", "gpu")
    return Domain(domain.name, domain.kind, "unavailable", "", reason, domain.source, command, missing)


def _amd_energy(folder: str, driver: str, number: int) -> Iterator[HwmonSensor]:
    """``Esocket0`` counts a socket, ``Ecore000`` a core of it."""
    for path, label in _inputs(folder, "energy"):
        socket = re.fullmatch(r"Esocket(\d+)", label)
        if socket:
            yield _counter(f"package-{int(socket[1])}", "package", path, driver)


def _intel(folder: str, driver: str, number: int) -> Iterator[HwmonSensor]:
    """xe and i915 show discrete GPUs alone; ``card`` contains ``pkg``, and i915 has one counter without a label."""
    name = f"GPU-{_device(folder) or driver + str(number)}"
    inputs = list(_inputs(folder, "energy"))
    whole = next((path for path, label in inputs if label == "card"), inputs[0][0] if inputs else None)
    for path, label in inputs:
        if path == whole:
            yield _counter(name, "gpu", path, f"{driver} {label}".strip())
        else:
            yield _counter(f"{name}-{label or os.path.basename(path)}", "other", path, f"{driver} {label}")


def _amdgpu(folder: str, driver: str, number: int) -> Iterator[HwmonSensor]:
    """A discrete GPU's power; that of an APU contains the processor, and RAPL has it."""
    name = f"GPU-{_device(folder) or driver + str(number)}"
    # Only discrete GPUs show how busy their memory is.
    discrete = os.path.exists(os.path.join(folder, "device", "mem_busy_percent"))
    for path, _ in _powers(folder):
        reason = "" if discrete else "the processor is in it, as it is in RAPL"
        yield _power(folder, name, "gpu" if discrete else "other", path, driver, reason)
        return


def _ina3221(folder: str, driver: str, number: int) -> Iterator[HwmonSensor]:
    """Rails of a Jetson: ``VDD_IN`` is the whole module."""
    powers = list(_powers(folder))
    for path, label in powers:
        yield _power(folder, *_rail(label, path), path, driver, "")
    for path, label in [] if powers else _inputs(folder, "in"):
        amperes = path.replace(f"{os.sep}in", f"{os.sep}curr")
        if not os.path.exists(amperes):
            continue
        name, kind = _rail(label, path)
        domain = Domain(name, kind, "measured", "power", "voltage x current, integrated", path)
        yield HwmonSensor(domain, lambda v=path, a=amperes: RailFile(v, a), REFRESH, MOST_MILLIWATTS)  # type: ignore[misc]


def _rail(label: str, path: str) -> tuple[str, Kind]:
    if label == "VDD_IN":
        return "package-0", "package"
    return f"rail-{label or os.path.basename(path)}", "other"


def _grace(folder: str, driver: str, number: int) -> Iterator[HwmonSensor]:
    """``Grace Power Socket 0`` is a processor with its memory, ``Module`` the GPU as well; others are parts of it."""
    for path, _ in _powers(folder):
        label = _text(re.sub(r"_(input|average)$", "_oem_info", path))
        whole = re.fullmatch(r"Grace Power Socket (\d+)", label)
        if whole:
            yield _power(folder, f"package-{int(whole[1])}", "package", path, label, "")
        elif label.startswith(("Module Power", "CPU Power", "SysIO Power")):
            yield _power(folder, label.lower().replace(" ", "-"), "other", path, label, "")


_DRIVERS = {
    "amd_energy": _amd_energy,
    "xe": _intel,
    "i915": _intel,
    "amdgpu": _amdgpu,
    "ina3221": _ina3221,
    "power_meter": _grace,
}


def _counter(name: str, kind: Kind, path: str, source: str) -> HwmonSensor:
    domain = Domain(name, kind, "measured", "counter", f"hwmon: {source}", path)
    return HwmonSensor(domain, lambda: CounterFile(path), None, MOST_MILLIWATTS)


def _power(folder: str, name: str, kind: Kind, path: str, source: str, reason: str) -> HwmonSensor:
    why = "; ".join(filter(None, (f"hwmon: {source}, its power is integrated", reason)))
    stem = re.sub(r"_(input|average)$", "", path)
    interval = _number(f"{stem}_average_interval") * MILLISECOND if path.endswith("average") else 0
    cap = _number(f"{stem}_cap")  # microwatts
    limit = min(cap * 3 // 2000, MOST_MILLIWATTS * 2) or MOST_MILLIWATTS
    domain = Domain(name, kind, "measured", "power", why, path)
    return HwmonSensor(domain, lambda: PowerFile(path), max(interval, REFRESH), limit)


def _powers(folder: str) -> Iterator[tuple[str, str]]:
    """Each power once: now, or averaged where that is all there is."""
    now = dict(_inputs(folder, "power"))
    yield from now.items()
    for path, label in _inputs(folder, "power", "average"):
        if path.replace("_average", "_input") not in now:
            yield path, label


def _inputs(folder: str, quantity: str, what: str = "input") -> Iterator[tuple[str, str]]:
    """(path, label) of ``energy1_input`` and its like, by number."""
    numbered = []
    for name in os.listdir(folder):
        match = re.fullmatch(rf"{quantity}(\d+)_{what}", name)
        if match:
            numbered.append((int(match[1]), os.path.join(folder, name)))
    for number, path in sorted(numbered):
        yield path, _text(os.path.join(folder, f"{quantity}{number}_label"))


def _device(folder: str) -> str:
    """The address of a sensor's device on the PCI bus; empty where there is none."""
    link = os.path.join(folder, "device")
    return os.path.basename(os.path.realpath(link)) if os.path.islink(link) else ""


def _folders(root: str) -> list[str]:
    try:
        names = os.listdir(root)
    except OSError:
        return []
    numbers = sorted(int(name[5:]) for name in names if re.fullmatch(r"hwmon\d+", name))
    return [os.path.join(root, f"hwmon{number}") for number in numbers]


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return ""


def _number(path: str) -> int:
    try:
        return int(_text(path))
    except ValueError:
        return 0

"""Which sensors a meter reads: everything on this machine that can be counted, each once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from hitl_fast._common.errors import InputError, InputTypeError

from ..sensors import amdsmi, hwmon, nvml, perf_rapl, rapl
from ..sensors.amdsmi import AmdSmi
from ..sensors.domain import Domain
from ..sensors.nvml import Nvml
from ..units import MILLISECOND, MOST_MILLIWATTS
from .channel import Channel, CounterChannel
from .device_locks import DeviceLocks, run_directory, warn_unshared
from .power_channel import PowerChannel


class Candidate(NamedTuple):
    """A sensor that answers: its domain, and what opens a channel on it for samples that far apart (nanoseconds)."""

    domain: Domain
    open: Callable[[int], Channel]


class Candidates:
    """What this machine has: sensors that answer, and domains that cannot be measured, each with its reason.

    RAPL is read through powercap, else through perf_event, else as hwmon shows it: one and the same counters. Those two
    and hwmon's other sensors are looked for where sysfs is, if ``rapl_root`` is its ``class/powercap``.
    """

    def __init__(self, gpus: str | Iterable[str | int], rapl_root: str) -> None:
        self._closers: list[Callable[[], None]] = []
        zones, self.domains = rapl.discover(rapl_root)
        self.sensors = [Candidate(zone.domain, partial(_rapl_channel, zone)) for zone in zones]
        try:
            if gpus != "none":
                self._find_gpus(gpus)
            system = os.path.normpath(os.path.join(rapl_root, "..", ".."))
            if os.path.normpath(rapl_root).endswith(os.path.join("class", "powercap")):
                self._find_through_perf(system)
                self._find_hwmon(os.path.join(system, "class", "hwmon"), gpus)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give libraries back."""
        while self._closers:
            self._closers.pop()()

    def _has(self, kind: str) -> bool:
        return any(sensor.domain.kind == kind for sensor in self.sensors)

    def _find_through_perf(self, system: str) -> None:
        if self._has("package"):
            return
        zones, broken = perf_rapl.discover(system)
        measured = {zone.domain.name for zone in zones}
        if zones or (broken and not any(domain.source.endswith("energy_uj") for domain in self.domains)):
            # What powercap lacks is read here; or this says more than that there is no powercap.
            self.domains = [domain for domain in self.domains if domain.name not in measured and domain.fix]
            self.domains += [domain for domain in broken if domain.name not in measured]
        self.sensors += [Candidate(zone.domain, partial(_perf_channel, zone)) for zone in zones]

    def _find_hwmon(self, root: str, gpus: str | Iterable[str | int]) -> None:
        sensors, broken = hwmon.discover(root)
        # An older driver of the same GPUs shows them under other names.
        without = {kind for kind in ("package", "gpu") if self._has(kind)}
        if gpus not in ("visible", "all"):
            without.add("gpu")
        kept = [sensor for sensor in sensors if sensor.domain.kind not in without]
        if any(sensor.domain.kind == "package" for sensor in kept):
            self.domains = [domain for domain in self.domains if domain.kind != "package"]
        if any(sensor.domain.kind == "gpu" for sensor in kept):
            self.domains = [domain for domain in self.domains if domain.name != "gpu"]
        self.sensors += [Candidate(sensor.domain, partial(_hwmon_channel, sensor)) for sensor in kept]
        self.domains += [domain for domain in broken if domain.kind not in without]

    def _find_gpus(self, gpus: str | Iterable[str | int]) -> None:
        absent = []
        for library, refresh in ((Nvml, nvml.REFRESH), (AmdSmi, amdsmi.REFRESH)):
            try:
                opened = library()
            except amdsmi.NoDriverError:
                absent.append("")
                continue
            except LookupError as problem:
                absent.append(str(problem))
                continue
            self._closers.append(opened.close)
            found, broken = opened.discover(gpus)
            self.domains += broken
            self.sensors += [Candidate(gpu.domain, partial(_gpu_channel, gpu, refresh)) for gpu in found]
            if gpus not in ("visible", "all"):
                return  # indices are of the first vendor
        if len(absent) == 2:
            self.domains.append(Domain("gpu", "gpu", "unavailable", reason="; ".join(filter(None, absent))))


def find_sensors(
    gpus: str | Iterable[str | int] = "visible", rapl_root: str | os.PathLike[str] = rapl.ROOT
) -> list[Domain]:
    """Every part of this machine that could be measured, with its status, without measuring anything."""
    candidates = Candidates(gpus if isinstance(gpus, str) else list(gpus), os.fspath(rapl_root))
    candidates.close()
    return [*(sensor.domain for sensor in candidates.sensors), *candidates.domains]


class SensorSet:
    """Channels of one run, opened; `release` gives back what they need beside their own files.

    Args:
        candidates: what there is.
        run_dir: where the ranks of one run meet; None for the usual place.
        interval: nanoseconds between two samples.
    """

    def __init__(self, candidates: Candidates, run_dir: str | None, interval: int) -> None:
        self.channels: list[Channel] = []
        self.domains = list(candidates.domains)
        self._candidates = candidates
        try:
            self._locks = DeviceLocks(run_dir) if run_dir is not None else _own_locks()
        except BaseException:
            candidates.close()
            raise
        try:
            for sensor in candidates.sensors:
                self._add(sensor, interval)
        except BaseException:
            for channel in self.channels:
                channel.close()
            self.release()
            raise

    def release(self) -> None:
        self._locks.release()
        self._candidates.close()

    def _add(self, sensor: Candidate, interval: int) -> None:
        """Count the domain if no other rank does and its sensor still answers."""
        domain = sensor.domain
        holder = self._locks.acquire(domain.name)
        if holder:
            self._leave_out(domain, f"counted by {holder} of this run")
            return
        try:
            self.channels.append(sensor.open(interval))
        except Exception as problem:  # between looking and opening, a sensor may go
            self._leave_out(domain, f"went away at the start: {problem}")

    def _leave_out(self, domain: Domain, reason: str) -> None:
        self.domains.append(Domain(domain.name, domain.kind, "unavailable", "", reason, domain.source))


def checked_gpus(gpus: object) -> str | list[str | int]:
    """Refuse what names a GPU on no machine, also on one without GPUs, where nobody would notice."""
    if not isinstance(gpus, (str, Iterable)):
        raise InputTypeError(
            f'gpus must be "visible", "all", "none" or a list of indices and UUIDs, not {gpus!r}; one is [{gpus!r}]'
        )
    entries = gpus if isinstance(gpus, str) else list(gpus)
    for entry in entries.split(",") if isinstance(entries, str) else entries:
        named = str(entry).strip()
        if entry in ("visible", "all", "none") and entry == gpus:
            continue
        if isinstance(entry, bool) or not (named.isdecimal() or named.startswith(("GPU-", "MIG-"))):
            raise InputError(
                'gpus must be "visible", "all", "none" or a list of indices and UUIDs (GPU-... or MIG-...); '
                f"{entry!r} is none of them"
            )
    return entries


def _own_locks() -> DeviceLocks:
    try:
        return DeviceLocks(run_directory())
    except OSError as problem:
        warn_unshared(problem)
        return DeviceLocks(None)


def _rapl_channel(zone: rapl.Zone, interval: int) -> Channel:
    sensor = rapl.CounterFile(zone.path)
    return CounterChannel(zone.domain, sensor, rapl.REFRESH, modulus=zone.modulus, zero_is_fault=True)


def _perf_channel(zone: perf_rapl.PerfZone, interval: int) -> Channel:
    return CounterChannel(zone.domain, zone.open(), rapl.REFRESH, modulus=None)


def _hwmon_channel(sensor: hwmon.HwmonSensor, interval: int) -> Channel:
    if sensor.lag is None:
        return CounterChannel(sensor.domain, sensor.open(), hwmon.REFRESH, modulus=None, limit=sensor.limit)
    hole = 3 * interval + 50 * MILLISECOND
    return PowerChannel(
        sensor.domain, sensor.open(), hwmon.REFRESH, lag=sensor.lag, hole=hole, limit=sensor.limit
    )


def _gpu_channel(gpu: nvml.Gpu | amdsmi.AmdGpu, refresh: int, interval: int) -> Channel:
    limit = gpu.limit or MOST_MILLIWATTS
    if gpu.lag is None:
        unit = gpu.unit  # microjoules in a count
        return CounterChannel(gpu.domain, gpu.sensor, refresh, modulus=None, unit=unit, limit=limit)
    hole = 3 * interval + 50 * MILLISECOND
    return PowerChannel(gpu.domain, gpu.sensor, refresh, lag=gpu.lag, hole=hole, limit=limit)

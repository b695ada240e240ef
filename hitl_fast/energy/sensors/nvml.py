"""NVIDIA GPUs through NVML: the device's own energy counter, or its power where it has none.

nvidia-ml-py imports as ``pynvml``. Each call is tried on each device, because what a call answers differs between
boards, drivers and MIG. A device is known by its UUID, whatever its index.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from ..units import MILLISECOND, SECOND
from .domain import Domain
from .visible_devices import device, visible, wanted

REFRESH = 100 * MILLISECOND  # the counter's, at the slowest boards
LIBRARY = "libnvidia-ml.so.1"
MODULE = "a superchip: its sensor may cover the whole module, CPU and memory included"


class Gpu(NamedTuple):
    """A GPU that can be counted.

    ``lag`` is what its power is averaged over, None for one with a counter; ``limit`` milliwatts that it cannot exceed.
    """

    domain: Domain
    sensor: NvmlSensor
    lag: int | None
    limit: int | None
    unit: int = 1000  # microjoules in the counter's millijoule


class NvmlSensor:
    """One NVML call on one device, bound."""

    def __init__(self, read: Callable[[], int]) -> None:
        self.read = read

    def alive(self) -> bool:
        return True

    def close(self) -> None:
        pass


class Nvml:
    """NVML, initialised; `close` gives it back. Loading it where there is no driver costs one failed dlopen."""

    def __init__(self) -> None:
        try:
            ctypes.CDLL(LIBRARY)
        except OSError:
            raise LookupError(f"no NVIDIA driver: {LIBRARY} cannot be loaded") from None
        import pynvml

        self._library = pynvml
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as problem:
            raise LookupError(f"NVML does not start: {problem}") from None
        self._open = True

    def close(self) -> None:
        if self._open:
            self._open = False
            try:
                self._library.nvmlShutdown()
            except Exception:  # a driver that is gone needs no goodbye
                return

    def discover(
        self, gpus: str | Iterable[str | int], environment: Mapping[str, str] = os.environ
    ) -> tuple[list[Gpu], list[Domain]]:
        """GPUs to count, and those that cannot be counted, each with its reason."""
        devices, broken = self._devices()
        alike = len({self._name(handle) for handle in devices.values()}) <= 1
        uuids, slices = list(devices), self._slices(devices)
        chosen, note = wanted(
            gpus,
            uuids,
            lambda: visible(uuids, environment, slices, alike=alike),
            lambda entry: device(entry, uuids, slices),
        )
        found: list[Gpu] = []
        for uuid in chosen:
            gpu = self._probe(uuid, devices[uuid], note)
            if isinstance(gpu, Domain):
                broken.append(gpu)
            else:
                found.append(gpu)
        if not chosen and note:
            broken.append(Domain("gpu", "gpu", "unavailable", reason=note, source=LIBRARY))
        elif not devices and not broken:
            broken.append(
                Domain("gpu", "gpu", "unavailable", reason="the driver lists no GPU", source=LIBRARY)
            )
        return found, broken

    def _devices(self) -> tuple[dict[str, Any], list[Domain]]:
        """UUID -> handle in PCI order, and a domain for each device that does not even tell its UUID."""
        devices, broken = {}, []
        for index in range(self._library.nvmlDeviceGetCount()):
            try:
                handle = self._library.nvmlDeviceGetHandleByIndex(index)
                devices[_text(self._library.nvmlDeviceGetUUID(handle))] = handle
            except self._library.NVMLError as problem:
                reason = f"NVML cannot open it: {problem}"
                broken.append(
                    Domain(f"gpu-{index}", "gpu", "unavailable", reason=reason, source=LIBRARY, missing=True)
                )
        return devices, broken

    def _slices(self, devices: Mapping[str, Any]) -> dict[str, str]:
        """UUID of each MIG device -> UUID of its GPU."""
        slices = {}
        for uuid, handle in devices.items():
            if not self._mig(handle):
                continue
            for index in range(self._ask(self._library.nvmlDeviceGetMaxMigDeviceCount, handle, 0)):
                try:
                    slice_ = self._library.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
                    slices[_text(self._library.nvmlDeviceGetUUID(slice_))] = uuid
                except self._library.NVMLError:
                    continue  # indices of slices have holes
        return slices

    def _mig(self, handle: Any) -> bool:
        current, _ = self._ask(self._library.nvmlDeviceGetMigMode, handle, (0, 0))
        return bool(current)

    def _name(self, handle: Any) -> str:
        return _text(self._ask(self._library.nvmlDeviceGetName, handle, "NVIDIA GPU"))

    def _ask(self, call: Callable[[Any], Any], handle: Any, otherwise: Any) -> Any:
        try:
            return call(handle)
        except self._library.NVMLError:
            return otherwise

    def _probe(self, uuid: str, handle: Any, note: str) -> Gpu | Domain:
        """The best of the device's answers: joules, else watts now, else watts averaged."""
        source = self._name(handle)
        mig = "MIG: counted is the whole GPU, with whoever else uses it" if self._mig(handle) else ""
        problems = []
        for method, call, lag in (
            ("counter", self._energy, None),
            ("power", self.instant_power, REFRESH),
            ("power", self._average_power, SECOND),
        ):
            sensor = NvmlSensor(call(handle))
            try:
                sensor.read()
            except Exception as problem:  # NVMLError, or a function that this driver does not have
                problems.append(str(problem))
                continue
            averaged = "averaged over up to 1 s by the device" if lag == SECOND else ""
            integrated = "has no energy counter: its power is integrated" if lag else ""
            module = (
                MODULE
                if source.upper().startswith(("GH200", "NVIDIA GH200", "GB200", "NVIDIA GB200"))
                else ""
            )
            reason = "; ".join(filter(None, (integrated, averaged, module, mig, note)))
            domain = Domain(uuid, "gpu", "measured", method, reason, source)
            return Gpu(domain, sensor, lag, self._limit(handle))
        reason = f"neither energy nor power can be read: {'; '.join(dict.fromkeys(problems))}"
        return Domain(uuid, "gpu", "unavailable", "", reason, source, missing=True)

    def _limit(self, handle: Any) -> int | None:
        """Milliwatts that the device is not allowed to exceed for long, plus half of that; None where it tells none."""
        limit = self._ask(self._library.nvmlDeviceGetEnforcedPowerLimit, handle, 0)
        return limit * 3 // 2 or None

    def _energy(self, handle: Any) -> Callable[[], int]:
        """Millijoules since the driver was loaded. Bound to its buffer once: 0.6 us a call, pynvml's function 1.7."""
        function = self._library.nvmlLib.nvmlDeviceGetTotalEnergyConsumption
        value = ctypes.c_ulonglong()
        pointer = ctypes.byref(value)

        def read() -> int:
            status = function(handle, pointer)
            if status:
                raise self._library.NVMLError(status)
            return value.value

        return read

    def instant_power(self, handle: Any) -> Callable[[], int]:
        """Milliwatts now: from Ampere on nvmlDeviceGetPowerUsage is an average over a second."""
        field = self._library.NVML_FI_DEV_POWER_INSTANT

        def read() -> int:
            value = self._library.nvmlDeviceGetFieldValues(handle, [field])[0]
            if value.nvmlReturn != self._library.NVML_SUCCESS:
                raise self._library.NVMLError(value.nvmlReturn)
            return int(value.value.uiVal)

        return read

    def _average_power(self, handle: Any) -> Callable[[], int]:
        return lambda: int(self._library.nvmlDeviceGetPowerUsage(handle))


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value

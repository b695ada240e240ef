"""AMD GPUs through AMD SMI (the package ``amdsmi`` that ROCm brings): the energy accumulator, or power.

Source: AMD SMI Python API reference, ``amdsmi_get_energy_count`` (accumulator x counter_resolution is microjoules) and
``amdsmi_get_power_info`` (watts).
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from ..units import MILLISECOND
from .domain import Domain
from .nvml import NvmlSensor
from .visible_devices import device, visible_to_rocm, wanted

REFRESH = 100 * MILLISECOND
UNSUPPORTED = (0xFFFF, 0xFFFFFFFF)  # what a field that the device lacks is set to


class NoDriverError(LookupError):
    """This machine has no AMD GPU, as most."""


class AmdGpu(NamedTuple):
    """A GPU that can be counted; ``lag`` is what its power is averaged over, None for one with an accumulator."""

    domain: Domain
    sensor: NvmlSensor
    lag: int | None
    limit: int | None
    unit: int = 1  # microjoules in what `sensor` reads


class AmdSmi:
    """AMD SMI, initialised; `close` gives it back.

    Raises:
        LookupError: there is no AMD driver, or its Python package is not installed.
    """

    def __init__(self, driver: str = "/sys/module/amdgpu") -> None:
        if not os.path.isdir(driver):
            raise NoDriverError("no AMD driver: the kernel module amdgpu is not loaded")
        try:
            self._library = importlib.import_module("amdsmi")
        except (ImportError, OSError, KeyError) as problem:
            raise LookupError(
                f"an AMD GPU needs the Python package amdsmi, which ROCm brings: {problem}"
            ) from None
        try:
            self._call("init")
        except OSError as problem:
            raise LookupError(f"AMD SMI does not start: {problem}") from None
        self._open = True

    def close(self) -> None:
        if self._open:
            self._open = False
            with suppress(OSError):  # the driver is gone
                self._call("shut_down")

    def _call(self, name: str, *arguments: Any) -> Any:
        """A function of the library; OSError where it refuses, or where its version has no such function."""
        try:
            function = getattr(self._library, f"amdsmi_{name}")
        except AttributeError:
            raise OSError(f"this version of amdsmi has no amdsmi_{name}") from None
        try:
            return function(*arguments)
        except self._library.AmdSmiException as problem:
            raise OSError(str(problem) or type(problem).__name__) from None

    def discover(
        self, gpus: str | Iterable[str | int], environment: Mapping[str, str] = os.environ
    ) -> tuple[list[AmdGpu], list[Domain]]:
        """GPUs to count, and those that cannot be counted, each with its reason."""
        try:
            handles = list(self._call("get_processor_handles"))
        except OSError as problem:
            return [], [
                Domain(
                    "gpu-amd", "gpu", "unavailable", reason=f"AMD SMI lists no GPU: {problem}", missing=True
                )
            ]
        named = {self._name(handle, i): handle for i, handle in enumerate(handles)}
        found: list[AmdGpu] = []
        broken: list[Domain] = []
        names = list(named)
        chosen, _ = wanted(
            gpus,
            names,
            lambda: (visible_to_rocm(names, environment), ""),
            lambda entry: device(entry, names, {}),
        )
        for name in chosen:
            gpu = self._probe(name, named[name])
            (broken if isinstance(gpu, Domain) else found).append(gpu)  # type: ignore[arg-type]
        return found, broken

    def _asic(self, handle: Any) -> Mapping[str, Any]:
        with suppress(OSError):
            return dict(self._call("get_gpu_asic_info", handle))
        return {}

    def _name(self, handle: Any, number: int) -> str:
        """``GPU-`` and the serial, as ROCR_VISIBLE_DEVICES takes it; else the UUID or the number."""
        try:
            serial = int(str(self._asic(handle).get("asic_serial", "")), 16)
        except ValueError:
            serial = 0
        if serial:
            return f"GPU-{serial:016x}"
        with suppress(OSError):
            return f"GPU-{self._call('get_gpu_device_uuid', handle)}"
        return f"GPU-amd-{number}"

    def _probe(self, name: str, handle: Any) -> AmdGpu | Domain:
        source = str(self._asic(handle).get("market_name") or "AMD GPU")
        problems = []
        for method, call, lag in (("counter", self._energy, None), ("power", self._power, REFRESH)):
            read = call(handle)
            try:
                value = read()
            except (
                OSError,
                KeyError,
                TypeError,
                ValueError,
            ) as problem:  # refused, or an answer of another form
                problems.append(str(problem) or type(problem).__name__)
                continue
            if not value:  # some boards answer with an accumulator that is always 0
                problems.append(f"{method} reads 0")
                continue
            integrated = "has no energy counter: its power is integrated" if lag else ""
            domain = Domain(name, "gpu", "measured", method, integrated, source)
            return AmdGpu(domain, NvmlSensor(read), lag, self._limit(handle))
        reason = f"neither energy nor power can be read: {'; '.join(dict.fromkeys(problems))}"
        return Domain(name, "gpu", "unavailable", "", reason, source, missing=True)

    def _energy(self, handle: Any) -> Callable[[], int]:
        def read() -> int:
            answer = self._call("get_energy_count", handle)
            count = answer["energy_accumulator"] if "energy_accumulator" in answer else answer["power"]
            return int(count * answer["counter_resolution"])

        return read

    def _power(self, handle: Any) -> Callable[[], int]:
        def read() -> int:
            answer = self._call("get_power_info", handle)
            for field in ("current_socket_power", "average_socket_power", "socket_power"):
                value = answer.get(field)
                if isinstance(value, (int, float)) and value not in UNSUPPORTED and value > 0:
                    return int(value * 1000)
            raise OSError("no power is reported")

        return read

    def _limit(self, handle: Any) -> int | None:
        """Half as much again as the device is allowed, in milliwatts; in microwatts in some versions."""
        limit = None
        with suppress(OSError):
            limit = self._call("get_power_info", handle).get("power_limit")
        if not isinstance(limit, (int, float)) or limit in UNSUPPORTED or limit <= 0:
            return None
        watts = limit / 1e6 if limit > 100_000 else limit
        return int(watts * 1500)

"""AMD GPUs through a library of ours that answers as amdsmi does."""

import itertools
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from hitl_fast.energy import EnergyMeter, find_sensors
from hitl_fast.energy.sensors.amdsmi import AmdSmi
from hitl_fast.energy.sensors.visible_devices import ROCM_LISTS

A, B = "GPU-00000000000000aa", "GPU-00000000000000bb"


class AmdSmiException(Exception):  # noqa: N818
    """As the library's base class is called."""


class Library:
    """Two GPUs; each answers what its dictionary has."""

    def __init__(self) -> None:
        self.started = 0
        self.gpus: list[dict[str, Any]] = [
            {"asic": {"asic_serial": hex(serial), "market_name": "MI300X"}, "energy": 10**9, "power": {}}
            for serial in (0xAA, 0xBB)
        ]

    def amdsmi_init(self) -> None:
        self.started += 1

    def amdsmi_shut_down(self) -> None:
        self.started -= 1

    def amdsmi_get_processor_handles(self) -> list[dict[str, Any]]:
        return self.gpus

    def amdsmi_get_gpu_asic_info(self, gpu: dict[str, Any]) -> dict[str, Any]:
        if gpu["asic"] is None:
            raise AmdSmiException("NOT_SUPPORTED")
        return dict(gpu["asic"])

    def amdsmi_get_gpu_device_uuid(self, gpu: dict[str, Any]) -> str:
        if "uuid" not in gpu:
            raise AmdSmiException("NO_DATA")
        return str(gpu["uuid"])

    def amdsmi_get_energy_count(self, gpu: dict[str, Any]) -> dict[str, Any]:
        if gpu["energy"] is None:
            raise AmdSmiException("AMDSMI_STATUS_NOT_SUPPORTED")
        return {
            gpu.get("field", "energy_accumulator"): gpu["energy"],
            "counter_resolution": 15.3,
            "timestamp": 1,
        }

    def amdsmi_get_power_info(self, gpu: dict[str, Any]) -> dict[str, Any]:
        return dict(gpu["power"])


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    fake = Library()
    for variable in itertools.chain(*ROCM_LISTS):
        monkeypatch.delenv(variable, raising=False)
    names = [name for name in dir(fake) if name.startswith("amdsmi_")]
    functions = {name: getattr(fake, name) for name in names}
    monkeypatch.setitem(sys.modules, "amdsmi", SimpleNamespace(AmdSmiException=AmdSmiException, **functions))
    monkeypatch.setattr(AmdSmi.__init__, "__defaults__", ("/",))
    yield fake
    assert fake.started == 0


def measured(gpus: Any = "visible") -> list[str]:
    return [d.name for d in find_sensors(gpus, "/nonexistent") if d.status == "measured"]


@pytest.mark.parametrize("field", ["energy_accumulator", "power"])
def test_two_gpus(field: str, library: Library) -> None:
    """The accumulator is called ``power`` by older versions."""
    for gpu in library.gpus:
        gpu["field"] = field
    with EnergyMeter(rapl_root="/nonexistent") as meter, meter.window("w"):
        library.gpus[0]["energy"] += 100_000
        library.gpus[1]["energy"] += 200_000
    (window,) = meter.windows
    assert window.counted_microjoules == {
        A: pytest.approx(1_530_000, abs=1),
        B: pytest.approx(3_060_000, abs=1),
    }
    assert meter.domains[A].source == "MI300X"
    assert meter.domains[A].in_total


@pytest.mark.parametrize("field", ["current_socket_power", "average_socket_power", "socket_power"])
def test_power_where_there_is_no_accumulator(field: str, library: Library) -> None:
    for energy, gpu in zip((None, 0), library.gpus, strict=True):
        gpu["energy"] = energy
        gpu["power"] = {"current_socket_power": "N/A", "average_socket_power": 0xFFFFFFFF, field: 250}
    found = [d for d in find_sensors(rapl_root="/nonexistent") if d.kind == "gpu"]
    assert [(d.name, d.method) for d in found] == [(A, "power"), (B, "power")]
    with EnergyMeter([0], rapl_root="/nonexistent") as meter, meter.window("w"):
        session = meter._session
        assert session is not None
        while session.clock() - session.started < 50_000_000:
            pass
    (window,) = meter.windows
    assert window.total_joules is not None
    between = (
        250 * 1e-4
    )  # a window's clock and the reading of its edge lie up to 0.1 ms apart on a busy machine
    assert abs(window.total_joules - 250 * window.seconds) <= (window.uncertainty_joules or 0) + between


@pytest.mark.parametrize(
    ("limit", "milliwatts"), [(750, 1_125_000), (750_000_000, 1_125_000), ("N/A", 1_000_000)]
)
def test_power_limit_bounds_what_counts(limit: object, milliwatts: int, library: Library) -> None:
    """Watts, microwatts in some versions, or nothing."""
    library.gpus[0]["power"] = {"power_limit": limit}
    with EnergyMeter([0], rapl_root="/nonexistent") as meter:
        session = meter._session
        assert session is not None
        assert session.recorder.channels[0].limit == milliwatts


def test_gpu_that_tells_nothing_makes_the_total_partial(library: Library) -> None:
    library.gpus[1]["energy"] = None
    with EnergyMeter(rapl_root="/nonexistent") as meter, meter.window("w"):
        library.gpus[0]["energy"] += 100_000
    assert "AMDSMI_STATUS_NOT_SUPPORTED" in meter.domains[B].reason
    assert "partial" in meter.windows[0].flags


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("HIP_VISIBLE_DEVICES", "1", [B]),
        ("ROCR_VISIBLE_DEVICES", "GPU-00000000000000bb,0", [B, A]),
        ("CUDA_VISIBLE_DEVICES", "0,7,1", [A]),
        ("HIP_VISIBLE_DEVICES", "", []),
    ],
)
def test_visible_devices(
    variable: str, value: str, expected: list[str], library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    assert measured() == expected


def test_hip_counts_what_rocr_leaves(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROCR_VISIBLE_DEVICES", "1")
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")  # HIP's own list counts instead
    assert measured() == [B]


def test_gpus_argument(library: Library) -> None:
    assert measured("all") == [A, B]
    assert measured([1]) == [B]
    assert measured("GPU-00000000000000a") == [A]
    with pytest.raises(ValueError, match=f"7.*{A}"):
        find_sensors([7], "/nonexistent")


def test_names_without_a_serial(library: Library) -> None:
    library.gpus[0] |= {"asic": None, "uuid": "52ff740f"}
    library.gpus[1] |= {"asic": {}}
    assert measured() == ["GPU-52ff740f", "GPU-amd-1"]


def test_what_is_missing_is_named(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise AmdSmiException("DRIVER_NOT_LOADED")

    monkeypatch.setattr(sys.modules["amdsmi"], "amdsmi_get_processor_handles", broken)
    assert "DRIVER_NOT_LOADED" in find_sensors(rapl_root="/nonexistent")[-1].reason
    monkeypatch.setattr(sys.modules["amdsmi"], "amdsmi_shut_down", broken)
    opened = AmdSmi()
    opened.close()
    library.started = 0
    monkeypatch.setattr(sys.modules["amdsmi"], "amdsmi_init", broken)
    with pytest.raises(LookupError, match="DRIVER_NOT_LOADED"):
        AmdSmi()
    monkeypatch.setitem(sys.modules, "amdsmi", None)
    with pytest.raises(LookupError, match="Python package amdsmi"):
        AmdSmi()
    monkeypatch.setattr(AmdSmi.__init__, "__defaults__", ("/nonexistent",))
    with pytest.raises(LookupError, match="no AMD driver"):
        AmdSmi()

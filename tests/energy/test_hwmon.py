"""Trees of hwmon sensors: what is counted, what is left out, and why."""

import errno
import os
from pathlib import Path

import pytest

from hitl_fast.energy import EnergyMeter, find_sensors
from hitl_fast.energy.sensors import hwmon


class Sys:
    """A sysfs with hwmon devices."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.powercap = root / "class" / "powercap"
        self.powercap.mkdir(parents=True)
        self.hwmon = root / "class" / "hwmon"

    def device(self, number: int, driver: str, **files: object) -> Path:
        folder = self.hwmon / f"hwmon{number}"
        folder.mkdir(parents=True)
        (folder / "name").write_text(f"{driver}\n")
        for name, value in files.items():
            (folder / name).write_text(f"{value}\n")
        return folder


@pytest.fixture
def system(tmp_path: Path) -> Sys:
    return Sys(tmp_path / "sys")


def move(path: Path, value: int) -> None:
    path.write_text(f"{value}\n")


def test_sockets_of_amd_energy_are_packages(system: Sys) -> None:
    folder = system.device(
        3, "amd_energy", energy1_input=5_000_000, energy1_label="Ecore000",
        energy2_input=10**9, energy2_label="Esocket0", energy3_input=2 * 10**9, energy3_label="Esocket1",
    )  # fmt: skip
    with EnergyMeter(gpus="none", rapl_root=system.powercap) as meter, meter.window("w"):
        move(folder / "energy2_input", 10**9 + 3_000_000)
        move(folder / "energy3_input", 2 * 10**9 + 4_000_000)
    (window,) = meter.windows
    assert window.counted_microjoules == {"package-0": 3_000_000, "package-1": 4_000_000}
    assert {name: d.status for name, d in meter.domains.items()} == {
        "package-0": "measured", "package-1": "measured",
    }  # fmt: skip


def test_powercap_comes_first(system: Sys) -> None:
    zone = system.powercap / "intel-rapl:0"
    zone.mkdir()
    for name, value in (("name", "package-0"), ("energy_uj", 1000), ("max_energy_range_uj", 10**12)):
        (zone / name).write_text(f"{value}\n")
    system.device(0, "amd_energy", energy1_input=10**9, energy1_label="Esocket0")
    found = find_sensors("none", system.powercap)
    assert [(d.name, d.source) for d in found] == [("package-0", str(zone / "energy_uj"))]


@pytest.mark.parametrize("driver", ["xe", "i915"])
def test_discrete_intel_gpus(driver: str, system: Sys, tmp_path: Path) -> None:
    """The card contains its package."""
    values: dict[str, object] = {"energy1_input": 10**9}
    if driver == "xe":
        values |= {"energy1_label": "card", "energy2_input": 10**8, "energy2_label": "pkg"}
    folder = system.device(1, driver, **values)
    (tmp_path / "0000:03:00.0").mkdir()
    (folder / "device").symlink_to(tmp_path / "0000:03:00.0")
    with EnergyMeter("all", rapl_root=system.powercap) as meter, meter.window("w"):
        move(folder / "energy1_input", 10**9 + 5_000_000)
    (window,) = meter.windows
    assert window.counted_microjoules["GPU-0000:03:00.0"] == 5_000_000
    assert [n for n, d in meter.domains.items() if d.in_total] == ["GPU-0000:03:00.0"]
    assert ("GPU-0000:03:00.0-pkg" in meter.domains) == (driver == "xe")
    assert not [d for d in find_sensors("none", system.powercap) if d.kind == "gpu"]


@pytest.mark.parametrize("discrete", [True, False])
def test_amdgpu_counts_where_it_is_no_apu(discrete: bool, system: Sys, tmp_path: Path) -> None:
    values = {"power1_average": 150_000_000, "power1_label": "PPT", "power1_cap": 200_000_000}
    folder = system.device(1, "amdgpu", **values)
    device = tmp_path / "0000:0a:00.0"
    device.mkdir()
    (folder / "device").symlink_to(device)
    if discrete:
        (device / "mem_busy_percent").write_text("3\n")
    (sensor,), _ = hwmon.discover(str(system.hwmon))
    assert sensor.domain.name == "GPU-0000:0a:00.0"
    assert sensor.domain.in_total == discrete
    assert ("RAPL" in sensor.domain.reason) != discrete
    assert sensor.limit == 300_000
    with EnergyMeter("visible", rapl_root=system.powercap) as meter, meter.window("w"):
        session = meter._session
        assert session is not None
        while session.clock() - session.started < 100_000_000:
            pass
    (window,) = meter.windows
    assert window.joules is not None
    joules, doubt = window.joules[sensor.domain.name], window.uncertainties[sensor.domain.name]
    assert abs(joules - 150 * window.seconds) <= doubt + 1e-3
    assert (window.total_joules is not None) == discrete


@pytest.mark.parametrize("shows", ["power", "voltage and current"])
def test_rails_of_a_jetson(shows: str, system: Sys) -> None:
    if shows == "power":
        values: dict[str, object] = {"power1_input": 10_000_000, "power1_label": "VDD_IN"}
        values |= {"power2_input": 4_000_000, "power2_label": "VDD_SOC"}
    else:
        values = {"in1_input": 5000, "curr1_input": 2000, "in1_label": "VDD_IN", "in7_input": 1}
        values |= {"in2_input": 5000, "curr2_input": 800, "in2_label": "VDD_SOC"}
    system.device(2, "ina3221", **values)
    sensors, broken = hwmon.discover(str(system.hwmon))
    assert not broken
    found = [(s.domain.name, s.domain.kind) for s in sensors]
    assert found == [("package-0", "package"), ("rail-VDD_SOC", "other")]
    files = [sensor.open() for sensor in sensors]
    assert [file.read() for file in files] == [10_000, 4_000]
    for file in files:
        file.close()


def test_grace(system: Sys) -> None:
    labels = ("Module Power Socket 0", "Grace Power Socket 0", "CPU Power Socket 0", "")
    for number, label in enumerate(labels):
        values = {"power1_average": 100_000_000, "power1_oem_info": label, "power1_average_interval": 150}
        system.device(number, "power_meter", **values)
    sensors, _ = hwmon.discover(str(system.hwmon))
    assert [(s.domain.name, s.domain.kind) for s in sensors] == [
        ("module-power-socket-0", "other"), ("package-0", "package"), ("cpu-power-socket-0", "other"),
    ]  # fmt: skip
    assert all(s.lag == 150_000_000 for s in sensors)


def test_unknown_drivers_are_left_alone(system: Sys) -> None:
    system.device(0, "corsairpsu", power1_input=300_000_000)
    system.device(1, "nvme")
    assert hwmon.discover(str(system.hwmon)) == ([], [])
    assert hwmon.discover("/nonexistent") == ([], [])


def test_sensor_that_cannot_be_read_says_why(system: Sys, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = {"energy1_label": "Esocket0", "energy2_label": "Esocket1"}
    system.device(0, "amd_energy", energy1_input=1, energy2_input="", **labels)
    real = os.open

    def refuse(path: str, *arguments: int, **options: int) -> int:
        if "energy1_input" in str(path):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    one, two = find_sensors("none", system.powercap)[-2:]
    assert (one.name, one.status, one.missing) == ("package-0", "unavailable", True)
    assert one.fix.startswith("sudo chmod a+r")
    assert "reading it failed" in two.reason

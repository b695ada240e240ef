"""The real nvidia-ml-py on a library of ours: right devices, right joules, and what is said of each."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from energy_fakes import Gpus

from hitl_fast.energy import EnergyMeter, find_sensors
from hitl_fast.energy.sensors.nvml import Nvml

A, B = "GPU-aaaa-0", "GPU-bbbb-1"
Make = Callable[..., Gpus]
ROOT = Path(__file__).parents[2]


def test_two_gpus_with_counters(gpus: Make) -> None:
    fake = gpus((A, "H100", "counter+power", 0), (B, "H100", "counter+power", 0))
    with EnergyMeter(rapl_root="/nonexistent") as meter:
        with meter.window("w"):
            fake.set(0, 5_000_000 + 1234)
            fake.set(1, 5_000_000 + 10_000)
        session = meter._session
        assert session is not None
    (window,) = meter.windows
    assert window.counted_microjoules == {A: 1_234_000, B: 10_000_000}
    assert [d.method for name, d in meter.domains.items() if name in (A, B)] == ["counter", "counter"]
    assert meter.domains[A].source == "H100"
    assert "short" in window.flags


@pytest.mark.parametrize(
    ("can", "method", "told"),
    [
        ("power", "power", "averaged over up to 1 s"),
        ("instant+power", "power", "its power is integrated"),
        ("counter", "counter", ""),
        ("old+counter", "counter", ""),
    ],
)
def test_each_device_is_asked_for_the_best_that_it_can(can: str, method: str, told: str, gpus: Make) -> None:
    gpus((A, "H100", "counter", 0), (B, "K80", can, 0))
    found = {domain.name: domain for domain in find_sensors(rapl_root="/nonexistent")}
    assert found[A].method == "counter"
    assert found[B].status == "measured"
    assert found[B].method == method
    assert told in found[B].reason


def test_device_that_tells_nothing(gpus: Make) -> None:
    gpus((A, "GT710", "none", 0))
    found = {domain.name: domain for domain in find_sensors(rapl_root="/nonexistent")}
    assert found[A].status == "unavailable"
    assert found[A].reason == "neither energy nor power can be read: Not Supported"


def test_lost_device_does_not_take_the_others_with_it(gpus: Make) -> None:
    gpus((A, "H100", "lost", 0), (B, "H100", "counter", 0))
    found = {domain.name: domain for domain in find_sensors(rapl_root="/nonexistent")}
    assert found["gpu-0"].reason == "NVML cannot open it: GPU is lost"
    assert found[B].status == "measured"


def test_mig_is_said(gpus: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus((A, "H100", "counter", 2), (B, "H100", "counter", 0))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-01")
    found = {domain.name: domain for domain in find_sensors(rapl_root="/nonexistent")}
    assert found[A].reason == "MIG: counted is the whole GPU, with whoever else uses it"
    assert B not in found


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, [A, B]),
        ("", []),
        ("1", [B]),
        ("1,0", [B, A]),
        ("0,5,1", [A]),
        ("1,1", []),
        ("GPU-b", [B]),
        ("GPU-", []),
    ],
)
def test_cuda_visible_devices(
    value: str | None, expected: list[str], gpus: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus((A, "H100", "counter", 0), (B, "H100", "counter", 0))
    if value is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    with EnergyMeter(rapl_root="/nonexistent") as meter:
        measured = [name for name, domain in meter.domains.items() if domain.status == "measured"]
    assert measured == expected
    if not expected:
        assert f"CUDA_VISIBLE_DEVICES={value}" in meter.domains["gpu"].reason


def test_gpus_argument(gpus: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus((A, "H100", "counter", 0), (B, "A100", "counter", 0))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    for wanted, expected in (
        ("all", [A, B]),
        ([1], [B]),
        (["GPU-b", 0], [B, A]),
        ("GPU-b", [B]),
        ("1, 0", [B, A]),
    ):
        with EnergyMeter(wanted, rapl_root="/nonexistent") as meter:
            assert [n for n, d in meter.domains.items() if d.status == "measured"] == expected
    with EnergyMeter("none", rapl_root="/nonexistent") as meter:
        assert list(meter.domains) == ["package-0"]
    with pytest.raises(
        ValueError, match=r"gpus\[1\]: 7 is none of this machine's GPUs \(GPU-aaaa-0, GPU-bbbb-1\)"
    ):
        EnergyMeter([0, 7], rapl_root="/nonexistent").start()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert "CUDA_DEVICE_ORDER" in {d.name: d for d in find_sensors(rapl_root="/nonexistent")}[B].reason


def test_no_gpu_and_no_driver(gpus: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus()
    assert find_sensors(rapl_root="/nonexistent")[-1].reason == "the driver lists no GPU"
    monkeypatch.delenv("FAKE_NVML")
    assert find_sensors(rapl_root="/nonexistent")[-1].reason == "NVML does not start: Driver Not Loaded"
    monkeypatch.setattr("hitl_fast.energy.sensors.nvml.LIBRARY", "libnothing-of-the-kind.so.1")
    with pytest.raises(LookupError, match="no NVIDIA driver"):
        Nvml()


def test_counter_that_goes_back_is_left_out(gpus: Make) -> None:
    """A driver that was loaded anew begins at 0; there is no modulus to explain it."""
    fake = gpus((A, "H100", "counter", 0))
    with EnergyMeter(rapl_root="/nonexistent", rate_hz=0.1) as meter, meter.window("w"):
        fake.set(0, 5_001_000)
        with meter.window("inner"):
            pass
        fake.set(0, 0)
        with meter.window("inner"):
            pass
        fake.set(0, 2_000)
    window = meter.windows[0]
    assert window.counted_microjoules == {A: 3_000_000}
    assert "gap" in window.flags


def test_constant_power_is_integrated_over_the_window(gpus: Make) -> None:
    """Held and clipped at the edges: two seconds of 100 W are 200 J, however often it was read."""
    gpus((A, "K80", "power", 0))
    meter = EnergyMeter(rapl_root="/nonexistent", rate_hz=20)
    with meter, meter.window("w"):
        session = meter._session
        assert session is not None
        while session.clock() - session.started < 300_000_000:
            pass
    (window,) = meter.windows
    assert window.total_joules is not None
    assert window.uncertainty_joules is not None
    assert abs(window.total_joules - 100 * window.seconds) <= window.uncertainty_joules + 1e-3
    assert window.total_joules > 0


@pytest.mark.parametrize(
    ("can", "limit"), [("counter", 1_000_000), ("counter+limit700", 1_050_000), ("limit70+power", 105_000)]
)
def test_enforced_power_limit_bounds_what_counts(can: str, limit: int, gpus: Make) -> None:
    """Half as much again as the driver enforces; a kilowatt where it does not say."""
    gpus((A, "H100", can, 0))
    with EnergyMeter(rapl_root="/nonexistent") as meter:
        session = meter._session
        assert session is not None
        (channel,) = session.recorder.channels
        assert channel.limit == limit


@pytest.mark.parametrize(("can", "counts"), [("counter", True), ("counter+limit60", False)])
def test_step_that_only_a_larger_gpu_could_make_is_a_glitch(can: str, counts: bool, gpus: Make) -> None:
    """100 J at once are possible for a device of a kilowatt, and not for one of 60 W."""
    fake = gpus((A, "L4", can, 0))
    with EnergyMeter(rapl_root="/nonexistent", rate_hz=0.1) as meter, meter.window("w"):
        fake.set(0, 5_000_000 + 100_000)
    (window,) = meter.windows
    assert window.counted_microjoules.get(A, 0) == (100_000_000 if counts else 0)
    assert ("glitch" in window.flags) != counts


SCRIPT = """
import json, os, struct, sys
from hitl_fast.energy import EnergyMeter
def put(mj):
    fd = os.open(os.environ["FAKE_NVML"] + "/values", os.O_WRONLY)
    os.pwrite(fd, struct.pack("qq", mj, 1), 0)
meter = EnergyMeter(rapl_root="/nonexistent")
with meter, meter.window("w"):
    put(5_002_500)
import pynvml
print(json.dumps([pynvml.__file__, meter.windows[0].counted_microjoules, sorted(
    name for name in ("torch", "numba", "numpy", "triton") if name in sys.modules)]))
"""


def test_library_found_by_the_loader(nvml_folder: Path, tmp_path: Path) -> None:
    """From a fresh process, as on a machine with a driver: import, start, measure; and nothing heavy imported."""
    Gpus(tmp_path / "gpus", (A, "H100", "counter", 0))
    environment = {
        **os.environ, "LD_LIBRARY_PATH": str(nvml_folder), "FAKE_NVML": str(tmp_path / "gpus"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels")]),
    }  # fmt: skip
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True
    )
    module, joules, heavy = json.loads(run.stdout)
    assert module.endswith("pynvml.py")
    assert joules == {A: 2_500_000}
    assert heavy == []

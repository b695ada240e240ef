"""Energy of a real GPU under constant load: windows against the device's own counter."""

from __future__ import annotations

import time

import pytest
from race import record

from hitl_fast.energy import EnergyMeter
from hitl_fast.energy.measuring.session import Session


def test_constant_load_on_a_gpu() -> None:
    """A minute of matrix products: windows against the device's own counter, and integrated power against both."""
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
    import pynvml

    from hitl_fast.energy.measuring.power_channel import PowerChannel
    from hitl_fast.energy.sensors.nvml import Nvml, NvmlSensor
    from hitl_fast.energy.units import MILLISECOND, SECOND

    nvml = Nvml()
    (gpu, *_), _ = nvml.discover([0])
    handle = pynvml.nvmlDeviceGetHandleByUUID(gpu.domain.name)
    power = NvmlSensor(nvml.instant_power(handle))
    channel = PowerChannel(gpu.domain, power, 100 * MILLISECOND, lag=100 * MILLISECOND, hole=SECOND)
    session = Session([channel], [], interval=50 * MILLISECOND)
    session.begin()
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    with EnergyMeter([0], rapl_root="/nonexistent") as meter:
        for _ in range(50):
            a @ a
        torch.cuda.synchronize()
        before = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
        until = time.perf_counter() + 60
        integrated = session.open("load")
        with meter.window("load") as window:
            while time.perf_counter() < until:
                for _ in range(20):
                    a @ a
                torch.cuda.synchronize()
        session.close(integrated)
        after = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    session.end()
    own = (after - before) / 1e3
    joules = window.result.total_joules or 0.0
    watts = session.windows()[0].total_joules or 0.0
    record(
        "energy",
        "hitl_fast",
        "off the device's counter",
        100 * abs(joules / own - 1),
        unit="%",
        shape="60 s",
        mode="gpu",
    )
    record(
        "energy",
        "hitl_fast power",
        "off the device's counter",
        100 * abs(watts / own - 1),
        unit="%",
        shape="60 s",
        mode="gpu",
    )
    assert abs(joules / own - 1) <= 0.01
    assert abs(watts / own - 1) <= 0.05

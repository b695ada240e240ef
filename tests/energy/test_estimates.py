"""What is assumed where nothing measures: apart, marked, and with its source."""

import builtins
import csv
import statistics
import time
from pathlib import Path

import pytest

from hitl_fast import cli
from hitl_fast.energy import EnergyMeter
from hitl_fast.energy.measuring.estimates import estimates
from hitl_fast.energy.sensors.estimates import TABLE, memory_gigabytes, processor_model, processor_watts


@pytest.mark.parametrize(
    ("model", "watts"),
    [
        ("Intel(R) Xeon(R) Gold 6148 CPU @ 2.40GHz", 150 / 40),
        ("Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz", 120 / 28),
        ("INTEL(R) XEON(R) PLATINUM 8568Y+", 350 / 96),
        ("Intel(R) Xeon(R) Platinum 8480+", 350 / 112),
        ("12th Gen Intel(R) Core(TM) i7-12700H", 45 / 20),
        ("Intel(R) Core(TM) Ultra 7 155H", 28 / 22),
        ("AMD EPYC 7763 64-Core Processor", 280 / 128),
        ("AMD Ryzen 7 5700G with Radeon Graphics", 65 / 16),
        ("AMD Ryzen Threadripper PRO 5995WX 64-Cores", 280 / 128),
        ("Apple M1", 39 / 8),
        ("Apple M1 Ultra", None),  # a longer name is another processor
        ("Neoverse-N1", 210 / 80),
        ("Intel(R) Xeon(R) CPU @ 2.20GHz", None),  # as clouds say
        ("", None),
    ],
)
def test_watts_by_model(model: str, watts: float | None) -> None:
    found = processor_watts(model)
    if watts is None:
        assert "not in the table" in found.origin
        assert found.watts == pytest.approx(1, abs=10)
    else:
        assert found.watts == pytest.approx(watts)
        assert "thermal design power" in found.origin


def test_table_is_plausible_and_names_its_sources() -> None:
    with open(TABLE, newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 150
    assert len({row["model"] for row in rows}) == len(rows)
    for row in rows:
        assert row["source"]
        assert int(row["threads"]) in (int(row["cores"]), 2 * int(row["cores"])) or row["model"].startswith(
            "Core"
        )
        assert 0.9 <= float(row["watts"]) / int(row["threads"]) <= 25, row
    shares = [float(row["watts"]) / int(row["threads"]) for row in rows]
    assert processor_watts("none").watts == statistics.median(shares)


def test_model_of_an_arm_server_and_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    real = builtins.open
    monkeypatch.setattr(
        builtins, "open", lambda path, *a, **k: real(cpuinfo if path == "/proc/cpuinfo" else path, *a, **k)
    )
    cpuinfo.write_text("processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n")
    assert processor_model() == "Neoverse-N1"
    cpuinfo.write_text("model name\t: AMD EPYC 7763 64-Core Processor\n")
    assert processor_watts().watts == 280 / 128
    cpuinfo.unlink()
    assert isinstance(processor_model(), str)  # macOS, Windows


def test_estimate_without_watts_is_apart_and_says_where_they_are_from() -> None:
    meter = EnergyMeter(rapl_root="/nonexistent", gpus="none", estimate=True)
    with meter, meter.window("busy"):
        begin = time.process_time()
        while time.process_time() - begin < 0.05:
            pass
    (window,) = meter.windows
    assert window.joules is None
    assert window.total_joules is None
    assert window.estimated_joules is not None
    watts = processor_watts()
    assert window.estimated_joules["cpu-estimate"] >= 0.05 * watts.watts * 0.99
    size = memory_gigabytes()
    assert size is not None
    assert window.estimated_joules["memory-estimate"] == pytest.approx(
        size * 0.3725 * window.seconds, rel=0.05
    )
    assert window.flags == ("estimated",)
    assert meter.domains["cpu-estimate"].reason == watts.origin
    assert not meter.domains["memory-estimate"].in_total


def test_declared_watts_come_before_the_table() -> None:
    assert estimates(7.0)[0].domain.method == "cpu time x 7 W per busy core"
    assert estimates(7.0)[0].domain.reason == "declared"


def test_command_estimates(capfd: pytest.CaptureFixture[str]) -> None:
    options = ["energy", "--estimate", "--rapl-root", "/nonexistent", "--gpus", "none"]
    assert cli.main([*options, "--", "true"]) == 0
    err = capfd.readouterr().err
    assert "memory-estimate" in err
    assert "estimated" in err

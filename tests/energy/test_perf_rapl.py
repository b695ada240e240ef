"""RAPL through perf_event: events of a fake sysfs, counted by a fake opener; and the real call, which is refused."""

import errno
import os
import platform
import struct
from pathlib import Path

import pytest

from hitl_fast.energy import EnergyMeter
from hitl_fast.energy.sensors import perf_rapl

SCALE = 2.3283064365386962890625e-10


class Events:
    """The ``power`` event source of two packages; a read pops what was put."""

    def __init__(self, root: Path, cpumask: str = "0,4") -> None:
        self.root = root
        device = root / "bus" / "event_source" / "devices" / "power"
        (device / "events").mkdir(parents=True)
        (root / "class" / "powercap").mkdir(parents=True)
        (device / "type").write_text("11\n")
        (device / "cpumask").write_text(f"{cpumask}\n")
        for event, number in (("energy-pkg", 2), ("energy-ram", 3), ("energy-psys", 5)):
            (device / "events" / event).write_text(f"event=0x{number:02x}\n")
            (device / "events" / f"{event}.scale").write_text(f"{SCALE}\n")
        self.counts: dict[tuple[int, int], int] = {}
        self.files: dict[int, tuple[int, int]] = {}
        self.asked: list[tuple[int, int, int]] = []

    def package(self, processor: int, package: int, die: int = 0) -> None:
        folder = self.root / "devices" / "system" / "cpu" / f"cpu{processor}" / "topology"
        folder.mkdir(parents=True)
        (folder / "physical_package_id").write_text(f"{package}\n")
        (folder / "die_id").write_text(f"{die}\n")

    def open(self, kind: int, config: int, processor: int) -> int:
        """An eventfd that shows the count at every read: it is filled again by `fill`."""
        self.asked.append((kind, config, processor))
        descriptor = os.eventfd(0, os.EFD_NONBLOCK)
        self.files[descriptor] = (config, processor)
        self.fill(descriptor)
        return descriptor

    def fill(self, descriptor: int) -> None:
        os.eventfd_write(descriptor, max(self.counts.get(self.files[descriptor], 0), 1))


@pytest.fixture
def events(tmp_path: Path) -> Events:
    return Events(tmp_path / "sys")


def test_events_on_each_package(events: Events) -> None:
    events.package(0, 0)
    events.package(4, 1)
    zones, broken = perf_rapl.discover(str(events.root), events.open)
    assert not broken
    assert [zone.domain.name for zone in zones] == ["package-0", "package-1", "dram-0", "dram-1", "psys"]
    assert events.asked[:3] == [(11, 2, 0), (11, 2, 4), (11, 3, 0)]
    events.counts[2, 4] = 10**15
    counter = zones[1].open()
    assert counter.alive()
    assert counter.read() == int(10**15 * SCALE * 1e6)
    with pytest.raises(OSError, match="no count"):
        counter.read()  # the fake was read empty
    counter.close()
    counter.close()
    assert not counter.alive()


def test_dies_of_one_package(tmp_path: Path) -> None:
    events = Events(tmp_path / "sys", cpumask="0-1")
    events.package(0, 0, 0)
    events.package(1, 0, 1)
    zones, _ = perf_rapl.discover(str(events.root), events.open)
    assert [zone.domain.name for zone in zones][:2] == ["package-0-die-0", "package-0-die-1"]


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.ENOENT])
def test_refused_is_unavailable_with_the_reason(code: int, events: Events) -> None:
    def refuse(kind: int, config: int, processor: int) -> int:
        raise OSError(code, os.strerror(code))

    zones, broken = perf_rapl.discover(str(events.root), refuse)
    assert not zones
    first = broken[0]
    assert (first.name, first.status, first.missing) == ("package-0", "unavailable", True)
    permission = code != errno.ENOENT
    assert ("CAP_PERFMON" in first.reason) == permission
    assert first.fix == ("sudo sysctl kernel.perf_event_paranoid=0" if permission else "")


def test_meter_takes_it_where_powercap_is_masked(events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perf_rapl.discover, "__defaults__", (events.open,))
    powercap = events.root / "class" / "powercap"
    meter = EnergyMeter(gpus="none", rapl_root=powercap, rate_hz=0.1)
    events.counts = {(2, 0): 10**12, (2, 4): 10**12}
    with meter:
        with meter.window("w"):
            for descriptor, (config, _) in list(events.files.items()):
                if config == 2:
                    events.counts[events.files[descriptor]] = 10**12 + round(2 / SCALE)
                try:
                    events.fill(descriptor)
                except OSError:
                    continue  # those that looked whether it can be opened are closed
        assert meter.domains["package-0"].status == "measured"
        assert "perf_event" in meter.domains["package-0"].reason
    assert meter.windows[0].counted_microjoules["package-0"] == pytest.approx(2_000_000, abs=2)


def test_no_event_source_and_damaged_ones(tmp_path: Path, events: Events) -> None:
    assert perf_rapl.discover(str(tmp_path / "none")) == ([], [])
    device = events.root / "bus" / "event_source" / "devices" / "power" / "events"
    (device / "energy-pkg").write_text("nonsense\n")
    (device / "energy-ram.scale").unlink()
    zones, _ = perf_rapl.discover(str(events.root), events.open)
    assert [zone.domain.name for zone in zones] == ["psys"]


def test_the_call_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """No kernel has this type of event; what counts is that the call reaches it and its answer comes back."""
    with pytest.raises(OSError, match=r"\[Errno \d+\]"):
        perf_rapl.perf_event_open(2**31 - 1, 0, 0)
    monkeypatch.setattr(platform, "machine", lambda: "sparc")
    with pytest.raises(OSError, match="sparc"):
        perf_rapl.perf_event_open(1, 0, 0)


def test_counts_are_unsigned() -> None:
    read, write = os.pipe()
    counter = perf_rapl.PerfCounter(read, 1e-6)
    os.write(write, struct.pack("Q", 2**63 + 2))
    assert counter.read() == pytest.approx(2**63 + 2, rel=1e-12)
    counter.close()
    os.close(write)

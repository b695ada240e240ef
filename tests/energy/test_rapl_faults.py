"""Powercap files that fail, vanish, stand still or come back: what is counted, and which flag says so."""

import errno
import os

import pytest
from energy_fakes import RANGE, S, Tree

from hitl_fast.energy import EnergyMeter
from hitl_fast.energy.sensors import rapl


def failing(monkeypatch: pytest.MonkeyPatch, problem: int) -> list[bool]:
    """Makes every read fail while the list says so."""
    switch = [False]
    real = rapl._reader

    def reader(descriptor: int) -> object:
        read = real(descriptor)

        def maybe() -> int:
            if switch[0]:
                raise OSError(problem, os.strerror(problem))
            return read()

        return maybe

    monkeypatch.setattr(rapl, "_reader", reader)
    return switch


def test_one_failed_read_is_skipped_and_flagged(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    switch = failing(monkeypatch, errno.EIO)
    tree.socket(0)
    meter = EnergyMeter(rapl_root=tree.root, gpus="none", rate_hz=0.1)
    with meter:
        with meter.window("w"):
            tree.set("intel-rapl:0", 1_001_000)
            switch[0] = True
            with meter.window("unread"):
                pass
            switch[0] = False
        whole, unread = meter.windows
    assert whole.counted_microjoules["package-0"] == 1_000_000
    assert "gap" in whole.flags
    assert "gap" in unread.flags
    assert meter.domains["package-0"].status == "measured"


def test_sensor_that_keeps_failing_is_lost(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    switch = failing(monkeypatch, errno.ENODEV)
    tree.zone("intel-rapl:0", "package-0", 1000)
    meter = EnergyMeter(rapl_root=tree.root, gpus="none", rate_hz=0.1)
    meter.start()
    session = meter._session
    assert session is not None
    channel = session.recorder.channels[0]
    with meter.window("partly"):
        tree.set("intel-rapl:0", 1_001_000)
        session.recorder.read()
        switch[0] = True
        session.recorder.read()
        channel._failed_at -= 3 * S  # three seconds of failures, without the wait
        session.recorder.read()
    with meter.window("after"):
        pass
    partly, after = meter.windows
    meter.stop()
    assert partly.counted_microjoules["package-0"] == 1_000_000
    assert "lost_sensor" in partly.flags
    assert after.joules is None
    assert after.total_joules is None
    assert after.flags[-1] == "lost_sensor"
    assert meter.domains["package-0"].status == "unavailable"
    assert "stopped answering: [Errno 19]" in meter.domains["package-0"].reason


def test_lost_sensor_that_comes_back_counts_from_there(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    switch = failing(monkeypatch, errno.EIO)
    tree.zone("intel-rapl:0", "package-0", 1000)
    meter = EnergyMeter(rapl_root=tree.root, gpus="none", rate_hz=0.1)
    meter.start()
    session = meter._session
    assert session is not None
    channel = session.recorder.channels[0]
    with meter.window("w"):
        switch[0] = True
        channel.lose(session.clock(), "test")
        switch[0] = False
        tree.set("intel-rapl:0", 77)  # begun anew meanwhile
        channel._checked -= 2 * S
        session.recorder.read()
        tree.set("intel-rapl:0", 1_000_077)
    (result,) = meter.windows
    meter.stop()
    assert result.counted_microjoules["package-0"] == 1_000_000
    assert result.flags[0] == "gap"
    assert meter.domains["package-0"].status == "measured"


def test_file_that_vanishes_is_lost(tree: Tree) -> None:
    tree.zone("intel-rapl:0", "package-0", 1000)
    meter = EnergyMeter(rapl_root=tree.root, gpus="none", rate_hz=0.1)
    meter.start()
    session = meter._session
    assert session is not None
    with meter.window("w"):
        tree.files["intel-rapl:0"].unlink()
        session.recorder.channels[0]._checked -= S
        session.recorder.read()
        session.recorder.read()
    (result,) = meter.windows
    meter.stop()
    assert "lost_sensor" in result.flags
    assert meter.domains["package-0"].reason == "stopped answering: its file is gone"


def test_file_that_is_replaced_is_opened_anew(tree: Tree) -> None:
    tree.zone("intel-rapl:0", "package-0", 1000)
    file = rapl.CounterFile(str(tree.files["intel-rapl:0"]))
    fresh = tree.root / "fresh"
    fresh.write_text("2000\n")
    fresh.replace(tree.files["intel-rapl:0"])
    assert file.read() == 1000
    assert file.alive()
    assert file.read() == 2000
    assert file.alive()
    file.close()
    file.close()


def test_zero_is_not_a_wrap(tree: Tree) -> None:
    tree.zone("intel-rapl:0", "package-0", 5_000_000)
    meter = EnergyMeter(rapl_root=tree.root, gpus="none", rate_hz=0.1)
    with meter:
        with meter.window("w"):
            tree.set("intel-rapl:0", 0)
            with meter.window("zero"):
                pass
            tree.set("intel-rapl:0", 6_000_000)
        whole, zero = meter.windows
    assert whole.counted_microjoules["package-0"] == 1_000_000
    assert "gap" in whole.flags
    assert zero.counted_microjoules.get("package-0", 0) == 0


def test_counter_that_never_moves_is_absent_not_zero(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # what the tree has patched: nothing is believed here for long
    tree.zone("intel-rapl:0", "package-0", 0)
    meter = EnergyMeter(rapl_root=tree.root, gpus="none", rate_hz=0.1)
    meter.start()
    session = meter._session
    assert session is not None
    record = session.open("long")
    record.start -= 2 * S  # two seconds, without the wait
    session.recorder.channels[0].moved -= 2 * S
    session.close(record)
    (result,) = meter.windows
    meter.stop()
    assert result.joules is None
    assert result.flags[-1] == "lost_sensor"


def test_long_pause_may_hide_turns(tree: Tree) -> None:
    tree.zone("intel-rapl:0", "package-0", 5_000_000)
    meter = EnergyMeter(rapl_root=tree.root, gpus="none", rate_hz=0.1)
    meter.start()
    session = meter._session
    assert session is not None
    channel = session.recorder.channels[0]
    with meter.window("suspended"):
        channel.before, channel.after = channel.before - 600 * S, channel.after - 600 * S
        tree.set("intel-rapl:0", 6_000_000)
    (result,) = meter.windows
    meter.stop()
    assert result.flags[0] == "gap"
    assert result.uncertainty_joules is not None
    assert result.uncertainty_joules >= 2 * RANGE / 1e6  # ten minutes at a kilowatt are two turns

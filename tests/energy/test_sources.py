"""Meters of one's own: protocol, logs and plugs, beside the built-in sensors and never in their total."""

import http.server
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from energy_fakes import Tree

from hitl_fast.energy import CsvLog, EnergyMeter, HomeAssistantLog, Joules, Watts, shelly, tasmota
from hitl_fast.energy.measuring.source_log import SourceLog


class Wall:
    name, kind, refresh = "wall", "wall", 0.01

    def read(self) -> Watts:
        return Watts(200.0)


def test_wall_log_and_rapl_of_one_run(tree: Tree, tmp_path: Path) -> None:
    """Both are reported, and the total is that of the package alone."""
    tree.zone("intel-rapl:0", "package-0", 1_000_000)
    path = tmp_path / "wall.csv"
    now = time.time()
    path.write_text("time,W\n" + "".join(f"{now + i:.3f},200\n" for i in range(-5, 60)) + "unfinished,2")
    log = CsvLog(path, watts="W")
    with EnergyMeter(rapl_root=tree.root, gpus="none", sources=[log]) as meter, meter.window("w") as window:
        tree.set("intel-rapl:0", 4_000_000)
        time.sleep(0.05)
    result = window.result
    assert result.total_joules == 3.0
    assert result.joules is not None
    assert result.joules["wall"] == pytest.approx(200 * result.seconds, rel=1e-3)
    assert meter.domains["wall"].kind == "wall"
    assert not meter.domains["wall"].in_total
    report = meter.report()
    report.to_csv(tmp_path / "report.csv")
    assert "wall" in (tmp_path / "report.csv").read_text()
    assert report.metrics()["energy/w/joules_of/wall"] == result.joules["wall"]


@pytest.mark.parametrize("stamp", ["seconds", "iso"])
def test_watt_hours(stamp: str, tmp_path: Path) -> None:
    path = tmp_path / "wall.csv"
    lines = ["at,Wh"]
    for i in range(100):
        iso = f"2023-11-14T22:{13 + (20 + i) // 60}:{(20 + i) % 60:02}Z"
        moment = f"{1_700_000_000 + i}" if stamp == "seconds" else iso
        lines.append(f"{moment},{i * 360 / 3600:.6f}")
    path.write_text("\n".join(lines) + "\n")
    log = SourceLog(CsvLog(path, time="at", watt_hours="Wh"))
    found = log.energy(1_700_000_010.5, 1_700_000_040.0)
    log.stop()
    assert found is not None
    assert abs(found.joules - 29.5 * 360) <= found.doubt <= 2 * 360 + 1
    assert log.energy(1_600_000_000, 1_600_000_001) is None


def test_steps_lie_within_what_is_stated(tmp_path: Path) -> None:
    """Power that steps between two lines: anywhere between them."""
    path = tmp_path / "wall.csv"
    path.write_text("time,W\n0,100\n1,100\n2,300\n3,300\n4,300\n")
    log = SourceLog(CsvLog(path, watts="W"))
    found = log.energy(0.5, 3.5)
    log.stop()
    assert found is not None
    for step in (1.0, 1.4, 2.0):
        assert abs(found.joules - (100 * (step - 0.5) + 300 * (3.5 - step))) <= found.doubt + 1e-9


@pytest.fixture
def server() -> Iterator[str]:
    answers = {
        "/rpc/Switch.GetStatus?id=0": {"apower": 123.5},
        "/cm?cmnd=Status%208": {"StatusSNS": {"ENERGY": {"Power": 77}}},
    }

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answers[self.path]).encode())

        def log_message(self, format: str, *arguments: object) -> None: ...

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield f"127.0.0.1:{running.server_port}"
    running.shutdown()
    thread.join()
    running.server_close()


def test_plugs(server: str) -> None:
    assert shelly(server).read() == Watts(123.5)
    assert tasmota(server).read() == Watts(77)
    plug = shelly(server, refresh=0.01)
    with EnergyMeter(rapl_root="/none", gpus="none", sources=[plug]) as meter, meter.window("w"):
        time.sleep(0.2)
    (window,) = meter.windows
    assert window.joules is not None
    assert (
        abs(window.joules["wall"] - 123.5 * window.seconds) <= window.uncertainties["wall"] + 1e-3
    )  # seconds since 1970 are doubles
    assert window.total_joules is None


def test_plug_that_does_not_answer_is_unavailable_and_ends_nothing() -> None:
    plug = shelly("127.0.0.1:9", refresh=0.01)
    with EnergyMeter(rapl_root="/none", gpus="none", sources=[plug]) as meter, meter.window("w"):
        time.sleep(0.05)
    assert meter.domains["wall"].status == "unavailable"
    assert meter.windows[0].joules is None
    assert meter.windows[0].domain_flags["wall"] == ("lost_sensor",)


def test_sources_are_checked(tmp_path: Path) -> None:
    class Kind(Wall):
        kind = "package"

    class Never(Wall):
        refresh = 0.0

    wrong = {"has no name": [3], "name is": [Wall(), Wall()], "kind": [Kind()], "refresh": [Never()]}
    for said, sources in wrong.items():
        with pytest.raises((TypeError, ValueError), match=said):
            EnergyMeter(sources=sources)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="watts or watt_hours"):
        CsvLog(tmp_path / "x")
    (tmp_path / "x").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="no column 'time'"):
        list(CsvLog(tmp_path / "x", watts="b").history(0, 1))
    assert isinstance(Joules(3), float)


class Shelf(Wall):
    """A disk shelf that no sensor of the machine contains."""

    name, kind, in_total = "shelf", "other", True

    def __init__(self, works: bool = True) -> None:
        self.works = works

    def read(self) -> Watts:
        if not self.works:
            raise OSError("no answer")
        return Watts(200.0)


def test_source_that_belongs_into_the_total(tree: Tree) -> None:
    tree.zone("intel-rapl:0", "package-0", 1_000_000)
    with EnergyMeter(rapl_root=tree.root, gpus="none", sources=[Shelf()]) as meter, meter.window("w"):
        tree.set("intel-rapl:0", 4_000_000)
        time.sleep(0.1)
    (window,) = meter.windows
    assert window.joules is not None
    joules = window.joules["shelf"]
    assert abs(joules - 200 * window.seconds) <= window.uncertainties["shelf"] + 1e-3
    assert window.total_joules == 3.0 + joules
    assert window.uncertainty_joules == pytest.approx(sum(window.uncertainties.values()))
    assert meter.domains["shelf"].in_total
    assert meter.report().domains["shelf"].in_total


def test_total_without_a_source_that_belongs_into_it_is_partial(tree: Tree) -> None:
    tree.zone("intel-rapl:0", "package-0", 1_000_000)
    with EnergyMeter(rapl_root=tree.root, gpus="none", sources=[Shelf(False)]) as meter, meter.window("w"):
        tree.set("intel-rapl:0", 4_000_000)
        time.sleep(0.03)
    (window,) = meter.windows
    assert window.total_joules == 3.0
    assert {"partial", "lost_sensor"} <= set(window.flags)


def test_source_alone_is_the_total() -> None:
    with EnergyMeter(rapl_root="/none", gpus="none", sources=[Shelf()]) as meter, meter.window("w"):
        time.sleep(0.1)
    (window,) = meter.windows
    assert window.total_joules is not None
    assert window.joules == {"shelf": window.total_joules}


def test_wall_meter_is_never_added() -> None:
    class Twice(Wall):
        in_total = True

    with pytest.raises(ValueError, match=r"sources\[0\].*in_total must be False"):
        EnergyMeter(sources=[Twice()])


EXPORT = """entity_id,state,last_changed
sensor.plug_power,100,2023-11-14T22:13:20.000Z
sensor.lamp,5,2023-11-14T22:13:25.000Z
sensor.plug_power,300,2023-11-14T22:15:20.000Z
sensor.plug_power,unavailable,2023-11-14T22:16:20.000Z
sensor.plug_power,300,2023-11-14T22:17:20.000Z
sensor.plug_energy,1.000,2023-11-14T22:13:20.000Z
sensor.plug_energy,1.010,2023-11-14T22:15:20.000Z
sensor.plug_energy,1.020,2023-11-14T22:16:20.000Z
"""
T0 = 1_700_000_000.0  # 22:13:20


def test_home_assistant_holds_power(tmp_path: Path) -> None:
    """Two minutes without a line; then a step that may have come up to ten seconds before its line."""
    path = tmp_path / "history.csv"
    path.write_text(EXPORT)
    log = SourceLog(HomeAssistantLog(path, watts="sensor.plug_power", refresh=10))
    held, step = log.energy(T0 + 10, T0 + 100), log.energy(T0 + 60, T0 + 150)
    log.stop()
    assert held is not None
    assert step is not None
    assert (held.joules, held.doubt) == (pytest.approx(9000), pytest.approx(0, abs=1e-6))
    assert not held.gap
    for late in (0, 5, 10):
        assert abs(step.joules - (100 * (60 - late) + 300 * (30 + late))) <= step.doubt + 1e-6
    assert step.doubt <= 200 * 10


def test_home_assistant_says_where_the_sensor_was_gone(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    path.write_text(EXPORT)
    log = SourceLog(HomeAssistantLog(path, watts="sensor.plug_power", refresh=5))
    assert log.energy(T0 + 197, T0 + 223) is None
    across = log.energy(T0 + 150, T0 + 260)
    log.stop()
    assert across is not None
    assert across.gap


def test_home_assistant_energy(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    path.write_text(EXPORT)
    log = SourceLog(HomeAssistantLog(path, kilowatt_hours="sensor.plug_energy", refresh=120))
    found = log.energy(T0 + 60, T0 + 150)
    log.stop()
    assert found is not None
    assert abs(found.joules - (18_000 + 18_000)) <= found.doubt


def test_home_assistant_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    for text, said in (
        ("time,W\n1,2\n", "no column 'entity_id'"),
        (EXPORT, "no entity 'sensor.x'.*sensor.lamp"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=said):
            list(HomeAssistantLog(path, watts="sensor.x").history(0, 1))
    path.write_text("entity_id,state,last_changed\nsensor.x,1,yesterday\n")
    with pytest.raises(ValueError, match="line 2: no time"):
        list(HomeAssistantLog(path, watts="sensor.x").history(0, 1))
    with pytest.raises(ValueError, match="watts or kilowatt_hours"):
        HomeAssistantLog(path)

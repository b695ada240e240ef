"""What a meter hands back: files, carbon, and whether a change saved anything."""

import csv
import io
import json
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
from energy_fakes import Tree
from prometheus_client.openmetrics import parser

from hitl_fast._common.files import atomic_path, write_text
from hitl_fast.energy import (  # fmt: skip
    INTENSITIES,
    Domain,
    EnergyMeter,
    EnergyReport,
    Overhead,
    Window,
    carbon,
    compare,
)
from hitl_fast.energy.reporting.carbon import COUNTRIES
from hitl_fast.energy.reporting.results import Timeline, add


def window(name: str = "step", joules: float | None = 10.0, **changes: object) -> Window:
    values: dict[str, object] = {
        "name": name, "start": 1.0, "seconds": 2.0,
        "joules": None if joules is None else {"package-0": joules - 1, "dram-0": 1.0},
        "total_joules": joules, "uncertainty_joules": None if joules is None else 0.5,
        "uncertainties": {} if joules is None else {"package-0": 0.4, "dram-0": 0.1},
        "counted_microjoules": {} if joules is None else {"package-0": 9_000_000, "dram-0": 1_000_000},
        "thread": "MainThread",
    }  # fmt: skip
    return Window(**{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture
def report() -> EnergyReport:
    domains = {
        "package-0": Domain("package-0", "package", "measured", "counter", source="/sys/x"),
        "dram-0": Domain("dram-0", "dram", "measured", "counter"),
        "cpu-estimate": Domain("cpu-estimate", "cpu", "estimated", "cpu time x 10 W per busy core"),
        "gpu": Domain("gpu", "gpu", "unavailable", reason="no NVIDIA driver"),
    }
    quoted = window(
        'a "quoted"\nname', flags=("wrap",), domain_flags={"package-0": ("wrap",)}, error="KeyError"
    )
    windows = (
        window(peak_watts={"package-0": 7.5}, estimated_joules={"cpu-estimate": 3.0}),
        window(start=3.0, thread="worker"),
        quoted,
    )
    timeline = Timeline(
        (0.0, 1.0, 2.0, 4.0), {"package-0": (0.0, 5.0, 10.0, 30.0), "dram-0": (0.0, 0.0, 1.0, 1.0)}
    )
    return EnergyReport(
        windows=windows, total=window("total", 40.0), domains=domains, overhead=Overhead(0.01, 12, 4, 2.0),
        timeline=timeline, refresh_seconds={"package-0": 0.001, "dram-0": 0.25},
        started="2026-01-01T00:00:00+0000", host="host",
    )  # fmt: skip


def test_json_round_trip(report: EnergyReport, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    text = report.to_json(path)
    assert path.read_text() == text
    again = EnergyReport.from_json(path)
    assert again == report
    assert again.windows[2].flags == ("wrap",)
    assert json.loads(text)["windows"][0]["total_joules"] == 10.0
    assert list(tmp_path.iterdir()) == [path]
    path.write_text('{"format": "something else"}')
    with pytest.raises(ValueError, match="is not an energy report"):
        EnergyReport.from_json(path)


def test_older_reports_are_read_and_newer_ones_refused(report: EnergyReport, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    data = report.to_dict()
    old = {
        key: value
        for key, value in data.items()
        if key not in ("schema_version", "complete", "uncertainty_level")
    }
    path.write_text(json.dumps({**old, "format": "hitl_fast.energy/1"}))
    assert EnergyReport.from_json(path) == replace(report, complete=None, uncertainty_level=None)
    path.write_text(json.dumps({**data, "schema_version": data["schema_version"] + 1}))
    with pytest.raises(ValueError, match="report.json has schema version 3"):
        EnergyReport.from_json(path)
    for broken in ("{", "[]", json.dumps({**data, "windows": [{}]}), json.dumps({**data, "total": 3})):
        path.write_text(broken)
        with pytest.raises(ValueError, match="report.json is not a"):
            EnergyReport.from_json(path)


def test_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("before")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "half a file \ud800")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileNotFoundError):
        write_text(tmp_path / "no folder" / "x", "")


def test_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    """Two threads of one process, or two containers whose processes have one number."""
    path = tmp_path / "file"
    with atomic_path(path) as one, atomic_path(path) as other:
        for place, text in ((one, "one"), (other, "another")):
            Path(place).write_text(text)
    assert path.read_text() == "one"  # who ended last
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_csv_leaves_what_is_absent_empty(report: EnergyReport, tmp_path: Path) -> None:
    report.to_csv(tmp_path / "report.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "report.csv").read_text())))
    first = [row for row in rows if row["window"] == "step" and row["start"] == "1.0"]
    assert [(row["domain"], row["status"], row["joules"]) for row in first] == [
        ("package-0", "measured", "9.0"), ("dram-0", "measured", "1.0"), ("cpu-estimate", "estimated", "3.0"),
        ("total", "measured", "10.0"),
    ]  # fmt: skip
    assert first[0]["peak_watts"] == "7.5"
    assert first[1]["peak_watts"] == ""
    assert rows[-1]["window"] == "total"


def test_parquet(report: EnergyReport, tmp_path: Path) -> None:
    path = tmp_path / "report.parquet"
    report.to_parquet(path)
    table = parquet.read_table(path)
    assert table.num_rows == 13
    assert table.column("joules").to_pylist()[:4] == [9.0, 1.0, 3.0, 10.0]
    assert table.schema.field("counted_microjoules").type == "int64"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("package", "method"), [("pyarrow", "to_parquet"), ("matplotlib.figure", "plot")])
def test_missing_extra_is_named(
    package: str, method: str, report: EnergyReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(ImportError, match=r"pip install 'hitl-fast\["):
        getattr(report, method)(tmp_path / "x.png")


def test_trace_has_counters_and_slices(report: EnergyReport, tmp_path: Path) -> None:
    report.to_trace(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    counters = [e for e in events if e["ph"] == "C" and e["name"] == "package-0 watts"]
    assert [(e["ts"], e["args"]["W"]) for e in counters] == [(5e5, 5.0), (1.5e6, 5.0), (3e6, 10.0)]
    slow = [e["args"]["W"] for e in events if e["ph"] == "C" and e["name"] == "dram-0 watts"]
    assert slow == [0.0, 1.0, 0.0]
    slices = [e for e in events if e["ph"] == "X"]
    assert [(e["name"], e["ts"], e["dur"], e["tid"]) for e in slices][:2] == [
        ("step", 1e6, 2e6, 1),
        ("step", 3e6, 2e6, 2),
    ]
    assert {e["args"]["name"] for e in events if e["ph"] == "M"} == {"energy on host", "MainThread", "worker"}


def test_openmetrics_is_what_prometheus_reads(report: EnergyReport, tmp_path: Path) -> None:
    text = report.to_openmetrics(tmp_path / "energy.prom")
    assert (tmp_path / "energy.prom").read_text() == text
    families = {family.name: family for family in parser.text_string_to_metric_families(text)}
    joules = {
        (s.labels["window"], s.labels["domain"]): s.value for s in families["hitl_energy_joules"].samples
    }
    assert joules["step", "package-0"] == 18.0  # two windows of one name
    assert joules['a "quoted"\nname', "dram-0"] == 1.0
    assert families["hitl_energy_joules"].type == "counter"
    seconds = {s.labels["window"]: s.value for s in families["hitl_energy_window_seconds"].samples}
    assert seconds["step"] == 4.0


def test_openmetrics_has_each_series_once(report: EnergyReport) -> None:
    """Whatever a window is called: Prometheus refuses a file with a series in it twice."""
    names = ["total", "run", "", "run total", 'x",domain="package-0']
    text = replace(report, windows=tuple(window(name) for name in names)).to_openmetrics()
    families = list(parser.text_string_to_metric_families(text))
    series = [(s.name, tuple(sorted(s.labels.items()))) for family in families for s in family.samples]
    assert len(series) == len(set(series)) == 5 * 5 + 5
    run = {
        s.labels["domain"]: s.value for f in families if f.name == "hitl_energy_run_joules" for s in f.samples
    }
    assert sum(run.values()) == 40.0


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_plot(ending: str, report: EnergyReport, tmp_path: Path) -> None:
    path = tmp_path / f"energy.{ending}"
    report.plot(path)
    head = path.read_bytes()[:100]
    assert head.startswith(b"\x89PNG") if ending == "png" else b"<?xml" in head
    assert list(tmp_path.iterdir()) == [path]


def test_plot_of_nothing_says_why(tmp_path: Path) -> None:
    with EnergyMeter(rapl_root=tmp_path / "none", gpus="none") as meter:
        pass
    path = tmp_path / "nothing.svg"
    meter.plot(path)
    assert b"<svg" in path.read_bytes()
    assert json.loads(meter.to_json())["total"]["joules"] is None


def test_table(report: EnergyReport) -> None:
    text = str(report)
    assert "step x2" in text
    assert "gpu: unavailable (no NVIDIA driver)" in text
    assert "package-0: 39 J, measured, counter" in text


def test_report_of_a_run(tree: Tree, tmp_path: Path) -> None:
    tree.socket(0)
    meter = EnergyMeter(rapl_root=tree.root, gpus="none")
    with meter:
        for step in range(3):
            with meter.window("step"):
                tree.set("intel-rapl:0", 1_000_000 * (step + 2))
    report = meter.report()
    assert report.by_name()["step"].total_joules == pytest.approx(
        sum(w.total_joules or 0 for w in meter.windows)
    )
    assert len(report.timeline.seconds) == report.overhead.samples
    assert report.timeline.joules["package-0"][-1] == pytest.approx(report.total.total_joules or 0)
    meter.to_json(tmp_path / "r.json")
    assert EnergyReport.from_json(tmp_path / "r.json").total == report.total


def test_windows_add_up_with_their_flags_and_doubts() -> None:
    lost = window(joules=None, flags=("lost_sensor",))
    both = add(
        [
            window(flags=("wrap",), peak_watts={"package-0": 3.0}, estimated_joules={"cpu-estimate": 1.0}),
            window(),
        ]
    )
    assert (both.total_joules, both.uncertainty_joules, both.seconds) == (20.0, 1.0, 4.0)
    assert both.flags == ("wrap",)
    assert both.peak_watts == {"package-0": 3.0}
    assert both.estimated_joules == {"cpu-estimate": 1.0}
    part = add([window(), lost])
    assert part.total_joules is None
    assert part.joules is None
    assert "lost_sensor" in part.flags
    with pytest.raises(ValueError, match="windows is empty"):
        add([])


def test_watts_of_a_timeline() -> None:
    timeline = Timeline((0.0, 0.1, 0.2, 0.3), {"x": (0.0, 0.0, 20.0, 20.0)})
    assert timeline.watts("x", 0.2) == [(0.1, pytest.approx(100.0))]
    assert len(timeline.watts("x")) == 3


def test_carbon() -> None:
    assert carbon(3_600_000, 400, country="FRA").grams == 400  # the user's own number goes first
    average = carbon(3_600_000, country="fra", uncertainty_joules=360_000)
    assert average.grams == INTENSITIES["FRA"].grams_per_kwh
    assert average.uncertainty_grams == pytest.approx(average.grams / 10)
    assert "2023" in average.source
    assert "Ember" in average.source
    assert {carbon(1.0, country=name).source for name in ("DEU", "de", "Germany", " germany ")} == {
        carbon(1.0, country="DEU").source
    }
    assert COUNTRIES.keys() == INTENSITIES.keys()
    assert window().carbon(360.0).grams == pytest.approx(0.001)  # type: ignore[union-attr]
    for arguments, said in (
        ({}, "give grams_per_kwh"), ({"country": "ATL"}, "'ATL' is not in the table"),
        ({"grams_per_kwh": -1.0}, "at least 0"), ({"grams_per_kwh": math.nan}, "at least 0"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            carbon(1.0, **arguments)  # type: ignore[arg-type]
    assert all(0 < grams < 1000 and 2020 <= year <= 2026 for grams, year in INTENSITIES.values())


def test_comparison_claims_what_the_runs_show() -> None:
    a, b = [100.0, 104.0, 98.0, 101.0, 102.0], [80.0, 82.0, 79.0, 83.0, 81.0]
    result = compare(a, b)
    assert result.claim
    assert result.difference_joules == pytest.approx(-20.0)
    assert result.interval_joules is not None
    assert result.interval_percent is not None
    assert result.interval_joules[0] < -20 < result.interval_joules[1] < 0
    assert result.interval_percent[0] == pytest.approx(result.interval_joules[0] / 1.01)
    assert str(result).startswith("it saved 20 J a run (19.8 %), 95% interval")
    assert compare(b, a).verdict.startswith("it cost 20 J")
    assert compare(a, b) == result  # the same seed, the same interval


def test_comparison_that_proves_nothing() -> None:
    noise = compare([100, 120, 90, 110], [99, 118, 93, 108])
    assert not noise.claim
    assert "holds 0" in noise.verdict
    single = compare([100.0], [50.0])
    assert (single.claim, single.interval_joules) == (False, None)
    assert "at least two runs a side" in single.verdict
    pair = compare([100.0, 101.0], [50.0, 51.0])
    assert not pair.claim
    assert "too few for a 95% interval" in pair.verdict
    same = compare([5.0, 5.0], [4.0, 4.0])
    assert same.interval_joules == (-1.0, -1.0)
    assert not same.claim
    assert "identical" in same.verdict


def test_comparison_within_the_meters_doubt(report: EnergyReport) -> None:
    runs = [window(joules=v) for v in (10.0, 10.1, 9.9, 10.05, 9.95)]
    fewer = [window(joules=v) for v in (9.3, 9.4, 9.2, 9.35, 9.25)]
    result = compare(runs, fewer)
    assert result.meter_joules == pytest.approx(1.0)
    assert not result.claim
    assert "the meters may be off by 1 J" in result.verdict
    assert compare([report, report], runs).baseline_joules == 40.0


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (([], [1.0]), ValueError, "baseline has no runs"),
        (([1.0], [window(joules=None)]), ValueError, r"treatment\[0\] has no measured joules"),
        (([1.0, 0.0], [1.0]), ValueError, r"baseline\[1\] must be joules above 0"),
        (([1.0], [math.nan]), ValueError, r"treatment\[0\] must be joules above 0"),
        ((["1"], [1.0]), TypeError, r"baseline\[0\] must be joules, a Window or an EnergyReport"),
        (([True], [1.0]), TypeError, r"baseline\[0\]"),
    ],
)
def test_comparison_refuses(
    arguments: tuple[list[float], list[float]], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        compare(*arguments)
    with pytest.raises(ValueError, match="confidence"):
        compare([1.0], [1.0], confidence=1.0)
    with pytest.raises(ValueError, match="resamples"):
        compare([1.0], [1.0], resamples=10)


def test_interval_covers_as_often_as_it_says() -> None:
    """Five runs a side, normal: percentiles of the difference itself would cover 0 in 86 of 100."""
    generator = np.random.default_rng(1)
    runs = generator.normal(100, 5, (300, 2, 5))
    held = 0
    for seed, (a, b) in enumerate(runs):
        interval = compare(a.tolist(), b.tolist(), resamples=1000, seed=seed).interval_joules
        assert interval is not None
        held += interval[0] <= 0 <= interval[1]
    assert held / len(runs) >= 0.93


def test_random_state_is_left_alone() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    compare([1.0, 2.0, 3.0], [1.0, 2.0, 4.0])
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_runs_of_different_parts_prove_nothing() -> None:
    """A GPU that is not counted in the treatment is not saved."""
    gpu = {"package-0": 50.0, "GPU-a": 50.0}
    other = {"package-0": 50.0, "GPU-b": 50.0, "psys": 99.0}
    runs = [window(joules=100.0 + i / 10, uncertainty_joules=0.1) for i in range(5)]
    whole = [replace(run, joules=gpu) for run in runs]
    fewer = [
        replace(run, joules={"package-0": 50.0}, total_joules=50.0 + i / 10) for i, run in enumerate(runs)
    ]
    result = compare(whole, fewer)
    assert not result.claim
    assert result.verdict == (
        "no claim: the total of treatment[0] is of package-0, that of the runs before it of GPU, package-0"
    )
    lost = [replace(run, flags=("lost_sensor",)) for run in fewer]
    assert "no claim: treatment[0] lost a sensor" in compare(fewer, lost).verdict
    assert not compare(whole, lost).claim
    less = [replace(run, joules=other, total_joules=60.0 + i / 10) for i, run in enumerate(runs)]
    assert compare(whole, less).claim


def test_links_pipes_and_devices_stay_what_they_are(tmp_path: Path) -> None:
    real, link, pipe = tmp_path / "real.json", tmp_path / "link.json", tmp_path / "pipe"
    real.write_text("old")
    link.symlink_to("real.json")
    write_text(link, "new")
    assert link.is_symlink()
    assert real.read_text() == "new"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_text(pipe, "through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    assert pipe.is_fifo()
    inward, outward = os.pipe()
    write_text(f"/dev/fd/{outward}", "by number")
    assert os.read(inward, 100) == b"by number"
    os.close(inward)
    os.close(outward)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.json", "pipe", "real.json"]


def test_metrics_are_flat_numbers(report: EnergyReport) -> None:
    found = report.metrics()
    assert found["energy/joules"] == 40.0
    assert found["energy/step/joules"] == 20.0
    assert found["energy/step/joules_of/package-0"] == 18.0
    assert all(isinstance(value, float) for value in found.values())
    # MLflow keeps a metric in a file of its name, so that no name may be the folder of another.
    assert not [(name, other) for name in found for other in found if other.startswith(f"{name}/")]
    nothing = replace(report, windows=(window(joules=None),), total=window("total", None))
    assert nothing.metrics() == {"energy/seconds": 2.0, "energy/step/seconds": 2.0}


def test_thinned_timeline(report: EnergyReport) -> None:
    assert report.thinned(2).timeline.seconds == (0.0, 2.0)
    assert report.thinned(100) == report

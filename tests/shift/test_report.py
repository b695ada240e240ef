"""The report as text, JSON and picture."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import hitl_fast as hf


@pytest.fixture(scope="module")
def report() -> hf.PreIndexReport:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [part for i in range(20) for part in (nn.Linear(12, 12), nn.Tanh())]
        model = nn.Sequential(*layers, nn.Linear(12, 3))
        x, y = torch.randn(40, 12), torch.arange(40) % 3
        return hf.preindex(model, [(x, y)], [(x + 0.5 * torch.randn(40, 12), y)], bins=(8, 32))


def test_prints_what_one_needs_on_25_lines(report: hf.PreIndexReport) -> None:
    lines = str(report).splitlines()
    assert len(lines) <= 25
    assert max(map(len, lines)) <= 120
    assert lines[0].startswith(f"PreIndex {report.index:.4f}")
    text = str(report)
    for word in (
        "accuracy",
        "probe error",
        "RESQUE angle",
        "linear CKA",
        "seconds",
        "skipped",
        "input of 40",
    ):
        assert word in text


def test_json_round_trip(report: hf.PreIndexReport, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    report.to_json(path)
    assert hf.PreIndexReport.from_json(path) == report
    held = json.loads(path.read_text())
    assert set(held) == {field.name for field in dataclasses.fields(report)}
    assert held["distances"]["32"]["jensen_shannon"] == report.distances[32]["jensen_shannon"]
    assert held["clusters"]["clean"]["ari"] == report.clusters["clean"].ari
    assert held["clusters"]["clean_kmeans++"] is None
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file(
    report: hf.PreIndexReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")
    broken = dataclasses.replace(report, index=float("nan"))
    with pytest.raises(ValueError, match="not JSON compliant"):
        broken.to_json(path)

    def full(*arguments: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="no space left"):
        report.to_json(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[1]", "is not a PreIndex report: it holds a list"),
        ('{"index": 1, "what": 2}', "missing distance, .*; unknown what"),
    ],
)
def test_refuses_other_files(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        hf.PreIndexReport.from_json(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [("distances", {"x": {}}), ("distances", {"32": {"jensen_shannon": None}}), ("clusters", {"clean": {"ari": 1}}),
     ("layers", []), ("index", "high")],
)  # fmt: skip
def test_refuses_broken_values(report: hf.PreIndexReport, key: str, value: object, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    report.to_json(path)
    held = json.loads(path.read_text())
    held[key] = value
    path.write_text(json.dumps(held))
    with pytest.raises(ValueError, match=re.escape(f"{path} is not a PreIndex report")):
        hf.PreIndexReport.from_json(path)
    with pytest.raises(FileNotFoundError):
        hf.PreIndexReport.from_json(tmp_path / "none.json")


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_plot(report: hf.PreIndexReport, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"report.{ending}"
    report.plot(path)
    assert path.read_bytes()[:4] in (b"\x89PNG", b"<?xm", b"%PDF")


def test_plot_names_what_is_missing(
    report: hf.PreIndexReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=re.escape("pip install 'hitl-fast[plots]'")):
        report.plot(tmp_path / "x.png")


def test_the_effort_score_and_its_parts(report: hf.PreIndexReport) -> None:
    assert report.effort_score == pytest.approx(
        report.path_excess**0.5 + 4 * report.probe_increase, rel=1e-12
    )
    assert report.effort_samples == report.samples
    assert f"effort score  {report.effort_score:.4f}" in str(report)
    assert any("40 samples" in note for note in report.notes)  # few: said, not hidden
    metrics = report.metrics()
    assert metrics["effort_score"] == report.effort_score
    assert metrics["index"] == report.index
    assert metrics["ari_clean"] == report.clusters["clean"].ari
    assert "ari_clean_kmeans_plusplus" not in metrics
    assert all(isinstance(value, float) for value in metrics.values())


def test_a_report_of_before_has_no_effort_score(report: hf.PreIndexReport, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    report.to_json(path)
    held = json.loads(path.read_text())
    for name in ("effort_score", "path_excess", "probe_increase", "effort_samples", "notes", "schema"):
        del held[name]
    for cluster in held["clusters"].values():
        if cluster is not None:
            del cluster["standard_error"]
    path.write_text(json.dumps(held))
    old = hf.PreIndexReport.from_json(path)
    assert (old.effort_score, old.path_excess, old.probe_increase) == (None, None, None)
    assert "effort score" not in str(old)
    assert "effort_score" not in old.metrics()


@pytest.mark.parametrize(("arithmetic", "kmeans", "there"), [
    ("corrected", None, False), ("corrected", True, True), ("reference", None, True), ("reference", False, False),
])  # fmt: skip
def test_kmeans_runs_where_they_are_asked_for(arithmetic: str, kmeans: bool | None, there: bool) -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    x, y = torch.randn(30, 6, generator=torch.Generator().manual_seed(0)), torch.arange(30) % 3
    found = hf.preindex(model, [(x, y)], [(x + 1, y)], arithmetic=arithmetic, kmeans=kmeans, effort_samples=0)
    assert (found.clusters["shifted_kmeans++"] is not None) == there
    assert found.effort_score is None


@pytest.mark.parametrize(
    "options",
    [{"clean_accuracy": 97}, {"effort_samples": -1}, {"embedding_samples": 0}, {"embedding_dtype": "int8"}],
)
def test_wrong_options_are_named_before_the_pass(options: dict[str, Any]) -> None:
    class Never(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise AssertionError

    with pytest.raises(ValueError, match=next(iter(options))):
        hf.preindex(
            Never(), [(torch.zeros(2, 3), torch.arange(2))], [(torch.ones(2, 3), torch.arange(2))], **options
        )

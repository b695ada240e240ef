"""The demo on a few digits: every chapter tells its story, writes its files, and draws from the seed alone."""

import json
from pathlib import Path

import pytest
import torch

from hitl_fast import cli
from hitl_fast.cost.model import CostModel
from hitl_fast.demo import command, shifts
from hitl_fast.demo import rating as rated
from hitl_fast.demo import studies as asked
from hitl_fast.demo import training as weighted
from hitl_fast.demo.context import Stage
from hitl_fast.experiments.common import digits
from hitl_fast.experiments.common.journal import read


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(tmp_path_factory.mktemp("demo"), training_samples=300, test_samples=60, epochs=2)


@pytest.mark.jit
def test_shifts(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    shifts.tell(stage)
    lines = capsys.readouterr().out.splitlines()
    table = [line for line in lines if line.startswith(tuple(digits.SHIFTS))]
    assert len(table) == 10
    indices = [float(line[16:24]) for line in table]
    assert indices == sorted(indices, reverse=True)
    held = json.loads((stage.folder / "shifts.json").read_text())
    assert [f"{report['index']:.3f}" for report in held.values()] == [line[16:24].strip() for line in table]
    assert (stage.folder / "shifts.png").read_bytes()[:4] == b"\x89PNG"


def test_rated(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    rated.tell(stage)
    out = capsys.readouterr().out
    assert "simulated raters" in out
    errors = {
        line.split()[0]: float(line.split()[3]) for line in out.splitlines() if "from the truth" in line
    }
    assert errors["calibrated"] < errors["mean"]
    assert (stage.folder / "weights.png").read_bytes()[:4] == b"\x89PNG"


def test_weighted(stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(weighted, "EPOCHS", 1)
    weighted.tell(stage)
    out = capsys.readouterr().out
    assert "simulated raters" in out
    assert "+     loss = hf.weighted_cross_entropy(logits, labels[index], weights[index])" in out
    for name in ("as they are", "weighted loss", "weighted sampler"):
        assert any(line.strip().startswith(name) and "% of 60" in line for line in out.splitlines())


@pytest.mark.jit
@pytest.mark.timeout(1200)
def test_both_experiments_in_small(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    asked.tell(stage)
    out = capsys.readouterr().out
    assert "simulated raters" in out
    for name in ("guidance", "calibration"):
        header, records = read(stage.folder / name / "results.jsonl")
        assert header["experiment"] == name
        assert f"hitl-fast experiment {name} --quick" in header["command"]
        assert len(records) > 30
        page = (stage.folder / name / "results.html").read_text()
        assert all(told in page for told in ("<svg", header["machine"]))
    model = CostModel.fit(stage.folder / "calibration" / "history.csv", "probe_error")
    assert model.predict({"probe_error": 0.2}).epochs.value >= 0


def test_the_command_runs_every_chapter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = []
    for chapter in command.chapters():
        monkeypatch.setattr(
            chapter, "tell", lambda stage, title=chapter.TITLE: told.append((title, stage.folder))
        )
    assert cli.main(["demo", "--folder", str(tmp_path / "new" / "folder")]) == 0
    assert [title for title, _ in told] == [chapter.TITLE for chapter in command.chapters()]
    out = capsys.readouterr().out
    assert all(title in out for title, _ in told)
    assert (tmp_path / "new" / "folder").is_dir()


def test_digits_are_real_and_drawn_from_the_seed() -> None:
    data = digits.load(1)
    assert data.images.shape == (5000, 1, 28, 28)
    assert torch.bincount(data.labels).tolist() == [500] * 10
    assert float(data.images.min()) == 0
    assert float(data.images.max()) == 1
    assert torch.equal(digits.load(1).labels, data.labels)
    assert not torch.equal(digits.load(2).labels, data.labels)


@pytest.mark.parametrize("name", digits.SHIFTS)
def test_a_stronger_shift_moves_more(name: str) -> None:
    shift, strengths = digits.SHIFTS[name]
    images = digits.load().images[:50]
    before = images.clone()
    moved = [float((shift(images, strength, 0) - images).square().mean()) for strength in strengths]
    assert 0 < moved[0] < moved[1]
    assert torch.equal(images, before)
    assert torch.equal(shift(images, strengths[0], 0), shift(images, strengths[0], 0))


def test_weights_and_training_come_from_the_seed() -> None:
    state = torch.get_rng_state()
    models = [digits.seeded(digits.SmallCNN, 3) for _ in range(2)]
    for model in models:
        digits.train(model, digits.load()[:100], 1, seed=4)
    assert torch.equal(torch.get_rng_state(), state)
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(one, other)

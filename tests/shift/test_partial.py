"""Data that are no pairs, and shifted samples of which few or none are labelled."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import hitl_fast as hf

CLASSES = 4
CENTRES = 1.5 * torch.randn(CLASSES, 8, generator=torch.Generator().manual_seed(7))


def samples(n: int, seed: int, noise: float = 0.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (n,), generator=generator)
    values = CENTRES[labels] + torch.randn(n, 8, generator=generator)
    return values + noise * torch.randn(n, 8, generator=generator), labels


def batches(of: tuple[Tensor, Tensor], size: int = 64) -> list[tuple[Tensor, Tensor]]:
    return list(zip(of[0].split(size), of[1].split(size), strict=True))


@pytest.fixture(scope="module")
def model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, CLASSES))
    x, y = samples(600, 1)
    optimizer = torch.optim.Adam(made.parameters(), 0.02)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(made(x), y).backward()
        optimizer.step()
    return made


def moved(clean: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    noise = torch.randn(clean[0].shape, generator=torch.Generator().manual_seed(5))
    return clean[0] + noise, clean[1]


def survives(report: hf.PreIndexReport, folder: Path) -> None:
    report.to_json(folder / "report.json")
    assert hf.PreIndexReport.from_json(folder / "report.json") == report
    report.plot(folder / "report.png")
    assert (folder / "report.png").stat().st_size
    assert str(report)
    assert "None" not in report._repr_html_()
    assert all(np.isfinite(list(report.metrics().values())))


def test_the_same_samples_unpaired_give_the_scores_that_need_no_pairs(model: nn.Module) -> None:
    clean = samples(400, 2)
    shifted = moved(clean)
    order = torch.randperm(400, generator=torch.Generator().manual_seed(3))
    paired = hf.preindex(model, batches(clean), batches(shifted))
    apart = hf.preindex(
        model, batches(clean), batches((shifted[0][order], shifted[1][order]), 50), paired=False
    )
    assert apart.accuracy == paired.accuracy
    assert apart.inverse_ari == pytest.approx(paired.inverse_ari)
    assert apart.probe_error == paired.probe_error
    assert apart.resque_angle == pytest.approx(paired.resque_angle, abs=1e-6)
    assert apart.probe_increase == pytest.approx(paired.probe_increase, abs=1e-9)
    assert apart.confidence_drop == pytest.approx(paired.confidence_drop, abs=1e-6)


def test_unpaired_reports_of_different_number(model: nn.Module, tmp_path: Path) -> None:
    report = hf.preindex(model, batches(samples(400, 2)), batches(samples(310, 3, 1.0), 50), paired=False)
    assert (report.samples, report.clean_samples, report.paired) == (310, 400, False)
    for name in ("index", "distance", "u", "distances", "input_rms", "cka"):
        assert getattr(report, name) is None
        assert any("without pairs" in note and name in note for note in report.notes)
    assert report.layers == {}
    assert report.effort_score is not None
    assert report.class_mean_cka is not None
    survives(report, tmp_path)
    same = hf.preindex(model, batches(samples(400, 2)), batches(samples(310, 4), 50), paired=False)
    assert same.effort_score is not None
    assert same.effort_score < report.effort_score


@pytest.mark.parametrize("paired", [True, False])
def test_shifted_labels_may_be_missing_and_are_not_read(
    paired: bool, model: nn.Module, tmp_path: Path
) -> None:
    clean = samples(200, 2)
    shifted = moved(clean)
    wrong = torch.full((200,), 77)
    forms: list[list[Any]] = [
        batches((shifted[0], wrong)), list(shifted[0].split(64)), [(x,) for x in shifted[0].split(64)],
    ]  # fmt: skip
    reports = [hf.preindex(model, batches(clean), form, paired=paired, labels_for="clean") for form in forms]
    report = reports[0]
    for other in reports[1:]:
        assert other.confidence_drop == report.confidence_drop
        assert other.distances == report.distances
    for name in ("index", "inverse_ari", "u", "probe_error", "resque_angle", "accuracy_drop", "effort_score"):
        assert getattr(report, name) is None
    assert report.accuracy is not None
    assert set(report.accuracy) == {"clean"}
    assert (report.distance is None) == (not paired)
    assert report.clean_probe_error is not None
    survives(report, tmp_path)


@pytest.mark.parametrize("paired", [True, False])
def test_a_budget_gives_intervals_that_hold_the_value(paired: bool, model: nn.Module, tmp_path: Path) -> None:
    clean = samples(300, 2)
    report = hf.preindex(model, batches(clean), batches(moved(clean)), paired=paired, label_budget=100)
    assert report.intervals is not None
    names = {"inverse_ari", "probe_error", "resque_angle", "effort_score", "accuracy_drop"}
    assert names | ({"index", "u"} if paired else set()) <= set(report.intervals)
    for name in names:
        low, high = report.intervals[name]
        assert low <= getattr(report, name) <= high, name
        assert low < high
    assert report.effort_samples == 100
    survives(report, tmp_path)


@pytest.mark.parametrize("paired", [True, False])
def test_a_label_below_zero_is_unknown_under_a_budget(paired: bool, model: nn.Module) -> None:
    clean = samples(300, 2)
    x, y = moved(clean)
    some = torch.where(torch.arange(300) % 3 == 0, y, -1)
    report = hf.preindex(model, batches(clean), batches((x, some)), paired=paired, label_budget=100)
    assert report.accuracy is not None
    assert report.accuracy["shifted"] == pytest.approx(float((model(x).argmax(1) == y)[::3].double().mean()))
    assert report.classes == CLASSES
    with pytest.raises(ValueError, match="label_budget is 101, but only 100"):
        hf.preindex(model, batches(clean), batches((x, some)), paired=paired, label_budget=101)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"paired": 1}, "paired"),
        ({"labels_for": "shifted"}, "labels_for"),
        ({"label_budget": 1}, "label_budget"),
        ({"label_budget": 2.5}, "label_budget"),
        ({"label_budget": True}, "label_budget"),
        ({"label_budget": 10, "labels_for": "clean"}, "contradict"),
        ({"label_budget": 65}, "only 64"),
        ({"paired": False, "label_budget": 65}, "only 64"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], names: str, model: nn.Module) -> None:
    with pytest.raises((ValueError, TypeError), match=names):
        hf.preindex(model, batches(samples(64, 2)), batches(samples(64, 2)), **options)


@pytest.mark.parametrize("options", [{"paired": False}, {"labels_for": "clean"}, {"label_budget": 10}])
def test_a_group_is_for_labelled_pairs(options: dict[str, Any], model: nn.Module) -> None:
    sides = batches(samples(64, 2)), batches(samples(64, 3))
    with pytest.raises(ValueError, match="group=.*paired=False"):
        hf.preindex(model, *sides, group="world", **options)


@pytest.mark.parametrize("empty", ["clean", "shifted"])
def test_an_empty_side_is_named(empty: str, model: nn.Module) -> None:
    sides = {"clean": batches(samples(64, 2)), "shifted": batches(samples(64, 2))} | {empty: []}
    with pytest.raises(ValueError, match=f"{empty} holds no batch"):
        hf.preindex(model, sides["clean"], sides["shifted"], paired=False)


def test_classes_of_one_side_only(model: nn.Module) -> None:
    clean, shifted = samples(300, 2), samples(300, 3, 0.5)
    known = clean[1] != 3
    report = hf.preindex(model, batches((clean[0][known], clean[1][known])), batches(shifted), paired=False)
    assert report.effort_samples == int((shifted[1] != 3).sum())
    assert any("no clean sample has" in note for note in report.notes)
    assert report.classes == CLASSES


def test_a_cost_model_refuses_a_score_that_is_missing_by_name(model: nn.Module) -> None:
    clean = samples(64, 2)
    report = hf.preindex(model, batches(clean), batches(moved(clean)), labels_for="clean")
    past = [{"probe_error": i / 20, "index": i / 10, "epochs": 1.5**i} for i in range(12)]
    for name in ("probe_error", "index"):
        with pytest.raises(ValueError, match=f"no {name}"):
            hf.CostModel.fit(past, scores=name).predict(report)

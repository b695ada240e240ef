"""Data that are no pairs, and shifted samples of which few or none are labelled."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import hitl_fast as hf
from hitl_fast.shift import partial
from hitl_fast.shift.embeddings import EmbeddingStore
from hitl_fast.shift.labelling import Labelling
from hitl_fast.shift.layer_inputs import InputStore

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
    names = {"inverse_ari", "accuracy_drop"} | ({"index", "u"} if paired else set())
    assert names | {"accuracy_shifted"} == set(report.intervals)
    for name in names:
        low, high = report.intervals[name]
        assert low <= getattr(report, name) <= high, name
        assert low < high
    assert report.effort_samples == 100
    assert report.clusters["shifted_from_clean"].standard_error  # type: ignore[union-attr]
    assert any("100 labelled" in note and "equal budgets" in note for note in report.notes)
    survives(report, tmp_path)


@pytest.mark.parametrize("paired", [True, False])
def test_few_labels_have_no_interval_of_the_rand_index(paired: bool, model: nn.Module) -> None:
    clean = samples(300, 2)
    report = hf.preindex(model, batches(clean), batches(moved(clean)), paired=paired, label_budget=29)
    assert set(report.intervals or ()) == {"accuracy_shifted", "accuracy_drop"}
    assert any("needs 30" in note for note in report.notes)


def test_a_budget_of_all_labels_is_the_whole_report(model: nn.Module) -> None:
    clean = samples(300, 2)
    sides = batches(clean), batches(moved(clean))
    whole, budget = hf.preindex(model, *sides), hf.preindex(model, *sides, label_budget=300)
    for name in (
        "index", "distance", "inverse_ari", "u", "distances", "probe_error", "resque_angle", "cka", "accuracy",
        "effort_score", "path_excess", "probe_increase", "effort_samples", "confidence_drop", "input_rms",
    ):  # fmt: skip
        assert getattr(budget, name) == getattr(whole, name), name
    assert budget.clusters == whole.clusters


@pytest.mark.parametrize("paired", [True, False])
def test_labels_are_drawn_among_all_samples(paired: bool, model: nn.Module) -> None:
    """Of sorted data too, and more than the samples of the effort score, whose part of them is as random."""
    x, y = samples(600, 2)
    order = y.argsort(stable=True)
    clean = x[order], y[order]
    sides = batches(clean), batches(moved(clean))
    report = hf.preindex(model, *sides, paired=paired, label_budget=200, effort_samples=60)
    assert report.effort_samples == 60
    assert report.effort_score is not None
    assert report.probe_increase is not None
    assert not any("classes differ" in note for note in report.notes)
    assert any(" 200 labelled" in note for note in report.notes)


def test_the_layer_inputs_kept_are_those_of_the_labels_drawn() -> None:
    generator = np.random.default_rng(3)
    known, finite = generator.random(500) < 0.7, generator.random(500) < 0.9
    values = torch.arange(500.0)[:, None] * torch.ones(2)
    for most in (40, 100, 1000):
        store = InputStore(most, drawn=True)
        for start in range(0, 500, 32):
            part = slice(start, start + 32)
            rows = values[part]
            store.enter("a", 0, rows, rows)
            store.end_batch((rows, rows), np.zeros(len(rows), int), (known & finite)[part])
            assert store.samples <= 1.5 * most
        kept = store.result(set())
        chosen = np.flatnonzero(Labelling(label_budget=100).choose(known, finite))
        assert len(kept.positions) == min(most, int((known & finite).sum()))
        assert (kept.inputs["a"][0][0][:, 0] == kept.positions).all()
        assert len(np.intersect1d(kept.positions, chosen)) == min(most, 100)
        assert kept.inputs["a"][0] is kept.inputs["a"][1]


@pytest.mark.parametrize("paired", [True, False])
def test_rows_that_are_not_finite_use_up_no_label_and_are_named(paired: bool, model: nn.Module) -> None:
    clean = samples(200, 2)
    x, y = moved(clean)
    x[:20] = torch.nan
    with pytest.warns(UserWarning, match="20 sample pairs" if paired else "20 shifted samples"):
        report = hf.preindex(model, batches(clean), batches((x, y)), paired=paired, label_budget=180)
    assert (report.left_out, report.effort_samples) == (20, 180)
    assert report.accuracy is not None
    assert report.accuracy["shifted"] == pytest.approx(
        float((model(x[20:]).argmax(1) == y[20:]).double().mean())
    )
    with pytest.raises(ValueError, match="only 180"), pytest.warns(UserWarning, match="20 "):
        hf.preindex(model, batches(clean), batches((x, y)), paired=paired, label_budget=181)
    with pytest.raises(ValueError, match="all 200"):
        hf.preindex(model, batches(clean), batches((x * torch.nan, y)), paired=paired, label_budget=5)
    if not paired:
        with pytest.warns(UserWarning, match="20 clean samples"):
            report = hf.preindex(model, batches((x, y)), batches(clean), paired=False)
        assert any("20 clean samples" in note for note in report.notes)


@pytest.mark.parametrize(
    "options", [{"paired": False}, {"paired": False, "label_budget": 50}, {"label_budget": 50}]
)
def test_labels_of_one_class_say_nothing_of_agreement(options: dict[str, Any], model: nn.Module) -> None:
    clean = samples(200, 2)
    x, y = moved(clean)
    one = torch.where(y == 1, 1, -1) if "label_budget" in options else torch.ones_like(y)
    if options.get("label_budget"):
        options = options | {"label_budget": int((one == 1).sum())}
    report = hf.preindex(model, batches(clean), batches((x, one)), **options)
    for name in ("index", "inverse_ari", "probe_error", "effort_score"):
        assert getattr(report, name) is None, name
        assert "inverse_ari" not in (report.intervals or {})
    assert sum("one class" in note or "have 1 class" in note for note in report.notes) == 2
    assert report.clean_probe_error is not None


def test_fewer_shifted_samples_than_clean_classes(model: nn.Module, tmp_path: Path) -> None:
    report = hf.preindex(model, batches(samples(200, 2)), batches(samples(3, 4)), paired=False)
    assert report.inverse_ari is None
    assert any("3 shifted samples are fewer than the 4 clean classes" in note for note in report.notes)
    survives(report, tmp_path)


@pytest.mark.parametrize("paired", [True, False])
def test_labels_below_zero_are_no_class(paired: bool, model: nn.Module) -> None:
    clean = samples(200, 2)
    x, y = moved(clean)
    y = y.clone()
    y[70] = -1
    with pytest.raises(ValueError, match="70"):
        hf.preindex(model, batches(clean), batches((x, y)), paired=paired)
    with pytest.raises(ValueError, match=r"clean.*sample 70 is -1.*from 0"):
        hf.preindex(model, batches((x, y)), batches(clean), paired=paired, label_budget=20)


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("form", [lambda x: x, lambda x: (x,), lambda x: (x, None), lambda x: {"input": x}])
def test_missing_labels_name_the_option_for_them(form: Any, paired: bool, model: nn.Module) -> None:
    clean = samples(64, 2)
    with pytest.raises(TypeError, match="labels_for='clean'"):
        hf.preindex(model, batches(clean), [form(clean[0])], paired=paired)
    with pytest.raises(TypeError, match="one class for each sample|name it by labels=$") as raised:
        hf.preindex(model, [form(clean[0])], batches(clean), paired=paired)
    assert "labels_for" not in str(raised.value)


@pytest.mark.parametrize("paired", [True, False])
def test_nothing_is_kept_that_nothing_is_made_of(
    paired: bool, model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered: list[int] = []
    seen: list[tuple[Tensor, Tensor]] = []
    inner = EmbeddingStore.append

    def append(self: EmbeddingStore, clean: Tensor, shifted: Tensor) -> None:
        seen.append((clean, shifted))
        inner(self, clean, shifted)
        assert paired or len(self._blocks) == 1

    monkeypatch.setattr(InputStore, "enter", lambda *_: entered.append(1))
    monkeypatch.setattr(EmbeddingStore, "append", append)
    clean = samples(200, 2)
    hf.preindex(model, batches(clean), batches(moved(clean)), paired=paired, labels_for="clean")
    assert not entered
    assert paired or all(clean is shifted for clean, shifted in seen)


def test_the_effort_score_is_fitted_once_and_its_time_is_no_clustering(
    model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    inner = partial.effort_of

    def counted(*arguments: Any) -> Any:
        calls.append(1)
        return inner(*arguments)

    monkeypatch.setattr(partial, "effort_of", counted)
    clean = samples(300, 2)
    hf.preindex(model, batches(clean), batches(moved(clean)), label_budget=100)
    assert len(calls) == 1


@pytest.mark.parametrize("paired", [True, False])
def test_a_label_below_zero_is_unknown_under_a_budget(paired: bool, model: nn.Module) -> None:
    clean = samples(300, 2)
    x, y = moved(clean)
    some = torch.where(torch.arange(300) % 3 == 0, y, -1)
    report = hf.preindex(model, batches(clean), batches((x, some)), paired=paired, label_budget=100)
    assert report.accuracy is not None
    assert report.accuracy["shifted"] == pytest.approx(float((model(x).argmax(1) == y)[::3].double().mean()))
    assert report.classes == CLASSES
    with pytest.raises(ValueError, match=r"label_budget is 101, but only 100"):
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


def test_one_class_of_pairs_is_said_to_tell_nothing(model: nn.Module) -> None:
    x, y = samples(64, 2)
    said = hf.preindex(model, batches((x, y * 0)), batches((x + 1, y * 0))).notes
    assert any("one class" in note and "inverse ARI" in note for note in said)
    assert not any(
        "one class" in note for note in hf.preindex(model, batches((x, y)), batches((x + 1, y))).notes
    )

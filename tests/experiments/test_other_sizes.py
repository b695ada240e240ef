"""What a cost model says of other data-set and batch sizes: against histories made at those sizes, and refusals."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

import hitl_fast as hf
from hitl_fast import cli
from hitl_fast.cost import carry
from hitl_fast.cost.carry import LAW, Carried, factor_within
from hitl_fast.cost.estimate import CostEstimate

EFFORTS = ("epochs", "samples", "flops", "joules")
ASKED = {"probe_error": 0.3}


def grown(size: float = 1, batch: float = 1) -> float:
    """Samples seen over those at sizes of 1."""
    return float(size ** LAW.powers["dataset_size"] * batch ** LAW.powers["batch_size"])


def history(size: float = 1000, batch: float = 64, n: int = 24) -> list[dict[str, float]]:
    """Samples seen that grow with the data set's size and with the batch as measured."""
    generator = np.random.default_rng(0)
    rows = []
    for i in range(n):
        probe = 0.05 + 0.6 * i / n
        samples = 64 * math.exp(5 * probe + generator.normal(0, 0.3)) * grown(size, batch)
        rows.append(
            {
                "probe_error": probe, "samples": samples, "epochs": samples / size, "steps": samples / batch,
                "flops": 1e6 * samples, "joules": 0.01 * samples,
            }
        )  # fmt: skip
    return rows


@settings(deadline=None, max_examples=12)
@example(size=990.0, batch=71.0, effort="epochs")  # errors of either sign nearly cancel
@given(size=st.floats(400, 2900), batch=st.floats(33, 127), effort=st.sampled_from(EFFORTS))
def test_a_history_at_the_sizes_asked_for_says_the_same(size: float, batch: float, effort: str) -> None:
    model, there = (
        hf.CostModel.fit(rows, "probe_error", effort=effort) for rows in (history(), history(size, batch))
    )
    asked = model.predict(ASKED, dataset_size=size, batch_size=batch)
    known = there.predict(ASKED)
    assert asked.effort.value == pytest.approx(known.effort.value)
    assert asked.effort.low <= known.effort.low * (1 + 1e-9)
    assert asked.effort.high >= known.effort.high * (1 - 1e-9)
    assert asked.kwh is not None
    assert known.kwh is not None
    assert asked.kwh.value == pytest.approx(known.kwh.value)
    assert asked.kwh.high >= known.kwh.high * (1 - 1e-9)
    if effort == "samples":
        assert asked.epochs is not None
        assert asked.epochs.value == pytest.approx(asked.effort.value / size)
    else:
        assert (asked.epochs is None) == (effort != "epochs")


def ends(estimate: CostEstimate) -> tuple[float, float]:
    return estimate.effort.low, estimate.effort.high


def test_errors_of_the_past_and_of_sizes_are_combined() -> None:
    """As many residuals and errors of either sign as there are, each pair as likely: the plain definition."""
    residuals, weights = np.array([0.1, 0.4, np.inf]), np.array([0.3, 0.3, 0.2])
    spread, weight = Carried(errors=((0.2, 0.3),)).combined(residuals, weights)
    expected = [abs(r + s * e) for r in residuals for s in (1, -1) for e in (0.2, 0.3)]
    np.testing.assert_allclose(np.sort(spread.ravel()), np.sort(expected))
    np.testing.assert_allclose(weight.sum(1), weights)
    first, second = np.random.default_rng(0).exponential(size=(2, 400))
    spread, weight = Carried(errors=(tuple(first), tuple(second))).combined(np.zeros(1), np.ones(1))
    sums = np.abs(first[:, None] + np.concatenate([second, -second]))
    assert np.median(spread) == pytest.approx(np.median(sums), rel=0.03)
    assert weight.sum() == pytest.approx(1)
    spread, weight = Carried().combined(residuals, weights)
    np.testing.assert_array_equal(spread[:, 0], residuals)


def test_intervals_are_wider_the_further_the_sizes_are_apart() -> None:
    """About as independent errors add: by more than nothing, and by less than both in full."""
    model = hf.CostModel.fit(history(), "probe_error", effort="samples")
    low, high = ends(model.predict(ASKED))
    assert ends(model.predict(ASKED, dataset_size=1000, batch_size=64)) == pytest.approx((low, high))
    widths = []
    for size, batch in ((1500, 64), (3000, 64), (3000, 128)):
        value, *asked = model.predict(ASKED, dataset_size=size, batch_size=batch).effort
        factor = grown(size / 1000, batch / 64)
        assert value == pytest.approx(model.predict(ASKED).effort.value * factor)
        widths.append(math.log(asked[1] / asked[0]))
        assert asked[0] < low * factor
    assert math.log(high / low) < widths[0] < widths[1] < widths[2]
    full = 2 * sum(math.log(LAW.within[name][0.8]) for name in LAW.within)
    assert widths[2] < math.log(high / low) + full


def test_no_factor_is_made_up_at_a_level_that_was_not_measured() -> None:
    assert factor_within("dataset_size", 0.81) == LAW.within["dataset_size"][0.9]
    assert factor_within("dataset_size", 0.99) == math.inf
    model = hf.CostModel.fit(history(40), "probe_error", effort="samples", level=0.92)
    estimate = model.predict(ASKED, dataset_size=39)
    assert ends(estimate) == (0.0, math.inf)
    assert any("not measured at 92%" in note for note in estimate.notes)
    assert math.isfinite(model.predict(ASKED, dataset_size=40).effort.high)


def test_of_fewer_samples_those_that_take_much_may_never_reach_the_target() -> None:
    model = hf.CostModel.fit(history(), "probe_error", effort="samples")
    low, high = LAW.lost["dataset_size"]
    assert low < 1 - model.level < high
    dear, cheap = ({"probe_error": probe} for probe in (0.6, 0.06))
    third = model.predict(dear, dataset_size=1000 / 3)
    assert third.effort.high == math.inf
    assert third.epochs is not None
    assert third.epochs.high == math.inf
    assert third.kwh is not None
    assert third.kwh.high == math.inf
    assert any("did not reach the target" in note for note in third.notes)
    assert not any("too few" in note for note in third.notes)
    assert math.isfinite(model.predict(cheap, dataset_size=1000 / 3).effort.high)
    assert math.isfinite(model.predict(dear, dataset_size=900).effort.high)
    assert math.isfinite(model.predict(dear, dataset_size=3000).effort.high)
    unknown = dataclasses.replace(model, median=None)  # a file of before: all may be among the dear ones
    assert unknown.predict(cheap, dataset_size=1000 / 3).effort.high == math.inf


def test_further_than_measured_is_said() -> None:
    model = hf.CostModel.fit(history(), "probe_error")
    with pytest.warns(UserWarning, match="dataset size 10000 is 10 times.*more than the 3 times"):
        estimate = model.predict(ASKED, dataset_size=10_000)
    assert any("10000 is 10 times" in note for note in estimate.notes)
    assert any("past: 1000" in note and "steps" not in note for note in estimate.notes)


def test_joules_of_an_epoch_are_of_the_epochs_asked_for() -> None:
    model = hf.CostModel.fit(history(), "probe_error", effort="samples")
    estimate = model.predict(ASKED, dataset_size=2000, joules_per_epoch=3.6e6)
    assert estimate.kwh == pytest.approx(estimate.epochs)
    with pytest.raises(ValueError, match="joules_per_epoch.*samples without dataset_size"):
        model.predict(ASKED, joules_per_epoch=1.0)


def drop(rows: list[dict[str, float]], *names: str) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name not in names} for row in rows]


@pytest.mark.parametrize("name", ["dataset_size", "batch_size"])
def test_a_size_that_the_history_does_not_tell_is_refused_by_name(name: str) -> None:
    rows = drop(history(), "steps", "samples")
    model = hf.CostModel.fit(rows, "probe_error")
    with pytest.raises(ValueError, match=f"{name}.*no column '{name}'.*'samples' and"):
        model.predict(ASKED, **{name: 100})
    own = hf.CostModel.fit([{**row, name: 50} for row in rows], "probe_error")
    assert own.predict(ASKED, **{name: 50}).effort == pytest.approx(model.predict(ASKED).effort)
    holes = [{**row, name: None if i == 3 else 50} for i, row in enumerate(rows)]
    with pytest.raises(ValueError, match=f"no column '{name}' of every retraining"):
        hf.CostModel.fit(holes, "probe_error").predict(ASKED, **{name: 50})
    with pytest.raises(ValueError, match=f"row 3: {name} is 0"):
        hf.CostModel.fit([{**row, name: 3 - i} for i, row in enumerate(rows)], "probe_error")


def test_a_history_of_several_sizes_answers_in_samples() -> None:
    rows = history(1000)[::2] + history(4000)[1::2]
    with pytest.raises(ValueError, match="dataset_size.*1000 to 4000.*effort='samples'"):
        hf.CostModel.fit(rows, "probe_error").predict(ASKED, dataset_size=2000)
    model = hf.CostModel.fit(rows, "probe_error", effort="samples")
    between = model.predict(ASKED, dataset_size=2000)
    assert between.effort == pytest.approx(model.predict(ASKED).effort)
    mixed = history(batch=32)[::2] + history(batch=64)[1::2]
    with pytest.raises(ValueError, match="batch_size.*32 to 64.*one batch size"):
        hf.CostModel.fit(mixed, "probe_error", effort="samples").predict(ASKED, batch_size=64)


@pytest.mark.parametrize("name", ["dataset_size", "batch_size"])
@pytest.mark.parametrize(
    ("value", "error"),
    [
        (0, ValueError), (-5, ValueError), (math.inf, ValueError), (math.nan, ValueError),
        ("many", TypeError), (True, TypeError),
    ],
)  # fmt: skip
def test_what_is_no_size_is_refused(name: str, value: object, error: type[Exception]) -> None:
    model = hf.CostModel.fit(history(), "probe_error")
    with pytest.raises(error, match=f"{name} must be a number of samples"):
        model.predict(ASKED, **{name: value})


def test_sizes_are_kept_in_files(tmp_path: Path) -> None:
    model = hf.CostModel.fit(history(), "probe_error")
    model.to_json(tmp_path / "model.json")
    assert hf.CostModel.from_json(tmp_path / "model.json") == model
    held = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "wrong.json").write_text(json.dumps({**held, "dataset_sizes": [5, 1]}))
    with pytest.raises(ValueError, match="sizes must be above 0 and rise"):
        hf.CostModel.from_json(tmp_path / "wrong.json")
    del held["median"]
    (tmp_path / "third.json").write_text(json.dumps({**held, "schema_version": 3}))
    assert hf.CostModel.from_json(tmp_path / "third.json") == dataclasses.replace(model, median=None)
    del held["dataset_sizes"], held["batch_sizes"]
    (tmp_path / "old.json").write_text(json.dumps({**held, "schema_version": 2}))
    old = hf.CostModel.from_json(tmp_path / "old.json")
    assert old == dataclasses.replace(model, dataset_sizes=None, batch_sizes=None, median=None)
    with pytest.raises(ValueError, match="dataset_size"):
        old.predict(ASKED, dataset_size=10)


def test_decide_takes_sizes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pd.DataFrame(history()).to_csv(tmp_path / "history.csv", index=False)
    network = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).eval()
    x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    report = hf.preindex(
        network, [(x, torch.arange(60) % 2)], [(x + 0.5, torch.arange(60) % 2)], progress=False
    )
    dataclasses.replace(report, probe_error=0.3).to_json(tmp_path / "report.json")
    command = [
        "decide",
        tmp_path / "report.json",
        "--history",
        tmp_path / "history.csv",
        "--scores",
        "probe_error",
    ]
    command += ["--effort", "samples", "--dataset-size", "1500", "--batch-size", "48"]
    assert cli.main([str(word) for word in command]) == 0
    shown = capsys.readouterr().out
    assert "epochs" in shown
    assert "dataset size 1500 (past: 1000)" in shown
    assert "batch size 48 (past: 64)" in shown


def test_the_docstring_has_the_numbers_that_are_used() -> None:
    told = hf.CostModel.predict.__doc__ or ""
    low, high = LAW.lost["dataset_size"]
    for number in (
        f"(N / N0)^{LAW.powers['dataset_size']:g} (B / B0)^{LAW.powers['batch_size']:g}",
        f"{high * 100:.0f} % of",
        f"{low * 100:.0f} % of",
    ):
        assert number in told, number
    assert carry.MEASURED == {"dataset_size": 3.0, "batch_size": 2.0}

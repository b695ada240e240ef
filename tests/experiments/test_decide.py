"""What to do with a model on a shift: the rules, and the command around them."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import hitl_fast as hf
from hitl_fast import cli
from hitl_fast._common.bootstrap import Interval
from hitl_fast.cost.decision import Candidate, decide
from hitl_fast.cost.model import CostEstimate


def candidate(
    model: str,
    clean: float | None,
    shifted: float | None,
    epochs: tuple[float, float, float] = (4, 2, 8),
    kwh: tuple[float, float, float] | None = None,
    shift: str = "fog",
) -> Candidate:
    effort = Interval(*epochs)
    energy = None if kwh is None else Interval(*kwh)
    return Candidate(
        model, shift, clean, shifted, CostEstimate(effort, "epochs", effort, energy, None, 0.8, ())
    )


def advice(*candidates: Candidate, **options: float) -> list[tuple[str, str | None]]:
    return [(decision.advice, decision.other) for decision in decide(candidates, **options)]


def test_keeps_what_is_accurate_still() -> None:
    near = candidate("a", 0.95, 0.945)
    assert advice(near) == [("keep", None)]
    assert advice(near, tolerance=0.1) == [("retrain", None)]
    assert advice(candidate("a", 0.9, 0.95), tolerance=0.0) == [("keep", None)]


def test_uses_another_model_that_is_accurate_as_it_is() -> None:
    fallen, better, best = candidate("a", 0.95, 0.7), candidate("b", 0.96, 0.95), candidate("c", 0.99, 0.98)
    assert advice(fallen, better, best) == [("use other", "c"), ("keep", None), ("keep", None)]
    elsewhere = dataclasses.replace(best, shift="rain")
    assert advice(fallen, elsewhere) == [("retrain", None), ("keep", None)]


def test_uses_another_model_that_is_cheaper_beyond_doubt() -> None:
    dear = candidate("a", 0.95, 0.7, (20, 10, 40))
    assert advice(dear, candidate("b", 0.95, 0.6, (3, 2, 9))) == [("use other", "b"), ("retrain", None)]
    wide = candidate("c", 0.95, 0.6, (2, 1, 30))
    assert advice(dear, wide, candidate("b", 0.95, 0.6, (3, 2, 9)))[0] == ("use other", "b")
    doubtful = decide([dear, candidate("b", 0.95, 0.6, (6, 2, 12))])[0]
    assert doubtful.advice == "retrain"
    assert "b may take less, but the intervals meet" in doubtful.reason
    worse = candidate("b", 0.8, 0.6, (3, 2, 9))
    assert advice(dear, worse)[0] == ("retrain", None)


def test_compares_kwh_where_they_are_known() -> None:
    few_epochs = candidate("large", 0.95, 0.7, (3, 2, 4), kwh=(30, 20, 40))
    many_epochs = candidate("small", 0.95, 0.7, (30, 20, 40), kwh=(3, 2, 4))
    assert advice(few_epochs, many_epochs) == [("use other", "small"), ("retrain", None)]


def test_budget() -> None:
    own = candidate("a", 0.95, 0.7, kwh=(5, 3, math.inf))
    assert decide([own], budget_kwh=2.0)[0].reason.endswith("takes 3 kWh or more: over the budget")
    assert advice(own, budget_kwh=2.0) == [("keep", None)]
    told = decide([own], budget_kwh=4.0)[0]
    assert (told.advice, told.reason.endswith("may pass the budget")) == ("retrain", True)
    with pytest.raises(ValueError, match="a budget in kWh needs joules"):
        decide([candidate("a", 0.95, 0.7)], budget_kwh=4.0)


def test_unknown_accuracy_is_no_reason_to_keep() -> None:
    told = decide([candidate("a", None, None), candidate("b", 0.9, 0.9)])
    assert (told[0].advice, told[0].reason) == ("retrain", "its accuracy is unknown")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerance": -1.0}, "tolerance must be percentage points"),
        ({"tolerance": math.nan}, "tolerance must be percentage points"),
        ({"budget_kwh": -1.0}, "budget_kwh must be"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decide([candidate("a", 0.9, 0.8)], **options)


def test_what_cannot_be_compared_is_refused() -> None:
    for wrong in (95.0, -0.1, math.nan):
        with pytest.raises(ValueError, match="shifted accuracy of model 'a' on shift 'fog'.*0 and 1"):
            decide([candidate("a", 0.95, wrong)])
    with pytest.raises(ValueError, match="shift 'fog'.*epochs and kWh.*one cost model"):
        decide([candidate("a", 0.95, 0.7), candidate("b", 0.95, 0.7, kwh=(1, 1, 1))])


def test_only_what_is_compared_need_be_in_one_unit() -> None:
    fallen = candidate("a", 0.95, 0.7, kwh=(1, 1, 1))
    assert advice(fallen, candidate("a", 0.95, 0.7, shift="blur")) == [("retrain", None)] * 2
    assert advice(fallen, candidate("b", 0.95, 0.95)) == [("use other", "b"), ("keep", None)]
    assert advice(candidate("a", 0.95, 0.945, kwh=(1, 1, 1)), candidate("b", 0.99, 0.9)) == [
        ("keep", None), ("retrain", None),
    ]  # fmt: skip


def test_a_report_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="2 reports of model 'a' on shift 'fog'"):
        decide([candidate("a", 0.9, 0.8)] * 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three reports, of two models on two shifts, and a history."""
    place = tmp_path_factory.mktemp("decide")
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(30, 4, generator=generator), torch.arange(30) % 3
    model = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
    report = hf.preindex(model, [(x, y)], [(x + 0.5, y)], progress=False)
    for name, clean, shifted, probe in (
        ("small--fog", 0.95, 0.6, 0.6),
        ("large--fog", 0.97, 0.965, 0.1),
        ("small--rain", 0.95, 0.8, 0.9),
    ):
        changed = dataclasses.replace(
            report, accuracy={"clean": clean, "shifted": shifted}, probe_error=probe
        )
        changed.to_json(place / f"{name}.json")
    noise = np.random.default_rng(0).normal(0, 0.2, 24)
    epochs = np.minimum(np.exp(4 * np.linspace(0.05, 0.7, 24) + noise), 12)
    past = pd.DataFrame({"probe_error": np.linspace(0.05, 0.7, 24), "index": noise, "epochs": epochs})
    past["censored"] = (epochs == 12).astype(int)
    past.to_csv(place / "history.csv", index=False)
    return place


def command(folder: Path, *options: str) -> list[str]:
    reports = [str(folder / f"{name}.json") for name in ("small--fog", "large--fog", "small--rain")]
    return ["decide", *reports, "--history", str(folder / "history.csv"), *options]


def test_prints_a_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(command(folder, "--joules-per-epoch", "3.6e6", "--carbon", "100")) == 0
    text = capsys.readouterr().out
    table = text.split("\n\n")[1].splitlines()
    assert table[0].split() == ["model", "shift", "accuracy", "epochs", "kWh", "gCO2e", "advice", "why"]
    assert [line.split()[:3] for line in table[1:]] == [
        ["small", "fog", "60.0%"], ["large", "fog", "96.5%"], ["small", "rain", "80.0%"],
    ]  # fmt: skip
    assert "use large" in table[1]
    assert "keep" in table[2]
    assert "retrain" in table[3]
    assert "or more)" in table[3]
    assert "note: 100 gCO2e/kWh, given by the user" in text
    assert "note: small, rain: probe_error 0.9 is outside the 0.05 to 0.7" in text
    assert "of them given up, the cap is 12" in text


@pytest.mark.parametrize("country", ["Germany", "germany", "DE", "de", "DEU", "deu"])
def test_countries_by_name_and_both_codes(
    country: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(command(folder, "--joules-per-epoch", "3.6e6", "--country", country)) == 0
    assert "gCO2e" in (text := capsys.readouterr().out)
    assert "DEU" in text or "Germany" in text


@pytest.mark.parametrize("separator", [";", "\t", "|"])
@pytest.mark.parametrize("decimal", [".", ","])
def test_histories_as_spreadsheets_write_them(
    separator: str, decimal: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    past = pd.read_csv(folder / "history.csv")
    past["model"] = "a, b"
    past.to_csv(tmp_path / "history.csv", sep=separator, decimal=decimal, index=False, encoding="utf-8-sig")
    found = []
    for history in (folder, tmp_path):
        report = str(folder / "small--fog.json")
        assert cli.main(["decide", report, "--history", str(history / "history.csv"), "--json", "-"]) == 0
        found.append(json.loads(capsys.readouterr().out)["rows"])
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("0.05;", "0,05;"), "probe_error"),  # two decimal signs in one column
        (("index;", "epochs;"), "epochs"),  # a name twice, after a blank line
    ],
)
def test_histories_that_may_mean_two_things_are_refused(
    change: tuple[str, str], named: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = pd.read_csv(folder / "history.csv").to_csv(sep=";", index=False)
    (tmp_path / "history.csv").write_text("sep=;\n\n" + text.replace(*change, 1))
    report = str(folder / "small--fog.json")
    assert cli.main(["decide", report, "--history", str(tmp_path / "history.csv")]) == 2
    assert named in capsys.readouterr().err


def test_commas_of_thousands_are_no_decimal_commas(tmp_path: Path) -> None:
    rows = [f"{0.1 * i:.1f};{i},100;1.5.{i};,5" for i in range(1, 10)]
    (tmp_path / "history.csv").write_text("\n".join(["probe_error;epochs;version;other", *rows]))
    with pytest.raises(TypeError, match="epochs is '1,100'.*thousands"):
        hf.CostModel.fit(tmp_path / "history.csv", "probe_error")


def test_leaves_out_what_is_unknown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(command(folder)) == 0
    assert "kWh" not in capsys.readouterr().out


def test_writes_json(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(command(folder, "--json", "-")) == 0
    shown = json.loads(capsys.readouterr().out)
    assert cli.main(command(folder, "--json", str(tmp_path / "table.json"))) == 0
    assert json.loads((tmp_path / "table.json").read_text()) == shown
    fog, _, rain = shown["rows"]
    assert (fog["model"], fog["shift"], fog["advice"], fog["other"]) == ("small", "fog", "use other", "large")
    assert (fog["accuracy"], fog["clean_accuracy"], fog["kwh"]) == (0.6, 0.95, None)
    assert rain["epochs"]["high"] is None
    assert shown["cost_model"]["retrainings"] == 24


def test_several_scores_and_a_saved_model(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(command(folder, "--scores", "probe_error", "index", "--json", "-")) == 0
    assert json.loads(capsys.readouterr().out)["cost_model"]["method"] == "ridge"
    hf.CostModel.fit(folder / "history.csv").to_json(tmp_path / "model.json")
    report = str(folder / "small--fog.json")
    assert cli.main(["decide", report, "--cost-model", str(tmp_path / "model.json")]) == 0
    assert "retrain" in capsys.readouterr().out


@pytest.mark.parametrize(
    "options", [["--scores", "index"], ["--method", "ridge"], ["--effort", "samples"], ["--level", "0.9"]]
)
def test_a_saved_model_has_settled_what_it_learnt(
    options: list[str], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hf.CostModel.fit(folder / "history.csv").to_json(tmp_path / "model.json")
    report = str(folder / "small--fog.json")
    assert cli.main(["decide", report, "--cost-model", str(tmp_path / "model.json"), *options]) == 2
    assert f"{options[0]} is settled by --cost-model" in capsys.readouterr().err


def test_a_report_that_does_not_tell_a_score_is_said_so(folder: Path) -> None:
    past = [{"gradient_norm": i / 20, "epochs": 1.5**i} for i in range(12)]
    with pytest.raises(ValueError, match="the report has no gradient_norm"):
        hf.CostModel.fit(past, "gradient_norm").predict(folder / "small--fog.json")


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--model-names", "m"], [("m", "fog"), ("m", "fog"), ("m", "rain")]),
        (["--model-names", "a", "b", "c"], [("a", "fog"), ("b", "fog"), ("c", "rain")]),
        (["--shift-names", "x", "y", "z"], [("small", "x"), ("large", "y"), ("small", "z")]),
    ],
)
def test_names_may_be_given(
    folder: Path, options: list[str], names: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    status = cli.main(command(folder, "--json", "-", *options))
    told = capsys.readouterr()
    if len(set(names)) < len(names):
        assert status == 2
        assert "2 reports of model 'm' on shift 'fog'" in told.err
    else:
        assert [(row["model"], row["shift"]) for row in json.loads(told.out)["rows"]] == names


def test_a_file_name_without_model_is_the_shift(folder: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "snow.json").write_bytes((folder / "small--fog.json").read_bytes())
    history = str(folder / "history.csv")
    assert cli.main(["decide", str(tmp_path / "snow.json"), "--history", history, "--json", "-"]) == 0
    row = json.loads(capsys.readouterr().out)["rows"][0]
    assert (row["model"], row["shift"]) == ("model", "snow")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shift-names", "x"], "--shift-names gives 1 names for 3 reports"),
        (["--scores", "probe_eror"], "did you mean 'probe_error'"),
        (["--budget-kwh", "3"], "a budget in kWh needs joules"),
        (["--country", "ZZZ"], "small--fog.json: country 'ZZZ' is not in the table"),
        (["--tolerance", "-1"], "tolerance must be"),
    ],
)
def test_problems_are_told_in_a_line(
    folder: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(command(folder, *options)) == 2
    told = capsys.readouterr().err
    assert message in told
    assert len(told.splitlines()) == 1

"""Cost models: coverage of their intervals, censoring, energy, and every kind of wrong input."""

import dataclasses
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import hitl_fast as hf
from hitl_fast._common.bootstrap import Interval
from hitl_fast.cost import curves
from hitl_fast.cost.conformal import intraclass, quantile, weights_of
from hitl_fast.cost.estimate import interval_text
from hitl_fast.cost.model import CostModel

Row = dict[str, Any]


def history(n: int, seed: int, cap: float = math.inf, shifts: int = 0, spread: float = 0.0) -> list[Row]:
    """Effort that rises with probe error, with noise and an effect of each shift; what takes most is capped."""
    generator = np.random.default_rng(seed)
    effects = generator.normal(0, spread, max(shifts, 1))
    rows = []
    for i in range(n):
        probe = generator.uniform(0.05, 0.7)
        truth = float(np.exp(5 * probe - 1 + effects[i % max(shifts, 1)] + generator.normal(0, 0.4)))
        epochs = min(truth, cap)
        rows.append(
            {
                "shift": f"shift {i % max(shifts, 1)}", "probe_error": probe, "index": probe + generator.normal(0, 0.3),
                "accuracy_drop": probe + generator.normal(0, 0.3), "epochs": epochs, "samples": 640 * epochs,
                "censored": int(truth > cap), "joules": epochs * 50 * float(np.exp(generator.normal(0, 0.1))),
            }
        )  # fmt: skip
    return rows


def without(rows: list[Row], *names: str) -> list[Row]:
    return [{name: value for name, value in row.items() if name not in names} for row in rows]


def covered(model: CostModel, row: Row) -> bool:
    """Whether the interval holds the effort; of a censored retraining, whether it says that it may take more."""
    effort = model.predict({name: row[name] for name in model.scores}).effort
    return effort.low <= row["epochs"] and (
        effort.high == math.inf if row["censored"] else row["epochs"] <= effort.high
    )


@pytest.mark.filterwarnings("ignore:.*outside")
@pytest.mark.parametrize(
    ("method", "scores", "cap"),
    [
        ("isotonic", "probe_error", math.inf),
        ("isotonic", "probe_error", 6.0),
        ("log_linear", ["probe_error"], 3.0),
        ("ridge", ["probe_error", "index", "accuracy_drop"], 6.0),
    ],
)
def test_intervals_cover_what_they_promise(method: str, scores: Any, cap: float) -> None:
    held = []
    for seed in range(4):
        rows = history(160, seed, cap)
        model = CostModel.fit(rows[:60], scores, method=method, groups=None)
        held += [covered(model, row) for row in rows[60:]]
    assert 0.7 <= np.mean(held) <= 0.9


@pytest.mark.filterwarnings("ignore:.*outside")
def test_intervals_cover_kinds_of_shift_that_were_not_seen() -> None:
    held = []
    for seed in range(3):
        rows = history(144, seed, 6.0, shifts=12, spread=0.6)
        for shift in ("shift 1", "shift 5", "shift 9"):
            model = CostModel.fit([r for r in rows if r["shift"] != shift], method="log_linear")
            held += [covered(model, row) for row in rows if row["shift"] == shift]
    assert 0.7 <= np.mean(held) <= 0.9


def test_groups_make_intervals_wider_where_kinds_of_shift_differ() -> None:
    rows = history(96, 1, shifts=12, spread=1.0)
    by_shift, one_by_one = CostModel.fit(rows), CostModel.fit(rows, groups=None)
    assert (by_shift.groups, one_by_one.groups) == (12, 0)
    width = [
        np.log(m.predict(rows[0]).effort.high / m.predict(rows[0]).effort.low) for m in (by_shift, one_by_one)
    ]
    assert width[0] > width[1]


def test_censored_retrainings_count_as_at_least_the_cap() -> None:
    rows = history(60, 0, cap=4.0)
    model = CostModel.fit(rows)
    assert (model.cap, model.censored) == (4.0, sum(row["censored"] for row in rows))
    hard, easy = model.predict({"probe_error": 0.69}), model.predict({"probe_error": 0.1})
    assert hard.effort.high == math.inf
    assert hard.effort.value == pytest.approx(4.0)
    assert any("given up at 4 epochs" in note for note in hard.notes)
    assert interval_text(hard.effort).endswith("or more)")
    assert easy.effort.high < 4.0
    dropped = CostModel.fit([row for row in rows if not row["censored"]])
    assert hard.effort.low > dropped.predict({"probe_error": 0.55}).effort.low


def test_retraining_given_up_early_is_not_taken_for_easy() -> None:
    rows = history(60, 0)
    early = {**rows[0], "probe_error": 0.6, "epochs": 0.5, "censored": 1}
    late = {**rows[0], "probe_error": 0.6, "epochs": 30.0, "censored": 1}
    model = CostModel.fit([*rows, early, late], method="log_linear")
    told = CostModel.fit([*rows, {**early, "censored": 0}, late], method="log_linear")
    assert model.cap == 30.0
    assert model.residuals[60] == math.inf
    assert model.predict({"probe_error": 0.6}).effort.value > told.predict({"probe_error": 0.6}).effort.value


def test_no_effort_at_all_is_an_effort() -> None:
    rows = [{**row, "epochs": 0.0} if row["probe_error"] < 0.2 else row for row in history(50, 3)]
    model = CostModel.fit(rows)
    assert model.offset == pytest.approx(np.median([row["epochs"] for row in rows if row["epochs"] > 0]) / 10)
    effort = model.predict({"probe_error": 0.07}).effort
    assert effort.low == 0.0
    assert effort.value == pytest.approx(0.0, abs=1e-9)


def test_eight_retrainings_are_enough_for_an_interval() -> None:
    model = CostModel.fit(history(8, 0), groups=None)
    effort = model.predict(history(8, 0)[0]).effort
    assert 0 < effort.low <= effort.value <= effort.high < math.inf


def test_a_score_may_fall_with_effort() -> None:
    rows = [{**row, "cka": 1 - row["probe_error"]} for row in history(40, 0)]
    down = CostModel.fit(rows, "cka").predict({"cka": 0.6}).effort
    up = CostModel.fit(rows, "probe_error").predict({"probe_error": 0.4}).effort
    assert down == pytest.approx(up)


def test_energy_is_learnt_with_its_spread() -> None:
    rows = history(60, 2)
    model = CostModel.fit(rows)
    estimate = model.predict({"probe_error": 0.4}, grams_per_kwh=360.0)
    assert estimate.kwh is not None
    assert estimate.kwh.value == pytest.approx(estimate.effort.value * 50 / 3.6e6, rel=0.05)
    assert estimate.gco2e == pytest.approx([end * 360 for end in estimate.kwh])
    assert "given by the user" in " ".join(estimate.notes)
    france = model.predict({"probe_error": 0.4}, country="FRA")
    assert france.gco2e == pytest.approx([end * 56 for end in estimate.kwh])
    assert "kWh" in str(france)


def test_joules_that_vary_widen_the_energy_alone() -> None:
    rows = history(60, 2)
    steady = [{**row, "joules": 50 * row["epochs"]} for row in rows]
    varied = [{**row, "joules": (5 if i % 2 else 500) * row["epochs"]} for i, row in enumerate(rows)]
    narrow, wide = (CostModel.fit(past).predict({"probe_error": 0.4}) for past in (steady, varied))
    assert narrow.effort == wide.effort
    assert narrow.kwh is not None
    assert wide.kwh is not None
    assert narrow.kwh == pytest.approx([end * 50 / 3.6e6 for end in narrow.effort])
    assert wide.kwh.high / wide.kwh.low > 10 * narrow.kwh.high / narrow.kwh.low


def test_energy_of_an_own_training() -> None:
    model = CostModel.fit(without(history(60, 2), "joules"))
    assert model.energy is None
    assert model.predict({"probe_error": 0.4}, country="FRA").gco2e is None
    estimate = model.predict({"probe_error": 0.4}, joules_per_epoch=3.6e6)
    assert estimate.kwh == estimate.epochs


def test_few_measured_joules_give_energy_without_their_spread() -> None:
    rows = [row if i < 3 else {**row, "joules": None} for i, row in enumerate(history(60, 2))]
    estimate = CostModel.fit(rows).predict({"probe_error": 0.4})
    assert estimate.kwh is not None
    assert "energy by 3 retrainings" in " ".join(estimate.notes)


def test_energy_of_censored_retrainings_has_no_upper_end() -> None:
    estimate = CostModel.fit(history(60, 0, cap=4.0)).predict({"probe_error": 0.69})
    assert estimate.kwh is not None
    assert estimate.kwh.high == math.inf
    free = CostModel.fit(history(60, 0, cap=4.0)).predict({"probe_error": 0.69}, grams_per_kwh=0.0)
    assert free.gco2e == (0, 0, 0)


def test_effort_in_other_units() -> None:
    rows = history(60, 2)
    joules = CostModel.fit(rows, effort="joules").predict({"probe_error": 0.4})
    assert (joules.epochs, joules.unit) == (None, "joules")
    assert joules.kwh is not None
    assert joules.kwh.value == pytest.approx(joules.effort.value / 3.6e6)
    samples = CostModel.fit(rows, effort="samples")
    assert samples.predict({"probe_error": 0.4}).kwh is not None
    with pytest.raises(ValueError, match="of no use to a model of samples"):
        samples.predict({"probe_error": 0.4}, joules_per_epoch=5)


def test_says_whether_accuracy_drop_alone_predicts_as_well() -> None:
    rows = history(80, 4)
    good, poor = CostModel.fit(rows, "probe_error"), CostModel.fit(rows, "index")
    named = {rival.name: rival.as_good for rival in good.rivals}
    assert named == {"accuracy_drop": False, "no score": False}
    assert good.error < good.rivals[0].error < good.rivals[1].error
    assert {rival.name: rival.as_good for rival in poor.rivals}["accuracy_drop"]
    assert "accuracy drop alone predicts as well" in poor.predict({"index": 0.4}).notes
    assert "accuracy drop: off by" in str(good)
    alone = CostModel.fit(rows, "accuracy_drop")
    assert [rival.name for rival in alone.rivals] == ["no score"]


def test_warns_outside_the_calibrated_range() -> None:
    model = CostModel.fit(history(40, 0))
    with pytest.warns(UserWarning, match=r"probe_error 0.95 is outside the 0.0\d+ to 0.6\d+ of the past"):
        estimate = model.predict({"probe_error": 0.95})
    assert any("outside" in note for note in estimate.notes)


@pytest.mark.parametrize("as_table", [pd.DataFrame, list, iter], ids=["frame", "list", "iterator"])
def test_takes_tables_of_several_kinds(as_table: Callable[[list[Row]], Any], tmp_path: Path) -> None:
    rows = history(30, 0)
    pd.DataFrame(rows).to_csv(tmp_path / "history.csv", index=False)
    assert CostModel.fit(as_table(rows)) == CostModel.fit(str(tmp_path / "history.csv"))


def test_rows_may_come_in_any_order() -> None:
    rows = history(48, 0, shifts=6)
    there, back = CostModel.fit(rows), CostModel.fit(rows[::-1])
    assert there.predict(rows[0]).effort == pytest.approx(back.predict(rows[0]).effort)


def test_saved_and_loaded(tmp_path: Path) -> None:
    for rows, options in (
        (history(40, 0, cap=4.0, shifts=5), {"method": "isotonic"}),
        (without(history(40, 0), "joules"), {"scores": ["probe_error", "index"], "method": "ridge"}),
        ([{**r, "joules": r["joules"] if r["index"] > 0 else None} for r in history(60, 0)], {}),
    ):
        model = hf.CostModel.fit(rows, **options)
        model.to_json(tmp_path / "model.json")
        again = hf.CostModel.from_json(tmp_path / "model.json")
        assert again.predict(rows[0]) == model.predict(rows[0])
        again.to_json(tmp_path / "again.json")
        assert (tmp_path / "again.json").read_bytes() == (tmp_path / "model.json").read_bytes()
        assert str(again) == str(model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda held: held.pop("format"), "not a cost model"),
        (lambda held: held.update(schema_version=99), "schema version 99.*reads 1 to 4"),
        (lambda held: held.pop("cap"), "KeyError: 'cap'"),
        (lambda held: held["weights"].pop(), "do not belong together"),
        (lambda held: held["ranges"].pop(), "one range for each score"),
        (lambda held: held["curve"]["knots"].reverse(), "knots must rise"),
        (lambda held: held.update(folds=[99] * 20), "do not belong together"),
        (lambda held: held.update(offset="much"), "could not convert"),
        (lambda held: held.update(error=None), "TypeError"),
        (lambda held: held.update(effort="bogus"), "effort is 'bogus'"),
        (lambda held: held.update(level="high"), "level must be"),
        (lambda held: held.update(median=-1), "median must be above 0"),
        (lambda held: held.pop("median"), "KeyError: 'median'"),
        (lambda held: held.update(weights=[1] * 20), "weights at most 1 together"),
        (lambda held: held["residuals"].__setitem__(0, None), "residuals must be at least 0"),
        (lambda held: held["curve"]["values"].__setitem__(0, math.nan), "have a value each"),
        (lambda held: held.update(curve={"coefficients": [1, 2], "intercept": 0}), "1 finite coefficients"),
    ],
)
def test_a_damaged_file_is_refused(change: Callable[[Any], Any], message: str, tmp_path: Path) -> None:
    CostModel.fit(history(20, 0)).to_json(tmp_path / "model.json")
    held = json.loads((tmp_path / "model.json").read_text())
    change(held)
    (tmp_path / "model.json").write_text(json.dumps(held))
    with pytest.raises(ValueError, match=message):
        CostModel.from_json(tmp_path / "model.json")


@pytest.mark.parametrize("content", ["{", "[" * 100_000], ids=["cut", "deep"])
def test_a_file_of_something_else_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(content)
    with pytest.raises(ValueError, match="is not JSON"):
        CostModel.from_json(tmp_path / "model.json")
    with pytest.raises(ValueError, match="is not JSON"):
        CostModel.fit(history(20, 0)).predict(tmp_path / "model.json")


def test_a_csv_that_pandas_would_misread(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    rows = [f"{i / 20},{1.5**i:.3f}" for i in range(12)]
    path.write_text("\n".join(["probe_error,epochs", *rows]))
    model = CostModel.fit(path)
    path.write_text("\n".join(["\ufeffprobe_error,epochs,,", *(f"{row},," for row in rows)]))
    assert CostModel.fit(path) == model
    # Without a name for it, a last column would make pandas take the first for names of rows.
    path.write_text("\n".join(["probe_error,epochs", *(f"{row},x" for row in rows)]))
    with pytest.raises(ValueError, match="is not a CSV file"):
        CostModel.fit(path)
    path.write_text("\n".join(["probe_error,epochs,epochs", *(f"{row},1" for row in rows)]))
    with pytest.raises(ValueError, match="more than one column 'epochs'"):
        CostModel.fit(path)


def test_too_few_for_the_level_is_said() -> None:
    few = history(12, 0)
    told = CostModel.fit(few, groups=None, level=0.95).predict(few[0])
    assert math.isinf(told.effort.high)
    assert any("12 past retrainings are too few for 95% intervals" in note for note in told.notes)
    told = CostModel.fit(few, groups=None).predict(few[0])
    assert not any("too few" in note for note in told.notes)


def changed(column: str, value: object) -> list[Row]:
    rows = history(20, 0)
    rows[3][column] = value
    return rows


@pytest.mark.parametrize(
    ("past", "options", "error", "message"),
    [
        (history(7, 0), {}, ValueError, "at least 8 past retrainings, not 7"),
        ([], {}, ValueError, "at least 8 past retrainings, not 0"),
        (
            history(9, 0),
            {"scores": "probe_eror"},
            ValueError,
            r"no column 'probe_eror' \(did you mean 'probe_error'",
        ),
        (without(history(9, 0), "epochs"), {}, ValueError, "no column 'epochs'; it has: shift"),
        (history(9, 0), {"effort": "epoch"}, ValueError, r"effort must be epochs, .*did you mean 'epochs'"),
        (changed("probe_error", math.nan), {}, ValueError, "row 3: probe_error is missing"),
        (changed("probe_error", None), {}, ValueError, "row 3: probe_error is missing"),
        (changed("probe_error", math.inf), {}, ValueError, "row 3: probe_error is infinite"),
        (changed("probe_error", "high"), {}, TypeError, "row 3: probe_error is 'high', not a number"),
        (
            [{**row, "epochs": 0.0, "censored": 1} for row in history(2, 0)] + history(9, 0),
            {},
            ValueError,
            "at 0",
        ),
        (changed("epochs", 10**400), {}, TypeError, "row 3: epochs is '1000"),
        (history(9, 0), {"scores": 5}, TypeError, "scores must be one or several names"),
        (changed("epochs", -1.0), {}, ValueError, "row 3: epochs is -1; an effort must be at least 0"),
        (changed("epochs", math.nan), {}, ValueError, "row 3: epochs is missing"),
        (changed("joules", -2.0), {}, ValueError, "row 3: joules is -2"),
        (changed("censored", 2), {}, ValueError, "row 3: censored is 2; it must be 0 or 1"),
        (changed("shift", None), {}, ValueError, "row 3: shift is missing"),
        (
            [{**row, "probe_error": 0.5} for row in history(9, 0)],
            {},
            ValueError,
            "probe_error' is 0.5 in every past",
        ),
        (
            [{**row, "epochs": 2} for row in history(9, 0)],
            {},
            ValueError,
            "epochs is 2 in every past retraining",
        ),
        (
            [{**row, "censored": 1} for row in history(9, 0)],
            {},
            ValueError,
            "every past retraining is censored",
        ),
        (
            history(9, 0),
            {"method": "cubic"},
            ValueError,
            "method must be isotonic, log_linear, ridge, not 'cubic'",
        ),
        (history(9, 0), {"scores": ["index", "probe_error"]}, ValueError, "isotonic takes one score, not 2"),
        (history(9, 0), {"scores": ["index", "index"]}, ValueError, "each once"),
        (history(9, 0), {"scores": []}, ValueError, "one or more columns"),
        (history(9, 0), {"scores": "epochs"}, ValueError, "known before retraining, which 'epochs' is not"),
        (history(9, 0), {"level": 1.0}, ValueError, "level must be within 0 and 1"),
        (history(9, 0), {"groups": "shift"}, ValueError, "column 'shift' has 1 values"),
        (history(9, 0), {"groups": "kind"}, ValueError, "no column 'kind'"),
        (7, {}, TypeError, "a DataFrame or a sequence of dicts, not int"),
        ([1, 2], {}, TypeError, "row 0 must be a dict"),
        ("nowhere.csv", {}, FileNotFoundError, "nowhere.csv"),
        (
            pd.DataFrame([[1, 2]] * 8, columns=["epochs", "epochs"]),
            {},
            ValueError,
            "more than one column 'epochs'",
        ),
    ],
)
def test_wrong_histories_are_refused(past: Any, options: Row, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        CostModel.fit(past, **options)


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(ValueError, match="is not a CSV file"):
        CostModel.fit(tmp_path / "empty.csv")


@pytest.mark.parametrize(
    ("report", "options", "error", "message"),
    [
        ({"index": 1.0}, {}, ValueError, "no probe_error, which this model predicts from"),
        ({"probe_error": None}, {}, ValueError, "no probe_error, which this model predicts from"),
        ({"probe_error": "much"}, {}, ValueError, "probe_error is 'much', not a number"),
        ({"probe_error": math.nan}, {}, ValueError, "must be finite"),
        (0.5, {}, TypeError, "a PreIndexReport, its path or a dict of scores, not float"),
        ({"probe_error": 0.3}, {"joules_per_epoch": -1}, ValueError, "at least 0, not -1"),
        ({"probe_error": 0.3}, {"grams_per_kwh": -1}, ValueError, "grams_per_kwh must be"),
        ({"probe_error": 0.3}, {"country": "ZZZ"}, ValueError, "not in the table"),
        ("nowhere.json", {}, FileNotFoundError, "nowhere.json"),
    ],
)
def test_wrong_reports_are_refused(report: Any, options: Row, error: type[Exception], message: str) -> None:
    model = CostModel.fit(history(20, 0))
    with pytest.raises(error, match=message):
        model.predict(report, **options)


def test_says_how_to_get_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ImportError, match=r"hitl-fast\[experiment\]"):
        CostModel.fit(history(9, 0))


def test_curve_lets_censored_points_pull_up_only() -> None:
    X = np.arange(6.0)[:, None]
    z = np.array([0.0, 1, 2, 3, 2, 2])
    line = curves.fitted("log_linear", X, z, np.array([False] * 4 + [True] * 2))
    assert isinstance(line, curves.Line)
    assert (line.coefficients[0], line.intercept) == pytest.approx((1, 0), abs=0.01)
    lower = curves.fitted("log_linear", X, z, np.zeros(6, dtype=bool))
    assert isinstance(lower, curves.Line)
    assert lower.coefficients[0] < 0.6


def test_quantile_counts_the_unseen_one() -> None:
    values, weights = np.arange(1.0, 10), np.full(9, 0.1)
    assert quantile(values, weights, 0.9) == 9
    assert quantile(values, weights, 0.8) == 8
    assert quantile(values, weights, 0.95) == math.inf


def test_weights_of_groups() -> None:
    apart = np.repeat([0.0, 1.0, 2.0], 4)
    groups = np.repeat([0, 1, 2], 4)
    assert intraclass(apart, groups, np.bincount(groups)) == 1
    assert weights_of(apart, groups).sum() == pytest.approx(3 / 4)  # worth three
    alike = np.tile([0.0, 1.0, 2.0, 3.0], 3)
    assert weights_of(alike, groups).sum() == pytest.approx(12 / 13)  # worth all twelve
    uneven = weights_of(np.zeros(5), np.array([0, 0, 0, 1, 2]))
    assert uneven[:3].sum() == pytest.approx(uneven[3]) == pytest.approx(uneven[4])
    assert intraclass(np.array([1.0, 2, 3]), np.arange(3), np.ones(3, dtype=int)) == 1


def test_huge_extrapolation_stays_a_number() -> None:
    model = CostModel.fit(history(20, 0), method="log_linear")
    steep = replace(model, curve=curves.Line((1.0,), 1e6))
    assert steep.predict({"probe_error": 0.3}).effort.high == math.inf
    assert interval_text(Interval(1.0, 0.5, 2.0)) == "1 (0.5 to 2)"


def scored(n: int = 20) -> list[Row]:
    return [{**row, "effort_score": row["probe_error"] * 4} for row in history(n, 0)]


@pytest.mark.parametrize("made", ["dicts", "frame", "file"])
def test_the_effort_score_is_the_default_where_the_history_has_it(made: str, tmp_path: Path) -> None:
    def given(rows: list[Row]) -> Any:
        if made == "dicts":
            return iter(rows)
        frame = pd.DataFrame(rows)
        if made == "frame":
            return frame
        frame.to_csv(tmp_path / "history.csv", index=False)
        return tmp_path / "history.csv"

    model = CostModel.fit(given(scored()))
    assert model.scores == ("effort_score",)
    assert "effort_score" in str(model).splitlines()[0]
    assert "effort_score, which the history has" in str(model)
    assert not any("predicted from" in note for note in model.predict({"effort_score": 1.0}).notes)
    gap = scored()
    gap[3]["effort_score"] = None
    for rows in (gap, history(20, 0)):
        fallback = CostModel.fit(given(rows))
        assert fallback.scores == ("probe_error",)
        assert "no effort_score" in str(fallback)
        assert any(
            "probe_error, for the history has no effort_score" in n
            for n in fallback.predict({"probe_error": 0.3}).notes
        )


def test_a_score_that_was_named_is_not_called_a_choice() -> None:
    model = CostModel.fit(scored(), "probe_error")
    assert (model.scores, model.choice) == (("probe_error",), "")
    assert "chosen" not in str(model)
    assert not any("predicted from" in note for note in model.predict({"probe_error": 0.3}).notes)


def test_a_report_without_the_effort_score_says_what_to_do() -> None:
    with pytest.raises(ValueError, match="no effort_score.*hitl-fast preindex.*probe_error"):
        CostModel.fit(scored()).predict({"probe_error": 0.3, "effort_score": None})


def test_files_of_the_first_version_load(tmp_path: Path) -> None:
    model = CostModel.fit(scored())
    model.to_json(tmp_path / "model.json")
    assert CostModel.from_json(tmp_path / "model.json") == model
    held = json.loads((tmp_path / "model.json").read_text())
    assert (held["format"], held["schema_version"]) == ("hitl_fast cost model", 4)
    del held["schema_version"], held["choice"]
    held["format"] = "hitl_fast cost model 1"
    (tmp_path / "old.json").write_text(json.dumps(held))
    old = dataclasses.replace(model, choice="", dataset_sizes=None, batch_sizes=None, median=None)
    assert CostModel.from_json(tmp_path / "old.json") == old


@pytest.mark.parametrize(
    "name", ["Censored", " censored", "Joules", "Shift", "accuracy drop", "Dataset-Size"]
)
def test_a_column_in_another_spelling_is_not_left_out_in_silence(name: str) -> None:
    meant = name.strip().lower().replace(" ", "_").replace("-", "_")
    rows = [{**row, name: 1} for row in history(20, 0)]
    rows = [{key: value for key, value in row.items() if key == name or key != meant} for row in rows]
    with pytest.raises(ValueError, match=f"{name!r}.*{meant!r} only: rename"):
        CostModel.fit(rows, "probe_error")


@pytest.mark.parametrize(
    "name", ["epochs_90", "shift_2", "flops32", "joules2", "Epochs", "Flops", "Steps", "Shift"]
)
def test_a_column_that_nothing_reads_may_be_spelt_as_it_likes(name: str) -> None:
    rows = [{**row, name: i} for i, row in enumerate(without(history(20, 0), "epochs", "shift"))]
    plain = CostModel.fit(without(rows, name), "probe_error", effort="samples", groups=None)
    assert CostModel.fit(rows, "probe_error", effort="samples", groups=None) == plain


def test_retrainings_that_are_there_twice_are_doubted() -> None:
    with pytest.warns(UserWarning, match="20 of 40 past retrainings equal another"):
        CostModel.fit(history(20, 0) * 2, "probe_error")


@pytest.mark.parametrize("scale", [1e-307, 1e-200, 1e200, 1e308])
@pytest.mark.parametrize("method", ["isotonic", "log_linear", "ridge"])
def test_the_unit_of_a_score_does_not_count(scale: float, method: str) -> None:
    """Down to where squares are 0, and up to where they are infinite; falling scores too."""
    plain = CostModel.fit(history(20, 0), "probe_error", method=method).predict({"probe_error": 0.3})
    for sign in (1, -1):
        rows = [{**row, "probe_error": sign * scale * row["probe_error"]} for row in history(20, 0)]
        scaled = CostModel.fit(rows, "probe_error", method=method).predict(
            {"probe_error": sign * scale * 0.3}
        )
        assert tuple(scaled.effort) == pytest.approx(tuple(plain.effort))


@pytest.mark.parametrize("method", ["isotonic", "log_linear", "ridge"])
@pytest.mark.parametrize("scale", [5e-324, 1e-310, 1.7e308])
def test_scores_at_the_ends_of_floats_predict(scale: float, method: str, tmp_path: Path) -> None:
    rows = [{"probe_error": (i % 8) / 7, "epochs": 2.0 ** (i % 8) + i / 100} for i in range(40)]
    units = [{**row, "probe_error": row["probe_error"] * 7} for row in rows]
    if scale > 5e-324:
        units = rows
    plain = CostModel.fit(units, "probe_error", method=method)
    model = CostModel.fit(
        [{**row, "probe_error": row["probe_error"] * scale} for row in units], "probe_error", method=method
    )
    model.to_json(tmp_path / "m.json")
    for at in (0, 3, 7):
        x = units[at]["probe_error"]
        expected = pytest.approx(tuple(plain.predict({"probe_error": x}).effort), rel=1e-9)
        for read in (model, CostModel.from_json(tmp_path / "m.json")):
            assert tuple(read.predict({"probe_error": x * scale}).effort) == expected


@pytest.mark.filterwarnings("ignore:.*is outside")
@pytest.mark.parametrize("method", ["log_linear", "ridge"])
def test_scores_that_cancel_at_infinity_are_refused(method: str) -> None:
    rows = [{**row, "other": row["probe_error"] ** 2} for row in history(20, 0)]
    model = CostModel.fit(rows, ["probe_error", "other"], method=method)
    opposed = replace(model, curve=curves.Line((3.0, -3.0), 0.0))
    with pytest.raises(ValueError, match=r"probe_error 1e\+308, other 1e\+308"):
        opposed.predict({"probe_error": 1e308, "other": 1e308})


@pytest.mark.parametrize("units", [(1.0, 2.0), (0.0,), (math.inf,), (math.nan,)])
def test_files_with_units_that_cannot_be_are_refused(units: tuple[float, ...], tmp_path: Path) -> None:
    model = CostModel.fit(history(20, 0), "probe_error", method="ridge")
    model.to_json(tmp_path / "m.json")
    held = json.loads((tmp_path / "m.json").read_text())
    held["curve"]["units"] = [str(unit) for unit in units]
    (tmp_path / "m.json").write_text(json.dumps(held))
    with pytest.raises(ValueError, match="units"):
        CostModel.from_json(tmp_path / "m.json")
    del held["curve"]["units"]  # as files of before have it
    (tmp_path / "m.json").write_text(json.dumps(held))
    assert CostModel.from_json(tmp_path / "m.json") == model


def test_a_score_may_be_as_large_as_a_float() -> None:
    plain = CostModel.fit(history(20, 0), "probe_error").predict({"probe_error": 0.3})
    largest = max(row["probe_error"] for row in history(20, 0))
    rows = [{**row, "probe_error": row["probe_error"] / largest * 1.7e308} for row in history(20, 0)]
    scaled = CostModel.fit(rows, "probe_error").predict({"probe_error": 0.3 / largest * 1.7e308})
    assert tuple(scaled.effort) == pytest.approx(tuple(plain.effort))


@pytest.mark.parametrize(
    ("options", "error", "named"),
    [
        ({"groups": 3}, TypeError, "groups.*3"),
        ({"groups": ["shift"]}, TypeError, r"groups.*\['shift'\]"),
        ({"groups": None, "seed": -1}, ValueError, "seed.*-1"),
        ({"groups": None, "seed": "a"}, TypeError, "seed.*'a'"),
        ({"seed": 0.5}, TypeError, "seed.*0.5"),
        ({"seed": True}, TypeError, "seed.*True"),
        ({"scores": "steps"}, ValueError, "'steps' is not"),
    ],
)
def test_options_of_another_kind_are_named(
    options: dict[str, Any], error: type[Exception], named: str
) -> None:
    with pytest.raises(error, match=named):
        CostModel.fit(
            [{**row, "steps": row["epochs"]} for row in history(20, 0)],
            **{"scores": "probe_error", **options},
        )


@pytest.mark.parametrize("name", ["joules_per_epoch", "grams_per_kwh"])
@pytest.mark.parametrize("value", ["5", True])
def test_numbers_of_a_prediction_are_numbers(name: str, value: object) -> None:
    model = CostModel.fit(history(20, 0), "probe_error")
    with pytest.raises(TypeError, match=f"{name} must be a number"):
        model.predict({"probe_error": 0.3}, **{name: value})
    with pytest.raises(ValueError, match="probe_error is True, not a number"):
        model.predict({"probe_error": True})
    with pytest.raises(ValueError, match="probe_error is False, not a number"):
        model.predict({"probe_error": np.bool_(False)})


def test_a_level_is_said_as_it_was_given() -> None:
    estimate = CostModel.fit(history(20, 0), "probe_error", level=np.float64(0.999)).predict(
        {"probe_error": 0.3}
    )
    assert "99.9% intervals" in str(estimate)

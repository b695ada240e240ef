"""Histories in odd units and forms: what would be read wrong in silence is refused or said."""

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hitl_fast.cost.conformal import weights_of
from hitl_fast.cost.model import CostModel

Row = dict[str, Any]


def rows(n: int = 40, seed: int = 0, **more: list[Any]) -> list[Row]:
    generator = np.random.default_rng(seed)
    made = []
    for i in range(n):
        score = generator.uniform(0, 2)
        epochs = float(np.exp(score + generator.normal(0, 0.3)))
        made.append({"effort_score": score, "epochs": epochs} | {name: of[i] for name, of in more.items()})
    return made


def written(path: Path, past: list[Row], cells: dict[str, list[str]], between: str = ";") -> Path:
    names = [*past[0], *cells]
    lines = [
        between.join(str(row[name]).replace(".", ",") if name in row else cells[name][i] for name in names)
        for i, row in enumerate(past)
    ]
    path.write_text("\n".join([between.join(names), *lines]))
    return path


@pytest.mark.parametrize("between", [";", "\t"])
def test_points_that_part_thousands_beside_decimal_commas_are_refused(between: str, tmp_path: Path) -> None:
    joules = [str(800 + i) if i < 3 else f"{i}.{200 + i}" for i in range(12)]
    with pytest.raises(ValueError, match=r"'3\.203' in column 'joules'.*decimal commas.*3203"):
        CostModel.fit(written(tmp_path / "h.csv", rows(12), {"joules": joules}, between))


def test_points_that_cannot_part_thousands_are_decimal(tmp_path: Path) -> None:
    joules = [f"{i}.5" for i in range(12)]
    model = CostModel.fit(written(tmp_path / "h.csv", rows(12), {"joules": joules}))
    assert model.energy is not None
    assert model.energy.retrainings == 12


@pytest.mark.parametrize(("level", "known"), [(0.8, True), (0.95, False)])
@pytest.mark.parametrize("grouped", [False, True])
def test_few_measured_joules_know_no_more_than_as_few_retrainings(
    level: float, known: bool, grouped: bool
) -> None:
    joules = [50.0 * (i + 1) if i < 10 else None for i in range(100)]
    kinds = [f"kind {i % 10}" for i in range(100)]
    past = rows(100, joules=joules, **({"shift": kinds} if grouped else {}))
    energy = CostModel.fit(past, level=level).predict({"effort_score": 1.0})
    assert energy.kwh is not None
    assert math.isfinite(energy.effort.high)
    assert math.isfinite(energy.kwh.high) is known


def test_joules_of_one_kind_of_shift_have_no_interval_of_others() -> None:
    joules = [50.0 * (i + 1) if i % 5 == 0 else None for i in range(100)]
    past = rows(100, joules=joules, shift=[f"kind {i % 5}" for i in range(100)])
    estimate = CostModel.fit(past).predict({"effort_score": 1.0})
    assert estimate.kwh is not None
    assert estimate.kwh.high == math.inf
    assert weights_of(np.arange(4.0), np.zeros(4, np.intp)).sum() == pytest.approx(0.5)


def test_spellings_of_a_kind_of_shift_are_one() -> None:
    spelt = ["noise", "Noise ", "motion blur", "Motion  blur", "rotation", "rotation\u00a0"]
    kinds = [spelt[i % 6] for i in range(40)]
    plain = [spelt[i % 6 // 2 * 2] for i in range(40)]
    assert CostModel.fit(rows(shift=kinds)) == CostModel.fit(rows(shift=plain))
    assert CostModel.fit(rows(shift=kinds)).groups == 3


def test_copies_that_only_the_index_tells_apart_are_doubted(tmp_path: Path) -> None:
    import pandas as pd

    pd.DataFrame([*rows(20), *rows(20)]).to_csv(tmp_path / "twice.csv")
    with pytest.warns(UserWarning, match="20 of 40 past retrainings equal another"):
        CostModel.fit(tmp_path / "twice.csv")


def test_a_limit_without_a_column_of_censored_is_doubted() -> None:
    past = rows(60)
    cap = float(np.quantile([row["epochs"] for row in past], 0.8))
    for row in past:
        row["epochs"] = min(row["epochs"], cap)
    with pytest.warns(UserWarning, match=r"12 of 60.*largest effort.*'censored'"):
        CostModel.fit(past)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CostModel.fit([{**row, "censored": 0} for row in past])
        CostModel.fit([{**row, "epochs": round(row["epochs"])} for row in rows(60)])


@pytest.mark.parametrize(("column", "count"), [("dataset_size", "epochs"), ("batch_size", "steps")])
def test_sizes_in_another_unit_than_samples_are_refused(column: str, count: str) -> None:
    past = [{**row, "steps": 100 * row["epochs"], "samples": 60_000 * row["epochs"]} for row in rows()]
    right = past[0]["samples"] / past[0][count]
    with pytest.raises(ValueError, match=rf"{column} is .*samples / {count}"):
        CostModel.fit([{**row, column: right / 1000} for row in past])
    CostModel.fit([{**row, column: right} for row in past])


def test_whole_epochs_do_not_contradict_the_size() -> None:
    past = [
        {**row, "samples": 1000 * row["epochs"], "epochs": math.ceil(row["epochs"]), "dataset_size": 1000}
        for row in rows()
    ]
    assert CostModel.fit(past).dataset_sizes == (1000, 1000)


@pytest.mark.parametrize("name", ["effort_score", "epochs"])
def test_yes_and_no_are_no_numbers(name: str) -> None:
    past = rows()
    past[3][name] = True
    with pytest.raises(TypeError, match=f"row 3: {name} is 'True'"):
        CostModel.fit(past, "effort_score")

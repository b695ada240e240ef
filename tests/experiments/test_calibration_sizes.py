"""Retrainings at two sizes: what is recorded, how units are compared, what is refused, and what was committed."""

import argparse
import csv
import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from hitl_fast.cost import CostModel, carry
from hitl_fast.cost.carry import carried
from hitl_fast.experiments.calibration import command, size_prediction, size_scores, sizes
from hitl_fast.experiments.calibration.networks import SmallMLP
from hitl_fast.experiments.calibration.retraining import Recipe, retrain
from hitl_fast.experiments.calibration.size_table import (
    ALL,
    MIXTURE,
    UNITS,
    answer,
    compare,
    exponents,
    law_of,
    measured,
    pairs_of,
    section,
    sizes_csv,
)
from hitl_fast.experiments.common import journal
from hitl_fast.experiments.common.digits import seeded
from hitl_fast.experiments.common.samples import Samples

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "calibration"
TINY = dataclasses.replace(
    sizes.settings(True), shifts=("speckle", "shear"), sizes=(210, 60, 300), epochs=0.05, cap=4
)


def arguments(*words):
    parser = argparse.ArgumentParser()
    command.configure(parser)
    return parser.parse_args([*map(str, words), "--workers", "0", "--no-progress"])


@pytest.mark.jit
def test_a_run_is_resumed_and_gives_the_same(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sizes, "settings", lambda quick: TINY)
    monkeypatch.setattr("hitl_fast.experiments.calibration.size_table.RESAMPLES", 20)
    assert command.run(arguments("--out", tmp_path, "--sizes")) == 0
    header, records = journal.read(tmp_path / "sizes.jsonl")
    assert header["command"] == "hitl-fast experiment calibration --sizes"
    assert [record["key"] for record in records] == ["digits8/mlp/11/speckle/2", "digits8/mlp/11/shear/2"]
    for record in records:
        at = [(one["dataset_size"], one["batch_size"]) for one in record["retrainings"]]
        assert at == [(70, 32), (70, 64), (210, 32), (210, 64)]
        assert len({one["accuracy_before"] for one in record["retrainings"]}) == 1
        for one in record["retrainings"]:
            assert one["samples"] == one["steps"] * one["batch_size"]
            assert not one["censored"] or one["samples"] == TINY.cap * 64
    assert "sizes.csv" in capsys.readouterr().out
    whole = journal.deterministic(tmp_path / "sizes.jsonl")
    _, scores = journal.read(tmp_path / "size_scores.jsonl")
    assert [one["key"] for one in scores] == [record["key"] for record in records]
    assert all(set(one["scores"]) == set(size_scores.SCORES) for one in scores)
    lines = (tmp_path / "sizes.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "sizes.jsonl").write_text("".join(lines[:-1]))
    assert command.run(arguments("--out", tmp_path, "--sizes")) == 0
    assert journal.deterministic(tmp_path / "sizes.jsonl") == whole


def planted(a, b, lost=0):
    """Samples seen are N^a B^b times what each shift takes; the first ``lost`` cells lose their target with N."""
    records = []
    for i, dataset in enumerate(["mnist", "digits8", "glosses"] * 4):
        effort = 100.0 * (1 + i)
        runs = []
        for size in (1000, 3000):
            for batch in (32, 64):
                steps = effort * (size / 1000) ** a * (batch / 32) ** b / (batch / 32)
                to = [2 * steps, steps, None]
                runs.append({"dataset_size": size, "batch_size": batch, "steps_to": to, "censored": False})
                if i < lost and size == 1000:
                    runs[-1] |= {"steps_to": [None, steps, None], "censored": True}
        of = {
            "key": f"{dataset}/mlp/11/{i}",
            "dataset": dataset,
            "architecture": "mlp",
            "seed": 11,
            "shift": str(i),
        }
        records.append(of | {"retrainings": runs})
    return records


@pytest.mark.parametrize(
    ("a", "b", "unit"), [(0, 1, "steps"), (0, 0, "samples"), (1, 0, "epochs"), (-0.4, 0.3, MIXTURE)]
)
def test_the_unit_that_carries_over_has_ratio_one(a, b, unit):
    records = planted(a, b)
    found = compare(records, resamples=20)
    assert {(one.change, one.dataset) for one in found} == {
        (change, of) for change in ("size", "batch", "both") for of in (ALL, "mnist", "digits8", "glosses")
    }
    assert exponents(pairs_of(records)) == pytest.approx((a, b))
    for one in found:
        if one.unit in (unit, MIXTURE):
            assert (*one.ratio, *one.factor, one.spread) == pytest.approx((1,) * 7)
    off = {one.unit: one.ratio.value for one in found if (one.change, one.dataset) == ("both", ALL)}
    for wrong in {"steps": (0, 1), "samples": (0, 0), "epochs": (1, 0)}.items():
        assert off[wrong[0]] == pytest.approx(3 ** (a - wrong[1][0]) * 2 ** (b - wrong[1][1]))


def test_a_target_that_is_lost_is_counted_and_the_next_one_compared():
    found = compare(planted(0, 1, lost=3), resamples=20)
    of = next(one for one in found if (one.change, one.unit, one.dataset) == ("size", "steps", ALL))
    assert (of.pairs, of.known, of.not_reached) == (24, 24, 6)
    assert of.ratio.value == pytest.approx(1)
    lost = measured(planted(0, 1, lost=3)).lost  # the cheapest ones, all of them below the median
    assert lost["dataset_size"] == pytest.approx((0.5, 0))
    assert lost["batch_size"] == (0, 0)
    text = section(planted(0, 1, lost=3), found)
    assert text.startswith("Chosen on mnist and digits8")
    assert "6 of 24" in text
    assert "6 of 24 did not reach" in answer(found)


def test_what_never_reached_a_target_has_no_number():
    records = planted(0, 1)
    for record in records:
        for one in record["retrainings"]:
            one["steps_to"] = [None, None, None]
    found = compare(records, resamples=20)
    rows = list(csv.DictReader(sizes_csv(found).splitlines()))
    assert {row["ratio"] for row in rows} == {""}
    assert all(row["pairs"] == "0" for row in rows)
    assert "–" in section(records, found)
    for record in records:  # no step was needed
        for one in record["retrainings"]:
            one["steps_to"] = [0, 0, 0]
    assert not pairs_of(records)


@pytest.mark.parametrize(
    ("change", "named"), [("size", "a third of the training samples"), ("batch", "half the batch")]
)
def test_no_law_without_a_pair_of_each_change(change, named):
    pairs = pairs_of(planted(0, 1))
    with pytest.raises(ValueError, match=f"at {named}.* as well as before"):
        law_of([pair for pair in pairs if pair.change != change], (0.0, 1.0))


def test_a_record_that_lacks_a_retraining_is_refused():
    records = planted(0, 1)
    del records[2]["retrainings"][0]
    with pytest.raises(ValueError, match="glosses/mlp/11/2 has 3 retrainings"):
        compare(records)


def test_batches_are_as_large_as_was_said():
    seen = []

    class Watched(SmallMLP):
        def forward(self, x):
            seen.append(len(x))
            return super().forward(x)

    data = Samples(torch.zeros(80, 1, 28, 28), torch.arange(80) % 10)
    retrain(seeded(Watched, 0), data, data, 2.0, 3, 0, Recipe(batch=32))
    assert seen.count(32) == 4
    with pytest.raises(ValueError, match="batch of 81 samples.*not 80"):
        retrain(seeded(SmallMLP, 0), data, data, 2.0, 3, 0, Recipe(batch=81))


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--sizes", "--modes"], "--modes and --sizes"),
        (["--sizes", "--seed", "2"], "--seed"),
        (["--sizes", "--seeds", "2"], "--seeds"),
        (["--sizes", "--networks", "vit"], "'vit'"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(tmp_path, words, named):
    with pytest.raises(ValueError, match=named):
        command.run(arguments("--out", tmp_path, *words))
    assert not list(tmp_path.iterdir())


def test_cost_models_use_what_was_measured():
    header, records = journal.read(RESULTS / "sizes.jsonl")
    assert header["settings"] == json.loads(json.dumps(sizes.depends_on(sizes.settings(False))))
    assert (RESULTS / "sizes.csv").read_text() == sizes_csv(compare(records))
    found = measured(records)
    law = carry.LAW
    assert found.powers == law.powers
    assert carry.MEASURED == {"dataset_size": 3, "batch_size": 2}
    assert {
        name: {share: math.ceil(100 * factor) / 100 for share, factor in of.items()}
        for name, of in found.within.items()
    } == law.within
    for rounded_, exact in ((law.lost, found.lost), (law.errors, found.errors)):
        assert rounded_ == {name: tuple(round(one, 2) for one in of) for name, of in exact.items()}
    at = {one.unit: one for one in compare(records) if (one.change, one.dataset) == ("size", ALL)}
    assert set(at) == set(UNITS)
    assert at["epochs"].factor.low > at["samples"].factor.high


@pytest.fixture(scope="module")
def committed():
    header, scores = journal.read(RESULTS / "size_scores.jsonl")
    assert header["settings"] == json.loads(json.dumps(size_scores.depends_on(sizes.settings(False))))
    return journal.read(RESULTS / "results.jsonl")[1], journal.read(RESULTS / "sizes.jsonl")[1], scores


def test_what_is_predicted_of_other_sizes_holds(committed):
    """Intervals at other sizes hold as many efforts as those at the sizes of the past, and are not off by more."""
    found = size_prediction.predict(*committed, resamples=20)
    at = {(one.history, one.left_out, one.change): one for one in found}
    assert len(at) == len(found) == 2 * 4 * 4
    for (history, left_out, change), one in at.items():
        same = at[history, left_out, size_prediction.SAME]
        assert one.coverage.value >= same.coverage.value, (history, left_out, change)
        assert one.factor.value <= 1.4 * same.factor.value, (history, left_out, change)
        if history == "alike" and left_out in ("nothing", "shift type"):
            assert 0.78 <= one.coverage.value <= 0.95
            assert one.factor.value <= 2.3
        if change != size_prediction.SAME:
            assert one.coverage.value >= 0.70
    text = size_prediction.section(*committed[:2], found)
    assert "without digits8 a = -0.2 and b = 0.6" in text
    assert len([line for line in text.splitlines() if line.startswith("|")]) == 10


def test_a_cost_model_is_asked_as_the_page_says(committed):
    """By ``predict``, from a history of one data set that tells its sizes."""
    grid, records, scores = committed
    history = [
        {**row, "dataset_size": 3000, "batch_size": 64}
        for row in size_prediction.past(grid, 25_600)
        if row["data set"] == "mnist"
    ]
    model = CostModel.fit(history, effort="samples", groups="shift type")
    record = next(one for one in records if one["key"] == "mnist/cnn/11/rotation/2")
    score = next(one["scores"] for one in scores if one["key"] == record["key"])
    for one in record["retrainings"]:
        asked = {name: one[name] for name in ("dataset_size", "batch_size")}
        told = model.predict(score, **asked)
        known = {"dataset_size": (3000.0, 3000.0), "batch_size": (64.0, 64.0)}
        other = carried(asked, known, "samples", model.level, measured(records))
        effort = model.effort_at(np.array([score["effort_score"]]), other)[0]
        assert told.effort.value == pytest.approx(effort.value)
        assert told.effort.low == pytest.approx(effort.low, rel=0.02)  # constants are kept with two decimals
        assert told.effort.low <= one["samples"] <= told.effort.high
        assert told.epochs.value == pytest.approx(told.effort.value / one["dataset_size"])


def test_what_is_left_out_is_not_in_the_law(committed):
    _, records, _ = committed
    without = size_prediction.law_without("data set", "mnist", records)
    changed = [
        {**record, "retrainings": [{**one, "steps_to": [1, 1, 1]} for one in record["retrainings"]]}
        if record["dataset"] == "mnist"
        else record
        for record in records
    ]
    assert size_prediction.law_without("data set", "mnist", changed) == without
    assert size_prediction.law_without("nothing", "", changed) != measured(records)

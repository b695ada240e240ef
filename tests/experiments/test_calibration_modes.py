"""Modes of PreIndex on the retrainings of a grid: what is recorded, how it is compared, what is refused."""

import argparse
import contextlib
import copy
import csv
import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
import torch

import hitl_fast as hf
from hitl_fast.experiments.calibration import command
from hitl_fast.experiments.calibration.datasets import dataset
from hitl_fast.experiments.calibration.jobs import Settings, samples_of, split, trained
from hitl_fast.experiments.calibration.label_mode_table import ALL, NAMES, answer, compare, modes_csv, section
from hitl_fast.experiments.calibration.label_modes import (
    BASE,
    MODES,
    SCORES,
    reports,
    samples_for,
    settings_of,
)
from hitl_fast.experiments.common import journal

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "calibration"
pytestmark = pytest.mark.usefixtures("one_thread")

TINY = Settings(
    datasets=("mnist",), architectures=("mlp",), shifts=("noise", "patches"), strengths=(2,), seeds=(0,),
    sizes=(128, 40, 35), epochs=0.2, cap=4,
)  # fmt: skip


def arguments(*words):
    parser = argparse.ArgumentParser()
    command.configure(parser)
    return parser.parse_args([*map(str, words), "--workers", "0", "--no-progress"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny grid and its modes."""
    out = tmp_path_factory.mktemp("calibration")
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.setattr(command, "chosen", lambda quick, seed, seeds: TINY)
        patch.setattr("hitl_fast.experiments.calibration.analysis.RESAMPLES", 5)
        assert command.run(arguments("--out", out)) == 0
        assert command.run(arguments("--out", out, "--modes")) == 0
    return out


@pytest.mark.jit
def test_the_scores_of_all_pairs_are_those_of_the_grid(folder):
    header, modes = journal.read(folder / "modes.jsonl")
    rows = [row for row in journal.read(folder / "results.jsonl")[1] if "effort" in row]
    assert header["command"] == "hitl-fast experiment calibration --modes"
    assert [one["key"] for one in modes] == [row["key"] for row in rows]
    for one, row in zip(modes, rows, strict=True):
        assert list(one["modes"]) == [BASE, "30 labels", "clean labels", "unpaired"]
        for name, value in one["modes"][BASE]["scores"].items():
            if name != "class_mean_cka":  # not in a report of pairs with all labels
                assert value == pytest.approx(row["scores"][name], rel=1e-6, abs=1e-9), name
        assert set(one["modes"]["30 labels"]["intervals"]) == {"accuracy_drop", "inverse_ari"}
        assert "effort_score" not in one["modes"]["clean labels"]["scores"]
        assert "index" not in one["modes"]["unpaired"]["scores"]
    with (folder / "modes.csv").open() as file:
        assert {row["mode"] for row in csv.DictReader(file)} == set(modes[0]["modes"])


def fewer(mode):
    return dataclasses.replace(mode, label_budget=mode.label_budget and min(mode.label_budget, 32))


@pytest.mark.jit
def test_one_pass_gives_every_mode_the_report_of_preindex(folder):
    data = dataset("mnist")
    model, _ = trained(data, "mlp", 0, TINY, folder / "models")
    samples = samples_of("mnist", 0)
    before, after = split(TINY, data, samples), split(TINY, data, data.shifted(samples, "noise", 2, 0))
    for paired in (True, False):
        modes = {name: fewer(mode) for name, mode in MODES.items() if mode.paired == paired}
        clean, shifted = samples_for(paired, before, after, "a key")
        assert paired == (len(clean) == len(shifted))
        for name, fields in reports(model, clean, shifted, data.mask, modes):
            how = {k: v for k, v in dataclasses.asdict(modes[name]).items() if k != "told"}
            whole = hf.preindex(model, clean.batches(), shifted.batches(), bins=(32,), progress=False, **how)
            for score in ("accuracy", "samples", "clean_samples", *SCORES):
                if score in fields and not (name == BASE and score == "class_mean_cka"):
                    assert fields[score] == pytest.approx(getattr(whole, score), abs=1e-9), (name, score)
            assert (fields["intervals"] or {}).keys() == (whole.intervals or {}).keys()
            for score, ends in (whole.intervals or {}).items():
                assert fields["intervals"][score] == pytest.approx(ends), (name, score)


def test_clean_samples_without_pairs_are_others():
    data = dataset("mnist")
    parts = split(TINY, data, samples_of("mnist", 0))
    clean, shifted = samples_for(False, parts, parts, "a key")
    assert (len(clean), len(shifted)) == (36, 35)
    pairs = samples_for(True, parts, parts, "a key")
    assert torch.equal(pairs[0].inputs, pairs[1].inputs)
    assert not torch.equal(samples_for(True, parts, parts, "another")[0].inputs, pairs[0].inputs)
    apart = (clean.inputs[:, None] - shifted.inputs[None]).flatten(2).abs().amax(2)
    assert bool((apart > 0).all())


def planted():
    """Two networks, eight shifts at three strengths: scores of all labels tell the steps, those of few less."""
    generator = np.random.default_rng(0)
    rows, modes = [], []
    for network in ("cnn", "mlp"):
        for kind in range(8):
            for strength in range(3):
                key = f"mnist/{network}/0/{kind}/{strength}"
                of = {
                    "key": key, "dataset": "mnist", "architecture": network, "seed": 0, "shift": str(kind),
                    "strength": strength,
                }  # fmt: skip
                steps = 10 * (kind + 1) * (strength + 1)
                best = {"effort_score": steps / 100, "accuracy_drop": steps / 300, "confidence_drop": 0.1}
                noisy = {name: float(generator.normal()) for name in best}
                lacking = {"accuracy_drop": steps / 300} if kind else {**best}
                rows.append(
                    {**of, "optimizer": "adam", "effort": {"steps": steps, "censored": False}, "scores": best}
                )
                modes.append({**of, "modes": {
                    BASE: {"scores": best},
                    "100 labels": {"scores": lacking, "intervals": {"accuracy_drop": [0.0, 0.5]}},
                    "30 labels": {"scores": noisy, "intervals": {"accuracy_drop": [steps / 300 - 0.1, steps / 300]}},
                    "clean labels": {"scores": {"confidence_drop": 0.1 * steps}},
                }})  # fmt: skip
    return rows, modes


def test_modes_are_compared_with_all_labels_on_the_same_retrainings():
    rows, modes = planted()
    found = {(one.mode, one.score, one.dataset): one for one in compare(rows, modes, resamples=80)}
    assert found[BASE, "effort_score", ALL].spearman.value == pytest.approx(1)
    assert found[BASE, "effort_score", "mnist"].behind is None
    noisy = found["30 labels", "effort_score", ALL]
    assert noisy.behind.low > 0.3
    assert noisy.paired.value == pytest.approx(1)
    assert (noisy.held, found["30 labels", "accuracy_drop", ALL].held) == (None, 1)
    assert found["30 labels", "accuracy_drop", ALL].width == pytest.approx(0.1)
    lacking = found["100 labels", "effort_score", ALL]
    assert (lacking.cells, lacking.missing) == (48, 42)
    steps = np.array([row["effort"]["steps"] for row in rows])
    assert found["100 labels", "accuracy_drop", ALL].held == pytest.approx(np.mean(steps / 300 <= 0.5))
    assert found["clean labels", "confidence_drop", ALL].spearman.value == pytest.approx(1)
    assert ("clean labels", "effort_score", ALL) not in found


def test_the_text_says_which_mode_is_worse():
    rows, modes = planted()
    found = compare(rows, modes, resamples=80)
    told = answer(found)
    assert "Pairs, 30 labels: " in told
    assert "behind by" in told
    assert f"no effort score; {NAMES['confidence_drop']} 1.00" in told
    text = section(rows, modes, found)
    first, *_ = text.split("\n\n")
    assert "chosen on mnist" in first
    assert "48 of its retrainings" in first
    assert "equals the committed one in 48 of 48" in first
    assert "| 100 %, 0.10 |" in text.replace("%, ", " %, ").replace("  ", " ")


def test_the_csv_leaves_a_cell_empty_where_there_is_no_number():
    rows, modes = planted()
    table = list(csv.DictReader(modes_csv(compare(rows, modes, resamples=20)).splitlines()))
    base = next(row for row in table if row["mode"] == BASE)
    assert base["behind"] == base["held"] == ""
    assert float(base["spearman_low"]) <= float(base["spearman"])


def test_modes_of_another_grid_are_refused():
    rows, modes = planted()
    other = copy.deepcopy(modes)
    other[3]["key"] = "mnist/cnn/7/0/0"
    with pytest.raises(ValueError, match="mnist/cnn/7/0/0"):
        compare(rows, other)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--modes"], "results.jsonl"),
        (["--networks", "cnn"], "--networks"),
        (["--modes", "--seed", "2"], "--seed"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(tmp_path, words, named):
    with pytest.raises(ValueError, match=named):
        command.run(arguments("--out", tmp_path, *words))
    assert not list(tmp_path.iterdir())


def test_results_that_are_no_grid_are_refused(tmp_path):
    with journal.Journal(tmp_path / "results.jsonl", "calibration", {"datasets": []}) as file:
        header = file.header
    with pytest.raises(ValueError, match="lack strengths"):
        settings_of(header)
    with pytest.raises(ValueError, match="'guidance'"):
        settings_of({**header, "experiment": "guidance"})
    full = {**header, "settings": dataclasses.asdict(TINY)}
    assert settings_of(full) == TINY


@pytest.mark.jit
def test_a_network_that_the_grid_lacks_is_refused(folder):
    with pytest.raises(ValueError, match="'vit'"):
        command.run(arguments("--out", folder, "--modes", "--networks", "vit"))


@pytest.mark.jit
def test_the_committed_table_is_that_of_the_committed_scores():
    _, records = journal.read(RESULTS / "results.jsonl")
    header, modes = journal.read(RESULTS / "modes.jsonl")
    assert header["settings"]["modes"] == {name: mode.arguments for name, mode in MODES.items()}
    assert (RESULTS / "modes.csv").read_text() == modes_csv(compare(records, modes))

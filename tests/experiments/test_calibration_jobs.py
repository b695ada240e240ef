"""The grid's jobs, what is made of their records, and the command around both, on a grid of one small network."""

import argparse
import contextlib
import copy
import csv
import dataclasses
import functools
import io
import json

import numpy as np
import pytest
import torch

from hitl_fast.cost.model import CostModel
from hitl_fast.experiments.calibration import command, figures, jobs
from hitl_fast.experiments.calibration.analysis import SCORES, Findings, analyse, column, is_default
from hitl_fast.experiments.calibration.datasets import dataset
from hitl_fast.experiments.calibration.effort_table import history_csv, retrainings
from hitl_fast.experiments.calibration.jobs import Settings, grid, trained, work
from hitl_fast.experiments.calibration.report import answer, page
from hitl_fast.experiments.common import journal
from hitl_fast.experiments.common.runner import run_grid
from hitl_fast.shift import PreIndexReport

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = Settings(
    datasets=("mnist",), architectures=("mlp",), shifts=("noise", "patches"), strengths=(2,), seeds=(0,),
    sizes=(128, 32, 26), epochs=0.2, cap=4,
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("calibration")


@pytest.fixture(scope="module")
def arguments(folder):
    parser = argparse.ArgumentParser()
    command.configure(parser)
    return parser.parse_args(["--out", str(folder), "--workers", "0", "--no-progress", "--seed", "3"])


@pytest.fixture(scope="module")
def told(arguments):
    """The files of the command, run once, and what it said."""
    said = io.StringIO()
    with small_grid(), contextlib.redirect_stdout(said):
        assert command.run(arguments) == 0
    return said.getvalue()


@pytest.fixture(scope="module")
def records(told, folder):
    return journal.read(folder / "results.jsonl")[1]


@contextlib.contextmanager
def small_grid():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "chosen", lambda quick, seed, seeds: TINY)
        patch.setattr("hitl_fast.experiments.calibration.analysis.RESAMPLES", 50)
        yield


def test_the_full_grid_is_what_it_says():
    full = grid(Settings())
    shifted = [job for job in full if "shift" in job]
    assert len({job["key"] for job in full}) == len(full) == 3 * 4 * 3 + len(shifted)
    assert len(shifted) == 3 * 4 * (12 + 10 + 10) * 3 >= 900
    assert {job["optimizer"] for job in shifted} == {"adam", "sgd"}
    assert len(grid(command.chosen(True, 7))) == 2 * (2 + 2 * 3 * 2)
    assert {job["seed"] for job in grid(command.chosen(False, 7))} == {7, 8, 9}
    assert {job["seed"] for job in grid(command.chosen(False, 7, 2))} == {7, 8}


def test_no_sample_is_in_two_parts():
    data = dataset("mnist")
    parts = jobs.split(TINY, data, data.load(0))
    assert [len(p) for p in (parts.training, parts.validation, parts.estimation)] == [128, 32, 26]
    together = torch.cat([parts.training.inputs, parts.validation.inputs, parts.estimation.inputs])
    assert torch.equal(together, data.load(0).inputs[:186])


def test_a_record_holds_scores_and_effort(records):
    base, *rows = records
    assert base["floor"]["paired"]["distance"] == base["floor"]["paired"]["accuracy_drop"] == 0
    assert base["floor"]["unpaired"]["distance"] > 0
    assert base["flops_per_sample"]["forward"] == 2 * (784 * 256 + 256 * 128 + 128 * 10)
    assert [row["key"] for row in rows] == ["mnist/mlp/0/noise/2", "mnist/mlp/0/patches/2"]
    for row in rows:
        effort = row["effort"]
        assert set(SCORES) <= set(row["scores"])
        assert effort["samples"] == 64 * effort["steps"]
        assert effort["epochs"] == effort["samples"] / 128
        assert effort["censored"] == (effort["steps_to"][0] is None)
        assert list(row["fewer"]) == ["25"]
        default = row["variants"]["corrected/mean"]
        assert default["distances"]["jensen_shannon"][1] == row["scores"]["distance"]
        assert default["inverse_ari"] + row["scores"]["distance"] == pytest.approx(row["scores"]["index"])
        joules = row["measured"]["joules"]
        assert joules is None or joules >= 0  # a machine without a sensor says None


@pytest.mark.jit
def test_the_same_job_gives_the_same_bytes_with_and_without_its_model(records, folder, tmp_path):
    job = grid(TINY)[2]
    path = folder / "models" / "mnist-mlp-0.safetensors"
    states = {"there": path.read_bytes(), "cut": path.read_bytes()[:200], "missing": None}
    other = dataclasses.replace(TINY, sizes=(64, 32, 26))
    trained(dataset("mnist"), "mlp", 0, other, tmp_path / "other")
    states["of other settings"] = (tmp_path / "other" / "mnist-mlp-0.safetensors").read_bytes()
    for name, content in states.items():
        models = tmp_path / name / "models"
        models.mkdir(parents=True)
        if content is not None:
            (models / "mnist-mlp-0.safetensors").write_bytes(content)
        again = work(job, settings=TINY, folder=str(models), energy=False)
        assert again.pop("measured") == {"joules": None}
        expected = {k: v for k, v in records[2].items() if k not in job and k != "measured"}
        assert json.dumps(again) == json.dumps(expected), name
        assert (models / "mnist-mlp-0.safetensors").read_bytes() == states["there"], name


def test_a_history_has_a_row_for_each_retraining(records):
    rows = list(csv.DictReader(history_csv(records).splitlines()))
    assert len(rows) == 2
    names = {
        name
        for name in rows[0]
        if hasattr(PreIndexReport, name) or name in PreIndexReport.__dataclass_fields__
    }
    assert {
        "index",
        "distance",
        "inverse_ari",
        "accuracy_drop",
        "probe_error",
        "cka",
        "resque_angle",
    } <= names
    first = retrainings(records)[0]
    assert float(rows[0]["index"]) == first["scores"]["index"]
    assert (rows[0]["shift"], rows[0]["censored"]) == ("noise", str(int(first["effort"]["censored"])))
    joules = first["measured"]["joules"]
    assert rows[0]["joules"] == ("" if joules is None else str(joules))
    empty = [{**row, "scores": {**row["scores"], "cka": None}} for row in retrainings(records)]
    assert next(csv.DictReader(history_csv(empty).splitlines()))["cka"] == ""


def planted(records):
    """Two architectures, two seeds, four shifts at three strengths: probe error tells the effort, the index nothing."""
    base, template = records[0], records[1]
    generator = np.random.default_rng(0)
    made = [base]
    for architecture in ("mlp", "cnn"):
        for seed in (0, 1):
            for kind, shift in enumerate(("noise", "blur", "patches", "erosion")):
                for strength in range(3):
                    row = copy.deepcopy(template)
                    key = f"mnist/{architecture}/{seed}/{shift}/{strength}"
                    steps = int(10 * (kind + 1) * 2**strength + seed)
                    stopped = steps > 150
                    row |= {"key": key, "architecture": architecture, "seed": seed, "shift": shift}
                    row["strength"] = strength
                    row["effort"] |= {"steps": min(steps, 150), "censored": stopped}
                    row["effort"] |= {"samples": 64 * min(steps, 150), "epochs": min(steps, 150) / 2}
                    for variant in row["variants"].values():
                        variant["inverse_ari"] = float(generator.random())
                    row["effort"]["steps_to"] = [None if stopped else steps, steps // 2, steps // 3]
                    row["scores"] = {name: float(generator.normal()) for name in row["scores"]}
                    row["scores"]["probe_error"] = steps / 400
                    row["scores"]["accuracy_drop"] = steps / 400 + 0.05 * float(generator.normal())
                    made.append(row)
    return made


@pytest.fixture(scope="module")
def findings(records) -> Findings:
    return analyse(planted(records), resamples=60)


def test_a_planted_score_leads_and_noise_does_not(findings):
    assert findings.censored == 4
    best, noise = findings.ranks["probe_error"], findings.ranks["entropy"]
    assert best["within a model"]["spearman"].value == pytest.approx(1)
    assert best["all together"]["concordance"].value == 1
    assert best["within a shift type"]["kendall"].value > 0.7
    assert abs(noise["within a model"]["spearman"].value) < 0.5
    assert not noise["within a model"]["spearman"].excludes_zero
    assert findings.over_index["probe_error"].low > 0
    assert findings.over_accuracy_drop["accuracy_drop"] == (0, 0, 0)


def test_what_was_left_out_is_predicted_from_the_planted_score_alone(findings):
    for what in ("shift type", "architecture"):
        by_set = findings.predictions[what]
        assert by_set["probe error"].spearman.value > 0.8
        assert by_set["probe error"].factor < 2
        assert by_set["probe error"].spearman.value > by_set["p"].spearman.value + 0.5


def test_the_defaults_are_compared_with_one_another(findings):
    assert len(findings.defaults) == 4 * 3 * 5
    assert sum(is_default(one) for one in findings.defaults) == 1
    assert next(one for one in findings.defaults if is_default(one))["over default"] == (0, 0, 0)


def test_a_score_without_a_value_ranks_with_the_dearest(records):
    rows = [copy.deepcopy(row) for row in 2 * retrainings(records)]
    for row, cka in zip(rows, (0.9, None, 0.5, 0.7), strict=True):
        row["scores"]["cka"] = cka
    assert column(rows, "cka").tolist() == [-0.9, -0.5, -0.5, -0.7]
    for row in rows:
        row["scores"]["cka"] = None
    assert column(rows, "cka").tolist() == [0, 0, 0, 0]


def test_the_answer_says_who_wins(findings, records):
    told = answer(findings)
    assert "worse" in told
    assert "chosen on the same data) is probe error, 1.00" in told
    header = {
        "settings": dataclasses.asdict(TINY),
        "command": "hitl-fast experiment",
    }
    html = page(header, findings).html()
    assert "4 of 48 retrainings did not reach the target" in html
    assert html.count("<figure>") == 3
    swapped = planted(records)
    for row in retrainings(swapped):
        scores = row["scores"]
        scores["effort_score"], scores["probe_error"] = scores["probe_error"], scores["effort_score"]
    told = answer(analyse(swapped, resamples=60))
    assert "effort score ranks retraining effort with Spearman 1.00" in told
    assert "No other of 23 scores has a higher value" in told


def test_records_without_an_effort_score_are_refused(records):
    rows = planted(records)
    for row in retrainings(rows):
        del row["scores"]["effort_score"]
    with pytest.raises(ValueError, match="no effort score"):
        analyse(rows, resamples=5)


def test_every_architecture_is_in_the_figure(findings):
    texts = {text.get_text() for text in figures.scatter(findings).axes[0].get_legend().get_texts()}
    assert texts == {"mlp", "cnn"}


def test_a_data_set_with_fewer_samples_leaves_the_larger_numbers_out(records):
    rows = planted(records)
    for row in retrainings(rows):
        row["fewer"] = {"25": row["fewer"]["25"]} | ({} if row["seed"] else {"50": row["fewer"]["25"]})
    assert all(set(by_count) == {25} for by_count in analyse(rows, resamples=5).samples.values())


def test_the_command_again_only_draws(arguments, told, folder, capsys):
    assert "Within a model the effort score ranks" in told
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert set(files) == {"results.jsonl", "results.html", "history.csv"}
    with small_grid():
        assert command.run(arguments) == 0
    assert capsys.readouterr().out == told
    assert files == {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    header, _ = journal.read(folder / "results.jsonl")
    assert header["command"] == "hitl-fast experiment calibration --seed 3"
    assert header["settings"]["amounts"]["mnist"]["noise"] == [0.1, 0.2, 0.35]


@pytest.mark.jit  # without it, the workers take minutes
def test_processes_give_the_same_bytes_as_one(records, folder, tmp_path):
    do = functools.partial(work, settings=TINY, folder=str(tmp_path / "models"), energy=False)
    settings = journal.read(folder / "results.jsonl")[0]["settings"]
    with journal.Journal(tmp_path / "results.jsonl", "calibration", settings) as file:
        run_grid(do, grid(TINY), file, workers=2, progress=False)
    assert journal.deterministic(tmp_path / "results.jsonl") == journal.deterministic(
        folder / "results.jsonl"
    )


def test_a_cost_model_learns_from_a_history(records, tmp_path):
    (tmp_path / "history.csv").write_text(history_csv(planted(records)))
    assert CostModel.fit(tmp_path / "history.csv", scores=["probe_error"]) is not None

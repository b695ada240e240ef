"""The guidance experiment as a whole: added cases, repeated, killed and resumed, with own ratings, and its page."""

import argparse
import json
import random
import signal
import time
from dataclasses import replace
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
from absent import skip_without
from browsing import DESK, PHONE, looked_at

from hitl_fast import cli
from hitl_fast._common.bootstrap import Interval
from hitl_fast.experiments.common.journal import Journal, Record, deterministic, read
from hitl_fast.experiments.common.runner import run_grid
from hitl_fast.experiments.guidance import analysis, command, plan
from hitl_fast.experiments.guidance import jobs as work
from hitl_fast.experiments.guidance import training_cost as spending
from hitl_fast.experiments.guidance.breakeven import Prices
from hitl_fast.experiments.guidance.formatting import number, percent, steps, verdict
from hitl_fast.experiments.guidance.plan import QUICK, SETTINGS, Plan
from hitl_fast.experiments.guidance.report import Report
from hitl_fast.experiments.guidance.tasks import Sizes, available
from hitl_fast.experiments.guidance.training import Recipe

TINY = replace(
    QUICK,
    tasks=("image",),
    seeds=(0, 1),
    sizes={"image": Sizes(60, 40, 40), "text": Sizes(60, 40, 40)},
    recipes={name: Recipe(4, 16, 2, 0.05, 2e-3, 2) for name in ("image", "text")},
)

FEW = replace(TINY, settings=("main",), conditions=("uniform", "sampler", "features"))


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "QUICK", TINY)


def run(*arguments: object) -> int:
    return cli.main(
        ["experiment", "guidance", "--quick", "--workers", "0", "--tasks", "image", *map(str, arguments)]
    )


def trained(path: Path, wanted: Plan) -> list[Record]:
    with Journal(path, "guidance", wanted.described()) as journal:
        return run_grid(work.work(wanted, False), wanted.jobs(), journal, workers=0, progress=False)


@pytest.mark.jit
@pytest.mark.parametrize(
    ("task", "sizes", "recipe"),
    [
        ("image", Sizes(600, 300, 300), Recipe(160, 32, 10, 0.5, 2e-3, 4)),
        ("text", Sizes(1200, 500, 500), Recipe(280, 32, 20, 0.35, 3e-3, 4)),
    ],
)
def test_raters_who_know_the_truth_win_and_raters_who_know_nothing_do_not(
    task: str, sizes: Sizes, recipe: Recipe, tmp_path: Path
) -> None:
    if task == "text" and available("text"):
        skip_without("WordNet", "wordnet-base")
    wanted = Plan(
        tasks=(task,),
        settings=("main", "truth", "noise-100"),
        conditions=("uniform", "sampler+loss"),
        seeds=tuple(range(7)),
        sizes={task: sizes},
        recipes={task: recipe},
    )
    records = trained(tmp_path / "results.jsonl", wanted)
    truth = analysis.compare(records, task, "truth", "sampler+loss")
    nothing = analysis.compare(records, task, "noise-100", "sampler+loss")
    assert truth is not None
    assert nothing is not None
    assert truth.pairs == nothing.pairs == 7
    assert truth.flops.low > 0
    assert truth.accuracy.low > 0
    assert truth.verdict == "saves"
    assert nothing.flops.low <= 0 <= nothing.flops.high
    assert nothing.accuracy.low <= 0 <= nothing.accuracy.high
    assert nothing.verdict == "no difference shown"


def test_the_same_seed_gives_the_same_results(
    tiny: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("a", "b"):
        assert run("--out", tmp_path / folder, "--settings", "main", "--no-progress") == 0
    assert deterministic(tmp_path / "a/results.jsonl") == deterministic(tmp_path / "b/results.jsonl")
    header, records = read(tmp_path / "a/results.jsonl")
    assert header["command"] == "hitl-fast experiment guidance --quick --tasks image --settings main"
    assert len(records) == 2 * 8
    assert all(record["measured"]["training_cpu_seconds"] > 0 for record in records)
    by_condition = {record["arm"]: record for record in records}
    assert (
        by_condition["uniform"]["minutes"]
        == by_condition["automatic"]["minutes"]
        == by_condition["random_priority"]["minutes"]
        == 0
    )
    assert by_condition["sampler"]["minutes"] > by_condition["features"]["minutes"] > 0
    assert by_condition["features"]["flops_of_budget"] > by_condition["uniform"]["flops_of_budget"]
    out = capsys.readouterr().out
    assert "simulated raters" in out
    page = (tmp_path / "a/results.html").read_text()
    assert "simulated raters" in page
    assert page.count("<svg") >= 2
    assert "hitl-fast experiment guidance --quick --tasks image" in page
    assert "not measured" in page
    before = (tmp_path / "a/results.jsonl").read_bytes()
    assert (
        run("--out", tmp_path / "a", "--settings", "main", "--wage", "99") == 0
    )  # draws the page anew, trains nothing
    assert (tmp_path / "a/results.jsonl").read_bytes() == before
    assert "wage of 99 an hour" in (tmp_path / "a/results.html").read_text()


def test_killed_at_random_moments_and_resumed(tmp_path: Path, server: ForkServerContext) -> None:
    path = tmp_path / "killed.jsonl"
    moment = random.Random(0)
    for _ in range(3):
        before = path.stat().st_size if path.exists() else 0
        process = server.Process(target=trained, args=(path, FEW))
        process.start()
        # From its next finished job on, so that a slow machine gets on too.
        while process.is_alive() and not (path.exists() and path.stat().st_size > before):
            time.sleep(0.01)
        time.sleep(moment.random() * 0.3)
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
    assert trained(path, FEW)
    trained(tmp_path / "whole.jsonl", FEW)
    assert deterministic(path) == deterministic(tmp_path / "whole.jsonl")


def test_ratings_of_your_own_take_the_place_of_the_simulated(
    tiny: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--export-pool", tmp_path / "pool") == 0
    items = [json.loads(line) for line in (tmp_path / "pool/image.jsonl").read_text().splitlines()]
    assert [item["item"] for item in items] == list(range(60))
    assert set(items[0]) == {"item", "label", "image"}
    assert (tmp_path / "pool" / items[0]["image"]).read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "pool/image-features.csv").read_text().splitlines()[:2] == ["feature", "patch-0-0"]
    mine = tmp_path / "mine.csv"
    mine.write_text("item,rater,score\n" + "".join(f"{i},me,{1 + i % 5}\n" for i in range(60)))
    assert run("--ratings", mine, "--out", tmp_path / "out") == 0
    header, records = read(tmp_path / "out/results.jsonl")
    assert header["settings"]["ratings"]["file"] == "mine.csv"
    assert {record["arm"] for record in records} == set(TINY.conditions) - {"features"}
    assert {record["setting"] for record in records} == {"main"}
    page = (tmp_path / "out/results.html").read_text()
    assert "simulated" not in page
    assert "Ratings: mine.csv, SHA-256" in page
    assert "2 seeds are too few to tell" in page
    assert "raters of your own" in capsys.readouterr().out
    mine.write_text(mine.read_text().replace("0,me,1", "0,me,2"))
    assert run("--ratings", mine, "--out", tmp_path / "out") == 2  # other ratings, other results
    assert "differs in settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "1"], "--seeds must be 2 or more"),
        (["--seed", "-1"], "--seed must be 0 or more"),
        (["--arms", "magic"], "--conditions does not know 'magic'; known: uniform"),
        (["--settings", "mian"], "--settings does not know 'mian'"),
        (["--wage", "-1"], "wage must be finite and 0 or more"),
        (["--ratings", "x.csv", "--tasks", "image", "text"], "--ratings are of one task"),
    ],
)
def test_wrong_arguments_are_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--out", tmp_path, *arguments) == 2
    assert message in capsys.readouterr().err


def test_a_task_without_data_is_left_out_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from hitl_fast.experiments.guidance import tasks

    monkeypatch.setattr(tasks, "available", lambda task: "apt-get it" if task == "text" else "")
    parser = argparse.ArgumentParser()
    command.configure(parser)
    wanted, notes = command.chosen(parser.parse_args(["--quick"]))
    assert wanted.tasks == ("image",)
    assert notes == ["text is left out: apt-get it"]
    with pytest.raises(ValueError, match="--tasks text: apt-get it"):
        command.chosen(parser.parse_args(["--tasks", "text"]))
    monkeypatch.setattr(tasks, "available", lambda task: "nothing here")
    with pytest.raises(ValueError, match="nothing here"):
        command.chosen(parser.parse_args([]))


def test_the_full_grid_is_what_was_asked_for() -> None:
    full = plan.FULL
    assert len(full.seeds) >= 10
    assert {"uniform", "random_priority", "sampler", "loss", "sampler+loss", "features", "automatic"} <= set(
        full.conditions
    )
    assert [SETTINGS[name].crew.noise for name in plan.NOISES.values()] == [
        share / 100 for share in plan.NOISES
    ]
    assert [SETTINGS[name].crew.coverage for name in plan.COVERAGES.values()] == [
        s / 100 for s in plan.COVERAGES
    ]
    assert {0, 10, 30, 50} <= set(plan.NOISES)
    assert {1, 5, 20, 100} <= set(plan.COVERAGES)
    jobs = full.jobs()
    assert len({job["key"] for job in jobs}) == len(jobs)
    for setting in SETTINGS.values():
        control = SETTINGS[setting.control]
        assert control.defects == setting.defects
        assert "uniform" in control.conditions


def record(condition: str, seed: int, reached: int | None, **more: object) -> Record:
    stopped = reached or 100
    return {
        "key": f"image/main/{condition}/{seed}", "task": "image", "setting": "main", "arm": condition, "seed": seed,
        "steps_to_target": reached, "samples": 32 * stopped, "flops": 1e6 * stopped, "flops_per_sample": 1e6 / 32,
        "accuracy": 0.8, "curve": [10, 50], "minutes": 60.0 if condition == "sampler" else 0.0,
        "measured": {"cpu_seconds": 1.0, "training_cpu_seconds": 2.0, **({} if reached is None else {
            "training_cpu_seconds_to_target": 0.02 * stopped})},
        **more,
    }  # fmt: skip


def test_budgets_that_ended_early_bound_the_saving() -> None:
    both = [record("uniform", s, None if s == 0 else 80) for s in range(4)]
    fast = [record("sampler", s, 40) for s in range(4)]
    found = analysis.compare(both + fast, "image", "main", "sampler")
    assert found is not None
    assert found.flops.value == pytest.approx(1 - 40 / 85)
    assert found.cpu_seconds.value == pytest.approx(1 - 0.8 / 1.7)
    assert (found.bound, found.reached, found.against_reached) == ("at least", 4, 3)
    assert (found.steps, found.against_steps) == (40, 80)
    assert found.joules is None
    slow = [record("sampler", s, None) for s in range(4)]
    found = analysis.compare(both + slow, "image", "main", "sampler")
    assert found is not None
    assert (found.bound, found.steps) == ("within the budget", None)
    late = [record("uniform", s, 80) for s in range(4)] + slow
    found = analysis.compare(late, "image", "main", "sampler")
    assert found is not None
    assert (found.bound, found.verdict) == ("at most", "costs")
    assert (found.few, analysis.compare(fast, "image", "main", "sampler")) == (True, None)
    assert analysis.steps_to([10, 50], 0.5, 100, 25) == 50
    assert analysis.steps_to([10, 49], 0.5, 100, 25) == float("inf")
    assert steps(float("inf")) == steps(None) == "never"
    assert [number(v) for v in (float("inf"), 12.4, 3.0e9)] == ["never", "12", "3e+09"]
    assert number(129_567) == "130,000"


def made_up(wanted: Plan) -> list[Record]:
    """Records of a whole grid that nobody trained: people save a third, more or less by seed."""
    found = []
    for job in wanted.jobs():
        saved = 30 if job["arm"] in plan.RATED else 0
        one = record(job["arm"], job["seed"], 90 - saved + job["seed"], minutes=60.0 if saved else 0.0)
        found.append({**one, **job, "curve": [10 * (look + saved) for look in range(32)]})
    return found


@pytest.fixture(scope="module")
def whole_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("guidance") / "results.html"
    wanted = replace(plan.FULL, seeds=tuple(range(6)))
    header = {
        "settings": wanted.described(),
        "machine": "",
        "versions": {},
        "date": "",
        "command": "hitl-fast",
    }
    Report(header, made_up(wanted), Prices()).write(path)
    return path


def test_the_page_has_every_part(whole_page: Path) -> None:
    page = whole_page.read_text()
    assert page.count("<svg") == 5
    for said in (
        *(SETTINGS[name].says for name in plan.FIRST_SETTINGS[1:]), "When do the ratings pay?", "Is it the people?",
        "other targets", "noise 10%", "runs until energy is paid back", "simulated raters",
    ):  # fmt: skip
        assert said in page
    assert "32 % [" in page.split("</p>")[1]  # 30 of 92.5 steps on average, in the answer


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", [PHONE, DESK])
def test_the_page_in_a_browser(browser: Any, whole_page: Path, scheme: str, screen: tuple[int, int]) -> None:
    looked_at(browser, whole_page, scheme, *screen)


def test_an_answer_of_no_is_an_answer() -> None:
    settings = {**plan.QUICK.described(), "tasks": ["image"]}
    header = {"settings": settings, "machine": "", "versions": {}, "date": "", "command": ""}
    same = [
        record(condition, s, 80 + 5 * (s % 2 == (condition == "sampler")))
        for condition in ("uniform", "sampler")
        for s in range(6)
    ]
    report = Report(header, same, Prices())
    assert "no: the best condition does not save" in report.answer()
    assert "image: no." in report.details()[0]
    few = Report(header, [r for r in same if r["seed"] < 4], Prices())
    assert "4 seeds are too few to tell" in few.answer()
    assert "4 seeds, which are too few to tell" in few.details()[0]
    with_joules = [
        {**r, "measured": {**r["measured"], "joules": 4.0, "joules_to_target": 0.01 * r["samples"]}}
        for r in same
    ]
    found = analysis.compare(with_joules, "image", "main", "sampler")
    assert found is not None
    assert found.joules is not None
    assert found.joules.value == pytest.approx(found.samples.value)
    assert (
        "no condition with ratings"
        in Report(header, [r for r in same if r["arm"] == "uniform"], Prices()).answer()
    )


def test_joules_are_summed_over_training_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from contextlib import contextmanager
    from types import SimpleNamespace

    class Meter:
        def window(self, name: str) -> object:
            @contextmanager
            def opened() -> object:
                yield

            window = opened()
            window.result = SimpleNamespace(total_joules=1.5)
            return window

    spent = spending.Spending(Meter())  # type: ignore[arg-type]
    with spent.training():
        sum(range(1000))
    spent.reached()
    with spent.training():
        sum(range(1000))
    assert spent.measured()["joules"] == 3.0
    assert spent.measured()["joules_to_target"] == 1.5
    monkeypatch.setattr(spending, "find_sensors", lambda gpus: [SimpleNamespace(in_total=True)])
    assert spending.measurable()


def test_where_sensors_count_one_run_at_a_time_is_measured(
    tiny: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = {}

    def grid(function: object, jobs: object, journal: Journal, *, workers: int, progress: bool) -> None:
        seen.update(workers=workers, joules=function.args[1])  # type: ignore[attr-defined]
        raise KeyboardInterrupt

    monkeypatch.setattr(spending, "measurable", lambda: True)
    monkeypatch.setattr("hitl_fast.experiments.common.runner.run_grid", grid)
    assert (
        cli.main(["experiment", "guidance", "--quick", "--tasks", "image", "--out", str(tmp_path / "one")])
        == 130
    )
    assert seen == {"workers": 1, "joules": True}
    assert "one run at a time" in capsys.readouterr().out
    assert run("--workers", "2", "--out", tmp_path / "two") == 130
    assert seen == {"workers": 2, "joules": False}


def test_a_job_with_a_meter_reports_no_joules_where_none_are_counted() -> None:
    job = replace(TINY, settings=("main",)).jobs()[0]
    measured = work.run_job(TINY, True, job)["measured"]
    if spending.measurable():
        assert measured["joules"] > 0
    else:
        assert "joules" not in measured


def test_budgets_that_ended_too_early_decide_nothing() -> None:
    def told(control: list[int | None], condition: list[int | None]) -> str:
        both = [record("uniform", s, reached) for s, reached in enumerate(control)]
        both += [record("sampler", s, reached) for s, reached in enumerate(condition)]
        found = analysis.compare(both, "image", "main", "sampler")
        assert found is not None
        return verdict(found)

    assert told([90] * 6, [40, 40, 41, 40, 42, 40]) == "saves"
    assert told([None] * 6, [40, 40, 41, 40, 42, 40]) == "saves, at least"
    assert told([40, 40, 41, 40, 42, 40], [None] * 6) == "costs, at least"
    assert told([110] * 6, [40, 40, 41, 40, 42, None]).startswith(
        "undecided"
    )  # the last one may take any time
    assert told([50, 50, 50, 50, 50, None], [105] * 6).startswith("undecided")
    assert told([None] * 6, [None] * 6) == "neither got there"


def test_a_share_that_rounds_to_nothing_has_no_sign() -> None:
    assert percent(Interval(-0.001, -0.126, 0.004)) == "0 % [-13, 0]"


def test_small_models_may_be_large_enough() -> None:
    settings = {**plan.QUICK.described(), "tasks": ["image"]}
    header = {"settings": settings, "machine": "", "versions": {}, "date": "", "command": ""}
    found = [
        record(condition, s, 80 if condition == "uniform" else 40 + s)
        for condition in ("uniform", "sampler")
        for s in range(6)
    ]
    assert "only in models of" in Report(header, found, Prices()).answer()
    assert (
        "saves energy, once people's time is counted, in models as small as these."
        in Report(header, found, Prices(watts=0.0)).answer()
    )


def test_files_of_other_origin_are_not_written_over(
    tiny: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results.html").write_text("mine")
    (tmp_path / "history.csv").write_text("probe_error,epochs\n")
    assert run("--out", tmp_path) == 2
    assert cli.main(["experiment", "calibration", "--quick", "--out", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert str(tmp_path / "results.html") in told
    assert str(tmp_path / "history.csv") in told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["history.csv", "results.html"]


def test_a_worker_that_died_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from hitl_fast.experiments.common.runner import WorkerDiedError

    def died(arguments: object) -> int:
        raise WorkerDiedError("a worker died; run again to go on")

    monkeypatch.setattr(command, "run", died)
    assert cli.main(["experiment", "guidance"]) == 1
    assert capsys.readouterr().err == "hitl-fast experiment guidance: a worker died; run again to go on\n"

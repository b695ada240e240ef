"""For which defects people pay: the second edition's page on records with known answers; plans without a control."""

import argparse
from pathlib import Path
from typing import Any

import pytest

from hitl_fast._common.errors import InputError
from hitl_fast.experiments.guidance import command
from hitl_fast.experiments.guidance.breakeven import Prices
from hitl_fast.experiments.guidance.by_defect import of_the_balanced_test
from hitl_fast.experiments.guidance.plan import FULL_SECOND
from hitl_fast.experiments.guidance.second_edition import SecondReport

MINUTES = {"ask_54": 4.0, "ask_108": 8.0, "all": 400.0}


def grid(
    samples: dict[tuple[str, str], float], late: tuple[tuple[str, str], ...] = (), seeds: int = 10
) -> SecondReport:
    """A report of one task in which a condition takes so many samples, some more or less by seed."""
    settings = list(dict.fromkeys(setting for setting, _ in samples))
    records: list[dict[str, Any]] = []
    for (setting, arm), needed in samples.items():
        for seed in range(seeds):
            taken = needed * (1 + 0.01 * seed)
            check = {"check": {"p_value": 0.01}} if arm == "ask_54" else {}
            records.append({
                "key": f"image/{setting}/{arm}/{seed}", "task": "image", "setting": setting, "arm": arm, "seed": seed,
                "steps_to_target": None if (setting, arm) in late else 10, "samples": taken, "flops": taken * 1e6,
                "accuracy": 0.8, "minutes": MINUTES.get(arm, 0.0), "detector_flops": 0.0,
                "measured": {"training_cpu_seconds": 1.0, "cpu_seconds": 1.0, "seconds": 1.0}, **check,
            })  # fmt: skip
    told = FULL_SECOND.described()
    told["settings"] = {name: told["settings"][name] for name in settings}
    header = {
        "settings": told,
        "versions": {},
        "experiment": "guidance",
        "machine": "m",
        "date": "d",
        "command": "c",
    }
    return SecondReport(header, records, Prices())


def arms(setting: str, uniform: float, auto: float, few: float, rated: float) -> dict[tuple[str, str], float]:
    return {
        (setting, a): v for a, v in (("uniform", uniform), ("auto", auto), ("ask_54", few), ("all", rated))
    }


def test_people_pay_by_the_condition_of_fewest_minutes() -> None:
    report = grid(
        {
            **arms("all-defects", 1000, 400, 600, 500),  # asking nobody is better
            **arms("systematic-noise", 1000, 900, 600, 500),  # few answers are enough
            **arms("all-four", 1000, 900, 950, 500),  # only ratings of all samples
            **arms("imbalance", 1000, 1200, 1100, 1050),  # nobody saves anything
        }
    )
    found = {cell.setting: None if cell.people is None else cell.people.condition for cell in report.cells()}
    assert found == {"all-defects": None, "systematic-noise": "ask_54", "all-four": "all", "imbalance": None}
    answer = report.answer()
    assert "in 2 of 4" in answer
    assert "1 of them by few answers" in answer
    assert "In the other 2" in answer
    assert "40 %" in answer  # of ask_54 with systematic noise


@pytest.mark.parametrize(
    ("less", "more", "wanted"),
    [
        (600, 500, "ask_54"),  # more answers save more samples, and fewer pay already
        (950, 600, "ask_108"),  # fewer save less than asking nobody
        (910, 950, "all"),
    ],
)
def test_fewest_minutes_among_few_answers(less: float, more: float, wanted: str) -> None:
    both = {**arms("all-four", 1000, 900, less, 500), ("all-four", "ask_108"): more}
    report = grid(both)
    (cell,) = report.cells()
    assert cell.people is not None
    assert cell.people.condition == wanted
    assert cell.few is not None
    assert cell.few.condition == ("ask_54" if wanted == "all" else wanted)
    assert f"in {'none' if wanted == 'all' else 1} of them by few answers" in report.answer()


@pytest.mark.parametrize("late", [("all-four", "all"), ("all-four", "auto")])
def test_budgets_that_end_too_early_prove_nothing(late: tuple[str, str]) -> None:
    report = grid(arms("all-four", 1000, 900, 950, 500), (late,))
    people = report.cells()[0].people
    assert (people is None) == (late[1] == "all")  # who never met the target may take for ever


def test_raters_at_random_are_compared_with_the_same_defects() -> None:
    report = grid(
        {**arms("all-defects", 1000, 700, 600, 500), ("spam-30", "ask_54"): 400, ("spam-30", "all"): 900}
    )
    cell = report.cells()[1]
    assert cell.without is not None
    assert (cell.without.condition, cell.setting) == ("auto", "spam-30")
    assert cell.people is not None
    assert cell.people.condition == "ask_54"


def test_what_is_owed_to_a_balanced_test() -> None:
    both = {**arms("all-defects", 1000, 400, 600, 500), **arms("unbalanced-test", 2000, 1600, 600, 500)}
    report = grid(both)
    found = of_the_balanced_test(report.records, "image", "auto")
    assert found is not None
    assert found[:2] == pytest.approx((0.6, 0.2))
    assert found[2].value == pytest.approx(0.4)
    assert found[2].low > 0.3
    assert "60 % and 20 % (difference 40 points" in report.balance()
    assert of_the_balanced_test(report.records, "text", "auto") is None
    assert not grid(arms("all-defects", 1000, 400, 600, 500)).balance()


@pytest.mark.parametrize("late", [("all-defects", "auto"), ("unbalanced-test", "uniform")])
def test_a_run_without_the_target_says_nothing_of_a_balanced_test(late: tuple[str, str]) -> None:
    both = {**arms("all-defects", 1000, 400, 600, 500), **arms("unbalanced-test", 2000, 1600, 600, 500)}
    report = grid(both, (late,))
    assert of_the_balanced_test(report.records, "image", "auto") is None
    assert not report.balance()


def test_few_seeds_and_no_people() -> None:
    assert "3 seeds are too few" in grid(arms("all-defects", 1000, 400, 300, 200), seeds=3).answer()
    alone = {("all-defects", "uniform"): 1000.0, ("all-defects", "auto"): 400.0}
    assert "no condition with people" in grid(alone).answer()
    assert "do not pay beyond doubt in any" in grid(arms("all-defects", 1000, 400, 900, 900)).answer()


@pytest.mark.jit
def test_the_page_says_how_it_was_done(tmp_path: Path) -> None:
    report = grid(
        {**arms("all-defects", 1000, 400, 600, 500), **arms("unbalanced-test", 2000, 1600, 600, 500)}
    )
    report.write(tmp_path / "p.html")
    page = (tmp_path / "p.html").read_text()
    for named in (
        "simulated raters",
        "10 seeds",
        "other seeds",
        "ask nobody",
        "For which defects people pay",
        "not shown",
    ):
        assert named in page
    assert "10 of 10" in "\n".join(report.details())  # runs in which the check contradicted


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("--edition 2 --settings main", "main"),
        ("--edition 1 --settings all-defects", "all-defects"),
        ("--edition 2 --settings spam-30", "all-defects.*--settings"),
        ("--settings truth", "main.*--settings"),
        ("--edition 2 --conditions ask_54", "uniform.*--conditions"),
        ("--edition 2 --conditions uniform", "nothing to compare"),
        ("--conditions ask_54", "uniform"),
    ],
)
def test_plans_without_a_comparison_are_refused_before_anything_is_trained(words: str, named: str) -> None:
    parser = argparse.ArgumentParser()
    command.configure(parser)
    with pytest.raises(InputError, match=named):
        command.chosen(parser.parse_args(words.split()))

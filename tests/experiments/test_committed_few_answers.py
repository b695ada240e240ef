"""What the committed results of the second edition are, and what the documents say of them."""

from pathlib import Path

import pytest

from hitl_fast.experiments.common.journal import read
from hitl_fast.experiments.guidance.breakeven import Prices
from hitl_fast.experiments.guidance.by_defect import of_the_balanced_test
from hitl_fast.experiments.guidance.conditions import SECOND
from hitl_fast.experiments.guidance.plan import SECOND_SETTINGS, SETTINGS
from hitl_fast.experiments.guidance.second_edition import SecondReport
from hitl_fast.ratings.propagation import LEVEL

HEADER, RECORDS = read(Path(__file__).parents[2] / "docs" / "results" / "few_answers" / "results.jsonl")


def flagged(task: str, setting: str, condition: str) -> int:
    """In how many seeds the answers contradicted the automatic priorities."""
    checks = [
        r["check"]["p_value"]
        for r in RECORDS
        if (r["task"], r["setting"], r["arm"]) == (task, setting, condition)
    ]
    assert len(checks) == 10
    return sum(p < LEVEL for p in checks)


RANDOM = ("all-defects", "random-noise", "imbalance", "near-copies", "unbalanced-test")


def test_every_run_is_there_once() -> None:
    settings = HEADER["settings"]["settings"]
    assert tuple(settings) == SECOND_SETTINGS
    wanted = {
        f"{task}/{setting}/{condition}/{seed}"
        for task in ("image", "text")
        for setting in settings
        for condition in SETTINGS[setting].conditions
        for seed in range(10)
    }
    assert set(SETTINGS["all-defects"].conditions) == set(SECOND)
    assert sorted(r["key"] for r in RECORDS) == sorted(wanted)
    assert len(RECORDS) == 2040


LOUD = ("text", "imbalance", "ask_108")  # missed what was wanted, no more than 1 of 10


@pytest.mark.parametrize("task", ["image", "text"])
@pytest.mark.parametrize("setting", RANDOM)
@pytest.mark.parametrize("condition", ["ask_54", "ask_108"])
def test_the_check_is_quiet_on_random_defects(task: str, setting: str, condition: str) -> None:
    found = flagged(task, setting, condition)
    assert found == 2 if (task, setting, condition) == LOUD else found <= 1


def test_the_documents_say_how_often_the_check_spoke_up() -> None:
    told = (Path(__file__).parents[2] / "docs" / "howto" / "user_study.md").read_text()
    counts = {s: [flagged(t, s, "ask_108") for t in ("image", "text")] for s in SECOND_SETTINGS}
    assert "8 of 10 pools of images and 4 of 10 pools of texts" in told
    assert counts["systematic-noise"] == [8, 4]
    assert "in 7 and 4, with all four defects in 2 and 3; and in 5 of 100" in told
    assert [*counts["systematic-and-others"], *counts["all-four"]] == [7, 4, 2, 3]
    assert sum(sum(counts[s]) for s in RANDOM) == 5


@pytest.mark.parametrize("task", ["image", "text"])
def test_the_check_flags_systematic_noise_more_often(task: str) -> None:
    """By 108 answers 8 of 10 for images, 4 of 10 for texts: fewer than the 9 that were wanted, as the docs say."""
    assert flagged(task, "systematic-noise", "ask_108") >= 4 + flagged(task, "all-defects", "ask_108")


@pytest.fixture(scope="module")
def report() -> SecondReport:
    return SecondReport(HEADER, RECORDS, Prices())


def test_where_people_pay(report: SecondReport) -> None:
    """Ratings of all samples pay where errors are systematic and class balance cannot see them; few answers nowhere."""
    paid = {(c.setting, c.task): c.people.condition for c in report.cells() if c.people is not None}
    assert set(paid.values()) == {"all"}
    systematic = {("all-four", "image"), ("all-four", "text"), ("systematic-and-others", "text")}
    assert set(paid) == systematic | {("all-defects", "text")}


@pytest.mark.parametrize(("task", "kept"), [("image", 0.9), ("text", 0.6)])
def test_few_answers_reach_the_target_where_automatic_priorities_do_not(
    report: SecondReport, task: str, kept: float
) -> None:
    """With systematic noise alone: of all rated, images keep 93 % and texts 69 % (70 % were wanted)."""
    found = {c.condition: c for c in report.found if (c.task, c.setting) == (task, "systematic-noise")}
    assert found["ask_108"].reached == 10 > found["auto"].reached
    assert found["ask_108"].minutes < 10
    assert found["ask_108"].samples.value / found["all"].samples.value > kept


@pytest.mark.parametrize("task", ["image", "text"])
def test_balancing_owes_much_to_the_balanced_test(task: str) -> None:
    found = of_the_balanced_test(RECORDS, task, "class_balance")
    assert found is not None
    assert found[2].low > 0
    assert of_the_balanced_test(RECORDS, task, "auto") is not None  # no run ended with its budget

"""What the committed results of the second edition are, and what the documents say of them."""

from pathlib import Path

import pytest

from hitl_fast.experiments.common.journal import read
from hitl_fast.experiments.guidance.conditions import SECOND
from hitl_fast.experiments.guidance.plan import SETTINGS
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


def test_every_run_is_there_once() -> None:
    settings = HEADER["settings"]["settings"]
    assert set(settings) == {"all-defects", "systematic-noise", "spam-30", "spam-50"}
    wanted = {
        f"{task}/{setting}/{condition}/{seed}"
        for task in ("image", "text")
        for setting in settings
        for condition in SETTINGS[setting].conditions
        for seed in range(10)
    }
    assert set(SETTINGS["all-defects"].conditions) == set(SECOND)
    assert sorted(r["key"] for r in RECORDS) == sorted(wanted)


@pytest.mark.parametrize("task", ["image", "text"])
@pytest.mark.parametrize("condition", ["ask_54", "ask_108"])
def test_the_check_is_quiet_on_random_defects(task: str, condition: str) -> None:
    assert flagged(task, "all-defects", condition) <= 1


@pytest.mark.parametrize("task", ["image", "text"])
def test_the_check_flags_systematic_noise_more_often(task: str) -> None:
    """By 108 answers 8 of 10 for images, 4 of 10 for texts: fewer than the 9 that were wanted, as the docs say."""
    assert flagged(task, "systematic-noise", "ask_108") >= 4 + flagged(task, "all-defects", "ask_108")

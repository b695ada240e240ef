"""For each kind of defects: what asking nobody saves, what few answers save, what ratings of all samples save."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hitl_fast._common.bootstrap import Interval, paired_difference

from ..common.journal import Record
from .analysis import CONTROL, Comparison, compare
from .conditions import CONDITIONS
from .plan import SETTINGS

AUTOMATIC = ("class_balance", "auto", "cleanlab")
BALANCED, UNBALANCED = "all-defects", "unbalanced-test"


@dataclass(frozen=True)
class Cell:
    """One kind of defects in one task: the best condition of each sort, against the control.

    Attributes:
        without: the one that asks nobody and saves most samples.
        few, rated: with few answers, with ratings of all samples: the one of fewest minutes by which people pay; where
            there is none, the one that saves most samples.
        people: the one of fewest minutes by which people pay, ``few`` or ``rated``: it saves samples beyond doubt both
            against the control and against ``without``. None where that is not shown of any.
    """

    task: str
    setting: str
    without: Comparison | None
    few: Comparison | None
    rated: Comparison | None
    people: Comparison | None


def _beyond_doubt(c: Comparison) -> bool:
    """Whether samples are saved, also by what budgets that ended too early hide."""
    return not c.few and c.samples.low > 0 and c.bound in ("", "at least")


def cell(records: Sequence[Record], found: Sequence[Comparison], task: str, setting: str) -> Cell:
    """The cell of a task and a setting; conditions without people are those of the setting's control."""
    control = SETTINGS[setting].control
    here = [c for c in found if (c.task, c.setting) == (task, setting)]
    without = _most([c for c in found if (c.task, c.setting) == (task, control) and c.condition in AUTOMATIC])
    human = [c for c in here if CONDITIONS[c.condition].human]

    def pays(c: Comparison) -> bool:
        if without is None or not _beyond_doubt(c):
            return _beyond_doubt(c)
        gain = compare(
            records, task, setting, c.condition, against=without.condition, against_setting=control
        )
        return gain is not None and _beyond_doubt(gain)

    paying = sorted(filter(pays, human), key=lambda c: (c.minutes, -c.samples.value))

    def best(answers: bool) -> Comparison | None:
        of_sort = [c for c in human if bool(CONDITIONS[c.condition].answers) == answers]
        return next((c for c in paying if c in of_sort), _most(of_sort))

    return Cell(task, setting, without, best(True), best(False), paying[0] if paying else None)


def _most(found: Sequence[Comparison]) -> Comparison | None:
    """By samples: in models large enough to pay for people, signals cost next to nothing."""
    return max(found, key=lambda c: c.samples.value, default=None)


def of_the_balanced_test(
    records: Sequence[Record], task: str, condition: str
) -> tuple[float, float, Interval] | None:
    """Samples saved with the balanced test set, with the unbalanced one, and the difference.

    None where one is missing, or where a run ended with its budget: what it would have taken is not known, and seeds
    without such runs are not a fair choice of all.

    Each saving is a share of what the control takes on average with that test set; seeds are paired.
    """
    balanced, unbalanced = (_savings(records, task, setting, condition) for setting in (BALANCED, UNBALANCED))
    if balanced is None or unbalanced is None:
        return None
    seeds = sorted(balanced.keys() & unbalanced.keys())
    if len(seeds) < 2:
        return None
    with_it, without = [balanced[seed] for seed in seeds], [unbalanced[seed] for seed in seeds]
    return float(np.mean(with_it)), float(np.mean(without)), paired_difference(with_it, without, seed=0)


def _savings(records: Sequence[Record], task: str, setting: str, condition: str) -> dict[int, float] | None:
    """By seed, samples saved as a share of what the control takes on average; None where a run missed the target."""
    ours, theirs = (
        {r["seed"]: r for r in records if (r["task"], r["setting"], r["arm"]) == (task, setting, arm)}
        for arm in (condition, CONTROL)
    )
    seeds = ours.keys() & theirs.keys()
    if any(r[seed]["steps_to_target"] is None for r in (ours, theirs) for seed in seeds):
        return None
    scale = float(np.mean([theirs[seed]["samples"] for seed in seeds])) if seeds else 1.0
    return {seed: (theirs[seed]["samples"] - ours[seed]["samples"]) / scale for seed in seeds}

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
    """One kind of defects in one task: the condition that saves most samples of each sort, against the control.

    Attributes:
        without: the best that asks nobody.
        few, rated: the best with few answers; with ratings of all samples.
        few_gain, rated_gain: these against ``without``.
    """

    task: str
    setting: str
    without: Comparison | None
    few: Comparison | None
    rated: Comparison | None
    few_gain: Comparison | None
    rated_gain: Comparison | None

    @property
    def people(self) -> Comparison | None:
        """The condition by which people pay, the one of fewest minutes; None where that is not shown."""
        for found, gain in ((self.few, self.few_gain), (self.rated, self.rated_gain)):
            if found is not None and gain is not None and _beyond_doubt(found) and _beyond_doubt(gain):
                return found
        return None


def _beyond_doubt(c: Comparison) -> bool:
    """Whether samples are saved, also by what budgets that ended too early hide."""
    return not c.few and c.samples.low > 0 and c.bound in ("", "at least")


def cell(records: Sequence[Record], found: Sequence[Comparison], task: str, setting: str) -> Cell:
    """The cell of a task and a setting; conditions without people are those of the setting's control."""
    control = SETTINGS[setting].control
    here = [c for c in found if (c.task, c.setting) == (task, setting)]
    without = _most([c for c in found if (c.task, c.setting) == (task, control) and c.condition in AUTOMATIC])
    few = _most([c for c in here if CONDITIONS[c.condition].answers])
    rated = _most([c for c in here if CONDITIONS[c.condition].human and not CONDITIONS[c.condition].answers])

    def gain(c: Comparison | None) -> Comparison | None:
        against = CONTROL if without is None else without.condition
        if c is None or against == CONTROL:
            return c
        return compare(records, task, setting, c.condition, against=against, against_setting=control)

    return Cell(task, setting, without, few, rated, gain(few), gain(rated))


def _most(found: Sequence[Comparison]) -> Comparison | None:
    """By samples: in models large enough to pay for people, signals cost next to nothing."""
    return max(found, key=lambda c: c.samples.value, default=None)


def of_the_balanced_test(
    records: Sequence[Record], task: str, condition: str
) -> tuple[float, float, Interval] | None:
    """Samples saved with the balanced test set, with the unbalanced one, and the difference; None where one is missing.

    Each saving is a share of what the control takes on average with that test set; seeds are paired.
    """
    balanced, unbalanced = (_savings(records, task, setting, condition) for setting in (BALANCED, UNBALANCED))
    seeds = sorted(balanced.keys() & unbalanced.keys())
    if len(seeds) < 2:
        return None
    with_it, without = [balanced[seed] for seed in seeds], [unbalanced[seed] for seed in seeds]
    return float(np.mean(with_it)), float(np.mean(without)), paired_difference(with_it, without, seed=0)


def _savings(records: Sequence[Record], task: str, setting: str, condition: str) -> dict[int, float]:
    """By seed, samples that a condition saves as a share of what the control takes on average."""
    ours, theirs = (
        {
            r["seed"]: r["samples"]
            for r in records
            if (r["task"], r["setting"], r["arm"]) == (task, setting, arm)
        }
        for arm in (condition, CONTROL)
    )
    seeds = ours.keys() & theirs.keys()
    scale = float(np.mean([theirs[seed] for seed in seeds])) if seeds else 1.0
    return {seed: (theirs[seed] - ours[seed]) / scale for seed in seeds}

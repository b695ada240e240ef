"""What the records say: each condition against the control, in pairs of the same seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from hitl_fast._common.bootstrap import Interval, paired_difference

from ..common.journal import Record
from .plan import MAIN, SETTINGS

CONTROL = "uniform"
FEW = 6  # 2 ** (1 - n) is the chance that n differences all lie on one side of their median: 5 % takes 6


@dataclass(frozen=True)
class Comparison:
    """One condition in one setting against another, usually the control, over the seeds that both have.

    Attributes:
        task, setting, condition, against: what is compared.
        pairs: seeds.
        reached, against_reached: in how many of them the target was reached within the budget.
        accuracy: test accuracy at the end of the same budget, condition less the other.
        flops: saved up to the target, as a share of what the other spends on average. A run that does not reach
            the target counts with its whole budget, see `bound`.
        samples: the same for samples seen.
        cpu_seconds: the same for CPU seconds of training, as measured.
        joules: the same for joules; None where no sensor counted.
        steps, against_steps: median steps to the target; None where half or more of the runs do not reach it.
        minutes: people's time in one run's ratings, on average.
    """

    task: str
    setting: str
    condition: str
    against: str
    pairs: int
    reached: int
    against_reached: int
    accuracy: Interval
    flops: Interval
    samples: Interval
    cpu_seconds: Interval
    joules: Interval | None
    steps: float | None
    against_steps: float | None
    minutes: float

    @property
    def bound(self) -> str:
        """What budgets that ended too early make of the saving: "", "at least", "at most" or "within the budget"."""
        late, other_late = self.pairs - self.reached, self.pairs - self.against_reached
        if late and other_late:
            return "within the budget"
        return "at most" if late else "at least" if other_late else ""

    @property
    def verdict(self) -> str:
        """Whether operations were saved beyond doubt: "saves", "costs", "no difference shown" or "undecided".

        Undecided: no run of either reached the target, or the interval is on one side of 0 and what budgets that ended
        too early hide may be on the other.
        """
        if self.reached == self.against_reached == 0:
            return "undecided"
        if self.flops.low > 0:
            return "undecided" if self.bound == "at most" else "saves"
        if self.flops.high < 0:
            return "undecided" if self.bound == "at least" else "costs"
        return "no difference shown"

    @property
    def few(self) -> bool:
        """Whether the pairs are too few for any interval within their differences to hold its 95 %."""
        return self.pairs < FEW


def compare(
    records: Iterable[Record],
    task: str,
    setting: str,
    condition: str,
    *,
    against: str = CONTROL,
    against_setting: str | None = None,
    seed: int = 0,
) -> Comparison | None:
    """A condition against another of the same task and seeds; None where fewer than two seeds have both.

    Args:
        records: of the journal.
        task, setting, condition: what is compared.
        against: with which condition.
        against_setting: in which setting that one was trained; by default where the control of the setting was.
        seed: of the bootstrap.
    """
    records = list(records)
    where = against_setting or (SETTINGS[setting].control if against == CONTROL else setting)
    ours, theirs = _by_seed(records, task, setting, condition), _by_seed(records, task, where, against)
    seeds = sorted(ours.keys() & theirs.keys())
    if len(seeds) < 2:
        return None
    a, b = [ours[s] for s in seeds], [theirs[s] for s in seeds]

    def saved(value: Callable[[Record], float]) -> Interval:
        return _saved([value(r) for r in a], [value(r) for r in b], seed)

    joules = all("joules" in record["measured"] for record in (*a, *b))
    return Comparison(
        task, setting, condition, against, len(seeds), _reached(a), _reached(b),
        paired_difference([r["accuracy"] for r in a], [r["accuracy"] for r in b], seed=seed),
        saved(lambda r: r["flops"]),
        saved(lambda r: r["samples"]),
        saved(lambda r: _to_target(r, "training_cpu_seconds")),
        saved(lambda r: _to_target(r, "joules")) if joules else None,
        _median_steps(a), _median_steps(b),
        float(np.mean([r["minutes"] for r in a])),
    )  # fmt: skip


def comparisons(records: Sequence[Record]) -> list[Comparison]:
    """Every condition of every setting against its control, in the order of the records."""
    cells = dict.fromkeys((r["task"], r["setting"], r["arm"]) for r in records if r["arm"] != CONTROL)
    found = [compare(records, *cell) for cell in cells]
    return [comparison for comparison in found if comparison is not None]


def curves(records: Sequence[Record], task: str, setting: str, condition: str, validation: int) -> np.ndarray:
    """(seeds, looks) validation accuracy."""
    return np.array([r["curve"] for r in _by_seed(records, task, setting, condition).values()]) / validation


def steps_to(curve: Sequence[int], target: float, validation: int, every: int) -> float:
    """Steps until a target that may be another than the plan's; infinite where it is never reached."""
    for look, right in enumerate(curve, 1):
        if right >= target * validation:
            return float(look * every)
    return math.inf


def best_human(found: Sequence[Comparison], task: str) -> Comparison | None:
    """The condition with people's ratings of all samples that saves most in the main setting."""
    human = [
        c
        for c in found
        if c.task == task
        and c.setting == MAIN
        and c.against == CONTROL
        and c.condition in ("sampler", "loss", "sampler+loss")
    ]
    return max(human, key=lambda c: c.flops.value, default=None)


def _by_seed(records: Iterable[Record], task: str, setting: str, condition: str) -> dict[int, Record]:
    return {
        r["seed"]: r for r in records if (r["task"], r["setting"], r["arm"]) == (task, setting, condition)
    }


def _saved(ours: Sequence[float], theirs: Sequence[float], seed: int) -> Interval:
    """Mean of theirs - ours over pairs, as a share of the mean of theirs; no more than all can be saved."""
    scale = float(np.mean(theirs))
    found = paired_difference(theirs, ours, seed=seed)
    return Interval(*(min(value / scale, 1.0) for value in found))


def _reached(records: Sequence[Record]) -> int:
    return sum(r["steps_to_target"] is not None for r in records)


def _to_target(record: Record, name: str) -> float:
    measured = record["measured"]
    return float(measured.get(f"{name}_to_target", measured[name]))


def _median_steps(records: Sequence[Record]) -> float | None:
    steps = [math.inf if r["steps_to_target"] is None else r["steps_to_target"] for r in records]
    middle = float(np.median(steps)) if sum(map(math.isfinite, steps)) > len(steps) / 2 else math.inf
    return middle if math.isfinite(middle) else None

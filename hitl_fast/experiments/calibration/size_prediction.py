"""What a cost model of the grid predicts of retrainings at other sizes, and how many of its intervals hold them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hitl_fast._common.bootstrap import Interval, bootstrap
from hitl_fast.cost.carry import Law, carried
from hitl_fast.cost.model import CostModel

from ..common.journal import Record
from .analysis import SEED
from .effort_table import retrainings
from .retraining import BATCH, MARGINS
from .size_table import CHANGES, RESAMPLES, law_of, measured, pairs_of, powers_of
from .sizes import LOWER
from .transfer import LEFT_OUT, LEVEL
from .wording import cell

SCORE, OPTIMIZER = "effort_score", "adam"
NOTHING = "nothing"
SAME = "same"  # the size and batch of the past
TOLD = {SAME: "at the sizes of the past", **CHANGES}
HISTORIES = {
    "all": "all of the grid's retrainings with Adam",
    "alike": "those of the networks, shift types and strengths that are predicted",
}


@dataclass(frozen=True)
class SizePrediction:
    """How well effort is predicted at a size.

    Attributes:
        history: a key of ``HISTORIES``: what the cost model is fitted on.
        left_out: of that and of the law of sizes, what the retraining is of; "nothing": only other seeds are in it.
        change: a key of ``TOLD``.
        coverage: share of the efforts in their interval; one that was given up is if that has no upper end.
        open: share of the intervals that have no upper end.
        given_up: share of the retrainings.
        factor: median over those that reached the target of how many times too much or too little, a step added to
            both.
    """

    history: str
    left_out: str
    change: str
    coverage: Interval
    open: float
    given_up: float
    factor: Interval


@dataclass(frozen=True)
class _Held:
    change: str
    shift: str
    inside: bool
    open: bool
    error: float  # of log(effort + a step); NaN if given up


def past(grid: Sequence[Record], cap: int) -> list[dict[str, Any]]:
    """The grid's retrainings with Adam as a history of samples seen to the target, given up at the cap, of other sizes.

    Args:
        grid: records of a grid.
        cap: samples.
    """
    place = next(i for i, margin in enumerate(MARGINS) if math.isclose(margin, LOWER + MARGINS[0]))
    rows = []
    for row in retrainings(grid):
        if row["optimizer"] != OPTIMIZER:
            continue
        steps = row["effort"]["steps_to"][place]
        given_up = steps is None or steps * BATCH > cap
        rows.append(
            {
                SCORE: row["scores"][SCORE],
                "samples": cap if given_up else steps * BATCH,
                "censored": int(given_up),
                "cell": cell_of(row),
                **{name: group(row) for name, group in LEFT_OUT.items()},
            }
        )
    return rows


def cell_of(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a retraining is of, but for its seed."""
    return tuple(row[name] for name in ("dataset", "architecture", "shift", "strength"))


def predict(
    grid: Sequence[Record], records: Sequence[Record], scores: Sequence[Record], resamples: int | None = None
) -> list[SizePrediction]:
    """For each history and each thing left out, how well every change of size is predicted.

    Args:
        grid: records of the grid, whose seeds are others.
        records: retrainings at several sizes.
        scores: of the same cells.
    """
    cap = max(one["samples"] for record in records for one in record["retrainings"] if one["censored"])
    whole = past(grid, cap)
    cells = {cell_of(record) for record in records}
    histories = {"all": whole, "alike": [row for row in whole if row["cell"] in cells]}
    x = {one["key"]: float(one["scores"][SCORE]) for one in scores}
    found = []
    for name, history in histories.items():
        for what in (NOTHING, *LEFT_OUT):
            held: list[_Held] = []
            for group, of_group in _groups(what, records).items():
                rest = history if what == NOTHING else [row for row in history if row[what] != group]
                model = CostModel.fit(rest, SCORE, effort="samples", level=LEVEL, groups="shift type")
                law = law_without(what, group, records)
                held += [
                    one for record in of_group for one in _of_a_cell(model, law, record, x[record["key"]])
                ]
            found += [_summary(name, what, change, held, resamples or RESAMPLES) for change in TOLD]
    return found


def _groups(what: str, records: Sequence[Record]) -> dict[str, list[Record]]:
    of: Callable[[Record], str] = LEFT_OUT.get(what, lambda record: NOTHING)
    return {group: [one for one in records if of(one) == group] for group in dict.fromkeys(map(of, records))}


def law_without(what: str, group: str, records: Sequence[Record]) -> Law:
    """The law of sizes from what is not of the group; with nothing left out, the one that cost models use."""
    if what == NOTHING:
        return measured(records)
    pairs = pairs_of([record for record in records if LEFT_OUT[what](record) != group])
    return law_of(pairs, powers_of(pairs))


def _of_a_cell(model: CostModel, law: Law, record: Record, score: float) -> list[_Held]:
    largest = max(one["dataset_size"] for one in record["retrainings"])
    known = {"dataset_size": (largest, largest), "batch_size": (BATCH, BATCH)}
    found = []
    for one in record["retrainings"]:
        asked = {name: one[name] for name in known}
        other = carried(asked, known, "samples", model.level, law)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*is outside the")
            effort = model.effort_at(np.array([score]), other)[0]
        change = _change(one["dataset_size"] < largest, one["batch_size"] < BATCH)
        samples, unbounded = one["samples"], math.isinf(effort.high)
        near = 1 + 1e-9
        inside = (
            unbounded if one["censored"] else effort.low <= samples * near and samples <= effort.high * near
        )
        error = math.log((effort.value + BATCH) / (samples + BATCH))
        found.append(
            _Held(
                change, LEFT_OUT["shift type"](record), inside, unbounded,
                math.nan if one["censored"] else abs(error),
            )
        )  # fmt: skip
    return found


def _change(fewer: bool, smaller: bool) -> str:
    return {(False, False): SAME, (True, False): "size", (False, True): "batch", (True, True): "both"}[
        fewer, smaller
    ]


def _summary(
    history: str, left_out: str, change: str, held: Sequence[_Held], resamples: int
) -> SizePrediction:
    of = [one for one in held if one.change == change]
    reached = [one for one in of if not math.isnan(one.error)]
    coverage = bootstrap(
        np.mean,
        [float(one.inside) for one in of],
        seed=SEED,
        resamples=resamples,
        groups=[one.shift for one in of],
    )
    errors = bootstrap(
        np.median, [one.error for one in reached], seed=SEED, resamples=resamples,
        groups=[one.shift for one in reached],
    )  # fmt: skip
    return SizePrediction(
        history, left_out, change, coverage, float(np.mean([one.open for one in of])),
        1 - len(reached) / len(of), Interval(*map(math.exp, errors)),
    )  # fmt: skip


def section(
    grid: Sequence[Record],
    records: Sequence[Record],
    found: Sequence[SizePrediction],
) -> str:
    """Markdown: what was done, what follows, and the table."""
    cap = max(one["samples"] for record in records for one in record["retrainings"] if one["censored"])
    whole = past(grid, cap)
    cells = {cell_of(record) for record in records}
    alike = sum(row["cell"] in cells for row in whole)
    columns = ["history", "left out", *TOLD.values()]
    rows = []
    for name in HISTORIES:
        for what in (NOTHING, *LEFT_OUT):
            at = {one.change: one for one in found if (one.history, one.left_out) == (name, what)}
            rows.append([name, what, *(_cell(at[change]) for change in TOLD)])
    lines = "\n".join(f"| {' | '.join(row)} |" for row in (columns, ["---"] * len(columns), *rows))
    return "\n\n".join(
        [
            "From the score to the effort: a cost model of samples seen is fitted on the grid's retrainings, of other"
            f" seeds, to the same target and cap ({cap:,} samples), and asked for each of these {len(records)} cells at"
            " every size, by its effort score from one pass before retraining. History: all is"
            f" {HISTORIES['all']} ({len(whole)}); alike is {HISTORIES['alike']} ({alike}), for the cells have no weak"
            " shifts, and two networks only. What is left out is neither in the history nor in the exponents, errors"
            f" and lost targets of sizes ({_laws(records)}). Where nothing is, these are the ones that cost models use,"
            " which come from these very retrainings. No optimizer can be left out: all are Adam's. Cells: share of the"
            f" {LEVEL:.0%} intervals that hold the effort, as only one without an upper end can where it was given up;"
            " share without an upper end; median factor between predicted and real effort.",
            answer(found),
            lines,
        ]
    )


def _laws(records: Sequence[Record]) -> str:
    """The exponents without each data set."""
    told = []
    for group in _groups("data set", records):
        powers = law_without("data set", group, records).powers
        told.append(f"without {group} a = {powers['dataset_size']:g} and b = {powers['batch_size']:g}")
    return "; ".join(told)


def answer(found: Sequence[SizePrediction]) -> str:
    """Coverage at other sizes beside that at the sizes of the past."""
    sentences = []
    for name in HISTORIES:
        of = [one for one in found if one.history == name]
        at, others = ([one for one in of if (one.change == SAME) == same] for same in (True, False))
        sentences.append(
            f"History {name}: {_range([one.coverage.value for one in others])} of the intervals at other sizes hold the"
            f" effort, and {_range([one.coverage.value for one in at])} at the sizes of the past; median factors are"
            f" {_factors(others)}, and {_factors(at)}."
        )
    return " ".join(sentences)


def _factors(found: Sequence[SizePrediction]) -> str:
    factors = [one.factor.value for one in found]
    return f"{min(factors):.1f} to {max(factors):.1f}"


def _range(shares: Sequence[float]) -> str:
    return f"{min(shares):.0%} to {max(shares):.0%}"


def _cell(one: SizePrediction) -> str:
    return f"{cell(one.coverage)}; {one.open:.2f}; {cell(one.factor)}"

"""In which unit the effort of retraining stays the same when the training set or the batch gets smaller, as tables."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hitl_fast._common.bootstrap import Interval, bootstrap
from hitl_fast._common.errors import InputError
from hitl_fast.cost.carry import QUANTILES, Law

from ..common.journal import Record
from .analysis import SEED
from .datasets import HELD_OUT
from .retraining import LEARNING_RATE, MARGINS
from .sizes import BATCHES, LOWER, PARTS
from .wording import cell, listed, plain

ALL = "all"
CHANGES = {
    "size": "a third of the training samples",
    "batch": "half the batch",
    "both": "both",
}
MIXTURE = "samples / (N^a B^b)"
UNITS = ("steps", "samples", "epochs", MIXTURE)
SPREAD = 0.8
RESAMPLES = 2000
HEADINGS = (
    "change", "unit", "dataset", "pairs", "known", "not_reached", "ratio", "ratio_low", "ratio_high",
    "factor", "factor_low", "factor_high", "spread",
)  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """A retraining whose effort is known, and the same one at the sizes that are asked for.

    Attributes:
        dataset, shift: whose.
        change: a key of ``CHANGES``.
        size, batch: logarithms of known over asked size of the training set, and of the batch.
        samples: logarithm of known over asked samples seen, to the strictest target that both reached; None: to none.
        known: the known one reached the strictest of all targets.
        reached: the asked one did.
        effort: samples that the known one saw until then; None: it did not.
    """

    dataset: str
    shift: str
    change: str
    size: float
    batch: float
    samples: float | None
    known: bool
    reached: bool
    effort: float | None


@dataclass(frozen=True)
class SizeResult:
    """Predicted over measured effort, where the effort in ``unit`` is taken to stay the same.

    Attributes:
        pairs: of retrainings that both reached a target.
        known: pairs of which the known one reached the strictest target.
        not_reached: in so many of these the asked one did not.
        ratio: median, with a 95 % interval over resampled shift types.
        factor: median of the factor by which it is off, up or down, with the same interval.
        spread: the factor that 80 % of the pairs are within.
    """

    change: str
    unit: str
    dataset: str
    pairs: int
    known: int
    not_reached: int
    ratio: Interval
    factor: Interval
    spread: float


def pairs_of(records: Sequence[Record]) -> list[Pair]:
    """All pairs of retrainings that had to take a step.

    Raises:
        ValueError: a record lacks retrainings.
    """
    found = []
    for record in records:
        at = {(one["dataset_size"], one["batch_size"]): one for one in record["retrainings"]}
        if len(at) != len(PARTS) * len(BATCHES):
            raise InputError(f"{record['key']} has {len(at)} retrainings: run --sizes again")
        small, large = (choose(size for size, _ in at) for choose in (min, max))
        half, full = BATCHES
        changes = {
            "size": [((large, batch), (small, batch)) for batch in BATCHES],
            "batch": [((size, full), (size, half)) for size in (small, large)],
            "both": [((large, full), (small, half))],
        }
        found += [
            _pair(record, change, known, asked)
            for change, between in changes.items()
            for known, asked in between
            if at[known]["steps_to"][0] != 0
        ]
    return found


def _pair(record: Record, change: str, known: tuple[int, int], asked: tuple[int, int]) -> Pair:
    at = {(one["dataset_size"], one["batch_size"]): one["steps_to"] for one in record["retrainings"]}
    both = ((a, b) for a, b in zip(at[known], at[asked], strict=True) if a and b)  # neither None nor 0
    a, b = next(both, (0, 0))
    return Pair(
        record["dataset"], record["shift"], change,
        math.log(known[0] / asked[0]), math.log(known[1] / asked[1]),
        math.log(a * known[1] / (b * asked[1])) if a else None,
        at[known][0] is not None, at[asked][0] is not None,
        None if at[known][0] is None else float(at[known][0] * known[1]),
    )  # fmt: skip


def exponents(pairs: Sequence[Pair]) -> tuple[float, float]:
    """a and b of ``samples ~ N^a B^b``: medians over the pairs that are not of ``HELD_OUT``, to one decimal."""
    return powers_of([pair for pair in pairs if pair.dataset != HELD_OUT])


def powers_of(pairs: Sequence[Pair]) -> tuple[float, float]:
    """a and b of ``samples ~ N^a B^b``: medians over these pairs, to one decimal."""
    chosen = [pair for pair in pairs if pair.samples is not None]
    sizes, batches = (
        [(pair.samples or 0.0) / getattr(pair, change) for pair in chosen if pair.change == change]
        for change in ("size", "batch")
    )
    a, b = (round(float(np.median(of)), 1) + 0.0 if of else 0.0 for of in (sizes, batches))
    return a, b


def log_ratios(pairs: Sequence[Pair], unit: str, powers: tuple[float, float]) -> NDArray[np.float64]:
    """Logarithms of predicted over measured effort, of the pairs that both reached a target."""
    kept = [pair for pair in pairs if pair.samples is not None]
    samples, size, batch = (
        np.array([getattr(p, name) for p in kept], dtype=np.float64) for name in ("samples", "size", "batch")
    )
    less = {
        "steps": batch,
        "samples": 0.0 * size,
        "epochs": size,
        MIXTURE: powers[0] * size + powers[1] * batch,
    }[unit]
    return np.asarray(samples - less)


def compare(records: Sequence[Record], resamples: int | None = None) -> list[SizeResult]:
    """Every unit for every change, on each data set and on all."""
    pairs = pairs_of(records)
    powers = exponents(pairs)
    found = []
    for change in CHANGES:
        for of in (ALL, *dict.fromkeys(pair.dataset for pair in pairs)):
            chosen = [pair for pair in pairs if pair.change == change and of in (ALL, pair.dataset)]
            if chosen:
                found += [_result(chosen, change, unit, of, powers, resamples or RESAMPLES) for unit in UNITS]
    return found


def _result(
    pairs: Sequence[Pair], change: str, unit: str, of: str, powers: tuple[float, float], resamples: int
) -> SizeResult:
    logs = log_ratios(pairs, unit, powers)
    shifts = [f"{pair.dataset} {pair.shift}" for pair in pairs if pair.samples is not None]
    nothing = Interval(math.nan, math.nan, math.nan)
    ratio, factor = (
        Interval(*map(math.exp, bootstrap(np.median, values, seed=SEED, resamples=resamples, groups=shifts)))
        if len(logs)
        else nothing
        for values in (logs, np.abs(logs))
    )
    known = [pair for pair in pairs if pair.known]
    return SizeResult(
        change, unit, of, len(logs), len(known), sum(not pair.reached for pair in known), ratio, factor,
        within(logs, SPREAD),
    )  # fmt: skip


def within(logs: NDArray[np.float64], share: float) -> float:
    """The factor, up or down, that at least this share is within."""
    return math.exp(float(np.quantile(np.abs(logs), share, method="higher"))) if len(logs) else math.nan


def measured(records: Sequence[Record]) -> Law:
    """What ``CostModel.predict`` takes other sizes to do; the powers are chosen on all but ``HELD_OUT``."""
    pairs = pairs_of(records)
    return law_of(pairs, exponents(pairs))


def law_of(pairs: Sequence[Pair], powers: tuple[float, float]) -> Law:
    """The powers, how far off they were on these pairs, and which targets were lost.

    Raises:
        ValueError: no pair of a change reached a target at both sizes.
    """
    names = {"size": "dataset_size", "batch": "batch_size"}
    errors, within_, lost = {}, {}, {}
    for change, name in names.items():
        chosen = [pair for pair in pairs if pair.change == change]
        logs = log_ratios(chosen, MIXTURE, powers)
        if not len(logs):
            raise InputError(
                f"no retraining reached a target at {CHANGES[change]} as well as before, so that nothing tells how far"
                " off predictions are: retrain more cells"
            )
        errors[name] = tuple(float(q) for q in np.quantile(np.abs(logs), QUANTILES))
        within_[name] = {share: within(logs, share) for share in (0.5, SPREAD, 0.9)}
        lost[name] = _lost([pair for pair in chosen if pair.effort is not None])
    return Law(dict(zip(names.values(), powers, strict=True)), errors, within_, lost)


def _lost(known: Sequence[Pair]) -> tuple[float, float]:
    """Shares that did not reach the target: of those whose known effort is at most the median, and of the others."""
    middle = float(np.median([pair.effort for pair in known])) if known else 0.0
    halves = [[pair for pair in known if ((pair.effort or 0.0) > middle) == above] for above in (False, True)]
    low, high = (sum(not pair.reached for pair in half) / max(len(half), 1) for half in halves)
    return low, high


def sizes_csv(found: Sequence[SizeResult]) -> str:
    """One row for each change, unit and data set; empty where there is no number."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(HEADINGS)
    for one in found:
        values = (*one.ratio, *one.factor, one.spread)
        numbers = ["" if math.isnan(value) else f"{value:.4f}" for value in values]
        writer.writerow([one.change, one.unit, one.dataset, one.pairs, one.known, one.not_reached, *numbers])
    return file.getvalue()


def answer(found: Sequence[SizeResult]) -> str:
    """How far each unit is off for each change, and how often the target was not reached."""
    sentences = []
    for change, told in CHANGES.items():
        of = {one.unit: one for one in found if (one.change, one.dataset) == (change, ALL) and one.pairs}
        if not of:
            continue
        order = sorted(of.values(), key=lambda one: one.factor.value)
        rest = listed([f"{one.unit} {plain(one.factor)}" for one in order[1:]])
        sentences.append(
            f"{told[0].upper()}{told[1:]}: an effort in {order[0].unit} that is taken to stay the same is off by a "
            f"factor of {plain(order[0].factor)}, typically; in {rest}."
        )
        if order[0].not_reached:
            sentences.append(
                f"{order[0].not_reached} of {order[0].known} did not reach a target that was reached before the change."
            )
    return " ".join(sentences)


def section(records: Sequence[Record], found: Sequence[SizeResult]) -> str:
    """Markdown: what was chosen on which data, the answer, and the tables."""
    parts = [_what_it_is_of(records), answer(found), _held_out(found), _table(found, ALL, UNITS)]
    parts += [_by_dataset(found)]
    return "\n\n".join(parts)


def _what_it_is_of(records: Sequence[Record]) -> str:
    pairs = pairs_of(records)
    powers = exponents(pairs)
    chosen_on = [name for name in dict.fromkeys(pair.dataset for pair in pairs) if name != HELD_OUT]
    of = "; ".join(_of_a_dataset(name, records) for name in dict.fromkeys(r["dataset"] for r in records))
    total = sum(len(record["retrainings"]) for record in records)
    given_up = sum(one["censored"] for record in records for one in record["retrainings"])
    return (
        f"Chosen on {listed(chosen_on)}: the exponents of {MIXTURE} (N training samples, B samples of a batch), a = "
        f"{powers[0]:g} and b = {powers[1]:g}, medians to one decimal; they are tested on {HELD_OUT}. The target, "
        f"{LOWER + MARGINS[0]:g} below the clean accuracy, was chosen after two cells retrained to {MARGINS[0]:g} below"
        " it, of which one reached it at no size. Nothing else was chosen. "
        f"{total} retrainings of {len(records)} cells, {given_up} of them given up; the seed, {records[0]['seed']}, is "
        f"none of the grid's, so that models, samples and orders are new: {of}; Adam at a rate of {LEARNING_RATE:g} at "
        f"every size, batches of {BATCHES[0]} and {BATCHES[1]}. The known retraining is the larger one; the effort "
        "predicted is its own, in the unit of the column. Ratios are to the strictest of three targets "
        f"({listed([f'{LOWER + margin:g}' for margin in MARGINS])} below) that both retrainings of a pair reached; a "
        "pair that has none, or that no step was needed for, is left out of them. Brackets are 95 % intervals over "
        "resampled shift types."
    )


def _held_out(found: Sequence[SizeResult]) -> str:
    """The same on the data set that nothing was chosen on; by how few pairs."""
    sentences = []
    for change, told in CHANGES.items():
        of = [one for one in found if (one.change, one.dataset) == (change, HELD_OUT) and one.pairs]
        if of:
            off = listed([f"{one.unit} {plain(one.factor)}" for one in of])
            sentences.append(f"{told}, {of[0].pairs} pairs: off by {off}")
    return f"On {HELD_OUT} alone: {'; '.join(sentences)}." if sentences else f"No pair is of {HELD_OUT}."


def _of_a_dataset(name: str, records: Sequence[Record]) -> str:
    rows = [record for record in records if record["dataset"] == name]
    networks, shifts = (list(dict.fromkeys(row[of] for row in rows)) for of in ("architecture", "shift"))
    sizes = sorted({one["dataset_size"] for one in rows[0]["retrainings"]})
    told = " or ".join(f"{size:,}" for size in sizes)
    return f"{listed(networks)} on {name} ({told} training samples; {listed(shifts)})"


def _table(found: Sequence[SizeResult], of: str, units: Sequence[str]) -> str:
    rows = []
    for change, told in CHANGES.items():
        at = {one.unit: one for one in found if one.change == change and one.dataset == of}
        if at:
            first = at[units[0]]
            rows.append(
                [
                    f"{told}: {first.pairs} pairs; not reached {first.not_reached} of {first.known}",
                    *(_cell(at[unit]) for unit in units),
                ]
            )
    columns = ["predicted over measured effort, median; off by, median; 80 % within", *units]
    return _lines([columns, ["---"] * len(columns), *rows])


def _by_dataset(found: Sequence[SizeResult]) -> str:
    names = [name for name in dict.fromkeys(one.dataset for one in found) if name != ALL]
    rows = []
    for change, told in CHANGES.items():
        for unit in UNITS:
            at = {one.dataset: one for one in found if (one.change, one.unit) == (change, unit)}
            rows.append(
                [
                    told,
                    unit,
                    *(f"{_cell(at[name])} ({at[name].pairs})" if name in at else "–" for name in names),
                ]
            )
    columns = ["change", "unit", *(f"{name} (pairs)" for name in names)]
    return _lines([columns, ["---"] * len(columns), *rows])


def _lines(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(one: SizeResult) -> str:
    if not one.pairs:
        return "–"
    return f"{cell(one.ratio)}; {cell(one.factor)}; {one.spread:.2f}"

"""What modes without pairs and with few labels predict: rank correlation with the steps of the grid, as tables."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hitl_fast._common.bootstrap import Interval
from hitl_fast._common.errors import InputError

from ..common.journal import Record
from .analysis import RESAMPLES, SEED, column, effort_of, strata
from .analysis import SCORES as TOLD
from .concordance import Resamples, interval, resampled, spearman, within
from .datasets import HELD_OUT, dataset
from .label_modes import BASE, MODES, OPTIMIZER, SCORES, WITH_INTERVALS
from .transfer import LEFT_OUT
from .wording import apart, cell, listed, plain

ALL = "all"
NAMES = {**TOLD, "class_mean_cka": "1 - linear CKA of class means"}
SHOWN = ("effort_score", "probe_error", "accuracy_drop", "index", "distance", "cka", "confidence_drop")
COMPARED = ("spearman", "paired", "behind")
HEADINGS = (
    "mode", "score", "dataset", "cells", "missing",
    *(f"{name}{end}" for name in COMPARED for end in ("", "_low", "_high")), "held", "width",
)  # fmt: skip


@dataclass(frozen=True)
class ModeResult:
    """One score of one mode on the cells of one data set, or of all that the mode has.

    Attributes:
        cells: how many; ``missing`` of them have no value, and rank with those of the highest effort.
        spearman: with steps, within a model.
        paired: the same of the score from all pairs and labels, on the same cells; None where it has no value.
        behind: ``paired`` less ``spearman``, on the same resamples.
        held: share of the 95 % intervals that hold the score of all labels; None without intervals.
        width: median of their widths.
    """

    mode: str
    score: str
    dataset: str
    cells: int
    missing: int
    spearman: Interval
    paired: Interval | None
    behind: Interval | None
    held: float | None
    width: float | None


def compare(
    records: Sequence[Record], modes: Sequence[Record], resamples: int | None = None
) -> list[ModeResult]:
    """Every mode and score; intervals are of 95 %, over resampled shift types, as those of the grid.

    Args:
        records: of the grid.
        modes: of ``label_modes.work``, for some of its retrainings.

    Raises:
        ValueError: one of the modes' cells is no retraining of the grid.
    """
    by_key = {record["key"]: record for record in records if "effort" in record}
    strange = [one["key"] for one in modes if one["key"] not in by_key]
    if strange:
        raise InputError(
            f"the grid has no retraining {strange[0]!r}, which the modes have: run --modes again"
        )
    rows = [{**by_key[one["key"]], "modes": one["modes"]} for one in modes]
    drawn = resampled([LEFT_OUT["shift type"](row) for row in rows], resamples or RESAMPLES, SEED)
    found = []
    for name in MODES:
        of_mode = np.array([name in row["modes"] for row in rows])
        for of in (ALL, *dict.fromkeys(row["dataset"] for row in rows)):
            chosen = np.flatnonzero(of_mode & [of in (ALL, row["dataset"]) for row in rows])
            if len(chosen):
                kept = [rows[i] for i in chosen]
                found += _results(kept, drawn[chosen], name, of)
    return found


def _results(rows: Sequence[Record], resamples: Resamples, mode: str, dataset: str) -> list[ModeResult]:
    """Every score that the mode has."""
    there = [score for score in SCORES if any(score in row["modes"][mode]["scores"] for row in rows)]
    ours, base = (_drawn(rows, resamples, name, there) for name in (mode, BASE))
    found = []
    for score in there:
        paired = base.get(score)
        found.append(
            ModeResult(
                mode, score, dataset, len(rows), sum(score not in row["modes"][mode]["scores"] for row in rows),
                interval(ours[score]), None if paired is None else interval(paired),
                None if paired is None or mode == BASE else interval(paired - ours[score]),
                *_intervals(rows, mode, score),
            )
        )  # fmt: skip
    return found


def _drawn(rows: Sequence[Record], resamples: Resamples, mode: str, scores: Sequence[str]) -> dict[str, Any]:
    """(resamples,) how each score of a mode ranks the steps, of those that any row has."""
    there = [score for score in scores if any(score in row["modes"][mode]["scores"] for row in rows)]
    if not there:
        return {}
    values = [{"scores": {score: row["modes"][mode]["scores"].get(score) for score in there}} for row in rows]
    x = np.stack([column(values, score) for score in there])
    ranked = within(spearman, x, effort_of(rows), strata(rows, "within a model"), resamples)
    return dict(zip(there, ranked, strict=True))


def _intervals(rows: Sequence[Record], mode: str, score: str) -> tuple[float | None, float | None]:
    """How many stated intervals hold the score of all labels of the same pairs, and their median width."""
    if not MODES[mode].paired:
        return None, None  # the score of all labels is then of other clean samples
    stated = [
        (*row["modes"][mode]["intervals"][score], row["modes"][BASE]["scores"][score])
        for row in rows
        if score in row["modes"][mode].get("intervals", {})
    ]
    if not stated:
        return None, None
    slack = 1e-7  # stored with eight digits
    held = [low - slack <= value <= high + slack for low, high, value in stated]
    return float(np.mean(held)), float(np.median([high - low for low, high, _ in stated]))


def modes_csv(found: Sequence[ModeResult]) -> str:
    """One row for each mode, score and data set; empty where there is no number."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(HEADINGS)
    for one in found:
        numbers = [_number(value) for name in COMPARED for value in getattr(one, name) or (None, None, None)]
        writer.writerow(
            [
                one.mode,
                one.score,
                one.dataset,
                one.cells,
                one.missing,
                *numbers,
                _number(one.held),
                _number(one.width),
            ]
        )
    return file.getvalue()


def section(records: Sequence[Record], modes: Sequence[Record], found: Sequence[ModeResult]) -> str:
    """Markdown: what it is of and what was chosen on which data, what follows, and the tables."""
    at = {(one.mode, one.score, one.dataset): one for one in found}
    names = _modes_of(found)
    datasets = list(dict.fromkeys(one["dataset"] for one in modes))
    by_score = [
        [MODES[name].told, *(_spearman(at.get((name, score, ALL))) for score in SHOWN)] for name in names
    ]
    by_dataset = [
        [
            MODES[name].told,
            *(_spearman(at.get((name, "effort_score", of))) for of in datasets),
            _behind(at[name, "effort_score", ALL]),
        ]
        for name in names
        if (name, "effort_score", ALL) in at
    ]
    intervals = "95 % intervals: share that holds the score of all labels, median width"
    return "\n\n".join(
        [
            _what_it_is_of(records, modes),
            answer(found),
            _table(["Spearman with steps", *(NAMES[score] for score in SHOWN)], by_score),
            _table(["effort score", *datasets, "behind pairs with all labels"], by_dataset),
            _table([intervals, *(NAMES[score] for score in WITH_INTERVALS)], _interval_rows(at, names)),
        ]
    )


def answer(found: Sequence[ModeResult]) -> str:
    """How the effort score ranks in every mode, and which score is higher there."""
    at = {(one.mode, one.score): one for one in found if one.dataset == ALL}
    base = at[BASE, "effort_score"]
    sentences = [
        f"Within a model, the effort score of pairs with all labels ranks the steps with {plain(base.spearman)}."
    ]
    for name in _modes_of(found):
        if name != BASE:
            here = {score: one for (mode, score), one in at.items() if mode == name}
            sentences.append(_of_a_mode(MODES[name].told, here, base.cells))
    return " ".join(sentences)


def _of_a_mode(told: str, here: Mapping[str, ModeResult], cells: int) -> str:
    best = max(here, key=lambda score: _or_lowest(here[score].spearman.value))
    top = f"{NAMES[best]} {plain(here[best].spearman)} is the highest of {len(here)} scores"
    told = told[0].upper() + told[1:]
    one = here.get("effort_score")
    if one is None or one.behind is None:
        return f"{told}: there is no effort score; {top}."
    sentence = f"{told}: {plain(one.spearman)}, {apart(one.behind)}"
    if one.cells < cells and one.paired is not None:
        sentence += f" (of {one.cells} retrainings, where all labels have {plain(one.paired)})"
    return sentence + ("." if best == "effort_score" else f"; {top}.")


def _modes_of(found: Sequence[ModeResult]) -> list[str]:
    return list(dict.fromkeys(one.mode for one in found))


def _what_it_is_of(records: Sequence[Record], modes: Sequence[Record]) -> str:
    committed = {record["key"]: record["scores"]["effort_score"] for record in records if "effort" in record}
    same = sum(
        math.isclose(one["modes"][BASE]["scores"]["effort_score"], committed[one["key"]], abs_tol=1e-7)
        for one in modes
    )
    datasets = list(dict.fromkeys(one["dataset"] for one in modes))
    seeds = [str(seed) for seed in dict.fromkeys(one["seed"] for one in modes)]
    networks = [
        f"{', '.join(dict.fromkeys(one['architecture'] for one in modes if one['dataset'] == name))} on {name}"
        for name in datasets
    ]
    pairs = [f"{dataset(name).estimation:,} ({name})" for name in datasets]
    return (
        "Modes, scores and numbers of labels were fixed before these numbers were seen; only which score is the highest"
        " of a mode is chosen on them, so that its value is biased upwards. The formula of the effort score was chosen"
        f" on mnist, with pairs and all labels; {HELD_OUT} is the data set that nothing is"
        f" chosen on. Steps are those of the committed journal: {len(modes)} of its retrainings, with"
        f" {OPTIMIZER.title()}, seed{'s' * (len(seeds) > 1)} {listed(seeds)}, {'; '.join(networks)}; all shifts and"
        " strengths. The models and shifted samples were made again; the effort score of all pairs equals the"
        f" committed one in {same} of {len(modes)}. Scores are of {listed(pairs)} pairs: with as many labels as pairs,"
        " all are labelled, and a data set of fewer pairs has no such row. Without pairs, the clean samples are others:"
        " nine tenths of the validation samples. Labelled samples are drawn anew for each retraining. Brackets are"
        " 95 % intervals over resampled shift types."
    )


def _interval_rows(
    at: Mapping[tuple[str, str, str], ModeResult], names: Sequence[str]
) -> Iterator[list[str]]:
    for name in names:
        found = [at.get((name, score, ALL)) for score in WITH_INTERVALS]
        if any(one is not None and one.held is not None for one in found):
            yield [
                MODES[name].told,
                *(
                    "–" if one is None or one.held is None else f"{one.held:.0%}, {one.width:.2f}"
                    for one in found
                ),
            ]


def _table(columns: Sequence[str], rows: Any) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, ["---"] * len(columns), *rows))


def _spearman(one: ModeResult | None) -> str:
    return "–" if one is None else cell(one.spearman)


def _behind(one: ModeResult) -> str:
    return "–" if one.behind is None else cell(one.behind)


def _or_lowest(value: float) -> float:
    return -math.inf if math.isnan(value) else value


def _number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.4f}"

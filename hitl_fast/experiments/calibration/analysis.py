"""What the records of a grid say. Pure functions, so that a page can be drawn again from a file of results."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hitl_fast._common.bootstrap import Interval
from hitl_fast._common.errors import InputError

from ..common.journal import Record
from .concordance import (
    Effort,
    Floats,
    Resamples,
    Statistic,
    concordance,
    interval,
    kendall,
    resampled,
    spearman,
    within,
)
from .effort_table import retrainings
from .jobs import BINS, FEWER, VARIANTS
from .retraining import MARGINS
from .transfer import LEFT_OUT, SETS, CostIntervals, Prediction, cost_intervals, predictions

RESAMPLES = 1000
SEED = 0  # of the resamples

# name: what it is for a reader; all are turned so that higher should mean more effort.
SCORES = {
    "effort_score": "effort score",
    "path_excess": "path excess alone",
    "probe_increase": "probe increase of all layers alone",
    "index": "index: p + inverse ARI",
    "distance": "p alone (Jensen-Shannon, 32 bins)",
    "inverse_ari": "inverse ARI alone",
    "bhattacharyya": "p by Bhattacharyya",
    "kullback_leibler": "p by Kullback-Leibler",
    "wasserstein_heights": "p by Wasserstein of heights",
    "wasserstein_bins": "p by Wasserstein of bins",
    "accuracy_drop": "accuracy drop",
    "loss": "loss on shifted data",
    "probe_error": "probe error",
    "probe_error_increase": "probe error less clean probe error",
    "probe_error_few": "probe error, 10 samples a class",
    "cka": "1 - linear CKA",
    "resque_angle": "RESQUE angle",
    "within_share": "within-class share of variance",
    "mahalanobis": "Mahalanobis distance of class means",
    "arm": "ARM: Wasserstein of all activations",
    "input_rms": "input RMS (no model)",
    "entropy": "entropy (no labels)",
    "confidence_drop": "confidence drop (no labels)",
    "gradient_norm": "gradient norm (one backward pass)",
}
FORWARD = tuple(name for name in SCORES if name != "gradient_norm")
FALLING = ("cka", "class_mean_cka")  # higher means more alike
PRINCIPAL = (
    "effort_score",
    "index",
    "distance",
    "inverse_ari",
    "accuracy_drop",
    "loss",
    "probe_error",
    "cka",
)

# What is held fixed while retrainings are ranked.
LEVELS: dict[str, Callable[[Record], tuple[Any, ...]]] = {
    "within a model": lambda row: (row["dataset"], row["architecture"], row["seed"]),
    "within a shift type": lambda row: (row["dataset"], row["architecture"], row["shift"]),
    "across shift types": lambda row: (row["dataset"], row["architecture"], row["seed"], row["strength"]),
    "across architectures": lambda row: (row["dataset"], row["shift"], row["strength"]),
    "all together": lambda row: (),
}
STATISTICS = {"spearman": spearman, "kendall": kendall, "concordance": concordance}


@dataclass(frozen=True)
class Findings:
    """The results of a grid.

    Attributes:
        rows: the retrainings.
        censored: how many of them did not reach the target.
        ranks: ``ranks[score][level][statistic]``.
        over_accuracy_drop: Spearman within a model, less that of the accuracy drop, by score.
        over_index: the same, less that of the index.
        behind: Spearman within a model of the effort score, less that of each other score.
        predictions: ``predictions[left out][set]``.
        alone: ``alone[left out][score]``, the same from one score.
        intervals: by what is left out, what a cost model states.
        datasets: ``datasets[data set][score]``, Spearman within a model.
        defaults: one for each choice of arithmetic, pooling, bins and measure, best first.
        efforts: ``efforts[kind of effort][score]``, Spearman within a model.
        floor: by score, the mean of clean data against itself, against others, and at each strength.
        samples: by score and number of samples, the error against all samples and Spearman within a model.
    """

    rows: list[Record]
    censored: int
    ranks: dict[str, dict[str, dict[str, Interval]]]
    over_accuracy_drop: dict[str, Interval]
    over_index: dict[str, Interval]
    behind: dict[str, Interval]
    predictions: dict[str, dict[str, Prediction]]
    alone: dict[str, dict[str, Prediction]]
    intervals: dict[str, CostIntervals]
    datasets: dict[str, dict[str, Interval]]
    defaults: list[dict[str, Any]]
    efforts: dict[str, dict[str, Interval]]
    floor: dict[str, dict[str, float]]
    samples: dict[str, dict[int, dict[str, Interval]]]


def analyse(records: Sequence[Record], resamples: int | None = None) -> Findings:
    """Everything, from the records of a grid that is done.

    Intervals are of 95 %, over resampled shift types: what holds of these twelve may not hold of a thirteenth, and
    that is the doubt that they show.
    """
    rows = retrainings(records)
    drawn = resampled([LEFT_OUT["shift type"](row) for row in rows], resamples or RESAMPLES, SEED)
    effort = effort_of(rows)
    models = strata(rows, "within a model")
    if any("effort_score" not in row["scores"] for row in rows):
        raise InputError(
            "these retrainings have no effort score: they are of an older grid; run the experiment again"
        )
    columns = functools.lru_cache(maxsize=None)(functools.partial(column, rows))
    ranked = rank_of_scores(spearman, rows, effort, models, drawn)
    sets: dict[str, Sequence[str]] = {**SETS, "all forward scores": FORWARD}
    alone = {names[0]: name for name, names in SETS.items() if len(names) == 1}
    others: dict[str, Sequence[str]] = {score: (score,) for score in SCORES if score not in alone}
    predicted = predictions(rows, sets | others, columns, effort, drawn)
    return Findings(
        rows=rows,
        censored=int(effort.censored.sum()),
        ranks=_ranks(rows, effort, drawn),
        over_accuracy_drop={
            name: interval(values - ranked["accuracy_drop"]) for name, values in ranked.items()
        },
        over_index={name: interval(values - ranked["index"]) for name, values in ranked.items()},
        behind={
            name: interval(ranked["effort_score"] - values)
            for name, values in ranked.items()
            if name != "effort_score"
        },
        predictions={what: {name: by_set[name] for name in sets} for what, by_set in predicted.items()},
        alone={
            what: {score: by_set[alone.get(score, score)] for score in SCORES}
            for what, by_set in predicted.items()
        },
        intervals=cost_intervals(rows, columns, "effort_score"),
        datasets={
            name: _intervals(rank_of_scores(spearman, rows, effort, models, drawn, chosen))
            for name, chosen in _by_dataset(rows)
        },
        defaults=_defaults(rows, effort, models, drawn),
        efforts=_efforts(rows, models, drawn),
        floor=_floor(records, rows),
        samples=_samples(rows, effort, models, drawn),
    )


def _by_dataset(rows: Sequence[Record]) -> list[tuple[str, NDArray[np.bool_]]]:
    names = [row["dataset"] for row in rows]
    return [(name, np.array([other == name for other in names])) for name in dict.fromkeys(names)]


def effort_of(rows: Sequence[Record]) -> Effort:
    """Optimiser steps to the target, or the cap."""
    return Effort(
        np.array([row["effort"]["steps"] for row in rows], dtype=np.float64),
        np.array([row["effort"]["censored"] for row in rows], dtype=bool),
    )


def column(rows: Sequence[Record], name: str) -> Floats:
    """A score, higher for more effort; where it has no value it is as high as the highest."""
    sign = -1.0 if name in FALLING else 1.0
    values = np.array([np.nan if row["scores"][name] is None else sign * row["scores"][name] for row in rows])
    return np.where(np.isnan(values), np.nanmax(values) if not np.isnan(values).all() else 0.0, values)


def rank_of_scores(
    statistic: Statistic,
    rows: Sequence[Record],
    effort: Effort,
    strata: NDArray[Any],
    drawn: Resamples,
    chosen: NDArray[np.bool_] | None = None,
) -> dict[str, Floats]:
    """(resamples,) of every score: how it ranks effort within strata, of all rows or of those chosen."""
    x = np.stack([column(rows, name) for name in SCORES])
    if chosen is not None:
        x, effort, strata, drawn = x[:, chosen], effort[chosen], strata[chosen], drawn[chosen]
    return dict(zip(SCORES, within(statistic, x, effort, strata, drawn), strict=True))


def _intervals(drawn: Mapping[str, Floats]) -> dict[str, Interval]:
    return {name: interval(values) for name, values in drawn.items()}


def _ranks(
    rows: Sequence[Record], effort: Effort, drawn: Resamples
) -> dict[str, dict[str, dict[str, Interval]]]:
    found: dict[str, dict[str, dict[str, Interval]]] = {
        name: {level: {} for level in LEVELS} for name in SCORES
    }
    for level in LEVELS:
        labels = strata(rows, level)
        for statistic, function in STATISTICS.items():
            for name, values in rank_of_scores(function, rows, effort, labels, drawn).items():
                found[name][level][statistic] = interval(values)
    return found


def _defaults(
    rows: Sequence[Record], effort: Effort, models: NDArray[Any], drawn: Resamples
) -> list[dict[str, Any]]:
    """Every choice of arithmetic, pooling, bins and measure: how its index, and its p alone, rank."""
    found: list[dict[str, Any]] = []
    scores: list[Floats] = []
    for variant in VARIANTS:
        variants = [row["variants"]["/".join(variant)] for row in rows]
        inverse = np.array([one["inverse_ari"] for one in variants])
        for measure in variants[0]["distances"]:
            for place, bins in enumerate(BINS):
                p = np.array([one["distances"][measure][place] for one in variants])
                found.append(
                    {"arithmetic": variant[0], "pooling": variant[1], "measure": measure, "bins": bins}
                )
                scores += [p + inverse, p]
    for level in ("within a model", "all together"):
        ranks = within(spearman, np.stack(scores), effort, strata(rows, level), drawn)
        for place, one in enumerate(found):
            one[f"index {level}"], one[f"p {level}"] = ranks[2 * place : 2 * place + 2]
    now = next(one for one in found if is_default(one))
    reference = now["index within a model"].copy()
    for one in found:
        one["over default"] = interval(one["index within a model"] - reference)
        for name in [name for name in one if name.startswith(("index ", "p "))]:
            one[name] = interval(one[name])
    return sorted(found, key=lambda one: -one["index within a model"].value)


def is_default(choice: dict[str, Any]) -> bool:
    """Whether the choice is the default of ``preindex``."""
    wanted = {"arithmetic": "corrected", "pooling": "mean", "measure": "jensen_shannon", "bins": 32}
    return wanted == {name: choice[name] for name in wanted}


def _efforts(
    rows: Sequence[Record], models: NDArray[Any], drawn: Resamples
) -> dict[str, dict[str, Interval]]:
    """Rank correlations under other definitions of effort."""
    kinds: dict[str, Effort] = {}
    cap = max(row["effort"]["steps"] for row in rows)
    for place, margin in enumerate(MARGINS):
        steps = [row["effort"]["steps_to"][place] for row in rows]
        kinds[f"steps to within {100 * margin:g} points"] = Effort(
            np.array([cap if s is None else s for s in steps], dtype=np.float64),
            np.array([s is None for s in steps]),
        )
    change = np.array([row["effort"]["parameter_change"] for row in rows])
    kinds["parameter change"] = Effort(change, np.zeros(len(rows), dtype=bool))
    found = {
        kind: _intervals(rank_of_scores(spearman, rows, effort, models, drawn))
        for kind, effort in kinds.items()
    }
    reached = np.array([not row["effort"]["censored"] for row in rows])
    if reached.sum() > 2:
        kept = [row for row in rows if not row["effort"]["censored"]]
        found["steps, without censored runs"] = _intervals(
            rank_of_scores(spearman, kept, effort_of(kept), models[reached], drawn[reached])
        )
    return found


def _floor(records: Sequence[Record], rows: Sequence[Record]) -> dict[str, dict[str, float]]:
    """Means over base models with no shift, and over shifts at each strength."""
    bases = [record["floor"] for record in records if "floor" in record]
    found = {}
    for name in SCORES:
        if name not in bases[0]["paired"]:
            continue
        means = {kind: _mean([base[kind][name] for base in bases]) for kind in ("paired", "unpaired")}
        for strength in sorted({row["strength"] for row in rows}):
            values = [row["scores"][name] for row in rows if row["strength"] == strength]
            means[f"strength {strength + 1}"] = _mean(values)
        found[name] = means
    return found


def _samples(
    rows: Sequence[Record], effort: Effort, models: NDArray[Any], drawn: Resamples
) -> dict[str, dict[int, dict[str, Interval]]]:
    """By score and number of samples: value less that of all samples (its middle 95 % over shifts), and ranking."""
    found: dict[str, dict[int, dict[str, Interval]]] = {}
    for name in ("index", "inverse_ari", "accuracy_drop", "probe_error"):
        whole = column(rows, name)
        found[name] = {}
        for n in FEWER:
            if not all(str(n) in row["fewer"] for row in rows):
                continue  # a small data set has no more
            values = np.array([row["fewer"][str(n)][name] for row in rows], dtype=np.float64)
            low, middle, high = np.quantile(values - whole, [0.025, 0.5, 0.975])
            found[name][n] = {
                "error": Interval(float(middle), float(low), float(high)),
                "spearman": interval(within(spearman, values, effort, models, drawn)),
            }
    return found


def strata(rows: Sequence[Record], level: str) -> NDArray[Any]:
    """A label for each row: rows of one label are ranked among themselves."""
    return np.array([repr(LEVELS[level](row)) for row in rows])


def _mean(values: Sequence[float | None]) -> float:
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else math.nan

"""Prediction of effort for what a model of it was not fitted on: a shift type, an architecture, a data set."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hitl_fast._common.bootstrap import Interval
from hitl_fast.cost.model import CostModel

from ..common.journal import Record
from .concordance import Effort, Floats, Resamples, concordance, interval, spearman, within
from .retraining import BATCH

Columns = Callable[[str], Floats]

# Sets of scores that effort is predicted from, one model each.
SETS = {
    "effort score": ("effort_score",),
    "index": ("index",),
    "p": ("distance",),
    "inverse ARI": ("inverse_ari",),
    "accuracy drop": ("accuracy_drop",),
    "loss": ("loss",),
    "probe error": ("probe_error",),
    "1 - CKA": ("cka",),
    "accuracy drop + index": ("accuracy_drop", "index"),
    "accuracy drop + probe error": ("accuracy_drop", "probe_error"),
    "p + inverse ARI, weighted": ("distance", "inverse_ari"),
    "probe error + 1 - CKA": ("probe_error", "cka"),
}
BEST = "effort score"
# What a model of effort is not fitted on before it predicts it: name -> the group of a row.
LEFT_OUT: dict[str, Callable[[Record], str]] = {
    "shift type": lambda row: f"{row['dataset']}/{row['shift']}",
    "architecture": lambda row: f"{row['dataset']}/{row['architecture']}",
    "data set": lambda row: str(row["dataset"]),
}
LEVEL = 0.8  # of the intervals of a cost model


@dataclass(frozen=True)
class Prediction:
    """How well effort is predicted where the model of it saw nothing like it.

    Attributes:
        spearman: of predicted and real effort, all together.
        concordance: Harrell's C of the same.
        factor: median over the retrainings that reached the target of how many times too much or too little.
        behind: Spearman of the effort score's prediction less this one's, on the same resamples; None without one.
    """

    spearman: Interval
    concordance: Interval
    factor: float
    behind: Interval | None = None


@dataclass(frozen=True)
class CostIntervals:
    """What ``CostModel`` states of retrainings whose group it was not fitted on.

    Attributes:
        folds: what its own cross-validation leaves out.
        coverage: share of the retrainings whose effort lies in its interval of ``LEVEL``; of a censored one, whether
            the interval has no upper end.
        open: share of the intervals that have no upper end.
        closed_coverage: share of the retrainings in their interval, of those whose interval has an upper end.
        by_dataset: coverage by data set.
        factor: median over the retrainings that reached the target of how many times too much or too little, a step
            added to both, since no step at all has no ratio.
        factors: the same by data set.
    """

    folds: str
    coverage: float
    open: float
    closed_coverage: float
    by_dataset: dict[str, float]
    factor: float
    factors: dict[str, float]


@dataclass(frozen=True)
class _Held:
    """One retraining: whether its interval holds it and has no upper end, and the error of log(effort + a step)."""

    dataset: str
    inside: bool
    open: bool
    error: float  # NaN if censored


def predictions(
    rows: Sequence[Record],
    sets: Mapping[str, Sequence[str]],
    columns: Columns,
    effort: Effort,
    drawn: Resamples,
) -> dict[str, dict[str, Prediction]]:
    """``found[what is left out][set]``, for all that there are two groups of."""
    found: dict[str, dict[str, Prediction]] = {}
    everywhere = np.zeros(len(rows), dtype=np.int64)
    reached = ~effort.censored
    for what, group in LEFT_OUT.items():
        groups = np.array([group(row) for row in rows])
        if len(set(groups)) < 2:
            continue
        guesses = _left_out(sets, columns, groups, effort)
        every = np.stack(list(guesses.values()))
        ranked, ordered = (
            dict(zip(guesses, within(statistic, every, effort, everywhere, drawn), strict=True))
            for statistic in (spearman, concordance)
        )
        found[what] = {}
        for name, guess in guesses.items():
            error = np.abs(guess - np.log1p(effort.values))[reached]
            found[what][name] = Prediction(
                interval(ranked[name]),
                interval(ordered[name]),
                float(np.exp(np.median(error))) if reached.any() else math.nan,
                interval(ranked[BEST] - ranked[name]) if BEST in ranked and name != BEST else None,
            )
    return found


def cost_intervals(rows: Sequence[Record], columns: Columns, score: str) -> dict[str, CostIntervals]:
    """By what is left out: ``CostModel`` fitted on the samples that the other groups' retrainings took, by one score.

    Its folds leave out what is left out here, or architectures or shift types where fewer than three groups are left.
    """
    past = [
        {
            score: value,
            "samples": row["effort"]["samples"],
            "censored": int(row["effort"]["censored"]),
            **{name: group(row) for name, group in LEFT_OUT.items()},
        }
        for row, value in zip(rows, columns(score), strict=True)
    ]
    found = {}
    for what in LEFT_OUT:
        groups = sorted({row[what] for row in past})
        folds = next(
            (name for name in (what, "architecture", "shift type") if _foldable(past, what, name)), None
        )
        if len(groups) < 2 or folds is None:
            continue
        held: list[_Held] = []
        for group in groups:
            model = CostModel.fit(
                [row for row in past if row[what] != group],
                score,
                effort="samples",
                level=LEVEL,
                groups=folds,
            )
            held += [_held(model, row, score) for row in past if row[what] == group]
        names = list(dict.fromkeys(one.dataset for one in held))
        found[what] = CostIntervals(
            folds,
            _share(held),
            float(np.mean([one.open for one in held])),
            _share([one for one in held if not one.open]),
            {name: _share([one for one in held if one.dataset == name]) for name in names},
            _factor(held),
            {name: _factor([one for one in held if one.dataset == name]) for name in names},
        )
    return found


def _foldable(past: Sequence[Mapping[str, Any]], what: str, folds: str) -> bool:
    """Whether three groups of folds are left wherever a group is left out."""
    return all(
        len({row[folds] for row in past if row[what] != group}) >= 3 for group in {row[what] for row in past}
    )


def _left_out(
    sets: Mapping[str, Sequence[str]], columns: Columns, groups: NDArray[Any], effort: Effort
) -> dict[str, Floats]:
    """By set, log(1 + steps) of each group from a ridge regression on the others.

    Each score enters as its quantile among those that the model was fitted on, so that its scale plays no part. A
    censored effort is taken as the cap, which it is at least.
    """
    import sklearn
    from sklearn.linear_model import Ridge
    from sklearn.preprocessing import QuantileTransformer

    names = list(dict.fromkeys(name for of_set in sets.values() for name in of_set))
    X = np.stack([columns(name) for name in names], 1)
    y = np.log1p(effort.values)
    guesses = {name: np.empty(len(y)) for name in sets}
    with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
        for group in np.unique(groups):
            held = groups == group
            quantiles = QuantileTransformer(n_quantiles=min(100, int((~held).sum()))).fit(X[~held])
            fitted, predicted = quantiles.transform(X[~held]), quantiles.transform(X[held])
            for name, of_set in sets.items():
                places = [names.index(score) for score in of_set]
                model = Ridge(alpha=1.0).fit(fitted[:, places], y[~held])
                guesses[name][held] = model.predict(predicted[:, places])
    return guesses


def _share(held: Sequence[_Held]) -> float:
    return float(np.mean([one.inside for one in held])) if held else math.nan


def _factor(held: Sequence[_Held]) -> float:
    errors = [one.error for one in held if not math.isnan(one.error)]
    return float(np.exp(np.median(errors))) if errors else math.nan


def _held(model: CostModel, row: Mapping[str, Any], score: str) -> _Held:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is outside the")
        effort = model.predict({score: row[score]}).effort
    samples, near, unbounded = row["samples"], 1 + 1e-9, math.isinf(effort.high)
    dataset = str(row["data set"])
    if row["censored"]:
        return _Held(dataset, unbounded, unbounded, math.nan)
    error = abs(math.log((effort.value + BATCH) / (samples + BATCH)))
    return _Held(dataset, effort.low <= samples * near and samples <= effort.high * near, unbounded, error)

"""The calibration page, and its answer in a few lines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from hitl_fast._common.bootstrap import Interval

from ..common.page import Page
from . import figures
from .analysis import LEVELS, PRINCIPAL, SCORES, Findings, is_default
from .datasets import HELD_OUT, dataset
from .jobs import FEWER
from .retraining import BATCH, LEARNING_RATE, MARGINS, MOMENTUM, SGD_LEARNING_RATE
from .transfer import BEST, LEVEL
from .wording import apart, cell, listed, plain

_RIVALS = {"probe_error": "probe error", "accuracy_drop": "accuracy drop", "index": "published index"}
_OPTIMIZERS = {
    "adam": f"Adam at {LEARNING_RATE:g}",
    "sgd": f"SGD at {SGD_LEARNING_RATE:g} with momentum {MOMENTUM:g}",
}
_LEFT_OUT = {
    "shift type": "a shift type",
    "architecture": "an architecture on one data set",
    "data set": "a data set",
}
MEANS = ("index within a model", "index all together", "p within a model", "p all together")
TITLE = "Does PreIndex predict retraining cost?"
QUESTION = (
    "Does a score from one forward pass over clean and shifted data rank what it will cost to retrain a model to the"
    " shift? Samples were shifted, models retrained until they were about as accurate as before, and every score was"
    " compared with the steps that it took."
)


def answer(findings: Findings) -> str:
    """The result within a model; negative results are reported as such."""
    ranks = {name: by_level["within a model"]["spearman"] for name, by_level in findings.ranks.items()}
    forward = [name for name in ranks if name != "gradient_norm"]
    best = max(forward, key=lambda name: _number(ranks[name].value))
    rivals = [
        f"the {text} {plain(ranks[name])}{_ahead(findings.behind[name])}" for name, text in _RIVALS.items()
    ]
    sentence = (
        f"Within a model the effort score ranks retraining effort with Spearman {plain(ranks['effort_score'])},"
        f" {listed(rivals)}. The index is {_verdict(findings)} the accuracy drop."
    )
    if best == "effort_score":
        sentence += f" No other of {len(forward)} scores has a higher value."
    else:
        sentence += (
            f" Best of {len(forward)} (chosen on the same data) is {SCORES[best]}, {plain(ranks[best])}"
            f"{_ahead(findings.behind[best])}."
        )
    if len(findings.datasets) > 1:
        each = [f"{name} {plain(found['effort_score'])}" for name, found in findings.datasets.items()]
        sentence += f" By data set: {listed(each)}."
    return sentence


def unseen(findings: Findings) -> str:
    """Prediction for what was left out of the fit."""
    found = findings.predictions
    if not found:
        return ""
    best = [f"{by_set[BEST].spearman.value:.2f}" for by_set in found.values()]
    sentences = [
        f"With {listed([_LEFT_OUT[what] for what in found], 'or')} left out of the fit, effort predicted from the"
        f" {BEST} has Spearman {listed(best)} with real effort."
    ]
    for name in ("probe error", "accuracy drop", "index"):
        differences = [behind for by_set in found.values() if (behind := by_set[name].behind) is not None]
        if all(behind.excludes_zero and behind.value > 0 for behind in differences):
            sentences.append(f"The {name} is behind by {listed([plain(behind) for behind in differences])}.")
        else:
            sentences.append(f"The {name} is {listed([apart(behind) for behind in differences])}.")
    if findings.intervals:
        sentences.append(_costs(findings))
    sentences.append("Intervals of Spearman resample shift types, with the fits held fixed.")
    return " ".join(sentences)


def _costs(findings: Findings) -> str:
    """What CostModel states where something was left out; how much of it is an open end."""
    found = findings.intervals
    factors = [f"{one.factor:.1f} ({what})" for what, one in found.items()]
    shares = [f"{one.coverage:.0%} ({what})" for what, one in found.items()]
    by_dataset = [share for one in found.values() for share in one.by_dataset.values()]
    unbounded = [one.open for one in found.values()]
    return (
        f"There, CostModel is off by a median factor of {listed(factors)}. Its {LEVEL:.0%} intervals hold"
        f" {listed(shares)} of the efforts, {min(by_dataset):.0%} to {max(by_dataset):.0%} by data set;"
        f" {min(unbounded):.0%} to {max(unbounded):.0%} of them have no upper end, because retrainings like these were"
        " given up."
    )


def page(header: Mapping[str, Any], findings: Findings) -> Page:
    """All figures and tables."""
    made = Page(TITLE)
    made.question(QUESTION)
    made.answer(answer(findings))
    made.text(*_held_out(findings.rows), unseen(findings))
    _what_was_done(made, header["settings"], findings)
    _rankings(made, findings)
    _predictions(made, findings)
    _defaults(made, findings)
    _efforts(made, findings)
    _floor(made, findings)
    _samples(made, findings)
    made.provenance(header)
    return made


def _what_was_done(made: Page, settings: Mapping[str, Any], findings: Findings) -> None:
    made.section("What was done")
    rows = findings.rows
    made.text(
        f"{len(rows)} retrainings. All parameters were retrained on shifted samples, {BATCH} a step, by"
        f" {listed([_OPTIMIZERS[name] for name in dict.fromkeys(row['optimizer'] for row in rows)], 'or')}, until the"
        " accuracy on"
        f" shifted validation samples was within {100 * MARGINS[0]:g} points of the clean one. Validation accuracy was"
        " measured after every step at first, then a sixteenth of the steps apart.",
        f"{findings.censored} of {len(rows)} retrainings did not reach the target in {settings['cap']:,} steps and are"
        " censored, not dropped: for Spearman and Kendall they tie above all others; Harrell's C counts only pairs"
        " whose order is known, that is, pairs with at least one uncensored retraining.",
        "Intervals are of 95 %, over resampled shift types. Scores were taken before retraining, from the same samples"
        " before and after the shift, none of which was used for training or validation. Every seed has its own split.",
    )
    made.table(
        ["data set", "samples", "networks", "optimizers", "seeds", "retrainings", "not reached"],
        [_dataset_row(name, [row for row in rows if row["dataset"] == name]) for name in _names(rows)],
        caption="The data sets.",
    )
    made.table(
        ["shift", "data set", "what it does", "strengths 1, 2, 3"],
        [
            [shift, name, (function.__doc__ or "").splitlines()[0], ", ".join(f"{s:g}" for s in strengths)]
            for name in _names(rows)
            for shift, (function, strengths) in dataset(name).shifts.items()
            if any((row["dataset"], row["shift"]) == (name, shift) for row in rows)
        ],
        caption="The shifts.",
    )


def _names(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row["dataset"] for row in rows))


def _dataset_row(name: str, rows: Sequence[Mapping[str, Any]]) -> list[object]:
    def distinct(column: str) -> list[Any]:
        return list(dict.fromkeys(row[column] for row in rows))

    return [
        name, dataset(name).source, ", ".join(distinct("architecture")), ", ".join(distinct("optimizer")),
        len(distinct("seed")), len(rows), sum(row["effort"]["censored"] for row in rows),
    ]  # fmt: skip


def _held_out(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was chosen on which data, where more than one data set is there."""
    if HELD_OUT not in _names(rows):
        return []
    return [
        f"The effort score, its constants and the defaults of the cost model were chosen on mnist. {HELD_OUT} was named"
        " beforehand as the data set that nothing is chosen on."
    ]


def _rankings(made: Page, findings: Findings) -> None:
    made.section("Which scores rank the effort?")
    made.figure(
        figures.ranking(findings), "Rank correlation of each score with steps to the target; 95 % intervals."
    )
    made.figure(
        figures.scatter(findings),
        "Steps to the target against four scores. Hollow triangles did not reach the target.",
    )
    order = sorted(
        findings.ranks, key=lambda name: -_number(findings.ranks[name]["within a model"]["spearman"].value)
    )
    for statistic, name in (
        ("spearman", "Spearman"), ("kendall", "Kendall's tau-b"), ("concordance", "Harrell's C (0.5 is chance)"),
    ):  # fmt: skip
        made.table(
            ["score", *LEVELS],
            [[SCORES[n], *(cell(findings.ranks[n][level][statistic]) for level in LEVELS)] for n in order],
            caption=f"{name} with steps to the target, mean over the strata in which retrainings are ranked.",
        )
    made.text(
        "Within a model: its shifts. Within a shift type: one architecture's strengths and seeds of one data set."
        " Across shift types: one model's shifts of one strength. Across architectures: all models on one shift."
        " All together: every retraining, which needs scores of different models to be comparable."
    )
    made.table(
        ["score", "less accuracy drop", "less index"],
        [[SCORES[n], cell(findings.over_accuracy_drop[n]), cell(findings.over_index[n])] for n in order],
        caption="Spearman within a model, less that of the accuracy drop and of the index, on the same resamples.",
    )


def _predictions(made: Page, findings: Findings) -> None:
    made.section("Shifts and architectures left out of the fit")
    made.text(
        "Effort predicted by a ridge regression of log(1 + steps) on the quantiles of the scores, fitted without the"
        " shift type, the architecture or the data set that it then predicts. Off by: median factor between"
        " predicted and real steps, over retrainings that reached the target."
    )
    for what, by_set in findings.predictions.items():
        rows = [
            [
                name,
                cell(one.spearman),
                cell(one.concordance),
                f"{one.factor:.2f} times",
                "" if one.behind is None else cell(one.behind),
            ]
            for name, one in sorted(by_set.items(), key=lambda item: -_number(item[1].spearman.value))
        ]
        made.table(
            ["from", "Spearman", "Harrell's C", "off by", "effort score ahead by"],
            rows,
            caption=f"Each {what} predicted from the others. Ahead by: difference of Spearman on the same resamples.",
        )
    made.table(
        ["left out", "folds of the fit", "coverage", "no upper end", "coverage of the others", "off by"],
        [
            [
                what,
                f"by {one.folds}",
                f"{one.coverage:.0%}",
                f"{one.open:.0%}",
                f"{one.closed_coverage:.0%}",
                f"{one.factor:.2f} times",
            ]
            for what, one in findings.intervals.items()
        ],
        caption=f"Intervals of {LEVEL:.0%} that CostModel states for what it was not fitted on: share that holds the"
        " effort; share without an upper end, which alone can hold a retraining that was given up; median factor"
        " between predicted and real samples seen, of those that reached the target.",
    )
    names = _names(findings.rows)
    made.table(
        ["left out", *(f"{name}: coverage, off by" for name in names)],
        [
            [what, *(f"{one.by_dataset[name]:.0%}, {one.factors[name]:.2f} times" for name in names)]
            for what, one in findings.intervals.items()
        ],
        caption="The same by data set.",
    )


def _defaults(made: Page, findings: Findings) -> None:
    made.section("Which defaults does the grid support?")
    best = findings.defaults[0]
    rank, now = next((i, one) for i, one in enumerate(findings.defaults, 1) if is_default(one))
    over = best["over default"]
    made.text(
        f"The default ({_choice(now)}) is number {rank} of {len(findings.defaults)} choices by Spearman within a model."
        f" The first ({_choice(best)}) is ahead by {plain(over)}, "
        + (
            "more than chance. "
            if over.excludes_zero
            else "which chance explains: the best of many choices is biased upwards. "
        )
        + "Scale and offset cannot change a ranking: at a fixed scale the index rises with p + inverse ARI, and the"
        " offset is taken off every index alike."
    )
    rows = [
        [
            place, _choice(one), cell(one["index within a model"]), cell(one["index all together"]),
            cell(one["p within a model"]), cell(one["over default"]),
        ]
        for place, one in enumerate(findings.defaults, 1)
        if place <= 10 or one is now
    ]  # fmt: skip
    made.table(
        [
            "place",
            "choice",
            "index within a model",
            "index all together",
            "p alone within a model",
            "over the default",
        ],
        rows,
        caption="Spearman with steps to the target: the best ten choices and the default.",
    )
    means = []
    for factor in ("arithmetic", "pooling", "measure", "bins"):
        for value in dict.fromkeys(one[factor] for one in findings.defaults):
            those = [one for one in findings.defaults if one[factor] == value]
            means.append([f"{factor} {value}", *(_mean_of(those, name) for name in MEANS)])
    made.table(["choice", *MEANS], means, caption="Spearman, mean over all choices of the others.")


def _efforts(made: Page, findings: Findings) -> None:
    made.section("Does the definition of effort matter?")
    made.table(
        ["effort", *(SCORES[name] for name in PRINCIPAL)],
        [[kind, *(cell(found[name]) for name in PRINCIPAL)] for kind, found in findings.efforts.items()],
        caption="Spearman within a model. Samples, epochs and FLOPs are proportional to steps there.",
    )


def _floor(made: Page, findings: Findings) -> None:
    made.section("How large is each score with no shift?")
    made.text(
        "Paired: clean samples against themselves. Unpaired: against others of the same classes, as"
        " when two data sets do not hold the same samples."
    )
    kinds = list(next(iter(findings.floor.values())))
    made.table(
        ["score", *kinds],
        [[SCORES[name], *(means[kind] for kind in kinds)] for name, means in findings.floor.items()],
        caption="Means over models, and over shifts at each strength.",
    )


def _samples(made: Page, findings: Findings) -> None:
    counts = [n for n in FEWER if all(n in by_count for by_count in findings.samples.values())]
    if not counts:
        return
    made.section("How many samples does it need?")
    made.figure(
        figures.samples(findings),
        "Left: score of fewer samples less that of all, median and middle 95 % of the shifts. Right: Spearman within"
        " a model, 95 % intervals.",
    )
    made.table(
        ["score", *(f"{n} samples" for n in counts)],
        [
            row
            for name, by_count in findings.samples.items()
            for row in (
                [f"{SCORES[name]}: error", *(cell(by_count[n]["error"]) for n in counts)],
                [f"{SCORES[name]}: Spearman", *(cell(by_count[n]["spearman"]) for n in counts)],
            )
        ],
        caption="Error: less the score of all samples, median [middle 95 %]. Spearman with effort within a model.",
    )


def _ahead(behind: Interval) -> str:
    return f" ({apart(behind)})"


def _verdict(findings: Findings) -> str:
    less = findings.over_accuracy_drop["index"]
    if not less.excludes_zero:
        return f"not significantly different (by {plain(less)}) from"
    return f"better (by {plain(less)}) than" if less.value > 0 else f"worse (by {plain(less)}) than"


def _choice(one: Mapping[str, Any]) -> str:
    return f"{one['arithmetic']}, {one['pooling']}, {one['measure']}, {one['bins']} bins"


def _mean_of(those: Iterable[Mapping[str, Any]], name: str) -> float:
    return float(np.mean([one[name].value for one in those]))


def _number(value: float) -> float:
    """NaN below all numbers, for sorting."""
    return -math.inf if math.isnan(value) else value

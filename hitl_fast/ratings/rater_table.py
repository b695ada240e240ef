"""A row for each rater and question: what they are like, and whom to re-train or drop, with the evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hitl_kernels.rater_model import rater_model

from .identity import pandas_module
from .rating_data import RatingData
from .selection import by_question
from .units import (
    CLEAR,
    FEW_ANSWERS,
    coded,
    directions,
    one_answer_each,
    one_comparison_each,
    share_units,
    undecided,
)

if TYPE_CHECKING:
    import pandas


ENOUGH = 20  # ratings from which a rater is judged by others
ENOUGH_GOLD = 5  # items with ground truth from which a rater is judged by these
ENOUGH_CONSTANT = 10
RANDOM = 0.05  # reliability below which answers do not follow the items
BIASED = 0.25  # of the width of the scale
NARROW = 0.3  # step for one step of the consensus
ERRORS = 2.0  # standard errors
NEWTON = 50  # steps of a concave function of one number, none longer than a half


def rater_table(ratings: RatingData) -> pandas.DataFrame:
    """See `Ratings.raters`."""
    pd = pandas_module()
    several = len(ratings.questions) > 1
    parts = [_of_question(part, name if several else None) for name, part in by_question(ratings).items()]
    if not parts:
        return _of_comparisons(ratings)
    return pd.concat(parts) if several else parts[0]


def _of_question(ratings: RatingData, question: str | None) -> pandas.DataFrame:
    pd = pandas_module()
    units, raters, names = coded(ratings)
    score = ratings.frame.score
    groups = score.groupby(raters)
    n = groups.count().to_numpy()
    table = pd.DataFrame({"n": n}, index=pd.Index(names, name="rater"))
    graded = ratings.categories is None
    once = one_answer_each(units, raters, score.to_numpy(), names, last=not graded)
    model = rater_model(*once) if graded and share_units(units, raters) else None
    for column in ("bias", "scale", "reliability"):
        table[column] = np.nan if model is None else getattr(model, column)
    table["seconds"] = ratings.frame.seconds.groupby(raters).median().to_numpy()
    table["gold_n"], table["gold"] = _against_truth(ratings, raters, len(names))
    table["constant"] = (n >= 3) & (groups.min().to_numpy() == groups.max().to_numpy())
    table["agreed"], table["chance"], others = (
        (np.nan, np.nan, np.zeros(len(names)))
        if graded
        else _with_others(once[0], once[1], once[2].astype(np.int64), len(names))
    )
    table.insert(0, "question", pd.Series([question] * len(table), index=table.index, dtype=object))
    table["others"] = others
    table["split"] = model is not None and undecided(
        *directions(model.scale, model.reliability, np.bincount(once[1], minlength=len(names)))
    )
    judged = [_judged(ratings, row) for _, row in table.iterrows()]
    table["action"] = pd.Series([action for action, _ in judged], index=table.index, dtype=object)
    table["evidence"] = pd.Series([evidence for _, evidence in judged], index=table.index, dtype=object)
    return table.drop(columns=["others", "split"]).sort_values("n", ascending=False, kind="stable")


def _judged(ratings: RatingData, row: pandas.Series) -> tuple[str, str]:
    """What to do about a rater, and why; the gravest finding counts."""
    n = int(row["n"])
    if row["constant"] and n >= ENOUGH_CONSTANT and ratings.frame.score.nunique() > 1:
        return "drop", f"the same score on all {n} ratings, which others tell apart"
    if n >= ENOUGH and row["reliability"] < RANDOM:
        return "drop", f"answers do not follow the items (reliability {row['reliability']:.2f}, {n} ratings)"
    if n >= ENOUGH and row["agreed"] == row["agreed"]:
        chance, pairs = row["chance"], max(float(row["others"]), 1.0)
        error = np.sqrt(max(chance * (1 - chance), 1e-9) / min(pairs, n))
        if row["agreed"] < chance + ERRORS * error:
            return "drop", (
                f"agrees with others on {row['agreed']:.0%} of {pairs:,.0f} pairs of answers, and {chance:.0%} is what "
                "chance gives"
            )
    truth = _misses_truth(ratings, row)
    if truth:
        return "re-train", truth
    if row["split"] and n >= FEW_ANSWERS and row["reliability"] >= CLEAR:
        return (
            "re-train",
            "about as many raters score one way as the other way round: nothing says who is right",
        )
    if n >= ENOUGH and row["scale"] < 0:
        return "re-train", f"scores run against the others' (step {row['scale']:.2f}, {n} ratings)"
    width = ratings.scale[1] - ratings.scale[0]
    if n >= ENOUGH and abs(row["bias"]) > BIASED * width > 0:
        side = "above" if row["bias"] > 0 else "below"
        return "re-train", f"scores {abs(row['bias']):.2f} points {side} the consensus ({n} ratings)"
    if n >= ENOUGH and row["scale"] < NARROW:
        return "re-train", f"uses {row['scale']:.0%} of the range that others use ({n} ratings)"
    return "", ""


def _misses_truth(ratings: RatingData, row: pandas.Series) -> str:
    """How far a rater is from the ground truth, where that is worse than half of the width or of the answers."""
    n = int(row["gold_n"])
    if n < ENOUGH_GOLD:
        return ""
    limit = 0.5 if ratings.categories is not None else 0.7
    error = np.sqrt(max(row["gold"] * (1 - row["gold"]), 0.0) / n)
    if row["gold"] + ERRORS * error >= limit + ERRORS * error * (ratings.categories is None):
        return ""
    if ratings.categories is not None:
        return f"right on {row['gold']:.0%} of {n} items with ground truth"
    return f"misses the ground truth of {n} items by {1 - row['gold']:.0%} of the scale on average"


def _against_truth(ratings: RatingData, raters: np.ndarray, n_raters: int) -> tuple[np.ndarray, np.ndarray]:
    truth = ratings.ground_truth.dropna(subset=["score"]).drop_duplicates(["item", "feature"], keep="last")
    known = dict(zip(zip(truth.item, truth.feature, strict=True), truth.score, strict=True))
    if not known:
        return np.zeros(n_raters, np.int64), np.full(n_raters, np.nan)
    pairs = zip(ratings.frame.item, ratings.frame.feature, strict=True)
    gold = np.array([known.get(pair, np.nan) for pair in pairs])
    has = ~np.isnan(gold)
    off = np.abs(ratings.frame.score.to_numpy()[has] - gold[has])
    width = ratings.scale[1] - ratings.scale[0]
    categories = ratings.categories is not None
    far = off > 0 if categories else np.minimum(off / width, 1) if width > 0 else off * 0
    n = np.bincount(raters[has], minlength=n_raters)
    near = n - np.bincount(raters[has], far.astype(np.float64), minlength=n_raters)
    return n, np.where(n > 0, near / np.maximum(n, 1), np.nan)


def _with_others(
    units: np.ndarray, raters: np.ndarray, codes: np.ndarray, n_raters: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Share of the others' answers on the same items that are the same, what chance gives, and how many there are."""
    k = int(codes.max()) + 1
    _, cell, alike = np.unique(units * k + codes, return_inverse=True, return_counts=True)
    same = alike[cell] - 1.0
    others = np.bincount(raters, np.bincount(units)[units] - 1.0, minlength=n_raters)
    agreed = np.bincount(raters, same, minlength=n_raters)
    given = np.zeros((n_raters, k))
    np.add.at(given, (raters, codes), 1.0)
    rest = given.sum(0) - given
    with np.errstate(invalid="ignore", divide="ignore"):
        chance = (given / given.sum(1, keepdims=True) * rest / rest.sum(1, keepdims=True)).sum(1)
        return agreed / others, chance, others


def _discrimination(
    difference: np.ndarray, outcome: np.ndarray, raters: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Each rater's a ~ N(1, 1), and its error, of P(first) = 1 / (1 + exp(-a difference)); a tie is half of either."""
    a = np.ones(int(raters.max()) + 1)
    for _ in range(NEWTON):
        p = 1 / (1 + np.exp(-np.clip(a[raters] * difference, -500, 500)))
        slope = np.bincount(raters, difference * (outcome - p)) + 1 - a
        curvature = np.bincount(raters, difference**2 * p * (1 - p)) + 1
        a = a + np.clip(slope / curvature, -0.5, 0.5)
    return a, 1 / np.sqrt(curvature)


def _of_comparisons(ratings: RatingData) -> pandas.DataFrame:
    """Raters of pairwise comparisons: how many, and how far their preferences follow the items' scores."""
    from hitl_kernels.bradley_terry import bradley_terry

    from .identity import codes_of

    pd = pandas_module()
    rows = []
    for question, table in ratings.comparisons.groupby("question", sort=True):
        sides = np.concatenate(
            [table["first"].to_numpy(dtype=object), table["second"].to_numpy(dtype=object)]
        )
        first, second = np.split(codes_of(sides)[0], 2)
        raters, names = codes_of(table.rater.to_numpy())
        outcome, n = table.outcome.to_numpy(), np.bincount(raters)
        once = one_comparison_each(first, second, outcome, raters, names)
        model = bradley_terry(*once)
        found, errors = model.discrimination, model.discrimination_error
        if len(once[0]) < len(first):  # people who contradict themselves show it in all their answers alone
            found, errors = _discrimination(model.score[first] - model.score[second], outcome, raters)
        seconds = table.seconds.groupby(raters).median().to_numpy()
        for i, name in enumerate(names):
            a, error = found[i], errors[i]
            at_random = n[i] >= ENOUGH and a + ERRORS * error < NARROW
            rows.append({
                "rater": name, "question": question or None, "n": n[i], "discrimination": a, "seconds": seconds[i],
                "action": "drop" if at_random else "",
                "evidence": f"preferences do not follow the items (discrimination {a:.2f} +- {error:.2f}, {n[i]} "
                "comparisons)" if at_random else "",
            })  # fmt: skip
    columns = ["rater", "question", "n", "discrimination", "seconds", "action", "evidence"]
    return (
        pd.DataFrame(rows, columns=columns)
        .set_index("rater")
        .sort_values("n", ascending=False, kind="stable")
    )

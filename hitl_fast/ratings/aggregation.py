"""From ratings to one score an item: means, calibrated raters, Dawid-Skene, Bradley-Terry, and several questions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from hitl_kernels.bradley_terry import bradley_terry
from hitl_kernels.dawid_skene import dawid_skene
from hitl_kernels.rater_model import rater_model

from hitl_fast._common.errors import InputError

from .identity import codes_of
from .priorities import Priorities
from .rating_data import RatingData
from .scored import UNDECLARED
from .selection import only
from .units import (
    coded,
    directions,
    groups_of_pairs,
    one_answer_each,
    one_comparison_each,
    share_units,
    undecided,
)

METHODS = ("mean", "calibrated", "dawid_skene", "bradley_terry")
MOST_CATEGORIES = 64
UNWEIGHED = (
    "scores are how likely the likeliest category is, and not what it is worth: labels={...} says that"
)
UNDECIDED = (
    "about as many raters score one way as the other way round, and nothing says who is right: scores are means; see "
    "raters(), and agree on what the question means"
)
AGAINST = "some raters score against the others, whom the scores follow: see raters()"
NOISE = (
    0.9  # variance of one rating on a scale of 1 to 5, measured on people who rated usefulness for training
)
NOISE_WIDTH = 4.0  # of that scale
FEWEST_TRUTHS = 10  # items with ground truth from which an overdispersion is measured


def aggregate(
    ratings: RatingData,
    method: str,
    *,
    labels: Mapping[str, float] | None = None,
    question: str | None = None,
    combine: Mapping[str, float] | None = None,
) -> Priorities:
    """See `Ratings.aggregate`."""
    if method not in METHODS:
        raise InputError(f"method must be one of {', '.join(METHODS)}, not {method!r}")
    if combine is not None:
        if question is not None:
            raise InputError("give question= or combine=, not both")
        return _combined(ratings, method, combine)
    if method == "bradley_terry":
        return _by_comparisons(ratings, question)
    if not len(ratings):
        raise InputError("these are pairwise comparisons: aggregate them with method='bradley_terry'")
    if question is not None:
        ratings = only(ratings, question)
    if ratings.frame.feature.notna().any():
        names = ratings.features
        raise InputError(
            f"these are ratings of features or questions ({', '.join(names[:5])}): choose one with "
            f"aggregate(question={names[0]!r}) or ratings.only({names[0]!r}), weigh several with combine={{"
            f"{', '.join(f'{n!r}: 1.0' for n in names[:3])}}}, or use ratings.importance()"
        )
    return _of_one_question(ratings, method, labels)


def _of_one_question(ratings: RatingData, method: str, labels: Mapping[str, float] | None) -> Priorities:
    worth = _worth(ratings, labels)
    units, raters, names = coded(ratings)
    items = codes_of(ratings.frame.item.to_numpy())[1]
    if method == "dawid_skene":
        return _by_category(ratings, items, (units, raters, names), worth)
    if worth is not None and any(math.isnan(w) for w in worth.values()):
        raise InputError(
            f"method {method!r} needs graded scores, and these are categories ({', '.join(worth)}): use "
            "method='dawid_skene', or say what each is worth with labels={...}"
        )
    score = ratings.frame.score.to_numpy()
    values = score if worth is None else np.array(list(worth.values()))[score.astype(np.int64)]
    scale = ratings.scale if worth is None else (min(worth.values()), max(worth.values()))
    count = np.bincount(units)
    notes: tuple[str, ...] = ()
    if method == "mean":
        mean, variance = means(units, values, count)
    elif share_units(units, raters):
        once = one_answer_each(units, raters, values, names, last=False)
        model = rater_model(*once)
        mean, variance = model.score, model.variance
        groups = groups_of_pairs(units, raters + count.size)[: count.size]
        notes = _apart(
            groups, "by raters of their own, whose bias is not told from what these items are worth"
        )
        weights = directions(model.scale, model.reliability, np.bincount(once[1], minlength=len(names)))
        if undecided(*weights):
            mean, variance = means(once[0], once[2], np.bincount(once[0]))
            method, notes = "mean", (*notes, UNDECIDED)
        elif weights[1]:
            notes = (*notes, AGAINST)
    else:
        mean, variance, notes = _uncalibrated(ratings, units, raters, values, count, scale)
        method = "mean"
    if worth is None and not all(q.declared for q in ratings.questions.values()):
        notes = (*notes, UNDECLARED)
    found = Priorities(items, mean, variance, count, scale, method, ratings.num_items, notes=notes)
    return _checked_by_truth(found, ratings) if worth is None else found


def means(units: np.ndarray, values: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of each unit and its variance: pooled about the units' means where some unit has two ratings."""
    mean = np.bincount(units, values) / count
    spare = values.size - count.size
    within = float(((values - mean[units]) ** 2).sum() / spare) if spare else float(values.var())
    return mean, within / count


def _uncalibrated(
    ratings: RatingData,
    units: np.ndarray,
    raters: np.ndarray,
    values: np.ndarray,
    count: np.ndarray,
    scale: tuple[float, float],
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Means, with the noise of a rating as measured elsewhere: one's own repeats do not show one's bias."""
    declared = all(q.declared for q in ratings.questions.values())
    as_1_to_5 = not declared and scale[0] >= 1 and scale[1] <= 5
    width = NOISE_WIDTH if as_1_to_5 or scale[1] <= scale[0] else scale[1] - scale[0]
    noise = NOISE * (width / NOISE_WIDTH) ** 2
    mean = np.bincount(units, values) / count
    repeats = values.size > count.size
    if repeats:
        noise = max(noise, float(((values - mean[units]) ** 2).sum() / (values.size - count.size)))
    n = int(raters.max()) + 1
    why = "there is one rater" if n == 1 else f"no item was rated by two of the {n} raters"
    note = (
        f"{why}, so that raters cannot be told from items: scores are means, and the variance of one rating is put at "
        f"{noise:.3g} (0.9 points squared on a scale of 1 to 5)"
    )
    return mean, noise / count, (note,)


def _checked_by_truth(found: Priorities, ratings: RatingData) -> Priorities:
    """Variances multiplied by how much scores miss the ground truth more than they claim."""
    truth = ratings.ground_truth.dropna(subset=["score"]).drop_duplicates("item", keep="last")
    known = dict(zip(truth.item, truth.score, strict=True))
    true = np.array([known.get(item, np.nan) for item in found.items.tolist()])
    has = ~np.isnan(true) & (found.variance > 0)
    if has.sum() < FEWEST_TRUTHS:
        return found
    factor = float(np.mean((found.score[has] - true[has]) ** 2 / found.variance[has]))
    if factor <= 1:
        return found
    note = (
        f"variances are multiplied by {factor:.3g}: scores of {int(has.sum())} items with ground truth miss it by so "
        "much more than raters who err independently would"
    )
    return replace(found, variance=found.variance * factor, overdispersion=factor, notes=(*found.notes, note))


def _worth(ratings: RatingData, labels: Mapping[str, float] | None) -> dict[str, float] | None:
    """What each category is worth, NaN where that is not said; None for graded scores."""
    if ratings.categories is None:
        if labels is not None:
            raise InputError("labels are for categories, and these scores are graded")
        return None
    if labels is None:
        known = len(ratings.categories) == 2
        return {c: float(i) if known else math.nan for i, c in enumerate(ratings.categories)}
    absent = [c for c in ratings.categories if c not in labels]
    if absent:
        raise InputError(f"labels does not say what {absent[0]!r} is worth; categories: {ratings.categories}")
    return {c: float(labels[c]) for c in ratings.categories}


def _by_category(
    ratings: RatingData,
    items: np.ndarray,
    answers: tuple[np.ndarray, np.ndarray, np.ndarray],
    worth: dict[str, float] | None,
) -> Priorities:
    units, raters, people = answers
    score = ratings.frame.score.to_numpy()
    if worth is None:
        levels, codes = np.unique(score, return_inverse=True)
        if levels.size > MOST_CATEGORIES:
            raise InputError(
                f"method 'dawid_skene' takes categories, and there are {levels.size} different scores: use "
                "method='calibrated'"
            )
        names = tuple(f"{level:g}" for level in levels)
    else:
        levels, codes = np.array(list(worth.values())), score.astype(np.int64)
        names = tuple(worth)
    once = one_answer_each(units, raters, codes, people, last=True)
    p = dawid_skene(*once, num_labels=len(names)).posterior
    if np.isnan(levels).any():
        expected = p.max(1)
        variance, scale = expected * (1 - expected), (0.0, 1.0)
    else:
        expected = p @ levels
        variance = (p * (levels - expected[:, None]) ** 2).sum(1)
        scale = ratings.scale if worth is None else (float(levels.min()), float(levels.max()))
    notes = (UNWEIGHED,) if np.isnan(levels).any() else ()
    return Priorities(
        items,
        expected,
        variance,
        np.bincount(units),
        scale,
        "dawid_skene",
        ratings.num_items,
        names,
        p,
        notes,
    )


def _by_comparisons(ratings: RatingData, question: str | None) -> Priorities:
    table = ratings.comparisons
    asked = sorted(set(table.question))
    if question is not None:
        table = table[table.question == question]
    elif len(asked) > 1:
        raise InputError(
            f"comparisons answer several questions ({', '.join(map(repr, asked))}): choose one with question="
        )
    if not len(table):
        raise InputError(
            "there are no comparisons" if not asked else f"no comparisons of {question!r}: {asked}"
        )
    sides = np.concatenate([table["first"].to_numpy(dtype=object), table["second"].to_numpy(dtype=object)])
    codes, items = codes_of(sides)
    if all(isinstance(i, int | np.integer) for i in items):
        items = items.astype(np.int64)
    raters, people = codes_of(table.rater.to_numpy())
    first, second = np.split(codes, 2)
    model = bradley_terry(*one_comparison_each(first, second, table.outcome.to_numpy(), raters, people))
    scale = (float(model.score.min()), float(model.score.max()))
    notes = _apart(groups_of_pairs(first, second), "and compared among themselves only")
    return Priorities(
        items,
        model.score,
        model.variance,
        np.bincount(codes),
        scale,
        "bradley_terry",
        ratings.num_items,
        notes=notes,
    )


def _apart(groups: np.ndarray, how: str) -> tuple[str, ...]:
    """A note where items are of several groups."""
    sizes = np.bincount(groups)
    sizes = np.sort(sizes[sizes > 0])[::-1]
    if len(sizes) == 1:
        return ()
    shown = ", ".join(map(str, sizes[:5])) + (", ..." if len(sizes) > 5 else "")
    return (
        f"items fall into {len(sizes)} groups ({shown} items), rated {how}: scores of different groups cannot be "
        "compared",
    )


def _combined(ratings: RatingData, method: str, combine: Mapping[str, float]) -> Priorities:
    """Weighted mean over questions of scores as parts of their scales."""
    if (
        not combine
        or not all(math.isfinite(w) and w >= 0 for w in combine.values())
        or not sum(combine.values())
    ):
        raise InputError(f"combine must give questions weights of 0 or more, not all 0; got {dict(combine)}")
    if method not in ("mean", "calibrated"):
        raise InputError(f"combine takes methods mean and calibrated, not {method!r}")
    total = float(sum(combine.values()))
    parts = {question: aggregate(ratings, method, question=question) for question in combine}
    items = np.unique(np.concatenate([p.items for p in parts.values()]))
    score, variance = np.zeros(items.size), np.zeros(items.size)
    count = np.zeros(items.size, np.int64)
    notes: list[str] = []
    for question, part in parts.items():
        low, high = part.scale
        if high <= low:
            raise InputError(f"every score of {question!r} is {low:g}: it cannot be combined with others")
        level, noise = (part.score - low) / (high - low), part.variance / (high - low) ** 2
        places = np.searchsorted(items, part.items)
        filled, doubt = np.full(items.size, level.mean()), np.full(items.size, level.var() + noise.mean())
        filled[places], doubt[places] = level, noise
        share = combine[question] / total
        score, variance = score + share * filled, variance + share**2 * doubt
        count[places] += part.count
        notes += [f"{question}: {note}" for note in part.notes]
    return Priorities(
        items, score, variance, count, (0.0, 1.0), method, ratings.num_items, notes=tuple(notes)
    )

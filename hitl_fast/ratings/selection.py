"""The ratings of one question, and of each."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from hitl_fast._common.errors import InputError

from .columns import QuestionScale, overall_categories, overall_scale, question_of
from .identity import codes_of, ids, pandas_module
from .rating_data import RatingData

if TYPE_CHECKING:
    import pandas


Data = TypeVar("Data", bound=RatingData)


def only(ratings: Data, feature: str | None) -> Data:
    """See `Ratings.only`."""

    def rows(table: pandas.DataFrame) -> pandas.DataFrame:
        chosen = table.feature.isna() if feature is None else table.feature == str(feature)
        part = table[chosen.to_numpy(dtype=bool)].reset_index(drop=True)
        part["feature"] = pandas_module().Series([None] * len(part), dtype=object)
        return part

    part = rows(ratings.frame)
    if part.empty:
        names = ", ".join(map(repr, ratings.features)) or "none"
        raise InputError(f"no ratings of the feature {feature!r}; features: {names}")
    if not part["item"].isna().any():  # integers again, where ratings of the whole task had left gaps
        part["item"] = ids(part["item"], "items")
    scale = ratings.questions.get(None if feature is None else str(feature))
    if scale is None and len(ratings.questions) == 1:  # rated for the whole task only
        scale = next(iter(ratings.questions.values()))
    scale = scale or QuestionScale(float(part.score.min()), float(part.score.max()))
    truth, predicted = rows(ratings.ground_truth), rows(ratings.predictions)
    return replace(
        ratings, frame=part, ground_truth=truth, predictions=predicted, questions={None: scale},
        scale=scale.scale, categories=scale.categories,
    )  # fmt: skip


def without(ratings: Data, raters: str | Sequence[str]) -> Data:
    """See `Ratings.without`."""
    names = [raters] if isinstance(raters, str) else list(raters)
    known = list(dict.fromkeys([*ratings.frame.rater, *ratings.skipped.rater, *ratings.comparisons.rater]))
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(str(name), map(str, known), n=3)
            listed = near or list(map(str, known[:5]))
            raise InputError(f"no rater is called {name!r}; there are {', '.join(map(repr, listed))}")

    def rest(table: pandas.DataFrame) -> pandas.DataFrame:
        return table[~table.rater.isin(names).to_numpy(dtype=bool)].reset_index(drop=True)

    frame, comparisons = rest(ratings.frame), rest(ratings.comparisons)
    if frame.empty and comparisons.empty:
        raise InputError(f"nobody but {', '.join(map(repr, names))} has rated anything")
    there = set(question_of(frame.item.to_numpy(), frame.feature.to_numpy()))
    rated = set(frame.item)
    lost = [item for item in dict.fromkeys(ratings.frame.item) if item not in rated and item is not None]
    return replace(
        ratings, frame=frame, comparisons=comparisons, skipped=rest(ratings.skipped),
        questions={name: scale for name, scale in ratings.questions.items() if name in there or len(frame) == 0},
        unrated=[*ratings.unrated, *lost], source=f"{ratings.source} without {', '.join(map(str, names))}",
    )  # fmt: skip


def by_question(ratings: Data) -> dict[str | None, Data]:
    """See `Ratings.by_question`."""
    if len(ratings.questions) <= 1:
        return dict.fromkeys(ratings.questions, ratings)
    question = question_of(ratings.frame.item.to_numpy(), ratings.frame.feature.to_numpy())
    codes, names = codes_of(question)
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(names)))
    parts: dict[str | None, Data] = {}
    for name, rows in zip(names.tolist(), np.split(order, ends[:-1]), strict=True):
        questions = {name: ratings.questions[name]}
        parts[name] = replace(
            ratings, frame=ratings.frame.iloc[rows].reset_index(drop=True), questions=questions,
            scale=overall_scale(questions), categories=overall_categories(questions),
        )  # fmt: skip
    return parts

"""The ratings of one question, and of each."""

from __future__ import annotations

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

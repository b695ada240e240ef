"""The tables that `Ratings` consists of; functions of ratings take these, and `Ratings` adds them as methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .columns import QuestionScale
from .identity import natural_key

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, eq=False)
class RatingData:
    """The tables of `Ratings`.

    Attributes:
        frame: one row a rating, with the columns item, rater, score (float64), seconds (float64, NaN where
            unknown; of the whole form where one form asks several questions) and feature (the question or feature
            that was rated; None where the item itself was). item is a position in the data set if ``items`` was
            given, else the id in the file; None for the rating of a feature for the whole task.
        skipped: answers that are no ratings, with item, rater, reason (skipped, cancelled, draft, discarded,
            rejected, empty, replaced) and seconds.
        ground_truth: item, feature and score of answers known to be true.
        predictions: item, model, feature and score of what models said.
        scale: lowest and highest possible score, as declared, else as found; of all questions together.
        categories: names of the categories that the scores are codes of; None for graded scores, and where there
            are several questions: see ``questions``.
        unknown: ratings of each item id that ``items`` does not know; those ratings are left out.
        unrated: items that the file or ``items`` names and nobody rated.
        unread: questions and columns of the file that were not read, and why.
        num_items: length of the data set, if ``items`` was given.
        source: where it comes from.
        comparisons: pairwise preferences, with first, second, rater, outcome (1: first, 0: second, 0.5: tie),
            seconds and question.
        questions: scale and categories of each question; None is the item itself.
    """

    frame: pandas.DataFrame
    skipped: pandas.DataFrame
    ground_truth: pandas.DataFrame
    predictions: pandas.DataFrame
    scale: tuple[float, float]
    categories: tuple[str, ...] | None
    unknown: dict[Any, int]
    unrated: list[Any]
    unread: dict[str, str]
    num_items: int | None
    source: str
    comparisons: pandas.DataFrame
    questions: dict[str | None, QuestionScale]

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def features(self) -> list[str]:
        """Names of the features rated, numbers in their order."""
        return sorted({f for f in self.frame.feature if f is not None}, key=natural_key)

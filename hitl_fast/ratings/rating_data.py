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
    """The tables of `Ratings`, whose docstring says what they hold."""

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

"""What the caller says of a file, beside its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Request:
    """Arguments of `Ratings.read` that say what a file is and what to read of it.

    Attributes:
        format: name of the format; None recognises it.
        item: where item ids are.
        questions: questions to read; None reads those that are answered in numbers.
        columns: role -> name of a column; a position from 0 in a file without a header; None: no such column.
        raters: columns of a wide table that are a rater each.
        labels: what labels are worth, and in comparisons the outcomes.
        repeats: what a person's later rating of an item does to the earlier.
    """

    format: str | None = None
    item: str | None = None
    questions: list[str] | None = None
    columns: Mapping[str, str | int | None] = field(default_factory=dict)
    raters: list[str] | None = None
    labels: Mapping[str, float] | None = None
    repeats: str | None = None

    @property
    def header(self) -> bool:
        """Whether a CSV file has a line of column names: positions say that it has none."""
        return not any(isinstance(column, int) for column in self.columns.values())

    @property
    def told(self) -> dict[str, Any]:
        """The arguments that were given, as `Ratings.read` calls them."""
        given = {
            "format": self.format, "item": self.item, "question": self.questions, "labels": self.labels,
            "columns": self.columns, "raters": self.raters, "repeats": self.repeats,
        }  # fmt: skip
        return {name: dict(v) if isinstance(v, Mapping) else v for name, v in given.items() if v}

    @property
    def roles(self) -> dict[str, str | int | None]:
        """``columns`` with ``item`` among them."""
        return dict(self.columns) if self.item is None else {"item": self.item, **self.columns}

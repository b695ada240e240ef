"""What the caller says of a file, beside its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


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
    """

    format: str | None = None
    item: str | None = None
    questions: list[str] | None = None
    columns: Mapping[str, str | int | None] = field(default_factory=dict)
    raters: list[str] | None = None
    labels: Mapping[str, float] | None = None

    @property
    def header(self) -> bool:
        """Whether a CSV file has a line of column names: positions say that it has none."""
        return not any(isinstance(column, int) for column in self.columns.values())

    @property
    def roles(self) -> dict[str, str | int | None]:
        """``columns`` with ``item`` among them."""
        return dict(self.columns) if self.item is None else {"item": self.item, **self.columns}

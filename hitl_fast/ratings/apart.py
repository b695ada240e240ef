"""What a file says beside ratings: skipped answers, truths, predictions and comparisons, as tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .identity import Positions, frame, ids


class Apart:
    """The tables of what is not a rating."""

    def __init__(
        self,
        skipped: Sequence[Sequence[Any]],
        gold: Sequence[Sequence[Any]],
        predictions: Sequence[Sequence[Any]],
        comparisons: Sequence[Sequence[Any]],
        text: bool,
    ) -> None:
        """Item ids as `ids` makes them; ``text``: those that are text may be integers."""
        self.skipped, self.gold = [tuple(row) for row in skipped], [tuple(row) for row in gold]
        self.predictions = [tuple(row) for row in predictions]
        self.comparisons = [tuple(row) for row in comparisons]
        for rows in (self.skipped, self.gold, self.predictions):
            rows[:] = _renamed(rows, lambda v: ids(v, "items", from_text=text, may_miss=True))
        if self.comparisons:
            both = [side for row in self.comparisons for side in row[:2]]
            named = ids(both, "items", from_text=text).tolist()
            self.comparisons = [
                (a, b, *row[2:]) for a, b, row in zip(named[::2], named[1::2], self.comparisons, strict=True)
            ]

    def compared(self) -> set[Any]:
        return {side for row in self.comparisons for side in row[:2]}

    def place(self, positions: Positions) -> set[int]:
        """Items as positions, without those that are unknown; returns the positions that were compared."""
        for rows in (self.skipped, self.gold, self.predictions):
            found = positions.places(np.array([row[0] for row in rows], dtype=object))
            rows[:] = [(int(p), *row[1:]) for p, row in zip(found, rows, strict=True) if p >= 0]
        sides = [positions.places(np.array([r[i] for r in self.comparisons], dtype=object)) for i in (0, 1)]
        self.comparisons = [
            (int(a), int(b), *row[2:])
            for a, b, row in zip(*sides, self.comparisons, strict=True)
            if a >= 0 and b >= 0
        ]
        return self.compared()

    def frames(self) -> dict[str, Any]:
        return {
            "skipped": _frame_of(self.skipped, ("item", "rater", "reason", "seconds")),
            "ground_truth": _frame_of(self.gold, ("item", "feature", "score")),
            "predictions": _frame_of(self.predictions, ("item", "model", "feature", "score")),
            "comparisons": _frame_of(
                self.comparisons, ("first", "second", "rater", "outcome", "seconds", "question")
            ),
        }


def _renamed(rows: list[tuple[Any, ...]], named: Callable[[list[Any]], np.ndarray]) -> list[tuple[Any, ...]]:
    if not rows:
        return []
    return [(name, *row[1:]) for name, row in zip(named([r[0] for r in rows]), rows, strict=True)]


def _frame_of(rows: Sequence[tuple[Any, ...]], names: tuple[str, ...]) -> Any:
    columns: dict[str, np.ndarray] = {}
    for i, name in enumerate(names):
        column = np.empty(len(rows), np.float64 if name in ("seconds", "score", "outcome") else object)
        column[:] = [row[i] for row in rows]
        ids_ = name in ("item", "first", "second") and len(rows) > 0
        whole = ids_ and all(isinstance(v, int | np.integer) for v in column)
        columns[name] = column.astype(np.int64) if whole else column
    return frame(columns)

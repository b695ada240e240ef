"""How far one epoch is: what was drawn, what its loop has received, and from which weights."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .ranks import ALONE, Place
from .weights import Weights


@dataclass
class Epoch:
    """One epoch, from draw ``first`` of the global sequence on."""

    number: int
    first: int = 0
    live: bool = False
    weights: Weights | None = None  # what it draws from; None until its first draw
    place: Place = ALONE  # of this process, from its first draw on
    begun: bool = False
    pinned: bool = False  # chosen by set_epoch
    tree: Any = None
    order: Any = None
    begin: int = 0  # draws of this rank before the current piece, and after it
    end: int = 0
    unit: int = 1  # draws that one element of the piece stands for
    piece: list[Any] = field(default_factory=list)
    left: Iterator[Any] = field(default_factory=lambda: iter([]))

    @property
    def taken(self) -> int:
        """Draws of this rank that its loop has received."""
        elements = len(self.piece) - operator.length_hint(self.left)
        return min(self.begin + elements * self.unit, self.end)

    def load(self, piece: list[Any], draws: int) -> Iterator[Any]:
        self.begin, self.end = self.end, self.end + draws
        self.piece, self.left = piece, iter(piece)
        return self.left

    def discard_ahead(self) -> None:
        """Drop what is drawn but not received: an iterator of a list ends where the list does."""
        self.end = self.taken
        del self.piece[len(self.piece) - operator.length_hint(self.left) :]

    def again(self) -> Epoch:
        return Epoch(self.number, self.first, self.live, self.weights)

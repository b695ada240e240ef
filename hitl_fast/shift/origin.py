"""Which sample of which data an embedding is of, for errors of the arithmetic that knows rows alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from hitl_fast._common.errors import InputError, UserError


@dataclass(frozen=True)
class Origin:
    """Where the rows of an embedding come from.

    Attributes:
        side: "clean" or "shifted".
        layer: what the embedding is.
        positions: (N,) of each row among the samples of the loader; None: all of them, in order.
    """

    side: str = "given"
    layer: str = ""
    positions: np.ndarray | None = None

    def at(self, which: np.ndarray) -> Origin:
        """Of some of the rows."""
        return replace(self, positions=which if self.positions is None else self.positions[which])

    def sample(self, row: int) -> int:
        """The position of a row's sample."""
        return row if self.positions is None else int(self.positions[row])


class Rows(Protocol):
    """Rows with an origin; see ``embedding_scores.Embedding``."""

    @property
    def origin(self) -> Origin: ...
    def largest(self) -> tuple[float, int]: ...


@contextlib.contextmanager
def named(*sides: Rows) -> Iterator[None]:
    """Give what the arithmetic raises of rows the names of their data: the side, the layer and the largest sample.

    Raises:
        ValueError: in place of another one, which is its cause.
    """
    try:
        yield
    except UserError:
        raise
    except ValueError as problem:
        raise InputError(f"{_largest(sides)}: {problem}") from problem


def refuse_too_large(*sides: Rows) -> None:
    """Refuse embeddings of which a product has left float32."""
    raise InputError(f"{_largest(sides)}: their squares, summed, are too large for float32")


def _largest(sides: tuple[Rows, ...]) -> str:
    found = [(*side.largest(), side.origin) for side in sides]
    value, row, origin = max(found, key=lambda one: one[0])
    layer = f" ({origin.layer})" if origin.layer else ""
    return f"{origin.side} embeddings{layer}, which reach {value:.3g} at sample {origin.sample(row)}"

"""`SignalData`: what is known of every sample without people, as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class SignalData:
    """What is known of every sample without people.

    Attributes:
        labels: (n,) int64 codes of the given labels.
        classes: what the codes stand for.
        quality: (n,) in (0, 1): how likely the given label is, by the other samples.
        copies: (n,) int64: near copies in the sample's group, itself included.
        table: (n, 8) float32: `COLUMNS`, each standardised and clipped at 4.
        embedding: (n, 16 or fewer) float32: principal components of the features.
        temperature, penalty: of the ridge's probabilities.
        radius: distance under which samples are near copies.
        exact: whether neighbours are exact, see `hitl_fast.ratings.neighbours`.
    """

    labels: np.ndarray
    classes: tuple[Any, ...]
    quality: np.ndarray
    copies: np.ndarray
    table: np.ndarray
    embedding: np.ndarray
    temperature: float
    penalty: float
    radius: float
    exact: bool = True

    def __len__(self) -> int:
        return int(self.labels.size)

    def automatic(self) -> np.ndarray:
        """(n,) scores in [0, 1] without people: see `Signals.priorities`."""
        u = self.quality / self.copies
        mass = np.bincount(self.labels, u, len(self.classes))
        u = u * np.sqrt(mass.min() / mass[self.labels])
        return np.asarray(np.minimum(1.0, u / np.quantile(u, 0.99)))

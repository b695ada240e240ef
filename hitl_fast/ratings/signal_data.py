"""`SignalData`: what is known of every sample without people, as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class SignalData:
    """The arrays of `Signals`, whose docstring says what they hold."""

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

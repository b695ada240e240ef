"""`SignalData`: what is known of every sample without people, as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hitl_fast._common.errors import InputError, InputTypeError


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


def checked_seed(seed: Any) -> int:
    """A seed of NumPy's generators.

    Raises:
        TypeError: it is no integer.
        ValueError: it is below 0.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise InputTypeError(f"seed must be an integer, not {seed!r:.40}")
    if seed < 0:
        raise InputError(f"seed must be 0 or more, not {seed}")
    return int(seed)

"""What the model answers for each sample: the class of the largest logit, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

NO_GUESS = -(
    2**62
)  # of a sample with a NaN logit, which is nobody's label; argmax would take NaN for the largest


class Column:
    """One value a sample, in one growing array: small blocks a batch would keep the heap from ever shrinking."""

    def __init__(self, dtype: type[np.generic]) -> None:
        self._held = np.empty(1024, dtype)
        self._size = 0

    def append(self, values: np.ndarray) -> None:
        size = self._size + len(values)
        if size > len(self._held):
            self._held = np.concatenate([self._held[: self._size], np.empty(size, self._held.dtype)])
        self._held[self._size : size] = values
        self._size = size

    @property
    def values(self) -> np.ndarray:
        return self._held[: self._size]


class Guesses:
    """Of clean (side 0) and shifted (side 1) samples: guesses, how many are right or NaN, and largest probabilities."""

    def __init__(self, kept: bool = True) -> None:
        """``kept``: the guess for every single sample is; else sums alone."""
        self._kept = kept
        self._columns = Column(np.int64), Column(np.int64)
        self._right, self._lost = [0, 0], [0, 0]
        self._count = 0  # samples that have guesses
        # Sums of the largest probability, by batch.
        self._confidence: tuple[list[float], list[float]] = ([], [])
        self._logits = 0  # how many there are of each sample

    def add(self, logits: tuple[Tensor, Tensor], labels: np.ndarray) -> None:
        """One batch; logits that are not (samples, 2 classes or more) are left out."""
        n = len(labels)
        if not all(side.ndim == 2 and len(side) == n and side.shape[1] > 1 for side in logits):
            return
        # Two transfers from the device a batch, whichever side they are of.
        sides = logits[:1] if logits[1] is logits[0] else logits
        guesses = torch.stack([_guessed(values) for values in sides]).cpu().numpy()
        largest = [values.float().softmax(1).amax(1).sum(dtype=torch.float64) for values in sides]
        confidences = torch.stack(largest).tolist()
        for side, of in enumerate((0, len(sides) - 1)):
            confidence = confidences[of]
            if self._kept:
                self._columns[side].append(guesses[of])
            self._right[side] += int((guesses[of] == labels).sum())
            self._lost[side] += int((guesses[of] == NO_GUESS).sum())
            self._confidence[side].append(confidence)
        self._count += n
        self._logits = int(logits[0].shape[1])

    def of(self, side: int, samples: int) -> np.ndarray | None:
        """(samples,) the class of the largest logit; None without logits for each of the samples."""
        values = self._columns[side].values
        return values if len(values) == samples else None

    def confidence(self, side: int, samples: int) -> float | None:
        """The mean largest probability; None without finite logits for each of the samples."""
        if not samples or self._count < samples:
            return None
        mean = math.fsum(self._confidence[side]) / samples
        return mean if math.isfinite(mean) else None

    def confidence_drop(self, samples: int) -> float | None:
        """The mean largest probability of clean samples less that of shifted ones."""
        clean, shifted = self.confidence(0, samples), self.confidence(1, samples)
        return None if clean is None or shifted is None else clean - shifted

    def numbered(self, classes: np.ndarray) -> bool:
        """Whether classes number the logits."""
        return bool(classes.size and classes.min() >= 0 and classes.max() < self._logits)

    def accuracy(self, classes: np.ndarray) -> dict[str, float] | None:
        """Share of samples whose largest logit is their label; None if the labels do not number the logits."""
        if self._count < classes.size or not self.numbered(classes):
            return None
        return {"clean": self._right[0] / classes.size, "shifted": self._right[1] / classes.size}

    def notes(self, paired: bool) -> list[str]:
        """How many samples have NaN logits, if any."""
        if not any(self._lost):
            return []
        clean, shifted = self._lost
        whose = f"{clean} clean and {shifted} shifted" if paired else f"{clean}"
        return [f"NaN among the logits of {whose} samples: they count as wrong in the accuracy"]

    def hits(self) -> dict[str, Any]:
        """What ``accuracy`` and ``confidence_drop`` are made of."""
        return {
            "right": list(self._right),
            "lost": list(self._lost),
            "of": self._count,
            "logits": self._logits,
            "confidence": [list(side) for side in self._confidence],
        }

    def take(self, parts: Sequence[Mapping[str, Any]]) -> None:
        """Replace the hits so far by the sum of such parts."""
        self._right = [sum(part["right"][side] for part in parts) for side in (0, 1)]
        self._lost = [sum(part["lost"][side] for part in parts) for side in (0, 1)]
        self._count = sum(part["of"] for part in parts)
        self._logits = max(part["logits"] for part in parts)
        clean, shifted = ([one for part in parts for one in part["confidence"][side]] for side in (0, 1))
        self._confidence = clean, shifted


def _guessed(logits: Tensor) -> Tensor:
    """(samples,) the class of the largest logit."""
    return torch.where(logits.amax(1).isnan(), NO_GUESS, logits.argmax(1))

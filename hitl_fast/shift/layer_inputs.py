"""The inputs of every layer for the first samples: what the effort score is made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class LayerInputs:
    """What entered every layer that counts, for the first samples, beside the model's answers.

    Attributes:
        inputs: by layer, one entry for each of its calls in a pass: clean and shifted (n, width) float32, means over
            positions (padding left out). The layer that made the logits is among them.
        clean_logits: (n, classes) float32; empty where the model gives no (n, classes).
        shifted_logits: the same of the shifted samples.
        labels: (n,) int64.
    """

    inputs: dict[str, tuple[list[np.ndarray], list[np.ndarray]]]
    clean_logits: np.ndarray
    shifted_logits: np.ndarray
    labels: np.ndarray


class InputStore:
    """Collects ``LayerInputs`` batch by batch, up to a number of samples.

    Memory: samples times the sum of the layers' widths, times 8 bytes (two sides in float32).
    """

    def __init__(self, most: int) -> None:
        self.most, self.samples = most, 0
        self._batch: dict[tuple[str, int], tuple[Tensor, Tensor]] = {}
        self._rows: dict[tuple[str, int], list[tuple[Tensor, Tensor]]] = {}
        self._logits: list[tuple[Tensor, Tensor]] = []
        self._labels: list[np.ndarray] = []

    @property
    def open(self) -> bool:
        """More samples are wanted."""
        return self.samples < self.most

    def forget(self) -> None:
        """Drop the rows of the batch that is under way."""
        self._batch.clear()

    def enter(self, name: str, call: int, clean: Tensor, shifted: Tensor) -> None:
        self._batch[name, call] = (clean, shifted)

    def end_batch(self, logits: tuple[Tensor, Tensor], labels: np.ndarray) -> None:
        """Keep the batch, cut to the number of samples."""
        if not self.open:
            return
        n = min(len(labels), self.most - self.samples)
        for key, (clean, shifted) in self._batch.items():
            self._rows.setdefault(key, []).append((clean[:n].cpu(), shifted[:n].cpu()))
        self._logits.append((logits[0][:n].float().cpu(), logits[1][:n].float().cpu()))
        self._labels.append(labels[:n])
        self.samples += n
        self._batch.clear()

    def result(self, left_out: set[str]) -> LayerInputs:
        """Layers that ran in every batch, those left out by name not among them."""
        inputs: dict[str, tuple[list[np.ndarray], list[np.ndarray]]] = {}
        for (name, _), blocks in self._rows.items():
            widths = {clean.shape[1] for clean, _ in blocks}
            whole = sum(len(clean) for clean, _ in blocks) == self.samples
            if name in left_out or len(widths) != 1 or not whole:
                continue
            held = inputs.setdefault(name, ([], []))
            for side, kept in enumerate(held):
                kept.append(torch.cat([block[side] for block in blocks]).numpy())
        sides = []
        for side in (0, 1):
            plain = self._logits and all(pair[side].ndim == 2 for pair in self._logits)
            sides.append(
                torch.cat([pair[side] for pair in self._logits]).numpy()
                if plain
                else np.zeros((self.samples, 0), np.float32)
            )
        labels = np.concatenate(self._labels) if self._labels else np.zeros(0, np.int64)
        return LayerInputs(inputs, sides[0], sides[1], labels)

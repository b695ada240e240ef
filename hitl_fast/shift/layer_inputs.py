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
        positions: (n,) where the samples stand among all.
    """

    inputs: dict[str, tuple[list[np.ndarray], list[np.ndarray]]]
    clean_logits: np.ndarray
    shifted_logits: np.ndarray
    labels: np.ndarray
    positions: np.ndarray

    def only(self, rows: np.ndarray) -> LayerInputs:
        """Some of the samples, by index or bool."""
        inputs = {
            name: ([X[rows] for X in ours], [X[rows] for X in theirs])
            for name, (ours, theirs) in self.inputs.items()
        }
        return LayerInputs(
            inputs,
            self.clean_logits[rows],
            self.shifted_logits[rows],
            self.labels[rows],
            self.positions[rows],
        )


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
        self._positions: list[np.ndarray] = []
        self._seen = 0

    @property
    def open(self) -> bool:
        """More samples are wanted."""
        return self.samples < self.most

    def forget(self) -> None:
        """Drop the rows of the batch that is under way."""
        self._batch.clear()

    def enter(self, name: str, call: int, clean: Tensor, shifted: Tensor) -> None:
        self._batch[name, call] = (clean, shifted)

    def end_batch(
        self, logits: tuple[Tensor, Tensor], labels: np.ndarray, known: np.ndarray | None = None
    ) -> None:
        """Keep the batch, or the samples of it whose labels are ``known``, cut to the number of samples."""
        start = self._seen
        self._seen += len(labels)
        if not self.open:
            return
        rows = np.arange(len(labels)) if known is None else np.flatnonzero(known)
        rows = rows[: self.most - self.samples]
        which: Tensor | slice = slice(len(rows)) if known is None else torch.from_numpy(rows)
        for key, (clean, shifted) in self._batch.items():
            self._rows.setdefault(key, []).append((_kept(clean, which), _kept(shifted, which)))
        self._logits.append((_kept(logits[0], which).float(), _kept(logits[1], which).float()))
        self._labels.append(labels[rows])
        self._positions.append(start + rows)
        self.samples += len(rows)
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
        labels, positions = (
            np.concatenate(held) if held else np.zeros(0, np.int64)
            for held in (self._labels, self._positions)
        )
        return LayerInputs(inputs, sides[0], sides[1], labels, positions)


def _kept(values: Tensor, which: Tensor | slice) -> Tensor:
    return values[which if isinstance(which, slice) else which.to(values.device)].cpu()

"""The inputs of every layer for some of the samples: what the effort score is made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .labelling import draw


@dataclass(frozen=True)
class LayerInputs:
    """What entered every layer that counts, for some samples, beside the model's answers.

    Attributes:
        inputs: by layer, one entry for each of its calls in a pass: clean and shifted (n, width) float32, means over
            positions (padding left out); the same arrays where one side serves as both. The layer that made the
            logits is among them.
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
            name: (picked := [X[rows] for X in ours], picked if theirs is ours else [X[rows] for X in theirs])
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

    Memory: samples times the sum of the layers' widths, times 4 bytes for each side; half more where they are drawn.

    Args:
        most: samples to keep; 0: none.
        drawn: keep a random part of all samples, as ``labelling.draw`` has it, not the first ones.
    """

    def __init__(self, most: int, *, drawn: bool = False) -> None:
        self.most, self.samples = most, 0
        self._draw = draw() if drawn else None
        self._limit = np.inf  # of the numbers drawn: larger ones are not among the smallest
        self._batch: dict[tuple[str, int], tuple[Tensor, Tensor]] = {}
        self._rows: dict[tuple[str, int], list[tuple[Tensor, Tensor]]] = {}
        self._partial: set[tuple[str, int]] = set()  # did not run in every batch, or not at one width
        self._logits: list[tuple[Tensor, Tensor]] = []
        self._labels: list[np.ndarray] = []
        self._positions: list[np.ndarray] = []
        self._numbers: list[np.ndarray] = []
        self._seen = 0

    @property
    def open(self) -> bool:
        """More samples are wanted."""
        return self.most > 0 and (self._draw is not None or self.samples < self.most)

    def forget(self) -> None:
        """Drop the rows of the batch that is under way."""
        self._batch.clear()

    def enter(self, name: str, call: int, clean: Tensor, shifted: Tensor) -> None:
        self._batch[name, call] = (clean, shifted)

    def end_batch(
        self, logits: tuple[Tensor, Tensor], labels: np.ndarray, usable: np.ndarray | None = None
    ) -> None:
        """Keep what is wanted of the batch, or of its samples that are ``usable``."""
        start = self._seen
        self._seen += len(labels)
        if not self.open:
            self._batch.clear()
            return
        rows = np.arange(len(labels)) if usable is None else np.flatnonzero(usable)
        if self._draw is None:
            rows = rows[: self.most - self.samples]
        else:
            numbers = self._draw.random(len(labels))
            rows = rows[numbers[rows] < self._limit]
            self._numbers.append(numbers[rows])
        self._add(logits, labels, rows, start)
        self._batch.clear()
        if self.samples > self.most + self.most // 2:
            self._keep_drawn()

    def result(self, left_out: set[str]) -> LayerInputs:
        """Layers that ran in every batch, those left out by name not among them."""
        if self.samples > self.most:
            self._keep_drawn()
        inputs: dict[str, tuple[list[np.ndarray], list[np.ndarray]]] = {}
        for (name, call), blocks in self._rows.items():
            if name in left_out or (name, call) in self._partial:
                continue
            ours, theirs = _joined(blocks)
            if name not in inputs:
                first: list[np.ndarray] = []
                inputs[name] = first, first if theirs is ours else []
            inputs[name][0].append(ours.numpy())
            if inputs[name][1] is not inputs[name][0]:
                inputs[name][1].append(theirs.numpy())
        clean, shifted = (torch.zeros((self.samples, 0)),) * 2
        if self._logits and all(side.ndim == 2 for pair in self._logits for side in pair):
            clean, shifted = _joined(self._logits)
        labels, positions = (
            np.concatenate(held) if held else np.zeros(0, np.int64)
            for held in (self._labels, self._positions)
        )
        return LayerInputs(inputs, clean.numpy(), shifted.numpy(), labels, positions)

    def _add(self, logits: tuple[Tensor, Tensor], labels: np.ndarray, rows: np.ndarray, start: int) -> None:
        if not len(rows):
            return
        whole = len(rows) == len(labels)
        which: Tensor | slice = slice(len(rows)) if whole else torch.from_numpy(rows)
        self._partial.update(self._rows.keys() - self._batch.keys())
        for key, pair in self._batch.items():
            before = self._rows.setdefault(key, [])
            if (not before and self._labels) or (before and before[0][0].shape[1] != pair[0].shape[1]):
                self._partial.add(key)
            if key in self._partial:
                before.clear()
            else:
                before.append(_kept(pair, which))
        clean, shifted = _kept(logits, which)
        theirs = clean.float() if shifted is clean else shifted.float()
        self._logits.append((clean.float(), theirs))
        self._labels.append(labels[rows])
        self._positions.append(start + rows)
        self.samples += len(rows)

    def _keep_drawn(self) -> None:
        """Keep the samples of the smallest numbers, in their order."""
        numbers = np.concatenate(self._numbers)
        kept = np.sort(np.argpartition(numbers, self.most - 1)[: self.most])
        which = torch.from_numpy(kept)
        for key, blocks in self._rows.items():
            if key not in self._partial:
                blocks[:] = [_kept(_joined(blocks), which)]
        plain = all(side.ndim == 2 for pair in self._logits for side in pair)
        self._logits = [_kept(_joined(self._logits), which)] if plain else self._logits[:1]
        self._labels = [np.concatenate(self._labels)[kept]]
        self._positions = [np.concatenate(self._positions)[kept]]
        self._numbers = [numbers[kept]]
        self._limit = float(numbers[kept].max())
        self.samples = self.most


def _kept(pair: tuple[Tensor, Tensor], which: Tensor | slice) -> tuple[Tensor, Tensor]:
    """Some rows of both sides, on the host; one tensor where both are the same."""
    kept = [
        side[which if isinstance(which, slice) else which.to(side.device)].cpu()
        for side in (pair[:1] if pair[1] is pair[0] else pair)
    ]
    return kept[0], kept[-1]


def _joined(blocks: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    clean = torch.cat([block[0] for block in blocks])
    if all(block[1] is block[0] for block in blocks):
        return clean, clean
    return clean, torch.cat([block[1] for block in blocks])

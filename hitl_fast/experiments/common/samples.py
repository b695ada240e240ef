"""Labelled samples as two tensors, sliced and batched together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class Samples:
    """Inputs (n, ...) of a model and their classes (n,) int64."""

    inputs: Tensor
    labels: Tensor

    def __getitem__(self, which: Tensor | slice) -> Self:
        return type(self)(self.inputs[which], self.labels[which])

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, size: int = 100) -> list[tuple[Tensor, Tensor]]:
        """(inputs, labels) in order."""
        inputs, labels = torch.split(self.inputs, size), torch.split(self.labels, size)  # type: ignore[no-untyped-call]
        return list(zip(inputs, labels, strict=True))

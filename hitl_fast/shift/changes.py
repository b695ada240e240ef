"""How much the shift changes the inputs: their root mean square change."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .inputs import Inputs

Sums = tuple[float, float, int]


class Changes:
    """The mean squared change of each sample's floating point inputs, over all batches or not at all."""

    def __init__(self) -> None:
        self._squares: list[np.ndarray] = []
        self._taken: Sums | None = None
        self.missing = ""
        self.none = True

    def add(
        self,
        clean: Inputs,
        shifted: Inputs,
        n: int,
        axes: tuple[int | None, ...],
        masks: tuple[Tensor | None, Tensor | None],
    ) -> None:
        """Add a batch of pairs."""
        total, size = torch.zeros(n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
        for a, b, axis in zip(clean.values(), shifted.values(), axes, strict=True):
            if axis is None or not (
                isinstance(a, Tensor) and isinstance(b, Tensor) and a.is_floating_point()
            ):
                continue
            self.none = False
            if a.shape == b.shape and masks == (None, None):
                left, right = (x.movedim(axis, 0).reshape(n, -1) for x in (a, b))
                total += _squares(left, right).cpu()
                size += left.shape[1]
                continue
            ours, theirs = _kept(a.movedim(axis, 0), masks[0]), _kept(b.movedim(axis, 0), masks[1])
            if [x.shape for x in ours] != [x.shape for x in theirs]:
                self.missing = f"clean inputs of shape {tuple(a.shape)} and shifted ones of {tuple(b.shape)}"
                return
            for i, (x, y) in enumerate(zip(ours, theirs, strict=True)):
                total[i] += _squares(x.reshape(1, -1), y.reshape(1, -1))[0].cpu()
                size[i] += x.numel()
        if not self.none and bool((size > 0).all()):
            self._squares.append((total / size).numpy())

    def sums(self) -> Sums:
        """The sum of the samples' finite mean squared changes so far, its rounding error, and how many there are.

        With the error, the sums of parts add up to the sum of the whole.
        """
        if self._taken is not None:
            return self._taken
        values = np.concatenate(self._squares) if self._squares else np.zeros(0)
        values = values[np.isfinite(values)]
        total = math.fsum(values)
        return total, math.fsum([*values, -total]), values.size

    def take(self, parts: Sequence[Sums]) -> None:
        """Replace the changes so far by the ``sums`` of parts."""
        values = [value for total, rest, _ in parts for value in (total, rest)]
        total = math.fsum(values)
        self._taken = total, math.fsum([*values, -total]), sum(size for *_, size in parts)
        self._squares = []

    def rms(self) -> float | None:
        """Over samples where it is finite; None without floating point inputs, or where some cannot be compared."""
        if self.missing:
            return None
        total, _, size = self.sums()
        return math.sqrt(total / size) if size else None

    @property
    def notes(self) -> list[str]:
        return [f"no input_rms: {self.missing} cannot be compared"] if self.missing else []


def _squares(a: Tensor, b: Tensor) -> Tensor:
    """(n,) float64: the sum of the squared differences of each row."""
    if a.element_size() < 4:
        a, b = a.float(), b.float()
    change = b - a
    total = change.square().sum(1, dtype=torch.float64)
    # Squares of float32 leave its range beyond 1e19, and lose their digits below 1e-15.
    doubtful = ~((total > 1e-30) & (total < torch.inf))
    if bool(doubtful.any()):
        total[doubtful] = (b[doubtful].double() - a[doubtful].double()).square().sum(1)
    return total


def _kept(values: Tensor, mask: Tensor | None) -> list[Tensor]:
    """Each sample's values, without padding where its second dimension is that of the mask."""
    if mask is None or values.ndim < 2 or values.shape[1] != mask.shape[1]:
        return list(values)
    return [row[keep] for row, keep in zip(values, mask, strict=True)]

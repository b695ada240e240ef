"""The layers that the effort score looks at: centred, brought to one mean square, and joined."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from hitl_kernels.leave_one_out_ridge.fits import self_product
from hitl_kernels.leave_one_out_ridge.path import Spectrum
from torch import Tensor

from hitl_fast._common.errors import InputError

CONSTANT = 1e-12  # centred energy of a layer, as a share of the uncentred one
BLOCK = 1 << 22  # values that are computed with at a time
FAR = 2.0**-200  # values below it, or above its inverse, are scaled
COPY_DISTANCE = 1e-5  # squared distance of near copies, as a share of the mean one


class Side:
    """The layers of one side, each centred and scaled to one mean square, joined.

    Attributes:
        features: (n, D) float64, where D <= n.
        gram: else (n, n) float64, the sum of X X' over layers.
        constant: no layer varies; there is neither then.
    """

    def __init__(self, layers: Sequence[tuple[str, Any]], n: int, device: torch.device) -> None:
        self.features: Tensor | None = None
        self.gram: Tensor | None = None
        width = sum(int(layer.shape[1]) for _, layer in layers)
        if width <= n:
            self.features = next(_joined(layers, n, width, device), None)
        else:
            for X in _joined(layers, n, max(1, BLOCK // n), device):
                part = self_product(X)
                self.gram = part if self.gram is None else self.gram.add_(part)
        self.constant = self.features is None and self.gram is None

    def spectrum(self) -> Spectrum:
        if self.gram is not None:
            return Spectrum.of_gram(self.gram)
        assert self.features is not None
        return Spectrum.of_features(self.features)

    def near_copies(self) -> Tensor:
        """(n,) whether another sample is nearly the same on every layer; None of them where all layers are constant."""
        if self.gram is not None:
            squares = self.gram.diagonal()
            distances = (squares[:, None] + squares).sub_(self.gram, alpha=2)
            distances.fill_diagonal_(torch.inf)
            return distances.amin(1) <= COPY_DISTANCE * 2 * squares.mean()
        assert self.features is not None
        X = self.features
        squares = X.square().sum(1)
        nearest = _nearest(X.float())
        return (X - X[nearest]).square().sum(1) <= COPY_DISTANCE * 2 * squares.mean()


def _nearest(X: Tensor) -> Tensor:
    """(n,) the row nearest to each, up to float32's rounding of their distance."""
    squares = X.square().sum(1)
    step = max(1, BLOCK // len(X))
    found = []
    for start in range(0, len(X), step):
        rows = X[start : start + step]
        distances = squares - 2 * (rows @ X.T)
        distances[torch.arange(len(rows)), torch.arange(start, start + len(rows))] = torch.inf
        found.append(distances.argmin(1))
    return torch.cat(found)


def _joined(
    layers: Sequence[tuple[str, Any]], n: int, columns: int, device: torch.device
) -> Iterator[Tensor]:
    """Centred X / sqrt(|X|^2 / n) of all layers that vary, beside each other, up to so many columns at a time.

    What is given is overwritten next.
    """
    held = torch.empty((n, columns), dtype=torch.float64, device=device)
    used = 0
    for name, layer in layers:
        width = layer.shape[1]
        scale = scale_of(layer, name)
        pieces = [slice(start, min(start + columns, width)) for start in range(0, width, columns)]
        if used + width > columns and used:
            yield held[:, :used]
            used = 0
        energy = _Energy()
        if len(pieces) > 1:
            for piece in pieces:
                energy.add(_centred(layer[:, piece], scale, held))
        for piece in pieces:
            X, means = _centred(layer[:, piece], scale, held[:, used:])
            if len(pieces) == 1:
                energy.add((X, means))
            if energy.constant:
                break
            X.mul_((n / energy.centred) ** 0.5)
            used += X.shape[1]
            if used == columns:
                yield held
                used = 0
    if used:
        yield held[:, :used]


class _Energy:
    """Sums of squares of a layer, before and after centring."""

    def __init__(self) -> None:
        self.centred = self._of_means = 0.0

    def add(self, piece: tuple[Tensor, Tensor]) -> None:
        X, means = piece
        self.centred += float(torch.linalg.vector_norm(X)) ** 2
        self._of_means += len(X) * float(torch.linalg.vector_norm(means)) ** 2

    @property
    def constant(self) -> bool:
        return self.centred <= CONSTANT * (self.centred + self._of_means)


def _centred(values: Any, scale: float, out: Tensor) -> tuple[Tensor, Tensor]:
    """Columns less their means, in the first columns of ``out``, and the means."""
    X = out[:, : values.shape[1]]
    if isinstance(values, Tensor):
        X.copy_(values.detach())
    elif X.is_cuda:
        X.copy_(double(values))
    else:
        X.numpy()[...] = values
    if scale != 1:
        X.mul_(scale)
    means = X.mean(0)
    return X.sub_(means), means


def scale_of(layer: Any, name: str) -> float:
    """1, or a power of two that brings the largest value near 1 where squares would leave the range of float64."""
    largest = float(abs(layer).max())
    if not math.isfinite(largest):
        wrong = np.argwhere(~np.isfinite(double(layer).cpu().numpy()))
        row, column = (int(i) for i in wrong[0])
        raise InputError(
            f"{name} must be finite, but {name}[{row}, {column}] is {float(layer[row, column])}: leave that sample out "
            "of all arguments"
        )
    if largest == 0 or FAR < largest < 1 / FAR:
        return 1.0
    return float(2.0 ** -max(math.frexp(largest)[1], -1000))


def double(values: Any) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach().double()
    return torch.from_numpy(np.array(values, np.float64, order="C"))

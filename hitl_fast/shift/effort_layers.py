"""The layers that the effort score looks at: centred, brought to one mean square, and joined."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from hitl_kernels.leave_one_out_ridge.fits import self_product
from hitl_kernels.leave_one_out_ridge.path import Spectrum
from torch import Tensor

from hitl_fast._common.errors import InputError

CONSTANT = 1e-12  # centred energy of a layer, as a share of the uncentred one
BLOCK = 1 << 22  # values that are computed with at a time
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
        if sum(int(layer.shape[1]) for _, layer in layers) <= n:
            parts = [_standardised(layer, name, device) for name, layer in layers]
            varying = [part for part in parts if part is not None]
            self.features = torch.cat(varying, 1) if varying else None
        else:
            for name, layer in layers:
                part = _layer_gram(layer, name, device)
                if part is not None:
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


def _standardised(layer: Any, name: str, device: torch.device) -> Tensor | None:
    """Centred X / sqrt(|X|^2 / n), (n, width) float64; None for a constant layer."""
    energy = _Energy()
    blocks = list(_centred_blocks(layer, name, device, energy))
    if energy.constant:
        return None
    return torch.cat(blocks, 1).mul_((len(layer) / energy.centred) ** 0.5)


def _layer_gram(layer: Any, name: str, device: torch.device) -> Tensor | None:
    """X X' n / |X|^2 of centred X; None for a constant layer."""
    gram: Tensor | None = None
    energy = _Energy()
    for X in _centred_blocks(layer, name, device, energy):
        part = self_product(X)
        gram = part if gram is None else gram.add_(part)
    assert gram is not None
    return None if energy.constant else gram.mul_(len(layer) / energy.centred)


@dataclass
class _Energy:
    """Sums of squares of a layer, before and after centring."""

    whole: float = 0.0
    centred: float = 0.0

    @property
    def constant(self) -> bool:
        return self.centred <= CONSTANT * self.whole


def _centred_blocks(layer: Any, name: str, device: torch.device, energy: _Energy) -> Iterator[Tensor]:
    """Columns of a layer less their mean, a block at a time, scaled so that their squares stay in range."""
    n, width = layer.shape
    step = max(1, BLOCK // n)
    scale = scale_of(layer, name)
    for start in range(0, width, step):
        X = double(layer[:, start : start + step]).to(device) * scale
        energy.whole += float(X.square().sum())
        X -= X.mean(0)
        energy.centred += float(X.square().sum())
        yield X


def scale_of(layer: Any, name: str) -> float:
    """A power of two that brings the largest value near 1."""
    largest = float(abs(layer).max())
    if not math.isfinite(largest):
        wrong = np.argwhere(~np.isfinite(double(layer).cpu().numpy()))
        row, column = (int(i) for i in wrong[0])
        raise InputError(
            f"{name} must be finite, but {name}[{row}, {column}] is {float(layer[row, column])}: leave that sample out "
            "of all arguments"
        )
    return 2.0 ** -max(math.frexp(largest)[1], -1000) if largest > 0 else 1.0


def double(values: Any) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach().double()
    return torch.from_numpy(np.array(values, np.float64, order="C"))

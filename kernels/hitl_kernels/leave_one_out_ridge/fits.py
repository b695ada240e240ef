"""One ridge fit, factorised once, whose leave-one-out values are computed a block of rows at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..lloyd.rows import Sliceable, read_chunks
from ..segment_sums import segment_sums
from .reference import FLOOR

BLOCK = 1 << 21  # float64 values of a block of rows: 16 MiB
# Centred features whose energy is at most this share of the uncentred one are the rounding of a constant.
ROUNDING = 1e-24
FAR = 2.0**-200  # features below it, or above its inverse, are scaled


class Targets:
    """(n, K) float64, or labels (n,) that stand for one-hot rows, which are never written out."""

    def __init__(self, values: Tensor, classes: int | None = None) -> None:
        self.values = values
        self._one_hot = classes is not None
        if classes is None:
            self.columns, self.mean = values.shape[1], values.mean(0)
        else:
            self.columns = classes
            self.mean = torch.bincount(values, minlength=classes).double() / len(values)

    def add_to(self, values: Tensor, place: slice) -> Tensor:
        """Adds the rows at ``place`` to values of their shape, which are given back."""
        if self._one_hot:
            values[torch.arange(len(values), device=values.device), self.values[place]] += 1
            return values
        return values.add_(self.values[place])

    def missed(self, place: slice, X: Tensor, weights: Tensor) -> Tensor:
        """R - m - X W of the rows at ``place``, whose features are X."""
        return self.add_to(torch.addmm(-self.mean, X, weights, alpha=-1), place)

    def products(self, X: Tensor) -> Tensor:
        """X' (R - m), (width, K), of all rows (n, width)."""
        return self.finished(self.sums(X, slice(None)), X.sum(0))

    def sums(self, X: Tensor, place: slice) -> Tensor:
        """R' X, (K, width), of the rows at ``place``: a part of what ``finished`` takes."""
        values = self.values[place]
        return segment_sums(X, values, self.columns) if self._one_hot else values.T @ X

    def finished(self, sums: Tensor, total: Tensor) -> Tensor:
        """X' (R - m) from R' X and the sum of the rows of X."""
        return sums.T - torch.outer(total, self.mean)


class Centred:
    """Rows of features less their mean in float64, a block at a time, scaled so that their squares stay in range.

    Raises:
        ValueError: a value is NaN or infinite; its position is named.
    """

    def __init__(self, features: Sliceable | Tensor, device: torch.device) -> None:
        self._features, self._device = features, device
        self.shape = int(features.shape[0]), int(features.shape[1])
        self._scale = 1.0
        self._mean = torch.zeros(self.shape[1], dtype=torch.float64, device=device)
        largest, total = 0.0, torch.zeros_like(self._mean)
        for place, rows in self._raw(0):
            largest = max(largest, _largest(place, rows))
            total += rows.sum(0)
        if largest > 0 and not FAR < largest < 1 / FAR:
            self._scale = 2.0 ** -max(math.frexp(largest)[1], -1000)
            total = sum((rows.sum(0) for _, rows in self.blocks(0)), torch.zeros_like(total))
        self._mean = mean = total / self.shape[0]
        # What the rounding of the mean alone leaves of the sum of squares.
        self.rounding = ROUNDING * self.shape[0] * float(mean.square().sum())

    def blocks(self, columns: int) -> Iterator[tuple[slice, Tensor]]:
        """Blocks of rows that are small, and small beside as many rows of ``columns`` targets."""
        for place, rows in self._raw(columns):
            yield place, (rows if self._scale == 1 else rows * self._scale) - self._mean

    def gram(self) -> Tensor:
        X = torch.cat([rows for _, rows in self.blocks(0)])
        return self_product(X)

    def _raw(self, columns: int) -> Iterator[tuple[slice, Tensor]]:
        n, step = self.shape[0], block_rows(max(self.shape[1], columns))
        if isinstance(self._features, Tensor):
            for start in range(0, n, step):
                yield slice(start, min(start + step, n)), self._features[start : start + step].double()
        elif self._features.dtype.itemsize <= 4:
            for start, part in read_chunks(self._features, step):
                yield (
                    slice(start, start + len(part)),
                    torch.from_numpy(part.astype(np.float64)).to(self._device),
                )
        else:
            for start in range(0, n, step):
                rows = np.array(self._features[start : start + step], np.float64, order="C")
                yield slice(start, start + len(rows)), torch.from_numpy(rows).to(self._device)


def _largest(place: slice, rows: Tensor) -> float:
    largest = max(abs(float(value)) for value in torch.aminmax(rows))
    if math.isfinite(largest):
        return largest
    row, column = (int(i) for i in (~torch.isfinite(rows)).nonzero()[0])
    raise ValueError(
        f"features must be finite, but features[{place.start + row}, {column}] is {float(rows[row, column])}"
    )


class Fit(Protocol):
    """A ridge fit. ``leverage`` is (n,) float64, with the 1/n of the intercept: of rows that residuals has given."""

    leverage: Tensor

    def residuals(self) -> Iterator[tuple[slice, Tensor]]:
        """R - fit, block by block."""
        ...


class Primal:
    """Features no wider than there are samples: G = X'X + rho I = LL', weights G^-1 X'(R - m), h = |L^-1 x|^2 + 1/n."""

    def __init__(self, features: Centred, targets: Targets, penalty: float) -> None:
        self._features, self._targets = features, targets
        n, width = features.shape
        gram = targets.mean.new_zeros((width, width))
        sums = targets.mean.new_zeros((targets.columns, width))
        total = targets.mean.new_zeros(width)
        for place, X in features.blocks(targets.columns):
            gram += self_product(X.T)
            sums += targets.sums(X, place)
            total += X.sum(0)
        products = targets.finished(sums, total)
        self.leverage = targets.mean.new_full((n,), 1 / n)
        self._inverse: Tensor | None = None
        factor = _cholesky(gram, penalty, features.rounding)
        if factor is None:
            self._weights = products.zero_()
            return
        self._weights = torch.cholesky_solve(products, factor)
        self._inverse = torch.linalg.solve_triangular(factor, torch.eye(width).to(factor), upper=False)

    def residuals(self) -> Iterator[tuple[slice, Tensor]]:
        targets = self._targets
        for place, X in self._features.blocks(targets.columns):
            if self._inverse is not None:
                self.leverage[place] += (X @ self._inverse.T).square_().sum(1)
            yield place, targets.missed(place, X, self._weights)


class Dual:
    """Through the centred Gram matrix: with M = rho (K + rho I)^-1, R - fit = M (R - m) and h = 1 + 1/n - diag M.

    Args:
        gram: (n, n), which is overwritten.
        rounding: a trace that is no larger is that of constant features.
    """

    def __init__(self, gram: Tensor, rounding: float, targets: Targets, penalty: float) -> None:
        n = len(gram)
        rho = penalty * float(gram.trace())
        factor = _cholesky(gram, penalty, rounding)
        self._M = (
            torch.eye(n, dtype=torch.float64, device=gram.device)
            if factor is None
            else torch.cholesky_inverse(factor).mul_(rho)
        )
        self._targets = targets
        self.leverage = 1 + 1 / n - self._M.diagonal()

    def residuals(self) -> Iterator[tuple[slice, Tensor]]:
        n = len(self._M)
        step = block_rows(max(n, self._targets.columns))
        for start in range(0, n, step):
            place = slice(start, min(start + step, n))
            yield place, self._targets.products(self._M[:, place])  # M is symmetric


def left_out(fit: Fit, targets: Targets) -> Iterator[tuple[slice, Tensor]]:
    """R - (R - fit) / max(1 - h, 1e-9), block by block."""
    for place, residuals in fit.residuals():
        rest = (1 - fit.leverage[place]).clamp(min=FLOOR)
        yield place, targets.add_to(residuals.div_(-rest[:, None]), place)


def self_product(X: Tensor) -> Tensor:
    """X X'; on a CPU through NumPy, which knows that half of it is enough."""
    if X.is_cuda:
        return X @ X.T
    rows = X.numpy()
    return torch.from_numpy(rows @ rows.T)


def block_rows(width: int) -> int:
    return max(1, BLOCK // max(width, 1))


def _cholesky(gram: Tensor, penalty: float, rounding: float) -> Tensor | None:
    """The lower factor of the penalised matrix, which is overwritten; None for constant features."""
    trace = float(gram.trace())
    if trace <= rounding:
        return None
    gram.diagonal().add_(penalty * trace)
    factor: Tensor = torch.linalg.cholesky(gram)
    return factor

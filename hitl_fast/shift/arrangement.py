"""Where the samples of a batch stand in a tensor: every way that its shape allows, and the proof of one of them.

A tensor that grows with the number of samples does so along one dimension, by the same number of entries for each
sample. A sample's entries stand together (samples first, or tokens folded into the batch) or every n-th (time first and
folded, views concatenated along the batch). Which of them it is cannot be seen in a shape. It is proved by
comparison with the values that a sample gives when it goes through the model alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Arrangement:
    """Where samples stand.

    Attributes:
        axis: the dimension that grows with the number of samples; None: the tensor is all of one sample's.
        each: entries of that dimension for each sample.
        interleaved: a sample's entries are every n-th, not adjacent.
    """

    axis: int | None
    each: int = 1
    interleaved: bool = False

    def fits(self, values: Tensor, n: int) -> bool:
        """Whether the tensor has room for n samples arranged in this way."""
        if self.axis is None:
            return n == 1
        return self.axis < values.ndim and values.shape[self.axis] == n * self.each

    def apply(self, values: Tensor, n: int) -> Tensor:
        """(n, ...) or, with more than one entry for each sample, (n, each, ...)."""
        if self.axis is None:
            return values.unsqueeze(0)
        values = values.movedim(self.axis, 0)
        if self.each == 1:
            return values
        if self.interleaved:
            return values.reshape(self.each, n, *values.shape[1:]).transpose(0, 1)
        return values.reshape(n, self.each, *values.shape[1:])


ALONE = Arrangement(None)


def arrangements(shape: tuple[int, ...], n: int, other: tuple[int, ...], m: int) -> list[Arrangement]:
    """Every arrangement in which one tensor holds n samples and the other m, n != m.

    >>> arrangements((12, 8), 4, (3, 8), 1)
    [Arrangement(axis=0, each=3, interleaved=False), Arrangement(axis=0, each=3, interleaved=True)]
    >>> arrangements((3, 8), 4, (3, 8), 1)
    []
    """
    if len(shape) != len(other):
        return []
    differing = [axis for axis, (a, b) in enumerate(zip(shape, other, strict=True)) if a != b]
    if len(differing) != 1:
        return []
    axis = differing[0]
    each, rest = divmod(shape[axis], n)
    if rest or each == 0 or other[axis] != m * each:
        return []
    return [Arrangement(axis, each, interleaved) for interleaved in ((False, True) if each > 1 else (False,))]


def tolerance(values: Tensor, coarsest: torch.dtype) -> float:
    """How much rounding may change values, as a share of the largest: the root of the unit of the coarsest type."""
    if values.is_cuda and coarsest == torch.float32 and torch.backends.cudnn.allow_tf32:
        return float(2**-5)
    return float(torch.finfo(coarsest).eps ** 0.5)


def difference(values: Tensor, others: Tensor) -> float:
    """The largest difference of two tensors of a shape, NaN and infinities in the same places left out.

    >>> difference(torch.tensor([1.0, torch.nan]), torch.tensor([1.5, torch.nan]))
    0.5
    """
    if not values.numel():
        return 0.0
    kind = torch.promote_types(torch.promote_types(values.dtype, others.dtype), torch.float32)
    largest = float((values.to(kind) - others.to(kind)).abs().max())
    if math.isfinite(largest):  # then all values are
        return largest
    a, b = (v.to(torch.float64).flatten() for v in (values, others))
    finite = torch.isfinite(a) & torch.isfinite(b)
    if not torch.allclose(a[~finite], b[~finite], equal_nan=True):
        return float("inf")
    return float((a - b)[finite].abs().max()) if bool(finite.any()) else 0.0


def magnitude(values: Tensor) -> float:
    """The largest finite magnitude.

    >>> magnitude(torch.tensor([1.0, -2.0, torch.nan, torch.inf]))
    2.0
    """
    if not values.numel():
        return 0.0
    largest = max(abs(float(value)) for value in torch.aminmax(values))
    if not math.isfinite(largest):
        # Without picking the finite ones, whose indices take eight bytes a dimension.
        largest = float(values.abs().where(torch.isfinite(values), 0).max())
    return largest

"""Draws in proportion to weights that change all the time."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hitl_kernels.philox import Purpose, Stream
from hitl_kernels.priority_tree import priority_tree

from hitl_fast._common.errors import InputError, InputTypeError

from .weights import Array, as_array, as_weights, as_whole


class PriorityTree:
    """Weights that are updated and drawn from in batches, in time logarithmic in their number.

    A tree of sums of eight: an update sets weights and sums again what is above them, a draw descends from
    the total. Nothing is adjusted by differences, so after any number of updates the tree equals, bit for
    bit, a new one of the same weights; and an item of weight 0 is never drawn.

    Args:
        weights: (items,) real numbers, finite, non-negative, not all 0, up to 10**8 of them; copied as
            float64. A NumPy array or a tensor; a CUDA tensor keeps the tree on its device. What the methods
            return is of the same kind.

    Raises:
        TypeError: weights do not hold real numbers.
        ValueError: NaN, infinity, a negative weight (its position is named), only zeros, or another shape.

    Memory: 9.2 bytes an item. Weights below 2**-1022 of the largest count as 0 as long as that one is there.

    >>> tree = PriorityTree(np.array([1.0, 0.0, 3.0, 4.0]))
    >>> index, probability = tree.sample(8, seed=0)
    >>> index.tolist()
    [0, 2, 2, 2, 3, 3, 3, 3]
    >>> probability.tolist()
    [0.125, 0.375, 0.375, 0.375, 0.5, 0.5, 0.5, 0.5]
    >>> tree.update([0, 3], [0.0, 5.0])
    >>> tree.total
    8.0
    """

    def __init__(self, weights: Array) -> None:
        self._as_tensor = isinstance(weights, torch.Tensor)
        values: Array = as_weights(weights)
        if isinstance(weights, torch.Tensor) and weights.is_cuda:
            values = torch.from_numpy(values).to(weights.device)
        self._device = values.device if isinstance(values, torch.Tensor) else None
        self._tree = priority_tree(values)

    def __len__(self) -> int:
        return self._tree.items

    def __repr__(self) -> str:
        return f"PriorityTree(items={len(self)}, total={self.total:.6g})"

    @property
    def total(self) -> float:
        """Sum of the weights; infinity where it leaves float64 (draws are right all the same)."""
        with np.errstate(over="ignore"):
            return float(np.float64(self._tree.total) / self._tree.scale)

    @property
    def weights(self) -> Array:
        """A copy of the weights as they are now: float64 (items,)."""
        leaves = self._tree.leaves[: len(self)]
        if isinstance(leaves, torch.Tensor):
            return leaves.clone()
        return self._out(leaves.copy())

    def update(self, indices: Array, weights: Array) -> None:
        """Set the weights of some items.

        Args:
            indices: (n,) integers; where an index comes twice, its last weight holds.
            weights: (n,) finite and non-negative.

        Raises:
            ValueError: an index out of range, a weight that may not be (each with its position), different
                lengths, or no positive weight left. The update is then refused as a whole.
            TypeError: indices do not hold integers or weights real numbers.
        """
        where, values = self._numbers(indices, True, "indices"), self._numbers(weights, False, "weights")
        if len(where) != len(values):
            raise InputError(f"{len(where)} indices but {len(values)} weights: one weight an index")
        self._tree.update(where, values)

    def sample(self, n: int, *, seed: int, step: int = 0) -> tuple[Array, Array]:
        """Stratified draws: one from each of n equal parts of the total, in ascending order.

        Each draw alone follows the weights, and together they cover them more evenly than independent ones:
        an item of probability p comes up floor(n p) - 1 to ceil(n p) + 1 times, n p times on average.

        Args:
            n: how many draws, at least 1.
            seed: 0 to 2**64 - 1.
            step: 0 to 2**32 - 1; another step gives other draws of the same seed.

        Returns:
            Items, int64 (n,), and the probability of each under the weights, float64 (n,). The same for the
            same weights, n, seed and step, on any device.

        Raises:
            ValueError: an argument out of range.
        """
        if n < 1:
            raise InputError(f"n is {n}, expected at least 1")
        stream = Stream(as_whole(seed, "seed", 64), as_whole(step, "step", 32), Purpose.TREE)
        index, probability = self._tree.sample(stream, n)
        return self._out(index), self._out(probability)

    def _numbers(self, values: Array, whole: bool, name: str) -> Any:
        """Checked no further than the tree does it: an update of 256 is to take microseconds."""
        if self._device is not None:
            tensor = torch.as_tensor(values, device=self._device)
            found: Any = tensor.to(torch.int64 if whole else torch.float64)
            wrong = whole and (tensor.is_floating_point() or tensor.dtype == torch.bool)
            if wrong and len(found):
                raise InputTypeError(f"{name} must hold integers, not {tensor.dtype}")
        else:
            array = as_array(values)
            if array.dtype.kind not in ("iu" if whole else "iufb") and array.size:
                raise InputTypeError(
                    f"{name} must hold {'integers' if whole else 'real numbers'}, not {array.dtype}"
                )
            found = np.ascontiguousarray(array, np.int64 if whole else np.float64)
        if found.ndim != 1:
            raise InputError(f"{name} must have shape (n,), not {tuple(found.shape)}")
        return found

    def _out(self, values: Array) -> Array:
        return torch.from_numpy(values) if self._as_tensor and isinstance(values, np.ndarray) else values

"""Weight validation, and a fingerprint that tells one version of the weights from another."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from hitl_kernels.sums import power_of_two, total

from hitl_fast._common.errors import InputError, InputTypeError

Array = np.ndarray | torch.Tensor

PIECE = 1 << 15  # items whose fingerprint is taken at once: temporaries stay in the second-level cache
MULTIPLIERS = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
STEP = np.uint64(0x9E3779B97F4A7C15)


class Weights:
    """One version of the weights, with what changes in step with them."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self.positive = int(np.count_nonzero(values))
        self.fingerprint = fingerprint(np.arange(values.size), values)
        self._log_mean: float | None = None

    @property
    def log_mean(self) -> float:
        """Logarithm of the mean weight, which itself may leave float64."""
        if self._log_mean is None:
            scale = power_of_two(float(self.values.max()))
            self._log_mean = math.log(total(self.values, scale) / self.values.size) - math.log(scale)
        return self._log_mean

    def copy(self) -> Weights:
        twin = Weights.__new__(Weights)
        twin.values, twin.positive, twin.fingerprint = self.values.copy(), self.positive, self.fingerprint
        twin._log_mean = self._log_mean
        return twin

    def positive_after(self, indices: np.ndarray, values: np.ndarray) -> int:
        before = self.values[indices]
        return self.positive + int(np.count_nonzero(values)) - int(np.count_nonzero(before))

    def update(self, indices: np.ndarray, values: np.ndarray) -> None:
        """Indices must differ from each other."""
        self.positive = self.positive_after(indices, values)
        change = fingerprint(indices, values) - fingerprint(indices, self.values[indices])
        self.fingerprint = (self.fingerprint + change) % 2**64
        self.values[indices] = values
        self._log_mean = None


def fingerprint(indices: np.ndarray, values: np.ndarray) -> int:
    """Sum over items of a 64-bit hash of index and weight: in any order, so that an update need not see all."""
    found = 0
    for begin in range(0, len(indices), PIECE):
        position = (indices[begin : begin + PIECE].astype(np.uint64) + np.uint64(1)) * STEP
        bits = values[begin : begin + PIECE].view(np.uint64)
        found += int(_mix(_mix(position) ^ bits).sum(dtype=np.uint64))
    return found % 2**64


def _mix(x: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, 2014)."""
    x = (x ^ (x >> np.uint64(30))) * MULTIPLIERS[0]
    x = (x ^ (x >> np.uint64(27))) * MULTIPLIERS[1]
    mixed: np.ndarray = x ^ (x >> np.uint64(31))
    return mixed


def as_weights(weights: Array) -> np.ndarray:
    """A float64 copy of what may serve as weights, or an error that names what may not."""
    _refuse_permuted(weights)
    values = _as_float64(weights, "weights")
    if values.size == 0:
        raise InputError("weights must have shape (items,) with items >= 1, not (0,)")
    if not values.any():
        raise InputError("weights are all 0: nothing could be drawn")
    return values


def _refuse_permuted(weights: Any) -> None:
    """A pandas Series whose index numbers the items in another order than its values stand in, as after sorting it."""
    if type(weights).__module__.partition(".")[0] != "pandas" or not hasattr(weights, "sort_index"):
        return
    index = np.asarray(weights.index)
    in_order = np.arange(index.size)
    if index.dtype.kind not in "iu" or np.array_equal(index, in_order):
        return
    if np.array_equal(np.sort(index), in_order):
        position = int((index != in_order).argmax())
        raise InputError(
            f"weights is a Series whose value {position} belongs to item {index[position]} by its index: give "
            "weights.sort_index(), or weights.to_numpy() where the items stand in the order of its values"
        )


def as_update(indices: Array | int, weights: Array | float, items: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices, each once, and their weights; of equal indices the last one's."""
    where = as_indices(np.atleast_1d(as_array(indices)), items)
    values = _as_float64(np.atleast_1d(as_array(weights)), "weights")
    if where.size != values.size:
        raise InputError(f"{where.size} indices but {values.size} weights: one weight an index")
    _, last = np.unique(where[::-1], return_index=True)
    return where[::-1][last], values[::-1][last]


def as_indices(indices: Array, items: int) -> np.ndarray:
    array = as_array(indices)
    if array.size == 0 and array.ndim == 1:
        return np.empty(0, np.int64)
    if array.dtype.kind not in "iu":
        raise InputTypeError(f"indices must hold integers, not {array.dtype}")
    if array.ndim != 1:
        raise InputError(f"indices must have shape (n,), not {array.shape}")
    outside = (array < 0) | (array >= items)
    if outside.any():
        position = int(outside.argmax())
        raise InputError(f"indices[{position}] is {array[position]}, expected 0 to {items - 1}")
    return np.asarray(array, np.int64)


def _as_float64(values: Array, name: str) -> np.ndarray:
    array = as_array(values)
    if array.dtype.kind not in "fiub":
        raise InputTypeError(f"{name} must hold real numbers, not {array.dtype}")
    if array.ndim != 1:
        raise InputError(f"{name} must have shape (n,), not {array.shape}")
    found: np.ndarray = np.add(array, 0.0, dtype=np.float64)  # a copy, in which -0.0 is 0.0
    # Two reductions, no temporaries: NaN fails either comparison.
    if found.size and not (found.min() >= 0 and found.max() < np.inf):
        position = int((~((found >= 0) & (found < np.inf))).argmax())
        raise InputError(f"{name}[{position}] is {found[position]}, expected a finite number of at least 0")
    return found


def as_array(values: Array | float) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        return values.float().numpy() if values.dtype == torch.bfloat16 else values.numpy()
    return np.asarray(values)


def as_whole(value: int, name: str, bits: int) -> int:
    """A Python integer of that many bits, or an error that names the argument."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
        raise InputTypeError(f"{name} must be an integer, not {type(value).__name__}")
    if not 0 <= value < 2**bits:
        raise InputError(f"{name} is {value}, expected 0 to 2**{bits} - 1")
    return int(value)

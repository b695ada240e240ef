"""What the models of ratings share: checks of their arguments, and ratings grouped by item."""

from __future__ import annotations

import numpy as np
import torch

from . import policy

Array = torch.Tensor | np.ndarray

MOST_BLOCKS = 64
ACCUMULATORS = 1 << 21  # float64s in the accumulators of all blocks together: 16 MiB


def as_native(*tensors: torch.Tensor) -> tuple[Array, ...]:
    """What the implementations take: CUDA tensors as they are, others as NumPy arrays."""
    return tuple(t.contiguous() if t.is_cuda else t.contiguous().numpy() for t in tensors)


def to_numpy(values: Array) -> np.ndarray:
    return values.cpu().numpy() if isinstance(values, torch.Tensor) else values


def item_and_rater(
    items: Array, raters: Array, num_items: int | None, num_raters: int | None
) -> tuple[torch.Tensor, torch.Tensor, int, int]:
    item, n_items = index(items, "items", num_items, "num_items")
    rater, n_raters = index(raters, "raters", num_raters, "num_raters")
    if item.shape != rater.shape:
        raise ValueError(f"{item.numel()} items but {rater.numel()} raters: one of each per rating")
    return item, rater, n_items, n_raters


def index(values: Array, name: str, given: int | None, given_name: str) -> tuple[torch.Tensor, int]:
    tensor = as_tensor(values)
    if tensor.dtype.is_floating_point or tensor.dtype.is_complex or tensor.dtype == torch.bool:
        raise TypeError(f"{name} must hold integers, not {tensor.dtype}")
    if tensor.ndim != 1 or tensor.numel() == 0:
        raise ValueError(f"{name} must have shape (n,) with n >= 1, not {tuple(tensor.shape)}")
    tensor = tensor.to(torch.int64)
    n = int(tensor.max()) + 1 if given is None else given
    wrong = (tensor < 0) | (tensor >= n)
    if bool(wrong.any()):
        first = int(wrong.nonzero()[0])
        limit = f"{given_name} = {n}" if given is not None else "the largest"
        raise ValueError(f"{name}[{first}] is {int(tensor[first])}: expected 0 or more and below {limit}")
    return tensor, n


def as_tensor(values: Array) -> torch.Tensor:
    """The same memory; a copy of a read-only array, which torch does not support."""
    if isinstance(values, np.ndarray) and not values.flags.writeable:
        values = values.copy()
    return torch.as_tensor(values)


def check_steps(max_steps: int, tolerance: float) -> None:
    if max_steps < 1:
        raise ValueError(f"max_steps must be 1 or more, not {max_steps}")
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be 0 or more, not {tolerance}")


def sorted_by_item(
    items: np.ndarray, raters: np.ndarray, n_items: int, n_raters: int
) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the ratings in order of (item, rater), and where each item's begin: [n_items + 1]."""
    by_rater, _ = _counting_sort(raters, n_raters)
    by_item, start = _counting_sort(items[by_rater], n_items)
    return by_rater[by_item], start


def item_blocks(start: np.ndarray, accumulators: int) -> np.ndarray:
    """First item of each block: about as many ratings in each, few enough that their accumulators fit."""
    most = max(1, min(MOST_BLOCKS, ACCUMULATORS // max(accumulators, 1), start.size - 1))
    targets = np.linspace(0, start[-1], most + 1)[1:-1]
    return np.concatenate([[0], np.searchsorted(start, targets), [start.size - 1]]).astype(np.int64)


@policy.compiled
def _counting_sort(keys: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    start = np.zeros(n + 1, np.int64)
    for j in range(keys.size):
        start[keys[j] + 1] += 1
    for i in range(n):
        start[i + 1] += start[i]
    place = start[:n].copy()
    order = np.empty(keys.size, np.int64)
    for j in range(keys.size):
        order[place[keys[j]]] = j
        place[keys[j]] += 1
    return order, start

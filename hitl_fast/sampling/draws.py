"""The global sequence of an epoch, by method: independent draws, systematic draws, draws without replacement."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from hitl_kernels.alias_table import alias_table, draw
from hitl_kernels.exponential_keys import exponential_keys, smallest
from hitl_kernels.philox import Purpose, Stream
from hitl_kernels.priority_tree import priority_tree
from hitl_kernels.systematic import systematic

from .epoch import Epoch
from .weights import Array, Weights

Method = Literal["independent", "systematic", "without_replacement"]
METHODS = ("independent", "systematic", "without_replacement")


class Draws:
    """Makes draws of any part of any epoch; keeps the alias table of the last weights."""

    def __init__(self, method: Method, num_samples: int, seed: int, device: torch.device | None) -> None:
        self.method = method
        self.num_samples = num_samples
        self.seed = seed
        self.device = device
        self._table: Array | None = None
        self._table_of: int | None = None

    def place(self, array: np.ndarray) -> Array:
        """An array on the device where the draws are made."""
        return array if self.device is None else torch.from_numpy(array).to(self.device)

    def draw(self, epoch: Epoch, weights: Weights, start: int, count: int, length: int) -> Array:
        """Draws start, start + W, ... of the epoch's sequence of ``length`` draws, W the number of ranks."""
        step = epoch.place.world_size
        if epoch.live:
            if epoch.tree is None:
                epoch.tree = priority_tree(self.place(weights.values))
            stream = Stream(self.seed, epoch.number, Purpose.LIVE)
            found: Array = epoch.tree.draw(stream, start, count, step)
            return found
        if self.method == "independent":
            if self._table is None or self._table_of != weights.fingerprint:
                self._table = self.place(alias_table(weights.values))
                self._table_of = weights.fingerprint
            return draw(self._table, Stream(self.seed, epoch.number, Purpose.DRAW), start, count, step)
        if epoch.order is None:
            epoch.order = self._order(weights.values, epoch.number, length)
        order: Array = epoch.order
        return order[start::step][:count]

    def _order(self, weights: np.ndarray, number: int, length: int) -> Array:
        """The whole epoch, and behind it draws that make the ranks' slices equally long."""
        if self.method == "systematic":
            items = systematic(weights, self.num_samples, self.seed, number)
            extra = length - self.num_samples
            if extra:
                stream = Stream(self.seed, number, Purpose.PADDING)
                items = np.concatenate([items, draw(alias_table(weights), stream, self.num_samples, extra)])
            return self.place(items)
        passes: list[Any] = []
        while length > 0:  # more than once only where padding needs more items than there are
            stream = Stream(self.seed, number, Purpose.ORDER + len(passes))
            count = min(length, int(np.count_nonzero(weights)))
            passes.append(smallest(exponential_keys(self.place(weights), stream), count))
            length -= count
        if len(passes) == 1:
            found: Array = passes[0]
            return found
        return torch.cat(passes) if self.device is not None else np.concatenate(passes)

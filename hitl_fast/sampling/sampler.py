"""Samplers for a PyTorch DataLoader that follow weights, in every epoch and on every rank."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from hitl_fast._common.errors import InputError

from .draws import Method
from .ranks import drawing_place
from .sequence import GlobalSequence
from .weights import Array, as_whole


class PrioritySampler(GlobalSequence[int]):
    """Draws items in proportion to weights: ``DataLoader(dataset, batch_size, sampler=PrioritySampler(w))``.

    Item i has the probability ``p[i] = weights[i] / sum(weights)``. An item of weight 0 is never drawn.

    - ``"independent"``: every draw by itself, with replacement (alias table).
    - ``"systematic"``: item i comes floor(n p[i]) or ceil(n p[i]) times, n p[i] times on average, in an order
      of which every permutation is equally likely. Uniform weights are a plain shuffle.
    - ``"without_replacement"``: one after another, each in proportion to the weights that are left (the
      sequential law, by exponential keys). Items come in that order, and an item's chance to be among the n
      is not proportional to its weight.

    Draw i of an epoch is a function of seed, epoch, i and the weights alone (Philox 4x32-10 keyed by seed
    and epoch, the draw number as its counter). So the sequence does not depend on workers, batch size or
    threads, rank r of W takes draws r, r + W, ... of it, and resuming costs nothing. Where W does not divide
    ``num_samples``, up to W - 1 further draws make the slices equally long. Global random state is
    neither read nor changed.

    Each iteration is the next epoch, unless ``set_epoch`` (which trainers call) or ``load_state_dict``
    comes before it. The order of "independent" draws takes 24 bytes an item, that of the others 8 to 32.

    accelerate's ``prepare``, the Hugging Face Trainer and Lightning's Trainer deal the draws of one sampler to all
    ranks. The sampler sees that and draws for all of them, so that no draw is lost; it refuses where ``rank`` and
    ``world_size`` say otherwise. Lightning with ``use_distributed_sampler=False`` gives each rank its slice.

    Args:
        weights: (items,) real numbers, finite, non-negative, not all 0; any range, as they are scaled by
            their largest. Copied as float64.
        num_samples: draws an epoch over all ranks. Default: the number of items; without replacement, of
            items of positive weight.
        method: "independent", "systematic" or "without_replacement".
        seed: 0 to 2**64 - 1.
        rank: this process among all. Default from ``torch.distributed``, asked when an epoch begins, else 0.
        world_size: how many processes; likewise, else 1.
        live: whether :meth:`update` acts on the running epoch unless told otherwise. Draws then come from
            a tree of sums, about five times as slowly.

    Raises:
        TypeError: weights do not hold real numbers, or an argument is no integer.
        ValueError: NaN, infinity, a negative weight (its position is named), only zeros, another shape,
            an argument out of range, more samples than positive weights without replacement.

    Source: Salmon et al., 2011 (Philox); Walker, 1977 (alias table); Efraimidis and Spirakis, 2006 (keys).

    >>> sampler = PrioritySampler([0.0, 1.0, 3.0], num_samples=8, method="systematic", seed=1)
    >>> np.bincount(list(sampler)).tolist()
    [0, 2, 6]
    >>> first, second = list(sampler), list(sampler)  # epochs 1 and 2
    >>> sampler.set_epoch(1)
    >>> list(sampler) == first
    True
    """

    def __init__(
        self,
        weights: Array,
        num_samples: int | None = None,
        method: Method = "independent",
        seed: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
        *,
        live: bool = False,
    ) -> None:
        super().__init__(weights, num_samples, method, seed, rank, world_size, live)

    def __len__(self) -> int:
        """Draws of this rank in a whole epoch."""
        return self._draws_from(0, drawing_place(self._given_place).world_size)

    def __repr__(self) -> str:
        return (
            f"PrioritySampler(items={self.num_items}, num_samples={self.num_samples}, method={self.method!r}, "
            f"seed={self.seed}, epoch={self.epoch}, rank={self.rank} of {self.world_size})"
        )

    def _pack(self, items: Array) -> list[Any]:
        return items.tolist()


class PriorityBatchSampler(GlobalSequence[torch.Tensor]):
    """The sequence of :class:`PrioritySampler` as index tensors, for data that lie in memory.

    ``for index in sampler: train(images[index], labels[index])``, with no Python integer in between; or
    ``DataLoader(TensorDataset(...), sampler=sampler, batch_size=None)``.

    Args:
        weights: as in PrioritySampler, and so are all arguments not named here.
        batch_size: items a batch and rank, at least 1. The last batch may be shorter.
        drop_last: leave that one out.
        device: where the tensors are to be; draws are made there. The sequence is the same on each.

    >>> for index in PriorityBatchSampler([0.0, 1.0, 0.0, 1.0], 2, method="without_replacement"):
    ...     print(sorted(index.tolist()))
    [1, 3]
    """

    def __init__(
        self,
        weights: Array,
        batch_size: int,
        num_samples: int | None = None,
        method: Method = "independent",
        seed: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
        *,
        drop_last: bool = False,
        device: torch.device | str = "cpu",
        live: bool = False,
    ) -> None:
        self._unit = self.batch_size = as_whole(batch_size, "batch_size", 62)
        if batch_size == 0:
            raise InputError("batch_size is 0, expected at least 1")
        self.drop_last = drop_last
        self._device = None if torch.device(device).type == "cpu" else torch.device(device)
        super().__init__(weights, num_samples, method, seed, rank, world_size, live)

    def __len__(self) -> int:
        """Batches of this rank in a whole epoch."""
        return -(-self._draws_from(0, drawing_place(self._given_place).world_size) // self.batch_size)

    def __repr__(self) -> str:
        return (
            f"PriorityBatchSampler(items={self.num_items}, num_samples={self.num_samples}, "
            f"batch_size={self.batch_size}, method={self.method!r}, seed={self.seed}, epoch={self.epoch}, "
            f"rank={self.rank} of {self.world_size})"
        )

    def _draws_from(self, position: int, world_size: int) -> int:
        draws = super()._draws_from(position, world_size)
        return draws // self.batch_size * self.batch_size if self.drop_last else draws

    def _pack(self, items: Array) -> list[Any]:
        tensor = items if isinstance(items, torch.Tensor) else torch.from_numpy(np.ascontiguousarray(items))
        return list(torch.split(tensor, self.batch_size))

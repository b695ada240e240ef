"""Samplers for a PyTorch DataLoader that follow weights, epoch for epoch and rank for rank."""

from __future__ import annotations

import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from hitl_kernels.alias_table import alias_table, draw
from hitl_kernels.exponential_keys import exponential_keys, smallest
from hitl_kernels.philox import Purpose, Stream
from hitl_kernels.priority_tree import priority_tree
from hitl_kernels.systematic import systematic
from torch.utils.data import Sampler

from hitl_fast._common.errors import InputError, InputTypeError

from .weights import Array, Weights, as_indices, as_update, as_weights, as_whole

Method = Literal["independent", "systematic", "without_replacement"]
METHODS = ("independent", "systematic", "without_replacement")
STATE_VERSION = 1
CHUNK = 1 << 16  # draws made at once
LIVE_CHUNK = 256  # fewer where an update may overtake them: they are thrown away then

T = TypeVar("T")


@dataclass
class _Epoch:
    """One epoch on its way, from draw ``first`` of the global sequence."""

    number: int
    first: int = 0
    live: bool = False
    weights: Weights | None = None  # what it draws from; not settled before its first draw
    begun: bool = False
    pinned: bool = False  # asked for by set_epoch
    tree: Any = None
    order: Any = None
    begin: int = 0  # draws of this rank before the piece at hand, and after it
    end: int = 0
    unit: int = 1  # draws that one element of the piece stands for
    piece: list[Any] = field(default_factory=list)
    left: Iterator[Any] = field(default_factory=lambda: iter([]))

    @property
    def taken(self) -> int:
        """Draws of this rank that its loop has received."""
        elements = len(self.piece) - operator.length_hint(self.left)
        return min(self.begin + elements * self.unit, self.end)

    def load(self, piece: list[Any], draws: int) -> Iterator[Any]:
        self.begin, self.end = self.end, self.end + draws
        self.piece, self.left = piece, iter(piece)
        return self.left

    def cut(self) -> None:
        """Throw away what is drawn but not received: an iterator of a list ends where the list does."""
        self.end = self.taken
        del self.piece[len(self.piece) - operator.length_hint(self.left) :]

    def again(self) -> _Epoch:
        return _Epoch(self.number, self.first, self.live, self.weights, unit=self.unit)


class _Sequence(Sampler[T], ABC):
    """One global sequence of items an epoch, of which each rank takes its slice."""

    _unit = 1
    _device: torch.device | None = None

    def __init__(
        self,
        weights: Array,
        num_samples: int | None,
        method: Method,
        seed: int,
        rank: int | None,
        world_size: int | None,
        live: bool,
    ) -> None:
        if method not in METHODS:
            raise InputError(f"method is {method!r}, expected one of {', '.join(METHODS)}")
        if live and method != "independent":
            raise InputError(
                f"live=True needs method='independent', not {method!r}: its order is drawn at once"
            )
        self._weights = Weights(as_weights(weights))
        self.method: Method = method
        self.seed = as_whole(seed, "seed", 64)
        self.live = live
        self.rank, self.world_size = _place_among_ranks(rank, world_size)
        self.num_samples = self._checked_samples(num_samples)
        self._running = _Epoch(0, live=live)
        self._table: Array | None = None
        self._table_of: int | None = None

    def _checked_samples(self, num_samples: int | None) -> int:
        without = self.method == "without_replacement"
        if num_samples is None:
            return self._weights.positive if without else self.num_items
        count = as_whole(num_samples, "num_samples", 62)
        if count == 0:
            raise InputError("num_samples is 0, expected at least 1")
        if without and count > self._weights.positive:
            raise InputError(
                f"num_samples is {count}, but only {self._weights.positive} items have a positive weight: "
                "without replacement there is no more to draw"
            )
        return count

    @property
    def num_items(self) -> int:
        return int(self._weights.values.size)

    @property
    def epoch(self) -> int:
        """The epoch that is running, or that the next iteration starts or resumes."""
        return self._running.number

    @property
    def weights(self) -> np.ndarray:
        """The weights with every update so far, read-only: float64 (items,)."""
        return _read_only(self._weights.values)

    @property
    def epoch_weights(self) -> np.ndarray:
        """The weights that the running epoch draws from, without updates that wait for the next; read-only."""
        return _read_only((self._running.weights or self._weights).values)

    def __iter__(self) -> Iterator[T]:
        # Loaders may ask for an iterator and drop it undrawn, so an epoch is over only when one was drawn from.
        epoch = self._running
        if epoch.begun:
            epoch = self._running = _Epoch(epoch.number + 1, live=self.live)
        elif not epoch.pinned and self._draws_from(epoch.first) == 0:
            epoch.begun = True  # the state of a finished epoch was loaded: nothing is left of it, once
        # A chain of list iterators runs in C; a generator's frame for each item would double its cost.
        return chain.from_iterable(self._pieces(epoch))

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the next iteration is, as with DistributedSampler.

        Without it each iteration is the next epoch. A position that ``load_state_dict`` restored is kept if
        it is of this epoch and nothing was drawn since.

        Args:
            epoch: 0 to 2**32 - 1.
        """
        number = as_whole(epoch, "epoch", 32)
        if self._running.begun or self._running.number != number:
            self._running = _Epoch(number, live=self.live)
        self._running.pinned = True

    def state_dict(self, consumed: int | None = None) -> dict[str, Any]:
        """Where the sequence is: a few numbers and one string, whatever the number of items.

        Args:
            consumed: this rank's draws of the running epoch that training has used, where a loader with
                workers has read ahead (``batches * batch_size``). Left out: the draws handed out, which is
                right without workers, and inside ``torchdata.stateful_dataloader.StatefulDataLoader``.
        """
        epoch = self._running
        taken = epoch.taken
        if consumed is not None:
            taken = as_whole(consumed, "consumed", 62) - epoch.first // self.world_size
            if not 0 <= taken <= epoch.taken:
                first = epoch.first // self.world_size
                raise InputError(f"consumed is {consumed}, expected {first} to {first + epoch.taken}")
        position = epoch.first + taken * self.world_size
        over = self._draws_from(position) == 0
        weights = self._weights if over or epoch.weights is None else epoch.weights
        return {
            "version": STATE_VERSION,
            "method": self.method,
            "num_items": self.num_items,
            "num_samples": self.num_samples,
            "seed": self.seed,
            "epoch": epoch.number,
            "position": position,
            "live": epoch.live,
            "weights": f"{weights.fingerprint:016x}",
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where :meth:`state_dict` was taken, by any rank; the number of ranks may be another.

        The sampler must have been built with the same seed, method and number of samples, and with the
        weights that the epoch draws from: ``epoch_weights`` in the middle of one, ``weights`` at its end.

        Raises:
            TypeError: the state is not a dictionary.
            ValueError: a state of another version, seed, method, size or other weights; what differs is
                named, and nothing has changed.
        """
        epoch = self._epoch_of(state)
        self._running = epoch

    def _epoch_of(self, state: dict[str, Any]) -> _Epoch:
        if not isinstance(state, dict):
            raise InputTypeError(f"state must be a dictionary from state_dict, not {type(state).__name__}")
        mine = self.state_dict()
        missing = [name for name in mine if name not in state]
        if missing:
            raise InputError(f"state has no {missing[0]!r}: it is not of a sampler of hitl_fast")
        for name in ("version", "method", "num_items", "num_samples", "seed"):
            if state[name] != mine[name]:
                raise InputError(f"state is of {name} {state[name]!r}, this sampler is of {mine[name]!r}")
        number, first = as_whole(state["epoch"], "epoch", 32), as_whole(state["position"], "position", 62)
        over = self._draws_from(first) == 0
        known = [self._weights] if over else [self._weights, self._running.weights]
        found = next((w for w in known if w and f"{w.fingerprint:016x}" == state["weights"]), None)
        if found is None:
            raise InputError(
                f"state is of other weights (fingerprint {state['weights']}, here {mine['weights']}): build the "
                "sampler from the weights that the epoch draws from, load the state, then update"
            )
        settled = found if first > 0 and not over else None
        return _Epoch(number, first, bool(state["live"]), settled)

    def update(self, indices: Array | int, weights: Array | float, live: bool | None = None) -> None:
        """Set the weights of some items, from the next epoch on or (``live``) from the next draw on.

        Live, this iterator's next item already follows the new weights: what it had drawn ahead is drawn
        again, from a tree of sums. A loader reads ahead on its own, ``num_workers * prefetch_factor``
        batches (2 a worker unless told otherwise, none without workers), and those keep the old ones. On
        several ranks make the same updates at the same draws, or their sequences are no longer one.

        Args:
            indices: (n,) integers, or one; where an index comes twice, its last weight holds.
            weights: (n,) finite and non-negative, or one number.
            live: whether the running epoch is to follow; as the sampler was built if left out. For
                ``method="independent"`` alone, as the other orders are drawn before the epoch begins.

        Raises:
            ValueError: an index out of range, a weight that may not be (each with its position), different
                lengths, or too few positive weights left. The update is then refused as a whole.
            TypeError: indices do not hold integers or weights real numbers.
        """
        follow = self.live if live is None else live
        if follow and self.method != "independent":
            raise InputError(f"live=True needs method='independent', not {self.method!r}")
        where, values = as_update(indices, weights, self.num_items)
        epoch = self._running
        current = self._weights
        versions = [current]
        if follow and epoch.weights is not None and epoch.weights is not current:
            versions.append(epoch.weights)
        for version in versions:
            self._check_enough(version.positive_after(where, values))
        if epoch.weights is current and not follow:
            self._weights = current.copy()
            versions = [self._weights]
        for version in versions:
            version.update(where, values)
        if follow and epoch.weights is not None:
            epoch.live = True
            if epoch.tree is not None:
                epoch.tree.update(self._place(where), self._place(values))
            epoch.cut()

    def _check_enough(self, positive: int) -> None:
        needed = self.num_samples if self.method == "without_replacement" else 1
        if positive < needed:
            raise InputError(
                f"the update would leave {positive} items of positive weight, {needed} are needed; "
                "it is refused as a whole"
            )

    def importance_weights(self, indices: Array, beta: float = 1.0, floor: float = 0.0) -> Array:
        """What to multiply each sample's loss by, so that the weighting of the draws is undone.

        ``(N p[i]) ** -beta`` divided by its mean over ``indices``, with p[i] the probability of item i under
        the weights of the running epoch (live: as they are now). The mean over the batch is 1: no single
        rare item sets the scale for all, as it does where the maximum is made 1.

        Args:
            indices: (n,) items of one batch.
            beta: 1 undoes the weighting, 0 leaves it alone.
            floor: p[i] is taken to be at least ``floor / N``, which bounds what one rare item may count.

        Returns:
            float64 (n,), positive, of mean 1; an array, or a tensor on the device of ``indices``.

        Raises:
            ValueError: an index out of range, or of an item of weight 0 (never drawn) without a floor.
            TypeError: indices do not hold integers.

        >>> sampler = PrioritySampler([1.0, 3.0])
        >>> sampler.importance_weights(np.array([0, 1]))
        array([1.5, 0.5])
        """
        where = as_indices(indices, self.num_items)
        if not math.isfinite(beta):
            raise InputError(f"beta is {beta}, expected a finite number")
        if not 0.0 <= floor <= 1.0:
            raise InputError(f"floor is {floor}, expected 0 to 1")
        weights = self._running.weights or self._weights
        values = weights.values[where]
        if floor == 0.0 and not values.all():
            position = int((values == 0).argmax())
            raise InputError(
                f"indices[{position}] is item {where[position]} of weight 0, which is never drawn; give a floor"
            )
        # Logarithms, as N p may leave float64 where weights are far apart.
        with np.errstate(divide="ignore"):
            log_np = np.maximum(np.log(values) - weights.log_mean, np.log(floor))
        found = np.exp(-beta * log_np - (-beta * log_np).max(initial=-np.inf))
        found = found / found.mean() if found.size else found
        return torch.from_numpy(found).to(indices.device) if isinstance(indices, torch.Tensor) else found

    def _draws_from(self, position: int) -> int:
        """Draws of each rank from a position of the global sequence to the end of the epoch."""
        return -(-max(self.num_samples - position, 0) // self.world_size)

    def _pieces(self, epoch: _Epoch) -> Iterator[Iterator[T]]:
        if epoch.begun:  # by another iterator
            epoch = epoch.again()
        epoch.begun = True
        epoch.unit = self._unit
        if epoch.weights is None:
            epoch.weights = self._weights
        length = self._draws_from(epoch.first)
        while epoch.end < length:
            most = LIVE_CHUNK if epoch.live else CHUNK
            count = min(max(most // self._unit, 1) * self._unit, length - epoch.end)
            start = epoch.first + epoch.end * self.world_size + self.rank
            yield epoch.load(self._pack(self._draw(epoch, epoch.weights, start, count)), count)

    @abstractmethod
    def _pack(self, items: Array) -> list[Any]:
        """What the iterator yields of these draws, one after another."""

    def _place(self, array: np.ndarray) -> Array:
        """An array where the draws are made."""
        return array if self._device is None else torch.from_numpy(array).to(self._device)

    def _draw(self, epoch: _Epoch, weights: Weights, start: int, count: int) -> Array:
        """Draws start, start + world_size, ... of the epoch's global sequence."""
        if epoch.live:
            if epoch.tree is None:
                epoch.tree = priority_tree(self._place(weights.values))
            stream = Stream(self.seed, epoch.number, Purpose.LIVE)
            found: Array = epoch.tree.draw(stream, start, count, self.world_size)
            return found
        if self.method == "independent":
            if self._table is None or self._table_of != weights.fingerprint:
                self._table = self._place(alias_table(weights.values))
                self._table_of = weights.fingerprint
            stream = Stream(self.seed, epoch.number, Purpose.DRAW)
            return draw(self._table, stream, start, count, self.world_size)
        if epoch.order is None:
            padded = epoch.first + self._draws_of_all(epoch.first)
            epoch.order = self._order(weights.values, epoch.number, padded)
        order: Array = epoch.order
        return order[start :: self.world_size][:count]

    def _draws_of_all(self, position: int) -> int:
        return _Sequence._draws_from(self, position) * self.world_size

    def _order(self, weights: np.ndarray, number: int, padded: int) -> Array:
        """The whole epoch, and behind it draws that make the ranks' slices equally long."""
        extra = padded - self.num_samples
        if self.method == "systematic":
            items = systematic(weights, self.num_samples, self.seed, number)
            if extra:
                stream = Stream(self.seed, number, Purpose.PADDING)
                items = np.concatenate([items, draw(alias_table(weights), stream, self.num_samples, extra)])
            return self._place(items)
        passes: list[Any] = []
        while padded > 0:  # more than once only where padding needs more items than there are
            stream = Stream(self.seed, number, Purpose.ORDER + len(passes))
            count = min(padded, int(np.count_nonzero(weights)))
            passes.append(smallest(exponential_keys(self._place(weights), stream), count))
            padded -= count
        if len(passes) == 1:
            found: Array = passes[0]
            return found
        return torch.cat(passes) if self._device is not None else np.concatenate(passes)


class PrioritySampler(_Sequence[int]):
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

    With accelerate's ``prepare``, which deals the batches of one sampler to all ranks, say ``rank=0,
    world_size=1``; with Lightning's Trainer ``use_distributed_sampler=False`` and nothing more.

    Args:
        weights: (items,) real numbers, finite, non-negative, not all 0; any range, as they are scaled by
            their largest. Copied as float64.
        num_samples: draws an epoch over all ranks. Default: the number of items; without replacement, of
            items of positive weight.
        method: "independent", "systematic" or "without_replacement".
        seed: 0 to 2**64 - 1.
        rank: this process among all; default from ``torch.distributed`` if initialised, else 0.
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
        return self._draws_from(0)

    def __repr__(self) -> str:
        return (
            f"PrioritySampler(items={self.num_items}, num_samples={self.num_samples}, method={self.method!r}, "
            f"seed={self.seed}, epoch={self.epoch}, rank={self.rank} of {self.world_size})"
        )

    def _pack(self, items: Array) -> list[Any]:
        return items.tolist()


class PriorityBatchSampler(_Sequence[torch.Tensor]):
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
        return -(-self._draws_from(0) // self.batch_size)

    def __repr__(self) -> str:
        return (
            f"PriorityBatchSampler(items={self.num_items}, num_samples={self.num_samples}, "
            f"batch_size={self.batch_size}, method={self.method!r}, seed={self.seed}, epoch={self.epoch}, "
            f"rank={self.rank} of {self.world_size})"
        )

    def _draws_from(self, position: int) -> int:
        draws = super()._draws_from(position)
        return draws // self.batch_size * self.batch_size if self.drop_last else draws

    def _pack(self, items: Array) -> list[Any]:
        tensor = items if isinstance(items, torch.Tensor) else torch.from_numpy(np.ascontiguousarray(items))
        return list(torch.split(tensor, self.batch_size))


def _place_among_ranks(rank: int | None, world_size: int | None) -> tuple[int, int]:
    if rank is None and world_size is None:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return 0, 1
    if rank is None or world_size is None:
        raise InputError(f"rank is {rank} and world_size {world_size}: give both, or neither")
    ranks = as_whole(world_size, "world_size", 31)
    if not as_whole(rank, "rank", 31) < ranks:
        raise InputError(f"rank is {rank}, expected 0 to world_size - 1 = {ranks - 1}")
    return int(rank), ranks


def _read_only(values: np.ndarray) -> np.ndarray:
    view = values.view()
    view.flags.writeable = False
    return view

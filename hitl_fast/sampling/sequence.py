"""One global sequence of items an epoch, of which every rank reads its slice and which resumes anywhere."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import chain
from typing import Any, TypeVar

import numpy as np
import torch
from torch.utils.data import Sampler

from hitl_fast._common.errors import InputError, InputTypeError

from .draws import METHODS, Draws, Method
from .epoch import Epoch
from .importance import importance_weights
from .ranks import Place, drawing_place, given_place, process_place
from .source import Source, asked, changed
from .state import STATE_VERSION, State, read_state
from .weights import Array, Weights, as_update, as_weights, as_whole

CHUNK = 1 << 16  # draws made at once
LIVE_CHUNK = 256  # fewer where an update may overtake them: they are thrown away then

T = TypeVar("T")


class GlobalSequence(Sampler[T], ABC):
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
        self._given_place = given_place(rank, world_size)
        self.num_samples = self._checked_samples(num_samples)
        self._running = Epoch(0, live=live)
        self._draws = Draws(method, self.num_samples, self.seed, self._device)
        self._source: Source | None = None

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
    def rank(self) -> int:
        """This process among all: as given, else as ``torch.distributed`` says now."""
        return self._place.rank

    @property
    def world_size(self) -> int:
        """How many processes share the draws: as given, else as ``torch.distributed`` says now."""
        return self._place.world_size

    @property
    def _place(self) -> Place:
        return self._given_place or process_place()

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
        place = drawing_place(self._given_place)
        epoch = self._running
        if epoch.begun:
            epoch = self._running = Epoch(epoch.number + 1, live=self.live)
        elif not epoch.pinned and self._draws_from(epoch.first, place.world_size) == 0:
            epoch.begun = True  # the state of a finished epoch was loaded: nothing is left of it, once
        # A chain of list iterators runs in C; a generator's frame for each item would double its cost.
        return chain.from_iterable(self._pieces(epoch, place))

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration, as with DistributedSampler.

        Without it each iteration is the next epoch. A position that ``load_state_dict`` restored is kept if
        it is of this epoch and nothing was drawn since.

        Args:
            epoch: 0 to 2**32 - 1.
        """
        number = as_whole(epoch, "epoch", 32)
        if self._running.begun or self._running.number != number:
            self._running = Epoch(number, live=self.live)
        self._running.pinned = True

    def state_dict(self, consumed: int | None = None) -> State:
        """The position in the sequence: a few numbers and one string, whatever the number of items.

        Args:
            consumed: this rank's draws of the running epoch that training has used, where a loader with
                workers has read ahead (``batches * batch_size``). Left out: the draws handed out, which is
                right without workers, and inside ``torchdata.stateful_dataloader.StatefulDataLoader``.
        """
        epoch = self._running
        ranks = (epoch.place if epoch.begun else self._place).world_size
        taken = epoch.taken
        if consumed is not None:
            first = epoch.first // ranks
            taken = as_whole(consumed, "consumed", 62) - first
            if not 0 <= taken <= epoch.taken:
                raise InputError(f"consumed is {consumed}, expected {first} to {first + epoch.taken}")
        position = epoch.first + taken * ranks
        over = self._draws_from(position, ranks) == 0
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

    def load_state_dict(self, state: State) -> None:
        """Continue where :meth:`state_dict` was taken, by any rank; the number of ranks may be another.

        The sampler must have been built with the same seed, method and number of samples, and with the
        weights that the epoch draws from: ``epoch_weights`` in the middle of one, ``weights`` at its end.

        Raises:
            TypeError: the state is not a dictionary.
            ValueError: a state of a newer version, of another seed, method, size or other weights; what differs
                is named, and nothing has changed.
        """
        epoch = self._epoch_of(state)
        self._running = epoch

    def _epoch_of(self, state: State) -> Epoch:
        own = self.state_dict()
        found_state = read_state(state, own)
        number = as_whole(found_state["epoch"], "epoch", 32)
        first = as_whole(found_state["position"], "position", 62)
        over = self._draws_from(first, self.world_size) == 0
        known = [self._weights] if over else [self._weights, self._running.weights]
        found = next((w for w in known if w and f"{w.fingerprint:016x}" == found_state["weights"]), None)
        if found is None and self._source is not None:
            followed = self._followed(number, self._place)
            if f"{followed.fingerprint:016x}" == found_state["weights"]:
                found = self._weights = followed
        if found is None:
            raise InputError(
                f"state has other weights (fingerprint {found_state['weights']}, here {own['weights']}): build the "
                "sampler from the weights that the epoch draws from, load the state, then update"
            )
        settled = found if first > 0 and not over else None
        return Epoch(number, first, bool(found_state["live"]), settled)

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
                epoch.tree.update(self._draws.place(where), self._draws.place(values))
            epoch.discard_ahead()

    def follow(self, source: Source | None) -> None:
        """Ask a callable for weights at the start of each epoch, such as `hitl_fast.LiveRatings`.

        ``source(epoch)`` returns all weights (items,), a tuple ``(indices, weights)`` of those that changed, or None
        where nothing changed. It is called once before an epoch's first draw. Where torch.distributed is initialised
        the first process asks and the others get its weights; otherwise, and to resume, the source must give the same
        weights for the same epoch whenever it is asked: ``load_state_dict`` in the middle of an epoch asks again.

        Args:
            source: the callable; None stops following and leaves the weights as they are.

        Raises:
            TypeError: it cannot be called. What it returns is checked when an epoch starts, as in ``update``.

        >>> from hitl_fast.sampling import PrioritySampler
        >>> sampler = PrioritySampler([1.0, 1.0], num_samples=4)
        >>> sampler.follow(lambda epoch: [0.0, 1.0] if epoch == 1 else None)
        >>> _, second = list(sampler), list(sampler)
        >>> second
        [1, 1, 1, 1]
        """
        if source is not None and not callable(source):
            raise InputTypeError(f"source must be callable or None, not {type(source).__name__}")
        self._source = source

    def _followed(self, number: int, place: Place) -> Weights:
        """The weights of an epoch that begins."""
        if self._source is None:
            return self._weights
        weights = changed(self._weights, asked(self._source, number, place))
        self._check_enough(weights.positive)
        return weights

    def _check_enough(self, positive: int) -> None:
        needed = self.num_samples if self.method == "without_replacement" else 1
        if positive < needed:
            raise InputError(
                f"the update would leave {positive} items of positive weight, {needed} are needed; "
                "it is refused as a whole"
            )

    def importance_weights(self, indices: Array, beta: float = 1.0, floor: float = 0.0) -> Array:
        """Factors of each sample's loss that undo the weighting of the draws.

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

        >>> import hitl_fast as hf
        >>> sampler = hf.PrioritySampler([1.0, 3.0])
        >>> sampler.importance_weights(np.array([0, 1]))
        array([1.5, 0.5])
        """
        return importance_weights(self._running.weights or self._weights, indices, beta, floor)

    def _draws_from(self, position: int, world_size: int) -> int:
        """Draws of each rank from a position of the global sequence to the end of the epoch."""
        return -(-max(self.num_samples - position, 0) // world_size)

    def _pieces(self, epoch: Epoch, place: Place) -> Iterator[Iterator[T]]:
        if epoch.begun:  # by another iterator
            epoch = epoch.again()
        epoch.begun = True
        epoch.unit = self._unit
        epoch.place = place
        if epoch.weights is None:
            epoch.weights = self._weights = self._followed(epoch.number, place)
        ranks = place.world_size
        own = self._draws_from(epoch.first, ranks)
        padded = epoch.first + GlobalSequence._draws_from(self, epoch.first, ranks) * ranks
        while epoch.end < own:
            most = LIVE_CHUNK if epoch.live else CHUNK
            count = min(max(most // self._unit, 1) * self._unit, own - epoch.end)
            start = epoch.first + epoch.end * ranks + place.rank
            drawn = self._draws.draw(epoch, epoch.weights, start, count, padded)
            yield epoch.load(self._pack(drawn), count)

    @abstractmethod
    def _pack(self, items: Array) -> list[Any]:
        """What the iterator yields of these draws, one after another."""


def _read_only(values: np.ndarray) -> np.ndarray:
    view = values.view()
    view.flags.writeable = False
    return view

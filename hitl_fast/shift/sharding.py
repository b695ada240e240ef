"""One rank's part of a loader: whole batches, none twice, none left out."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any

import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from hitl_fast._common.errors import InputError, InputTypeError

ORDERS = ("contiguous", "strided")


def sharded(
    loader: Iterable[Any],
    *,
    order: str | None = None,
    group: Any = "world",
    rank: int | None = None,
    world_size: int | None = None,
) -> Sharded:
    """This rank's batches of a loader: every batch goes to one rank, nothing is padded, repeated or dropped.

    Rank r of W gets the batches r B // W to (r + 1) B // W of B ("contiguous"), or every W-th from r ("strided").
    Batches stay whole, so that a model sees what it would see in one process. A rank may get none. A DataLoader
    loads this rank's batches only; any other iterable is read as far as needed, and the others' batches dropped.

    Args:
        loader: a DataLoader that does not shuffle, or any iterable of batches; the same on every rank.
        order: "contiguous" or "strided"; default: "contiguous" where the loader has a length, else "strided".
        group: "world" or a torch.distributed ProcessGroup. Without a process group the whole loader is one part.
        rank: of this process, where torch.distributed does not know it; with ``world_size``.
        world_size: number of ranks.

    Returns:
        Sharded, an iterable of batches. Give it to ``preindex`` with ``group=``, which then knows each sample's
        position among all.

    Raises:
        ValueError: a loader that shuffles or is sharded already, order is none, "contiguous" for a loader without a
            length, rank and world_size that do not fit, torchrun started this process but there is no process group
            yet.
        TypeError: loader is not iterable.

    >>> batches = [(torch.zeros(2, 3), torch.arange(2))] * 5
    >>> [len(sharded(batches, rank=rank, world_size=2)) for rank in (0, 1)]
    [2, 3]
    """
    if not isinstance(loader, Iterable):
        raise InputTypeError(f"loader must yield batches, not be a {type(loader).__name__}")
    if isinstance(loader, Sharded):
        raise InputError(
            f"loader is sharded already, rank {loader.rank} of {loader.world_size}: parts of a part leave samples out"
        )
    if isinstance(getattr(loader, "sampler", None), DistributedSampler):
        raise InputError(
            "loader has a DistributedSampler, which deals the samples already (and repeats some): give a loader without"
        )
    shuffling = shuffling_sampler(loader)
    if shuffling:
        raise InputError(
            f"loader shuffles (its sampler is a {shuffling}), in an order of its own on every rank, so that samples "
            "would be read twice or never: use shuffle=False"
        )
    if (rank is None) != (world_size is None):
        raise InputError(f"rank is {rank} and world_size {world_size}: give both, or neither")
    if rank is None or world_size is None:
        rank, world_size = place_in(group)
    if not 0 <= rank < world_size:
        raise InputError(f"rank is {rank}, expected 0 to world_size - 1 = {world_size - 1}")
    if order is not None and order not in ORDERS:
        raise InputError(f"order must be one of {', '.join(ORDERS)}, not {order!r}")
    return Sharded(loader, rank, world_size, order)


def place_in(group: Any) -> tuple[int, int]:
    """This process's rank in a group and the group's size; (0, 1) where there are no other processes.

    Raises:
        ValueError: this process is not in the group, or its launcher started several and they have no group yet.
        TypeError: group is neither "world" nor a ProcessGroup.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        if isinstance(group, str) and group == "world":
            started = os.environ.get("WORLD_SIZE", "1")
            if started == "1":
                return 0, 1
            raise InputError(
                f"{started} processes were started (WORLD_SIZE), but they have no process group: call"
                " torch.distributed.init_process_group() first"
            )
        raise InputTypeError(
            f"group must be None, 'world' or a torch.distributed ProcessGroup, not {group!r}"
        )
    if isinstance(group, str) and group == "world":
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    if not isinstance(group, torch.distributed.ProcessGroup):
        raise InputTypeError(
            f"group must be None, 'world' or a torch.distributed ProcessGroup, not {group!r}"
        )
    rank = torch.distributed.get_rank(group)
    if rank < 0:
        raise InputError("this process is not in the group: call this on the group's ranks only")
    return rank, torch.distributed.get_world_size(group)


class Sharded:
    """One rank's part of a loader; see :func:`sharded`.

    Attributes:
        loader: the whole one.
        rank: which part.
        world_size: number of parts.
        numbers: of the batches given by the last iteration so far, among all batches.
    """

    def __init__(self, loader: Iterable[Any], rank: int, world_size: int, order: str | None) -> None:
        self.loader, self.rank, self.world_size = loader, rank, world_size
        self.generator = getattr(loader, "generator", None)
        self.numbers: list[int] = []
        total = length_of(loader)
        if order == "contiguous" and total is None:
            raise InputError("order='contiguous' needs a loader with a length (len): use order='strided'")
        self.order = order or ("strided" if total is None else "contiguous")
        self._total = total
        if self.order == "strided" or total is None:
            self._slice = slice(rank, None, world_size)
        else:
            # The last part is open: a loader that has more batches than it says loses none.
            stop = None if rank == world_size - 1 else (rank + 1) * total // world_size
            self._slice = slice(rank * total // world_size, stop, 1)

    def __len__(self) -> int:
        if self._total is None:
            raise TypeError(f"{type(self.loader).__name__} has no length")
        return len(range(self._total)[self._slice])

    def __iter__(self) -> Iterator[Any]:
        self.numbers = []
        cut = self._slice
        for number, batch in zip(itertools.count(cut.start, cut.step), self._batches(), strict=False):
            self.numbers.append(number)
            yield batch

    @property
    def dealt(self) -> str:
        """How batches are dealt to the ranks, which must be the same on each."""
        return f"sharded, {self.order}, of {'?' if self._total is None else self._total} batches"

    def where(self, offset: int) -> str:
        """Name a sample of the batch given last, for messages."""
        number = self.numbers[-1]
        size = _batch_size(self.loader)
        return f"sample {offset} of batch {number}" if size is None else f"sample {number * size + offset}"

    def _batches(self) -> Iterator[Any]:
        loader, cut = self.loader, self._slice
        if isinstance(loader, Sequence):
            return iter(loader[cut])
        if (
            type(loader) is DataLoader
            and isinstance(loader.batch_sampler, Iterable)
            and not isinstance(loader.dataset, IterableDataset)
        ):
            return iter(_of_batches(loader, cut))
        return itertools.islice(loader, cut.start, cut.stop, cut.step)


class _Batches:
    """Some of the batches of a batch sampler."""

    def __init__(self, sampler: Iterable[list[int]], cut: slice) -> None:
        self._sampler, self._cut = sampler, cut

    def __iter__(self) -> Iterator[list[int]]:
        return itertools.islice(self._sampler, self._cut.start, self._cut.stop, self._cut.step)


def _of_batches(loader: DataLoader[Any], cut: slice) -> DataLoader[Any]:
    """A DataLoader as the given one, of some of its batches."""
    given: dict[str, Any] = {
        name: getattr(loader, name)
        for name in (
            "num_workers", "collate_fn", "pin_memory", "timeout", "worker_init_fn", "multiprocessing_context",
            "generator", "prefetch_factor", "in_order",
        )
        if hasattr(loader, name)
    }  # fmt: skip
    return DataLoader(loader.dataset, batch_sampler=_Batches(loader.batch_sampler, cut), **given)  # type: ignore[arg-type]


def length_of(loader: object) -> int | None:
    """Batches that a loader says it has; None where it says nothing: it is read as a stream then."""
    try:
        return len(loader) if isinstance(loader, Sized) else None
    except (TypeError, NotImplementedError):  # as a DataLoader of an iterable dataset answers
        return None


def shuffling_sampler(loader: object) -> str | None:
    """The name of the sampler by which a DataLoader draws its samples at random, if it has one."""
    if not isinstance(loader, DataLoader):
        return None
    for sampler in (loader.sampler, getattr(loader.batch_sampler, "sampler", None)):
        if isinstance(sampler, RandomSampler | WeightedRandomSampler | SubsetRandomSampler) or (
            isinstance(sampler, DistributedSampler) and sampler.shuffle
        ):
            return type(sampler).__name__
    return None


def _batch_size(loader: object) -> int | None:
    """Samples in every batch but the last, where the loader says so for certain."""
    if isinstance(loader, DataLoader) and type(loader.batch_sampler) is BatchSampler:
        return int(loader.batch_sampler.batch_size)
    return None

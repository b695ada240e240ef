"""Which rank draws: as given, as ``torch.distributed`` says, or all of them where a framework deals the draws."""

from __future__ import annotations

import sys
from typing import NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from hitl_fast._common.errors import InputError

from .weights import as_whole

DEPTH = 40  # stack frames between a data loader's loop and its sampler; far fewer in every framework tried


class Place(NamedTuple):
    """One process among those that share the draws."""

    rank: int
    world_size: int


ALONE = Place(0, 1)


def given_place(rank: int | None, world_size: int | None) -> Place | None:
    """The place that a caller names, or None where it is to be found out when it is needed."""
    if rank is None and world_size is None:
        return None
    if rank is None or world_size is None:
        raise InputError(f"rank is {rank} and world_size {world_size}: give both, or neither")
    ranks = as_whole(world_size, "world_size", 31)
    if not as_whole(rank, "rank", 31) < ranks:
        raise InputError(f"rank is {rank}, expected 0 to world_size - 1 = {ranks - 1}")
    return Place(int(rank), ranks)


def process_place() -> Place:
    """The place of this process in the default process group, as it is now."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return Place(torch.distributed.get_rank(), torch.distributed.get_world_size())
    return ALONE


def drawing_place(given: Place | None) -> Place:
    """The place to draw for, as seen from the code that asks for draws or for their number.

    A framework that deals one sampler's draws to all processes needs all of them. It is found among the callers,
    because it leaves no trace on the sampler.

    Raises:
        ValueError: the draws are dealt although the sampler was built for one rank of several.
    """
    if given == ALONE:
        return ALONE
    dealer, processes = _dealer()
    if dealer is None:
        return given or process_place()
    if given is None:
        return ALONE
    raise InputError(
        f"this sampler was built with rank={given.rank}, world_size={given.world_size}, and {dealer} deals its draws "
        f"to {processes} processes again, so that most draws would be lost: build the sampler without rank and "
        "world_size, or pass use_distributed_sampler=False to Lightning's Trainer, or leave the loader out of "
        "accelerator.prepare"
    )


def _dealer() -> tuple[str | None, int]:
    """The class among the callers that deals draws to several processes, and to how many."""
    frame = sys._getframe(2)
    for _ in range(DEPTH):
        caller = frame.f_locals.get("self")
        if isinstance(caller, (Sampler, Dataset, DataLoader)):
            processes = _processes(caller)
            if processes > 1:
                return f"{type(caller).__module__}.{type(caller).__qualname__}", processes
        if frame.f_back is None:
            break
        frame = frame.f_back
    return None, 1


def _processes(caller: object) -> int:
    """Among how many processes an object deals what it reads; 1 for what deals nothing.

    ``DistributedSampler`` and what derives from it hold ``num_replicas`` and ``rank`` (Lightning, Ignite, Catalyst);
    accelerate's shards hold ``num_processes`` and ``process_index``, its dispatcher in its state.
    """
    known = vars(caller)
    holders = [known]
    if type(caller).__name__ == "DataLoaderDispatcher" and "state" in known:
        holders.append(vars(known["state"]))
    for holder in holders:
        for count, position in (("num_replicas", "rank"), ("num_processes", "process_index")):
            if isinstance(holder.get(count), int) and position in holder:
                return int(holder[count])
    return 1

"""What a loader must be before anything is computed: batches in a fixed order, of the samples that are meant."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sized

import numpy as np
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
)

from hitl_fast._common.errors import InputError, InputTypeError

from .sharding import Sharded, length_of, shuffling_sampler


def check_loaders(clean: object, shifted: object, *, grouped: bool = False, paired: bool = True) -> None:
    """Refuse what cannot be paired (or, where that is not wanted, read), before anything is computed.

    Args:
        clean: a loader.
        shifted: the other.
        grouped: each rank of a group reads its part, and the parts are put together.
        paired: sample i is the same in both.

    Raises:
        TypeError: not iterable in batches.
        ValueError: one of them shuffles, their lengths differ, or both are the same iterator.
    """
    for name, loader in (("clean", clean), ("shifted", shifted)):
        check_batches(loader, name)
        if isinstance(loader, Sharded) and not grouped and loader.world_size > 1:
            warnings.warn(
                f"{name} is sharded, but group= is not given: this report is of one rank's part of the data",
                stacklevel=3,
            )
        sampler = getattr(loader, "sampler", None)
        if isinstance(sampler, DistributedSampler):
            if not grouped:
                warnings.warn(
                    f"{name} is read through a DistributedSampler: this report is of one rank's part of the data"
                    " (group='world' puts the parts together)",
                    stacklevel=3,
                )
            elif len(sampler.dataset) % sampler.num_replicas:  # type: ignore[arg-type]
                raise InputError(
                    f"{name} is read through a DistributedSampler, which repeats or drops some of its"
                    f" {len(sampler.dataset)} samples so that {sampler.num_replicas} ranks have equally many: use"  # type: ignore[arg-type]
                    " hf.sharded(loader) of a loader without it"
                )
        shuffling = shuffling_sampler(loader)
        if shuffling and paired:
            raise InputError(
                f"{name} shuffles (its sampler is a {shuffling}): sample i must be the same in both; use shuffle=False"
            )
    if isinstance(clean, Sharded) != isinstance(shifted, Sharded):
        raise InputError("clean and shifted must both be sharded, or neither")
    if isinstance(clean, Sharded) and isinstance(shifted, Sharded):
        cuts = [(each.order, each.rank, each.world_size) for each in (clean, shifted)]
        if cuts[0] != cuts[1]:
            raise InputError(f"clean is sharded by (order, rank, world_size) {cuts[0]}, shifted by {cuts[1]}")
        check_loaders(clean.loader, shifted.loader, grouped=True, paired=paired)
    if clean is shifted and isinstance(clean, Iterator):
        raise InputError("clean and shifted are the same iterator: each would see half of the batches")
    if not paired:
        return
    for unit, length in (("samples", expected_samples), ("batches", length_of)):
        ours, theirs = length(clean), length(shifted)
        if ours is not None and theirs is not None and ours != theirs:
            raise InputError(f"clean has {ours} {unit} but shifted {theirs}: they must hold the same samples")


def check_batches(loader: object, name: str) -> None:
    """Refuse what does not yield batches.

    Raises:
        TypeError: it is a data set, a tensor, a text or nothing iterable.
    """
    if isinstance(loader, Dataset | Tensor | np.ndarray | str) or not isinstance(loader, Iterable):
        raise InputTypeError(
            f"{name} must yield batches (a DataLoader, or a list of (inputs, labels)), not {type(loader).__name__}"
        )


def expected_samples(loader: object) -> int | None:
    """Samples that a DataLoader will give, before any is read; None if it cannot tell."""
    if not isinstance(loader, DataLoader) or type(loader.batch_sampler) is not BatchSampler:
        return None
    if isinstance(loader.dataset, IterableDataset) or not isinstance(loader.sampler, Sized):
        return None
    samples, size = len(loader.sampler), loader.batch_sampler.batch_size
    return samples - samples % size if loader.drop_last else samples

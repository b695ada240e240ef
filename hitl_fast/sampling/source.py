"""Weights that a sampler asks for at the start of each epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch

from hitl_fast._common.errors import InputError

from .ranks import Place
from .weights import Weights, as_update, as_weights

# Called with the number of the epoch that begins: all weights, (indices, weights) that changed, or None.
Source: TypeAlias = Callable[[int], Any]


def asked(source: Source, number: int, place: Place) -> Any:
    """What the source gives for an epoch. Of several processes the first asks, and the others get its answer.

    Raises:
        Exception: what the source raises; on the other processes a ValueError that repeats its message.
    """
    distributed = torch.distributed
    if not (
        place.world_size > 1
        and distributed.is_available()
        and distributed.is_initialized()
        and distributed.get_world_size() == place.world_size
    ):
        return source(number)
    given, problem = None, None
    if distributed.get_rank() == 0:
        try:
            given = source(number)
        except Exception as raised:
            problem = raised
    told = [given, None if problem is None else str(problem)]
    distributed.broadcast_object_list(told, src=0)
    if problem is not None:
        raise problem
    if told[1] is not None:
        raise InputError(f"the source of weights failed in the first process: {told[1]}")
    return told[0]


def changed(weights: Weights, given: Any) -> Weights:
    """The weights with what a source gave; the same object where it gave None.

    Raises:
        TypeError, ValueError: as for the weights of a sampler and for its ``update``.
    """
    if given is None:
        return weights
    if isinstance(given, tuple):
        if len(given) != 2:
            raise InputError(f"the source gave a tuple of {len(given)}: expected (indices, weights)")
        where, values = as_update(given[0], given[1], weights.values.size)
        new = weights.copy()
        new.update(where, values)
        return new
    values = as_weights(given)
    if values.size != weights.values.size:
        raise InputError(
            f"the source gave {values.size} weights, and the sampler has {weights.values.size} items"
        )
    return Weights(values)

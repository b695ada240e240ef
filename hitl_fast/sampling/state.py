"""The saved state of a sampler: its fields, its schema version, and what a reader refuses."""

from __future__ import annotations

from typing import Any, TypedDict

import numpy as np

from hitl_fast._common.errors import InputError, InputTypeError

STATE_VERSION = 1

# Fields that a later version adds: name -> (version, value in a state of an older version).
ADDED: dict[str, tuple[int, Any]] = {}


class State(TypedDict):
    """What ``state_dict`` gives. Numbers and one string, whatever the number of items."""

    version: int
    method: str
    num_items: int
    num_samples: int
    seed: int
    epoch: int
    position: int  # draws of the global sequence that all ranks together have used
    live: bool
    weights: str  # fingerprint


def read_state(state: Any, own: State) -> State:
    """A saved state that fits the sampler whose own state is ``own``.

    A state of an older version gets the values that its added fields had then.

    Raises:
        TypeError: no dictionary.
        ValueError: no state of a sampler, one of a newer version, or one of another sampler; what differs is named.
    """
    if not isinstance(state, dict):
        raise InputTypeError(f"state must be a dictionary from state_dict, not {type(state).__name__}")
    version = state.get("version")
    if not isinstance(version, (int, np.integer)) or isinstance(version, bool) or version < 1:
        raise InputError(f"state has version {version!r}: it is not the state_dict of a sampler of hitl_fast")
    if version > STATE_VERSION:
        raise InputError(
            f"state has version {version}, and this hitl_fast reads versions up to {STATE_VERSION}: a newer "
            "hitl_fast wrote it; install that one"
        )
    old = {name: value for name, (added, value) in ADDED.items() if version < added}
    found: Any = {**old, **state}
    missing = [name for name in own if name not in found]
    if missing:
        raise InputError(f"state has no {missing[0]!r}: it is not the state_dict of a sampler of hitl_fast")
    wanted: Any = own
    for name in ("method", "num_items", "num_samples", "seed"):
        if found[name] != wanted[name]:
            raise InputError(f"state has {name} {found[name]!r}, this sampler {wanted[name]!r}")
    result: State = {name: found[name] for name in own}  # type: ignore[assignment,misc]
    return result

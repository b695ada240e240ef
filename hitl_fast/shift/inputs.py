"""The arguments of one call of the model."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Inputs:
    """What the model is called with: ``model(*args, **kwargs)``, tensors in mappings, tuples and lists included."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def map(self, function: Callable[[Any], Any]) -> Inputs:
        kwargs = {k: _mapped(function, v) for k, v in self.kwargs.items()}
        return Inputs(tuple(_mapped(function, v) for v in self.args), kwargs)

    def values(self) -> list[Any]:
        return [leaf for v in (*self.args, *self.kwargs.values()) for leaf in _leaves(v)]

    def wanted(self, names: frozenset[str] | None) -> Inputs:
        """Without what a batch carries beside the inputs (paths, indices) and the model does not ask for by name."""
        if names is None:
            return self
        return Inputs(self.args, {k: v for k, v in self.kwargs.items() if k in names})

    def to(self, device: torch.device) -> Inputs:
        return self.map(lambda v: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v)


def parameters(module: nn.Module) -> frozenset[str] | None:
    """What the model's forward can be called with by name; None: anything."""
    found = inspect.signature(module.forward).parameters
    if any(p.kind is p.VAR_KEYWORD for p in found.values()):
        return None
    return frozenset(found)


def positional(module: nn.Module) -> tuple[tuple[str, ...], bool]:
    """The names of the arguments that the model's forward takes by position, and whether it takes any number."""
    found = inspect.signature(module.forward).parameters
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = tuple(name for name, p in found.items() if p.kind in kinds)
    return names, any(p.kind is p.VAR_POSITIONAL for p in found.values())


def _mapped(function: Callable[[Any], Any], value: Any) -> Any:
    """The value with the function applied to every leaf; containers are new ones, of the same types."""
    if isinstance(value, MutableMapping):
        held = copy.copy(value)
        for key, inner in value.items():
            held[key] = _mapped(function, inner)
        return held
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_mapped(function, inner) for inner in value))
    if type(value) in (tuple, list):
        return type(value)(_mapped(function, inner) for inner in value)
    return function(value)


def _leaves(value: Any) -> Iterator[Any]:
    """What ``_mapped`` applies a function to, in the same order."""
    if isinstance(value, MutableMapping):
        value = tuple(value.values())
    if type(value) in (tuple, list) or (isinstance(value, tuple) and hasattr(value, "_fields")):
        for inner in value:
            yield from _leaves(inner)
    else:
        yield value

"""Which modules of a model count as layers, what they are called in a report, and where their units stand."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from hitl_fast._common.errors import InputError

# Path components that wrappers add: torch.compile of a part, FSDP.
WRAPPERS = frozenset(("_orig_mod", "_fsdp_wrapped_module"))
RECURRENT = (nn.RNNBase, nn.RNNCellBase)


def readable(name: str) -> str:
    """A module's path without the components that wrappers add.

    >>> readable("body._orig_mod.0")
    'body.0'
    """
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def counted_layers(model: nn.Module, corrected: bool) -> dict[str, nn.Module]:
    """The layers that count, by path.

    Under "reference", as published: every module with ``out_features`` or ``out_channels``. Under "corrected", each
    weight counts once: a wrapper without a weight of its own (a block that repeats the ``out_channels`` of its
    convolution) does not count beside the layers inside it, and the parts of a layer with a weight (the low-rank
    factors of LoRA) do not count beside the layer. Recurrent layers and ``Conv1D`` of transformers count, too.
    """
    found = {
        name: module
        for name, module in model.named_modules()
        if not isinstance(module, torch.jit.ScriptModule)
        and (_has_units(module) if corrected else _published(module))
    }
    if corrected:
        owning = [name for name, module in found.items() if _owns_weight(module)]
        found = {
            name: module
            for name, module in found.items()
            if not any(_inside(name, owner) for owner in owning)
            and (name in owning or not any(_inside(other, name) for other in found))
        }
    return {readable(name): module for name, module in found.items() if name} or found


def scripted(model: nn.Module) -> list[str]:
    """Paths of scripted sub-modules: hooks cannot look inside them."""
    return [
        readable(name)
        for name, module in model.named_modules()
        if isinstance(module, torch.jit.ScriptModule)
        and not isinstance(model.get_submodule(name.rpartition(".")[0]), torch.jit.ScriptModule)
    ]


def find_module(model: nn.Module, name: str) -> nn.Module:
    """The module of that path, wrappers' components left out or not.

    Raises:
        ValueError: there is none; near names are listed.
    """
    modules: dict[str, nn.Module] = dict(model.named_modules(remove_duplicate=False))
    if name and name in modules:
        return modules[name]
    for path, module in modules.items():
        if name and readable(path) == name:
            return module
    names = [readable(path) for path in modules if path]
    near = difflib.get_close_matches(name, names, n=5, cutoff=0.4) or names[-5:]
    raise InputError(f"the model has no layer {name!r}; near ones: {', '.join(near)}")


def output_tensor(output: Any) -> Any:
    """What a layer gave: the first of a recurrent layer's tuple; packed sequences as means over their steps."""
    if isinstance(output, tuple) and output and isinstance(output[0], Tensor | PackedSequence):
        output = output[0]
    if isinstance(output, PackedSequence):
        padded, lengths = pad_packed_sequence(output, batch_first=True)
        return padded.sum(1) / lengths.unsqueeze(1).to(padded)
    return output


def entering(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor | None:
    """The first tensor that a module was called with."""
    return next((v for v in (*args, *kwargs.values()) if isinstance(v, Tensor)), None)


def unit_axis(module: nn.Module | None, shape: tuple[int, ...], entering: bool = False) -> int:
    """Where the units stand, counted from the end: channels before the positions of a map, features last."""
    width = getattr(module, "in_channels" if entering else "out_channels", None)
    if width is None:
        if module is None or _has_units(module) or _published(module) or hasattr(module, "normalized_shape"):
            return -1
        # Another module, named as the embedding: maps have channels second, sequences of tokens features last.
        return 1 - len(shape) if len(shape) >= 4 or type(module).__name__.endswith("1d") else -1
    if isinstance(module, _ConvNd):
        dimensions = len(module.kernel_size)
    else:
        kind = type(module).__name__
        dimensions = next((d for d in (1, 2, 3) if kind.endswith(f"{d}d")), max(0, min(len(shape) - 2, 3)))
    axis = -1 - min(dimensions, len(shape) - 1)
    if shape[axis] == width:
        return axis
    fitting = [a - len(shape) for a, size in enumerate(shape) if size == width]
    return fitting[-1] if fitting else axis


def _published(module: nn.Module) -> bool:
    return hasattr(module, "out_features") or hasattr(module, "out_channels")


def _has_units(module: nn.Module) -> bool:
    widths = (getattr(module, name, None) for name in ("out_features", "out_channels", "nf"))
    return isinstance(module, RECURRENT) or any(isinstance(width, int) for width in widths)


def _owns_weight(module: nn.Module) -> bool:
    if isinstance(module, RECURRENT) or "base_layer" in module._modules:
        return True
    return any("weight" in name and p is not None and p.ndim >= 2 for name, p in module._parameters.items())


def _inside(name: str, outer: str) -> bool:
    return name != outer and (not outer or name.startswith(outer + "."))

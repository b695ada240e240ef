"""What made the logits: the module whose output holds them, found by equality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .arrangement import difference, magnitude, tolerance
from .layers import readable

# Outputs of more values are not compared with the logits.
LARGEST = 1 << 22

# So many values have the same order by chance once in 5,040 times.
BY_CHANCE = 7


@dataclass(frozen=True)
class Call:
    """One call of a module in the pass of a single sample."""

    name: str
    module: nn.Module
    number: int  # of this module's calls, from 0
    shape: tuple[int, ...]
    output: Tensor | None  # a copy, of those that may hold the logits


@dataclass(frozen=True)
class Head:
    """The call that made the logits.

    Attributes:
        at_position: it ran on every token, and the logits are its output at one of them.
        doubt: how it was found where its output is not the logits; empty: it is.
    """

    name: str
    module: nn.Module
    number: int
    at_position: bool = False
    doubt: str = ""

    def __str__(self) -> str:
        where = f"input of {self.name}" if self.name else "input"
        where += " at the position of the logits" if self.at_position else ""
        return where + (f" ({self.doubt})" if self.doubt else "")


class Calls:
    """Hooks on every module that note its calls, in the order in which they end."""

    def __init__(self, model: nn.Module) -> None:
        self.made: list[Call] = []
        self._numbers: dict[str, int] = {}
        self._handles: list[Any] = []
        for name, module in model.named_modules():
            if not isinstance(module, torch.jit.ScriptModule) and name:
                self._handles.append(module.register_forward_hook(self._hook(readable(name))))

    def __enter__(self) -> Calls:
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _hook(self, name: str) -> Any:
        def note(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            number = self._numbers.get(name, 0)
            self._numbers[name] = number + 1
            if isinstance(output, Tensor) and output.is_floating_point():
                kept = output.detach().clone() if output.numel() <= LARGEST else None
                self.made.append(Call(name, module, number, tuple(output.shape), kept))

        return note


def find_head(
    calls: Sequence[Call], logits: Tensor, copies: int, layers: Mapping[str, nn.Module]
) -> Head | None:
    """The call that made the logits of a sample (given so many times), or None.

    The first call of a module with weights whose output is the logits, or is so at one position; not one that holds
    the model's first layers, for its input is the sample itself. Else, where an activation follows: the last layer with
    as many values whose order is that of the logits; or a last layer whose maps have as many channels.
    """
    wanted = logits.detach().flatten()[: logits.numel() // copies]
    for place, call in enumerate(calls):
        if call.output is not None and _has_weights(call, layers) and not _whole(call, calls[:place], layers):
            at_position = _holds(call.output, wanted, copies)
            if at_position is not None:
                return Head(call.name, call.module, call.number, at_position)
    inside = [call for call in calls if call.name in layers]
    for call in reversed(inside):
        if call.output is None or call.output.numel() // copies != wanted.numel():
            continue
        values = call.output.flatten()[: wanted.numel()]
        if torch.equal(_ranks(values), _ranks(wanted)):
            doubt = "the last layer with one output" if wanted.numel() == 1 else ""
            if 1 < wanted.numel() < BY_CHANCE:
                doubt = "the last layer that orders the classes as the logits do"
            return Head(call.name, call.module, call.number, doubt=doubt)
    if inside and wanted.numel() == _units(inside[-1].module):
        call = inside[-1]
        return Head(call.name, call.module, call.number, doubt="the last layer to run")
    return None


def position_rows(inputs: Tensor, outputs: Tensor, logits: Tensor, rounding: float) -> Tensor | None:
    """(n, D): the input at the position whose output is the sample's logits; None: there is none.

    Args:
        inputs: (n, positions, D).
        outputs: (n, positions, C).
        logits: (n, C).
        rounding: what two equal values may differ by, as a share of the largest.
    """
    apart = (outputs.to(logits.dtype) - logits.unsqueeze(1)).abs().amax(2)
    apart, found = apart.nan_to_num(torch.inf, torch.inf).min(1)
    finite = torch.isfinite(logits).all(1)
    if bool((apart[finite] > rounding * magnitude(logits)).any()):
        return None
    return inputs[torch.arange(len(inputs), device=inputs.device), found]


def _holds(output: Tensor, wanted: Tensor, copies: int) -> bool | None:
    """False: the output is the logits; True: it is so at one position; None: neither."""
    size = wanted.numel()
    allowed = tolerance(output, torch.promote_types(output.dtype, wanted.dtype)) * magnitude(wanted)
    if output.numel() == size * copies:
        return False if difference(output.flatten()[:size], wanted) <= allowed else None
    if output.ndim < 3 or output.shape[-1] != size:
        return None
    rows = output.reshape(-1, size)
    return True if any(difference(row, wanted) <= allowed for row in rows) else None


def _has_weights(call: Call, layers: Mapping[str, nn.Module]) -> bool:
    return (
        call.name in layers
        or hasattr(call.module, "weight")
        or next(call.module.parameters(), None) is not None
    )


def _whole(call: Call, before: Sequence[Call], layers: Mapping[str, nn.Module]) -> bool:
    """Whether a module is more than a head: layers ran within it, and none before it."""
    ran = [c.name.startswith(call.name + ".") for c in before if c.name in layers]
    return call.name not in layers and bool(ran) and all(ran)


def _ranks(values: Tensor) -> Tensor:
    return values.argsort(stable=True)


def _units(module: nn.Module) -> object:
    return getattr(module, "out_features", getattr(module, "out_channels", None))

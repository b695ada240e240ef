"""The embedding of a pass: the output of a named module, or the input of the module that made the logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hitl_fast._common.errors import InputError

from .arrangement import tolerance
from .current_pass import CurrentPass
from .head import Head, position_rows
from .layers import entering, find_module, output_tensor, unit_axis
from .proof import Key
from .rows import Reading, pooled_values


class EmbeddingSource:
    """What the hooks of the embedding keep of a pass, and the rows that come of it.

    Args:
        model: unwrapped.
        layer: name of the module whose output is the embedding; None: the input of what made the logits.
        reading: how outputs become rows.
    """

    def __init__(self, model: nn.Module, layer: str | None, reading: Reading) -> None:
        self.layer, self.reading = layer, reading
        self.module = None if layer is None else find_module(model, layer)
        self.head: Head | None = None

    @property
    def name(self) -> str:
        return self.layer if self.layer is not None else str(self.head)

    def see_output(self, now: CurrentPass, module: nn.Module, output: Any) -> None:
        """The output of the named module."""
        output = output_tensor(output)
        if not isinstance(output, Tensor) or not output.is_floating_point():
            kind = output.dtype if isinstance(output, Tensor) else type(output).__name__
            raise InputError(f"the embedding layer {self.layer!r} gives {kind}, not a floating point tensor")
        key = ("embedding", self.name, now.call("\0embedding"))
        if now.recorded is not None:
            now.record(key, output)
            return
        samples = now.arranged(key, output)
        if samples is None:
            now.embedded = None
            now.problem = f"the embedding layer {self.layer!r} cannot be used: {now.proof.reasons[key]}"
            return
        rows = self._pooled(now, samples, unit_axis(module, tuple(output.shape)))
        now.embedded = None if rows is None else rows.clone()

    def see_head(
        self, now: CurrentPass, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any
    ) -> None:
        """What entered the module that made the logits, and what it made."""
        values = entering(args, kwargs)
        if self.head is None or now.call("\0head") != self.head.number or values is None:
            return
        if now.recorded is not None:
            entered, made = _keys(self.head)
            now.record(entered, values)
            if self.head.at_position:
                now.record(made, output)
            return
        kept = output.detach().clone() if self.head.at_position else None
        now.at_head = (values.detach(), kept)

    def compare(self, now: CurrentPass) -> None:
        """Find the arrangement of what was seen at the head while the proof of this pass is open."""
        if now.at_head is not None and self.head is not None:
            for key, values in zip(_keys(self.head), now.at_head, strict=True):
                if values is not None:
                    now.arranged(key, values)

    def rows(self, now: CurrentPass, logits: Tensor | None) -> Tensor:
        """(samples, D) float32: the embeddings of a pass that has run.

        Raises:
            ValueError: there are none, or they cannot be told apart by samples.
        """
        if self.layer is None:
            now.embedded = self._at_head(now, logits)
        if now.embedded is None:
            problem = now.problem or f"the embedding layer {self.layer!r} did not run in the forward pass"
            raise InputError(problem)
        # A copy: a view would keep the whole activation, and a module after this one may work in place.
        return now.embedded.flatten(1).to(torch.float32, copy=True).contiguous()

    def _at_head(self, now: CurrentPass, logits: Tensor | None) -> Tensor | None:
        if self.head is None:
            now.problem = (
                "no layer gave the logits, so there is no default embedding: name a layer by embedding="
            )
            return None
        name, n = self.head.name, now.role.samples
        if now.at_head is None:
            now.problem = f"{name!r}, which made the logits, did not run in every batch"
            return None
        values, output = now.at_head
        now.at_head = None
        entered, made = _keys(self.head)
        samples = now.arranged(entered, values)
        if samples is None:
            now.problem = (
                f"the input of {name!r} cannot be used as the embedding: {now.proof.reasons[entered]};"
                " name a layer by embedding="
            )
            return None
        if output is None:
            axis = unit_axis(self.head.module, tuple(values.shape), entering=True)
            return self._pooled(now, samples, axis)
        outputs = now.arranged(made, output)
        found = None
        if outputs is not None and logits is not None and samples.ndim >= 3:
            rounding = tolerance(outputs, outputs.dtype)
            found = position_rows(
                samples.flatten(1, -2), outputs.flatten(1, -2), logits.reshape(n, -1), rounding
            )
        if found is None:
            now.problem = (
                f"{name!r} runs on every token, and the logits of some sample are its output at no position;"
                " name a layer by embedding="
            )
        return found

    def _pooled(self, now: CurrentPass, samples: Tensor, units: int) -> Tensor | None:
        """(n, D), pooled over positions like the rows, or every value of a sample."""
        if not (self.reading.pooled and self.reading.corrected) or samples.ndim <= 2:
            return samples.flatten(1)
        rows = pooled_values(samples, units, now.role.mask)
        if rows is None:
            now.problem = (
                f"the embedding of shape {tuple(samples.shape)} does not have the {now.mask_width} positions of the"
                " mask, so that padding cannot be left out: name another layer by embedding="
            )
        return rows


def _keys(head: Head) -> tuple[Key, Key]:
    """What entered the head, and what it made."""
    return ("head", head.name, head.number), ("head output", head.name, head.number)

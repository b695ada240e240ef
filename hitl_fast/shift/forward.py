"""A model's forward pass, watched: rows of every layer, what entered it, the embedding, and the logits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hitl_fast._common.errors import InputError, InputTypeError

from .arrangement import tolerance
from .evaluation import logits_of
from .head import Calls, Head, find_head, position_rows
from .inputs import Inputs
from .layers import counted_layers, entering, find_module, output_tensor, scripted, unit_axis
from .proof import LOGITS, Key, Lone, Proof
from .rows import Reading, layer_rows, pooled_values

# Rows of at most so many values may be kept after the hook that found them; longer ones are used up in it.
SHORT = 4096

RowPairs = Callable[[str, Tensor, Tensor], None]
InputPairs = Callable[[str, int, Tensor, Tensor], None]


@dataclass(frozen=True)
class Role:
    """Which samples a pass holds.

    Attributes:
        name: "both" for a joined batch (clean first), "same" for one that serves as both sides, "clean" and then
            "shifted" for two passes.
        pairs: sample pairs.
        mask: (samples, T) bool, True for what counts; None: no padding.
        mask_input: which of the inputs the mask is made of, if of one.
    """

    name: str
    pairs: int
    mask: Tensor | None = None
    mask_input: int | None = None

    @property
    def samples(self) -> int:
        return 2 * self.pairs if self.name == "both" else self.pairs


class Watch:
    """Hooks on a model that hand row pairs to ``found`` and ``entered`` while a batch goes through it.

    Args:
        model: unwrapped.
        embedding: name of the module whose output is the embedding; None: the input of what made the logits.
        reading: how outputs become rows.
        output: where the logits are, as for ``preindex``.
        found: called with (layer, clean rows, shifted rows).
        entered: called with (layer, call, clean rows, shifted rows) of what entered a layer, while ``inputs_wanted``.
    """

    def __init__(
        self,
        model: nn.Module,
        embedding: str | None,
        reading: Reading,
        output: str | int | Callable[[Any], Any] | None,
        found: RowPairs,
        entered: InputPairs,
    ) -> None:
        self.model, self.reading, self.output = model, reading, output
        self.found, self.entered = found, entered
        if isinstance(model, torch.jit.ScriptModule):
            raise InputTypeError("a scripted model cannot be watched: give the nn.Module that it was made of")
        self.layers = counted_layers(model, reading.corrected)
        self.skipped = dict.fromkeys(scripted(model), "it is scripted: hooks cannot look inside")
        if not self.layers:
            inside = f"; {', '.join(self.skipped)} is scripted" if self.skipped else ""
            raise InputError(
                f"{type(model).__name__} has no layer with out_features or out_channels to look at{inside}"
            )
        self.embedding = embedding
        self.embedding_module = None if embedding is None else find_module(model, embedding)
        self.head: Head | None = None
        self.inputs_wanted = self.outputs_wanted = True
        self.seconds = 0.0  # spent in hooks
        self.largest_output = 0  # bytes of the largest layer output seen
        self.ran: set[str] = set()
        self._role, self._proof = Role("", 0), Proof(0, ())
        self._recorded: dict[Key, Tensor] | None = None  # in the pass of a lone sample
        self._calls: dict[str, int] = {}
        self._waiting: dict[Key, Tensor] = {}
        self._embedded: Tensor | None = None
        self._at_head: tuple[Tensor, Tensor | None] | None = None
        self._embedding_problem = ""
        self._handles: list[Any] = []

    def __enter__(self) -> Watch:
        try:
            for name, module in self.layers.items():
                handle = module.register_forward_hook(self._timed(self._see, name), with_kwargs=True)
                self._handles.append(handle)
            if self.embedding_module is not None:
                hook = self._timed(self._see_embedding, self.embedding or "")
                self._handles.append(self.embedding_module.register_forward_hook(hook, with_kwargs=True))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def alone(self, inputs: Inputs, index: int, copies: int) -> Lone:
        """The pass of a single sample, which ``inputs`` hold so many times over; finds the head, the first time."""
        batch = self._embedded, self._at_head
        self._begin()
        self._recorded = {}
        try:
            if self.head is None:
                with Calls(self.model) as calls:
                    output = self.model(*inputs.args, **inputs.kwargs)
                self.take_head(find_head(calls.made, logits_of(output, self.output), copies, self.layers))
                # Once more, now that the head is watched; its first pass is not needed again.
                self._begin()
                self._recorded = {}
            output = self.model(*inputs.args, **inputs.kwargs)
            logits = logits_of(output, self.output)
            return Lone(index, copies, {**self._recorded, LOGITS: logits.detach().clone()})
        finally:
            self._recorded = None
            self._embedded, self._at_head = batch

    def find_head_in(self, inputs: Inputs) -> None:
        """Find the head in the pass of a batch that holds a single sample."""
        self._begin()
        self._recorded = {}
        try:
            with Calls(self.model) as calls:
                output = self.model(*inputs.args, **inputs.kwargs)
            self.take_head(find_head(calls.made, logits_of(output, self.output), 1, self.layers))
        finally:
            self._recorded = None

    def take_head(self, head: Head | None) -> None:
        """Watch the module that made the logits."""
        self.head = head
        if head is not None:
            hook = self._timed(self._see_head, head.name)
            self._handles.append(head.module.register_forward_hook(hook, with_kwargs=True))

    def forget_head(self) -> None:
        """Look for the head again: samples were taken from the inputs in a wrong way."""
        if self.head is not None:
            self.head = None
            self._handles.pop().remove()

    def run(self, inputs: Inputs, role: Role, proof: Proof) -> tuple[Tensor, Tensor | None]:
        """One forward pass: the logits as the model gave them and as (samples, ...), where that could be told."""
        self._role, self._proof = role, proof
        self._begin()
        if role.name != "shifted":
            self._waiting.clear()
        logits = logits_of(self.model(*inputs.args, **inputs.kwargs), self.output)
        if role.name == "shifted":
            for _, name, _ in self._waiting:
                self._skip(name, "it runs more often on clean than on shifted data (experts, early exit)")
        if logits.ndim == 0 and role.samples > 1:
            raise InputTypeError(
                "the model returns a single number, not logits for each sample; pick them by output="
            )
        if self._at_head is not None and self.head is not None:  # compared before the proof is settled
            for key, values in zip(_head_keys(self.head), self._at_head, strict=True):
                if values is not None:
                    proof.arranged(key, values, role.samples)
        return logits, proof.arranged(LOGITS, logits, role.samples)

    def embeddings(self, logits: Tensor | None) -> Tensor:
        """(samples, D) float32: the embeddings of the pass that has just run.

        Raises:
            ValueError: there are none, or they cannot be told apart by samples.
        """
        if self.embedding is None:
            self._embedded = self._embedding_of_head(logits)
        if self._embedded is None:
            if not self._embedding_problem:
                self._embedding_problem = (
                    f"the embedding layer {self.embedding!r} did not run in the forward pass"
                )
            raise InputError(self._embedding_problem)
        # A copy: a view would keep the whole activation, and a module after this one may work in place.
        return self._embedded.flatten(1).to(torch.float32, copy=True).contiguous()

    @property
    def embedding_name(self) -> str:
        return self.embedding if self.embedding is not None else str(self.head)

    @property
    def output_layer(self) -> str | None:
        """The layer that made the logits."""
        if self.head is None:
            return None
        head = self.head.name
        holding = [name for name in self.layers if head == name or head.startswith(name + ".")]
        return max(holding, key=len, default=None)

    def never_ran(self) -> Iterator[str]:
        """Layers that no forward pass has called."""
        return (name for name in self.layers if name not in self.ran)

    def reasons(self, proof: Proof) -> None:
        """Leave out the layers whose samples a proof could not tell apart."""
        for (what, name, _), reason in proof.reasons.items():
            if what == "out":
                self._skip(name, reason)

    def _begin(self) -> None:
        self._calls.clear()
        self._embedded = self._at_head = None
        self._embedding_problem = ""

    def _skip(self, name: str, reason: str) -> None:
        self.skipped.setdefault(name, reason)

    def _timed(self, see: Callable[..., None], name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            start = time.perf_counter()
            see(name, module, args, kwargs, output)
            self.seconds += time.perf_counter() - start

        return hook

    def _call(self, kind: str) -> int:
        number = self._calls.get(kind, 0)
        self._calls[kind] = number + 1
        return number

    def _see(
        self, name: str, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any
    ) -> None:
        self.ran.add(name)
        call = self._call(name)
        output = output_tensor(output)
        values = entering(args, kwargs)
        if not isinstance(output, Tensor):
            self._skip(name, f"its output is a {type(output).__name__}, not a tensor")
        elif not output.is_floating_point():
            self._skip(name, f"its output holds {output.dtype}, not floating point numbers")
        if name in self.skipped:
            return
        if self._recorded is not None:
            self._record(("out", name, call), output)
            if values is not None and values.is_floating_point():
                self._record(("in", name, call), values)
            return
        self.largest_output = max(self.largest_output, output.nbytes)
        if values is not None and values.is_floating_point() and self.inputs_wanted:
            self._pair_inputs(name, call, module, values)
        wanted = self.outputs_wanted or not self._proof.settled  # what no proof has seen counts nowhere
        if wanted and not (self.reading.corrected and name == self.output_layer):
            self._pair_outputs(name, call, module, output)

    def _record(self, key: Key, values: Tensor) -> None:
        if self._recorded is not None:
            self._recorded[key] = values.detach().clone()

    def _pair_inputs(self, name: str, call: int, module: nn.Module, values: Tensor) -> None:
        key = ("in", name, call)
        samples = self._proof.arranged(key, values, self._role.samples)
        if samples is None:
            return
        rows = pooled_values(samples, unit_axis(module, tuple(values.shape), entering=True), self._role.mask)
        if rows is not None:
            self._pair(key, rows, lambda ours, theirs: self.entered(name, call, ours, theirs))

    def _pair_outputs(self, name: str, call: int, module: nn.Module, output: Tensor) -> None:
        key = ("out", name, call)
        samples = self._proof.arranged(key, output, self._role.samples)
        if samples is None:
            return
        rows = layer_rows(samples, unit_axis(module, tuple(output.shape)), self.reading, self._role.mask)
        if rows is None:
            self._skip(
                name,
                f"its output of shape {tuple(output.shape)} does not have the {self._mask_width} positions of the"
                " mask, so that padding cannot be left out",
            )
            return
        if rows.untyped_storage().data_ptr() == output.untyped_storage().data_ptr() and (
            self._role.name == "clean" or rows.shape[1] <= SHORT
        ):
            rows = rows.clone()  # it outlives this hook, and the next module may work in place
        self._pair(key, rows, lambda ours, theirs: self.found(name, ours, theirs))

    @property
    def _mask_width(self) -> int:
        return 0 if self._role.mask is None else self._role.mask.shape[1]

    def _pair(self, key: Key, rows: Tensor, hand_over: Callable[[Tensor, Tensor], None]) -> None:
        if self._role.name == "both":
            hand_over(rows[: self._role.pairs], rows[self._role.pairs :])
        elif self._role.name == "same":
            hand_over(rows, rows)
        elif self._role.name == "clean":
            self._waiting[key] = rows
        elif key in self._waiting:
            hand_over(self._waiting.pop(key), rows)
        elif key[0] == "out":
            self._skip(key[1], "it runs more often on shifted than on clean data (experts, early exit)")

    def _see_embedding(
        self, name: str, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any
    ) -> None:
        output = output_tensor(output)
        if not isinstance(output, Tensor) or not output.is_floating_point():
            kind = output.dtype if isinstance(output, Tensor) else type(output).__name__
            raise InputError(
                f"the embedding layer {self.embedding!r} gives {kind}, not a floating point tensor"
            )
        key = ("embedding", name, self._call("\0embedding"))
        if self._recorded is not None:
            self._record(key, output)
            return
        samples = self._proof.arranged(key, output, self._role.samples)
        if samples is None:
            self._embedded = None
            self._embedding_problem = (
                f"the embedding layer {name!r} cannot be used: {self._proof.reasons[key]}"
            )
            return
        rows = self._as_embedding(samples, unit_axis(module, tuple(output.shape)))
        self._embedded = None if rows is None else rows.clone()

    def _see_head(
        self, name: str, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any
    ) -> None:
        values = entering(args, kwargs)
        if self.head is None or self._call("\0head") != self.head.number or values is None:
            return
        if self._recorded is not None:
            entered, made = _head_keys(self.head)
            self._record(entered, values)
            if self.head.at_position:
                self._record(made, output)
            return
        kept = output.detach().clone() if self.head.at_position else None
        self._at_head = (values.detach(), kept)

    def _embedding_of_head(self, logits: Tensor | None) -> Tensor | None:
        if self.head is None:
            self._embedding_problem = (
                "no layer gave the logits, so there is no default embedding: name a layer by embedding="
            )
            return None
        name, n = self.head.name, self._role.samples
        if self._at_head is None:
            self._embedding_problem = f"{name!r}, which made the logits, did not run in every batch"
            return None
        values, output = self._at_head
        self._at_head = None
        entered, made = _head_keys(self.head)
        samples = self._proof.arranged(entered, values, n)
        if samples is None:
            self._embedding_problem = (
                f"the input of {name!r} cannot be used as the embedding: {self._proof.reasons[entered]};"
                " name a layer by embedding="
            )
            return None
        if output is None:
            return self._as_embedding(
                samples, unit_axis(self.head.module, tuple(values.shape), entering=True)
            )
        outputs = self._proof.arranged(made, output, n)
        found = None
        if outputs is not None and logits is not None and samples.ndim >= 3:
            rounding = tolerance(outputs, outputs.dtype)
            found = position_rows(
                samples.flatten(1, -2),
                outputs.flatten(1, -2),
                logits.reshape(n, -1),
                rounding,
            )
        if found is None:
            self._embedding_problem = (
                f"{name!r} runs on every token, and the logits of some sample are its output at no position;"
                " name a layer by embedding="
            )
        return found

    def _as_embedding(self, samples: Tensor, units: int) -> Tensor | None:
        """(n, D), pooled over positions like the rows, or every value of a sample."""
        if not (self.reading.pooled and self.reading.corrected) or samples.ndim <= 2:
            return samples.flatten(1)
        rows = pooled_values(samples, units, self._role.mask)
        if rows is None:
            self._embedding_problem = (
                f"the embedding of shape {tuple(samples.shape)} does not have the {self._mask_width} positions of the"
                " mask, so that padding cannot be left out: name another layer by embedding="
            )
        return rows


def _head_keys(head: Head) -> tuple[Key, Key]:
    """What entered the head, and what it made."""
    return ("head", head.name, head.number), ("head output", head.name, head.number)

"""A model's forward pass, watched: rows of every layer, what entered it, the embedding, and the logits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hitl_fast._common.errors import InputError, InputTypeError

from .current_pass import CurrentPass, Role, lone_pass
from .embedding_source import EmbeddingSource
from .evaluation import logits_of
from .head import Calls, Head, find_head
from .inputs import Inputs
from .layers import counted_layers, entering, output_tensor, scripted, unit_axis
from .proof import LOGITS, Key, Lone, Proof
from .rows import Reading, layer_rows, pooled_values

# Rows of at most so many values may be kept after the hook that found them; longer ones are used up in it.
SHORT = 4096

RowPairs = Callable[[str, Tensor, Tensor], None]
InputPairs = Callable[[str, int, Tensor, Tensor], None]


class Watch:
    """Hooks on a model that hand row pairs to ``found`` and ``entered`` while a batch goes through it.

    Args:
        model: unwrapped.
        embedding: name of the module whose output is the embedding; None: the input of what made the logits.
        reading: how outputs become rows.
        output: where the logits are, as for ``preindex``.
        found: called with (layer, clean rows, shifted rows).
        entered: called with (layer, call, clean rows, shifted rows) of what entered a layer, while ``inputs_wanted`` or
            unproved; None: the inputs of layers are not looked at.
    """

    def __init__(
        self,
        model: nn.Module,
        embedding: str | None,
        reading: Reading,
        output: str | int | Callable[[Any], Any] | None,
        found: RowPairs,
        entered: InputPairs | None,
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
        self.embedding = EmbeddingSource(model, embedding, reading)
        self.inputs_wanted = self.outputs_wanted = True
        self.seconds = 0.0  # spent in hooks
        self.largest_output = 0  # bytes of the largest layer output seen
        self.ran: set[str] = set()
        self._now = lone_pass()
        self.raised: list[Exception] = []  # by the model itself, not by hooks; see take_raised
        self._hook_failed = False
        self._waiting: dict[Key, Tensor] = {}
        self._handles: list[Any] = []

    def __enter__(self) -> Watch:
        try:
            for name, module in self.layers.items():
                handle = module.register_forward_hook(self._timed(self._see, name), with_kwargs=True)
                self._handles.append(handle)
            if self.embedding.module is not None:
                hook = self._timed(self._see_embedding, self.embedding.name)
                self._handles.append(self.embedding.module.register_forward_hook(hook, with_kwargs=True))
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
        batch = self._now
        try:
            if self.head is None:
                self._find_head(inputs, copies)
            self._now = lone_pass()
            output = self._called(inputs)
            logits = logits_of(output, self.output)
            return Lone(index, copies, {**(self._now.recorded or {}), LOGITS: logits.detach().clone()})
        finally:
            self._now = batch

    def find_head_in(self, inputs: Inputs) -> None:
        """Find the head in the pass of a batch that holds a single sample."""
        batch = self._now
        try:
            self._find_head(inputs, 1)
        finally:
            self._now = batch

    def _find_head(self, inputs: Inputs, copies: int) -> None:
        self._now = lone_pass()
        with Calls(self.model) as calls:
            output = self._called(inputs)
        self.take_head(find_head(calls.made, logits_of(output, self.output), copies, self.layers))

    @property
    def head(self) -> Head | None:
        """The module that made the logits, once it is found."""
        return self.embedding.head

    def take_head(self, head: Head | None) -> None:
        """Watch the module that made the logits."""
        self.embedding.head = head
        if head is not None:
            hook = self._timed(self._see_head, head.name)
            self._handles.append(head.module.register_forward_hook(hook, with_kwargs=True))

    def take_raised(self, problem: BaseException | None = None) -> bool:
        """Whether the model itself raised this error since the last call of this method; the others are let go."""
        found = any(raised is problem for raised in self.raised)
        self.raised.clear()
        return found

    def _called(self, inputs: Inputs) -> Any:
        """What the model returns; remembers what it raises, since hooks run inside the call and raise there, too."""
        self._hook_failed = False
        try:
            return self.model(*inputs.args, **inputs.kwargs)
        except Exception as problem:
            if not self._hook_failed:
                self.raised.append(problem)
            raise

    def forget_head(self) -> None:
        """Look for the head again: samples were taken from the inputs in a wrong way."""
        if self.head is not None:
            self.embedding.head = None
            self._handles.pop().remove()

    def run(self, inputs: Inputs, role: Role, proof: Proof) -> tuple[Tensor, Tensor | None]:
        """One forward pass: the logits as the model gave them and as (samples, ...), where that could be told."""
        self._now = CurrentPass(role, proof)
        if role.name != "shifted":
            self._waiting.clear()
        logits = logits_of(self._called(inputs), self.output)
        if role.name == "shifted":
            for _, name, _ in self._waiting:
                self._skip(name, "it runs more often on clean than on shifted data (experts, early exit)")
        if logits.ndim == 0 and role.samples > 1:
            raise InputTypeError(
                "the model returns a single number, not logits for each sample; pick them by output="
            )
        self.embedding.compare(self._now)  # before the proof is settled
        return logits, self._now.arranged(LOGITS, logits)

    def embeddings(self, logits: Tensor | None) -> Tensor:
        """(samples, D) float32: the embeddings of the pass that has just run.

        Raises:
            ValueError: there are none, or they cannot be told apart by samples.
        """
        return self.embedding.rows(self._now, logits)

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

    def _skip(self, name: str, reason: str) -> None:
        self.skipped.setdefault(name, reason)

    def _timed(self, see: Callable[..., None], name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            start = time.perf_counter()
            try:
                see(name, module, args, kwargs, output)
            except BaseException:
                self._hook_failed = True
                raise
            self.seconds += time.perf_counter() - start

        return hook

    def _see(
        self, name: str, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any
    ) -> None:
        self.ran.add(name)
        call = self._now.call(name)
        output = output_tensor(output)
        values = entering(args, kwargs)
        if not isinstance(output, Tensor):
            self._skip(name, f"its output is a {type(output).__name__}, not a tensor")
        elif not output.is_floating_point():
            self._skip(name, f"its output holds {output.dtype}, not floating point numbers")
        if name in self.skipped:
            return
        if self._now.recorded is not None:
            self._now.record(("out", name, call), output)
            if values is not None and values.is_floating_point():
                self._now.record(("in", name, call), values)
            return
        self.largest_output = max(self.largest_output, output.nbytes)
        # What no proof has seen counts nowhere, in later batches either.
        unproved = not self._now.proof.settled
        reader = self.entered if self.inputs_wanted or unproved else None
        if reader is not None and values is not None and values.is_floating_point():
            self._pair_inputs(name, call, module, values, reader)
        if (self.outputs_wanted or unproved) and not (self.reading.corrected and name == self.output_layer):
            self._pair_outputs(name, call, module, output)

    def _pair_inputs(
        self, name: str, call: int, module: nn.Module, values: Tensor, reader: InputPairs
    ) -> None:
        key = ("in", name, call)
        samples = self._now.arranged(key, values)
        if samples is None:
            return
        rows = pooled_values(
            samples, unit_axis(module, tuple(values.shape), entering=True), self._now.role.mask
        )
        if rows is not None:
            self._pair(key, rows, lambda ours, theirs: reader(name, call, ours, theirs))

    def _pair_outputs(self, name: str, call: int, module: nn.Module, output: Tensor) -> None:
        key = ("out", name, call)
        samples = self._now.arranged(key, output)
        if samples is None:
            return
        rows = layer_rows(samples, unit_axis(module, tuple(output.shape)), self.reading, self._now.role.mask)
        if rows is None:
            self._skip(
                name,
                f"its output of shape {tuple(output.shape)} does not have the {self._now.mask_width} positions of the"
                " mask, so that padding cannot be left out",
            )
            return
        if rows.untyped_storage().data_ptr() == output.untyped_storage().data_ptr() and (
            self._now.role.name == "clean" or rows.shape[1] <= SHORT
        ):
            rows = rows.clone()  # it outlives this hook, and the next module may work in place
        self._pair(key, rows, lambda ours, theirs: self.found(name, ours, theirs))

    def _pair(self, key: Key, rows: Tensor, hand_over: Callable[[Tensor, Tensor], None]) -> None:
        if self._now.role.name == "both":
            hand_over(rows[: self._now.role.pairs], rows[self._now.role.pairs :])
        elif self._now.role.name == "same":
            hand_over(rows, rows)
        elif self._now.role.name == "clean":
            self._waiting[key] = rows
        elif key in self._waiting:
            hand_over(self._waiting.pop(key), rows)
        elif key[0] == "out":
            self._skip(key[1], "it runs more often on shifted than on clean data (experts, early exit)")

    def _see_embedding(
        self, name: str, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any
    ) -> None:
        self.embedding.see_output(self._now, module, output)

    def _see_head(
        self, name: str, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any
    ) -> None:
        self.embedding.see_head(self._now, args, kwargs, output)

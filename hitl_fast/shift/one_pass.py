"""One forward pass over all pairs, and what is kept of it: sums, embeddings, predictions, labels."""

from __future__ import annotations

import inspect
import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from tqdm import tqdm

from hitl_fast._common.errors import InputError, InputTypeError

from .accumulator import LayerReport, PreIndexAccumulator
from .batches import Pair, Splitting, expected_samples, pairs, same
from .changes import Changes
from .checking import Checking, Passed
from .embeddings import EmbeddingStore
from .forward import SHORT, Role, Watch
from .inputs import Inputs
from .layer_inputs import InputStore, LayerInputs
from .masks import Mask, named_mask, with_padding
from .options import Options
from .ranks import Joined
from .rows import Reading

WAITING_BYTES = 16 * 2**20
# On a CPU one batch of both is faster while its largest activation stays in a cache (measured: SmallResNet 1.13 times,
# 1 MiB), and slower where it does not (ResNet-18, 32 MiB: 0.85 times).
CACHE_BYTES = 8 * 2**20

RowPair = tuple[str, Tensor, Tensor]
Masks = tuple[Mask | None, Mask | None]


@dataclass(frozen=True)
class Sources:
    """Where things are in the model and in its batches: the arguments of ``hitl_fast.preindex`` of these names."""

    embedding: str | None
    output: str | int | Callable[[Any], Any] | None
    splitting: Splitting


class Pass:
    """One forward pass over all pairs: what it keeps is counts, embeddings, predictions and labels."""

    def __init__(
        self,
        module: nn.Module,
        sources: Sources,
        options: Options,
        store: EmbeddingStore,
        place: torch.device,
        effort_samples: int = 2048,
    ) -> None:
        self.sources, self.options, self.store, self.place = sources, options, store, place
        self.accumulator = PreIndexAccumulator(options.bins, options.arithmetic)
        self.captures = effort_samples
        self.sizes: list[int] = []  # of the batches, in order
        self._inputs = InputStore(effort_samples)
        reading = Reading(options.corrected, options.pooled)
        self.watch = Watch(
            module, sources.embedding, reading, sources.output, self._found, self._inputs.enter
        )
        self.checking = Checking(self.watch)
        self.seconds: dict[str, float] = {}
        self.masks_used: dict[
            str, None
        ] = {}  # names of masks that left something out, in order of appearance
        # Whether clean and shifted samples go through the model as one batch; None: to be seen from the first.
        mixing = any(isinstance(m, _BatchNorm) and m.running_mean is None for m in module.modules())
        on_sight = options.corrected and options.pooled and place.type == "cpu"
        self._together = False if mixing or not options.corrected else None if on_sight else True
        self._ways: dict[str, None] = {}  # how batches went through the model, in order of appearance
        self._staged: list[RowPair] = []  # short rows of this batch
        self._waiting: dict[str, list[RowPair]] = {}  # short rows of the batches before
        self._labels, self._finite = _Column(np.int64), _Column(np.bool_)
        self.changes = Changes()
        self._right = [torch.zeros((), dtype=torch.int64, device=place) for _ in range(2)]  # clean, shifted
        self._predicted = 0  # samples that _right counts the hits of
        self._logits = 0  # how many there are of each sample
        self._parameters = parameters(module)
        self._positional, self._any_position = positional(module)

    def over(self, clean: Iterable[Any], shifted: Iterable[Any], progress: bool, ranks: Joined) -> None:
        """Read both loaders to their end; one rank of several may have none."""
        start = time.perf_counter()
        total = expected_samples(clean)
        with self.watch, tqdm(total=total, unit=" samples", disable=None if progress else True) as bar:
            for pair in pairs(clean, shifted, self.sources.splitting, may_be_empty=ranks.size > 1):
                ranks.check()
                self._see(pair)
                self.sizes.append(len(pair.labels))
                bar.update(len(pair.labels))
            self._compare()
        passed = time.perf_counter() - start
        self.seconds = {
            "forward": passed - self.watch.seconds - self.checking.seconds,
            "checking": self.checking.seconds,
            "statistics": self.watch.seconds,
        }

    def layers(self) -> tuple[dict[str, LayerReport], dict[str, str]]:
        """The layers that count, and why each of the others does not.

        Raises:
            ValueError: none counts.
        """
        why = dict(self.watch.skipped)
        for name in self.watch.never_ran():
            inside = name.endswith("out_proj")  # nn.MultiheadAttention
            why.setdefault(
                name,
                "attention uses its weights without calling it" if inside else "never ran in a forward pass",
            )
        if self.options.corrected and self.watch.output_layer is not None:
            why[self.watch.output_layer] = "made the logits"
        for name in why:
            self.accumulator.discard(name)
        found = self.accumulator.result()
        if not self.options.corrected:
            classes = len(np.unique(self.classes))
            for name in [name for name, layer in found.items() if layer.units <= classes]:
                units = found.pop(name).units
                why[name] = f"rows of {units} values, not more than the {classes} classes"
        if not found:
            raise InputError(
                "no layer counts: " + "; ".join(f"{name}: {reason}" for name, reason in why.items())
            )
        return found, why

    def layer_inputs(self) -> LayerInputs:
        """What entered the layers that count and the one that made the logits, for the first samples."""
        return self._inputs.result(set(self.watch.skipped))

    def notes(self) -> list[str]:
        """What the reader of the report has to know about how it was made."""
        used = [f"padding left out by {name}" for name in self.masks_used]
        if self.masks_used and not (self.options.corrected and self.options.pooled):
            used = [
                f"padding counted: {name} is not used under arithmetic='reference' or pooling='flatten'"
                for name in self.masks_used
            ]
        return [*self.checking.notes, *used, *self.changes.notes]

    @property
    def classes(self) -> np.ndarray:
        """(samples,) int64."""
        return self._labels.values

    @property
    def finite(self) -> np.ndarray:
        """(samples,) bool: both embeddings hold finite values only."""
        return self._finite.values

    @property
    def mode(self) -> str:
        return ", ".join(self._ways)

    def accuracy(self) -> dict[str, float] | None:
        """Share of samples whose largest logit is their label; None if the labels do not number the logits."""
        classes = self.classes
        if self._predicted < classes.size or classes.min() < 0 or classes.max() >= self._logits:
            return None
        return {
            name: int(right) / classes.size
            for name, right in zip(("clean", "shifted"), self._right, strict=True)
        }

    def hits(self) -> dict[str, Any]:
        """What ``accuracy`` is made of."""
        return {"right": [int(n) for n in self._right], "of": self._predicted, "logits": self._logits}

    def take_hits(self, parts: Sequence[Mapping[str, Any]]) -> None:
        """Replace the hits so far by the sum of such parts."""
        self._right = [torch.tensor(sum(part["right"][side] for part in parts)) for side in (0, 1)]
        self._predicted = sum(part["of"] for part in parts)
        self._logits = max(part["logits"] for part in parts)

    def take_samples(self, classes: np.ndarray, finite: np.ndarray) -> None:
        """Replace what there is of the samples so far by that of more samples."""
        self._labels, self._finite = _Column(np.int64), _Column(np.bool_)
        self._labels.append(classes)
        self._finite.append(finite)

    def take_ways(self, ways: Iterable[str]) -> None:
        """Replace how batches went through the model."""
        self._ways = dict.fromkeys(ways)

    def _see(self, pair: Pair) -> None:
        """Send one batch of pairs through the model and keep what counts."""
        n = len(pair.labels)
        for side in (pair.clean, pair.shifted):
            self._refuse_unknown(side)
        clean, shifted = (side.wanted(self._parameters).to(self.place) for side in (pair.clean, pair.shifted))
        masks = self._mask(clean, pair.clean_mask, n), self._mask(shifted, pair.shifted_mask, n)
        self.watch.inputs_wanted = self._inputs.open
        logits, embeddings = self._through(clean, shifted, n, masks)
        start = time.perf_counter()
        masks = (self._of_padding(masks[0]), self._of_padding(masks[1]))
        self.masks_used.update({mask.name: None for mask in masks if mask is not None})
        kept = [None if mask is None else mask.kept for mask in masks]
        self.changes.add(clean, shifted, n, self.checking.axes(clean, n), (kept[0], kept[1]))
        if logits is not None:
            self._keep_hits(logits, pair.labels)
        none = torch.zeros((n, 0))
        self._inputs.end_batch(logits or (none, none), pair.labels)
        finite = torch.isfinite(embeddings[0]).all(1) & torch.isfinite(embeddings[1]).all(1)
        if self.place.type == "cuda" or not bool(finite.all()):
            embeddings = (embeddings[0][finite], embeddings[1][finite])
        self._finite.append(finite.cpu().numpy())
        for row_pair in self._staged:
            self._waiting.setdefault(row_pair[0], []).append(row_pair)
        self._staged.clear()
        self.watch.seconds += time.perf_counter() - start
        held = sum(2 * ours.nbytes for row_pairs in self._waiting.values() for _, ours, _ in row_pairs)
        if held > WAITING_BYTES:
            self._compare()
        self._labels.append(pair.labels)
        self.store.append(*embeddings)

    def _refuse_unknown(self, inputs: Inputs) -> None:
        """Refuse inputs with which the model cannot be called, and say how to choose others."""
        names = self._parameters
        if names is None:
            return
        if inputs.kwargs and not inputs.args and names.isdisjoint(inputs.kwargs):
            raise InputTypeError(
                f"a batch has the inputs {sorted(inputs.kwargs)}, but the model takes {sorted(names)}: choose what it"
                f" is called with by inputs={next(iter(inputs.kwargs))!r}"
            )
        if len(inputs.args) > len(self._positional) and not self._any_position:
            raise InputTypeError(
                f"a batch has {len(inputs.args)} inputs beside the labels, but the model takes"
                f" {len(self._positional)}: choose them by inputs=, for example inputs=0, and the labels by labels="
            )

    def _mask(self, inputs: Inputs, given: Tensor | None, n: int) -> Mask | None:
        """The mask of one side, where it leaves something out and the arithmetic can use it."""
        mask = None if given is None else Mask("mask=", given)
        if given is None and self.sources.splitting.mask is None:
            mask = named_mask(inputs, self._positional, n)
        elif given is not None and len(given) != n:
            raise InputError(f"mask= gives {len(given)} rows for a batch of {n} samples")
        kept = None if mask is None else with_padding(mask.kept)
        if mask is None or kept is None:
            return None
        return Mask(mask.name, kept, mask.input)

    def _of_padding(self, mask: Mask | None) -> Mask | None:
        """The mask, unless all samples share it (a causal one), as far as is known."""
        taking = self.checking.taking
        if mask is None or mask.input is None or taking is None:
            return mask
        return None if taking.axes[mask.input] is None else mask

    def _compare(self) -> None:
        """Add up the row pairs that wait.

        Many at a time: the kernel's threads and the model's then take turns seldom, where on few cores each turn
        costs both of them time.
        """
        start = time.perf_counter()
        for name, row_pairs in self._waiting.items():
            # A layer called on two resolutions has rows of two widths, in turn.
            for _, alike in itertools.groupby(row_pairs, key=lambda row_pair: row_pair[1].shape[1]):
                _, ours, theirs = zip(*alike, strict=True)
                self.accumulator.update(name, torch.cat(ours), torch.cat(theirs))
        self._waiting.clear()
        self.watch.seconds += time.perf_counter() - start

    def _found(self, name: str, ours: Tensor, theirs: Tensor) -> None:
        if ours.shape[1] <= SHORT:
            self._staged.append((name, ours, theirs))
        else:
            self.accumulator.update(name, ours, theirs)

    def _forget(self, before: dict[str, Any]) -> None:
        """Take back what this batch has added so far."""
        self.accumulator.restore(before)
        self._staged.clear()
        self._inputs.forget()

    def _through(
        self, clean: Inputs, shifted: Inputs, n: int, masks: Masks
    ) -> tuple[tuple[Tensor, Tensor] | None, tuple[Tensor, Tensor]]:
        """Logits (None: they are not of samples) and embeddings of both sides, in whatever way the batch may go."""
        before = self.accumulator.snapshot()

        def go(inputs: Inputs, role: Role) -> Passed:
            return self.checking.run(inputs, role, lambda: self._forget(before))

        usable = self.options.corrected and self.options.pooled

        def role(name: str, mask: Mask | None) -> Role:
            mask = self._of_padding(mask) if usable else None
            return Role(name, n) if mask is None else Role(name, n, mask.kept, mask.input)

        if same(clean, shifted):
            self._ways["equal batches once"] = None
            made = go(clean, role("same", masks[0]))
            return _both(made.logits, made.logits), (made.embeddings, made.embeddings)
        if self._together and self.checking.taking is not None:
            made_together = self._joined(clean, shifted, n, masks, go)
            if made_together is not None:
                self._ways["clean and shifted as one batch"] = None
                logits, rows = made_together.logits, made_together.embeddings
                halves = None if logits is None else (logits[:n], logits[n:])
                return halves, (rows[:n], rows[n:])
            self._forget(before)
        self._ways["clean and shifted in turn"] = None
        ours = go(clean, role("clean", masks[0]))
        theirs = go(shifted, role("shifted", masks[1]))
        if self.checking.sees_batch:
            self._together = False
        elif self._together is None:
            self._together = 2 * self.watch.largest_output <= CACHE_BYTES
        return _both(ours.logits, theirs.logits), (ours.embeddings, theirs.embeddings)

    def _joined(
        self, clean: Inputs, shifted: Inputs, n: int, masks: Masks, go: Callable[[Inputs, Role], Passed]
    ) -> Passed | None:
        """One pass of both sides; None: it does not go, or its numbers are not those of each side alone."""
        both = self.checking.join(clean, shifted)
        usable = self.options.corrected and self.options.pooled
        padding = (self._of_padding(masks[0]), self._of_padding(masks[1]))
        mask = _joined_mask(padding, n) if usable else None
        if both is None or mask is NotImplemented:
            return None
        try:
            made = go(both, Role("both", n, mask))
        except (torch.OutOfMemoryError, RuntimeError) as problem:
            if not _out_of_memory(problem):
                raise
            self._together = False
            del both
            if self.place.type == "cuda":
                torch.cuda.empty_cache()
            return None
        if made.sees_batch:
            self._together = False
            return None
        return made

    def _keep_hits(self, outputs: tuple[Tensor, Tensor], labels: np.ndarray) -> None:
        if all(logits.ndim == 2 and len(logits) == labels.size and logits.shape[1] > 1 for logits in outputs):
            wanted = torch.from_numpy(labels).to(self.place)
            for right, logits in zip(self._right, outputs, strict=True):
                right += (logits.argmax(1) == wanted).sum()
            self._predicted += labels.size
            self._logits = int(outputs[0].shape[1])


class _Column:
    """One value a sample, in one growing array: small blocks a batch would keep the heap from ever shrinking."""

    def __init__(self, dtype: type[np.generic]) -> None:
        self._held = np.empty(1024, dtype)
        self._size = 0

    def append(self, values: np.ndarray) -> None:
        size = self._size + len(values)
        if size > len(self._held):
            self._held = np.concatenate([self._held[: self._size], np.empty(size, self._held.dtype)])
        self._held[self._size : size] = values
        self._size = size

    @property
    def values(self) -> np.ndarray:
        return self._held[: self._size]


def _both(clean: Tensor | None, shifted: Tensor | None) -> tuple[Tensor, Tensor] | None:
    return None if clean is None or shifted is None else (clean, shifted)


def _joined_mask(masks: Masks, n: int) -> Any:
    """The mask of both sides; NotImplemented where their widths differ."""
    widths = {mask.kept.shape[1] for mask in masks if mask is not None}
    if not widths:
        return None
    if len(widths) > 1:
        return NotImplemented
    width, device = widths.pop(), next(mask.kept.device for mask in masks if mask is not None)
    every = torch.ones((n, width), dtype=torch.bool, device=device)
    return torch.cat([every if mask is None else mask.kept for mask in masks])


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


def _out_of_memory(problem: BaseException) -> bool:
    return isinstance(problem, torch.OutOfMemoryError) or "can't allocate memory" in str(problem)

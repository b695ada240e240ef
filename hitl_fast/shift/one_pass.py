"""One forward pass over all pairs, and what is kept of it: sums, embeddings, predictions, labels."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from tqdm import tqdm

from hitl_fast._common.errors import InputError, InputTypeError

from .accumulator import LayerReport, PreIndexAccumulator
from .batches import COMPLETE, Pair, pairs, same
from .changes import Changes
from .checking import Checking, Passed
from .current_pass import Role
from .embeddings import EmbeddingStore
from .forward import SHORT, Watch
from .guesses import Column, Guesses
from .inputs import Inputs, parameters, positional
from .labelling import Labelling
from .layer_inputs import InputStore, LayerInputs
from .loaders import expected_samples
from .masks import Mask, named_mask, with_padding
from .options import Options
from .ranks import Joined
from .rows import Reading
from .splitting import Splitting

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
        *,
        labelling: Labelling = COMPLETE,
    ) -> None:
        """Without pairs (``labelling.paired``) one side serves as both, and nothing is compared."""
        self.compared = labelling.paired
        # Nobody can use the inputs of layers without labels of shifted samples.
        effort_samples = effort_samples if labelling.shifted_known else 0
        self.sources, self.options, self.store, self.place = sources, options, store, place
        self.accumulator = PreIndexAccumulator(options.bins, options.arithmetic)
        self.captures = effort_samples
        self.sizes: list[int] = []  # of the batches, in order
        self._inputs = InputStore(effort_samples, drawn=not labelling.complete)
        reading = Reading(options.corrected, options.pooled)
        self.watch = Watch(
            module, sources.embedding, reading, sources.output, self._found, self._inputs.enter
        )
        self.watch.outputs_wanted = self.compared
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
        self._labels, self._finite, self._known = Column(np.int64), Column(np.bool_), Column(np.bool_)
        self.guesses = Guesses(kept=not labelling.complete)
        self.changes = Changes()
        self.first: Inputs | None = None  # inputs of the first batch
        self.parameters = parameters(module)
        self._positional, self._any_position = positional(module)

    def over(self, clean: Iterable[Any], shifted: Iterable[Any], progress: bool, ranks: Joined) -> None:
        """Read both loaders to their end; one rank of several may have none."""
        batches = pairs(clean, shifted, self.sources.splitting, may_be_empty=ranks.size > 1)
        self.stream(batches, expected_samples(clean), progress, ranks.check)

    def stream(
        self,
        batches: Iterable[Pair],
        total: int | None,
        progress: bool,
        check: Callable[[], object] = lambda: None,
    ) -> None:
        """Read pairs to their end; ``total``: how many samples they have, if known; ``check``: run at each batch."""
        start = time.perf_counter()
        with self.watch, tqdm(total=total, unit=" samples", disable=None if progress else True) as bar:
            for pair in batches:
                check()
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
            doubt = "" if self.watch.head is None else self.watch.head.doubt
            why[self.watch.output_layer] = (
                f"taken for what made the logits ({doubt})" if doubt else "made the logits"
            )
        if not self.compared:
            return {}, why
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
        """(samples,) bool: the embeddings hold finite values only."""
        return self._finite.values

    @property
    def mode(self) -> str:
        return ", ".join(self._ways)

    @property
    def known(self) -> np.ndarray:
        """(samples,) bool: the shifted sample's label is known."""
        found = self._known.values
        return found if len(found) else np.ones(len(self.classes), bool)

    def accuracy(self) -> dict[str, float] | None:
        """Share of samples whose largest logit is their label; None if the labels do not number the logits."""
        return self.guesses.accuracy(self.classes)

    def take_samples(self, classes: np.ndarray, finite: np.ndarray) -> None:
        """Replace what there is of the samples so far by that of more samples, all labelled."""
        self._labels, self._finite, self._known = Column(np.int64), Column(np.bool_), Column(np.bool_)
        self._labels.append(classes)
        self._finite.append(finite)

    def take_ways(self, ways: Iterable[str]) -> None:
        """Replace how batches went through the model."""
        self._ways = dict.fromkeys(ways)

    def _see(self, pair: Pair) -> None:
        """Send one batch of pairs through the model and keep what counts."""
        n = len(pair.labels)
        alike = pair.shifted is pair.clean
        for side in (pair.clean,) if alike else (pair.clean, pair.shifted):
            self._refuse_unknown(side)
        clean = pair.clean.wanted(self.parameters).to(self.place)
        shifted = clean if alike else pair.shifted.wanted(self.parameters).to(self.place)
        if self.first is None:
            self.first = pair.clean
        mask = self._mask(clean, pair.clean_mask, n)
        masks = mask, mask if alike else self._mask(shifted, pair.shifted_mask, n)
        self.watch.inputs_wanted = self._inputs.open
        logits, embeddings = self._through(clean, shifted, n, masks)
        start = time.perf_counter()
        masks = (self._of_padding(masks[0]), self._of_padding(masks[1]))
        self.masks_used.update({mask.name: None for mask in masks if mask is not None})
        if self.compared:
            kept = [None if mask is None else mask.kept for mask in masks]
            self.changes.add(clean, shifted, n, self.checking.axes(clean, n), (kept[0], kept[1]))
        if logits is not None:
            self.guesses.add(logits, pair.labels)
        finite = torch.isfinite(embeddings[0]).all(1)
        if embeddings[1] is not embeddings[0]:
            finite = finite & torch.isfinite(embeddings[1]).all(1)
        if self.place.type == "cuda" or not bool(finite.all()):
            ours = embeddings[0][finite]
            embeddings = ours, ours if embeddings[1] is embeddings[0] else embeddings[1][finite]
        held = finite.cpu().numpy()
        self._finite.append(held)
        none = torch.zeros((n, 0))
        usable = None if pair.known is None else pair.known & held
        self._inputs.end_batch(logits or (none, none), pair.labels, usable)
        if pair.known is not None:
            self._known.append(pair.known)
        for row_pair in self._staged:
            self._waiting.setdefault(row_pair[0], []).append(row_pair)
        self._staged.clear()
        self.watch.seconds += time.perf_counter() - start
        waiting = sum(2 * ours.nbytes for row_pairs in self._waiting.values() for _, ours, _ in row_pairs)
        if waiting > WAITING_BYTES:
            self._compare()
        self._labels.append(pair.labels)
        self.store.append(*embeddings)

    def refuse_nothing_finite(self, what: str) -> None:
        """Refuse samples none of which has an embedding.

        Raises:
            ValueError: all embeddings hold NaN or infinite values.
        """
        if not self.finite.any():
            raise InputError(f"the embeddings of all {self.finite.size} {what} hold NaN or infinite values")

    def _refuse_unknown(self, inputs: Inputs) -> None:
        """Refuse inputs with which the model cannot be called, and say how to choose others."""
        names = self.parameters
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
        if not self.compared:  # a first batch, whose rows prove which layers count
            return
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


def _out_of_memory(problem: BaseException) -> bool:
    return isinstance(problem, torch.OutOfMemoryError) or "can't allocate memory" in str(problem)

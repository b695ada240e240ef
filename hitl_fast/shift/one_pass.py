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
from tqdm import tqdm

from hitl_fast._common.errors import InputError, InputTypeError

from .accumulator import LayerReport, PreIndexAccumulator
from .batches import COMPLETE, Pair, pairs
from .both_sides import BothSides
from .changes import Changes
from .checking import Checking
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

RowPair = tuple[str, Tensor, Tensor]


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
        entered = self._entered if self.captures else None
        self.watch = Watch(module, sources.embedding, reading, sources.output, self._found, entered)
        self.watch.outputs_wanted = self.compared
        self.checking = Checking(self.watch)
        self.seconds: dict[str, float] = {}
        self.masks_used: dict[str, None] = {}  # names of masks that left something out, in order
        self._sides = BothSides(module, self.checking, options, place, self._forget)
        self._before: dict[str, Any] = {}  # the sums before this batch
        self._staged: list[RowPair] = []  # short rows of this batch
        self._waiting: dict[str, list[RowPair]] = {}  # short rows of the batches before
        self._waiting_bytes = 0
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
        return [*self.checking.notes, *used, *self.changes.notes, *self.guesses.notes(self.compared)]

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
        return ", ".join(self._sides.ways)

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
        self._sides.ways = dict.fromkeys(ways)

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
        self._before = self.accumulator.snapshot()
        logits, embeddings = self._sides.run(clean, shifted, n, masks, pair.only)
        start = time.perf_counter()
        masks = (self._sides.of_padding(masks[0]), self._sides.of_padding(masks[1]))
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
            self._waiting_bytes += 2 * row_pair[1].nbytes
        self._staged.clear()
        self.watch.seconds += time.perf_counter() - start
        if self._waiting_bytes > WAITING_BYTES:
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
        self._waiting_bytes = 0
        self.watch.seconds += time.perf_counter() - start

    def _found(self, name: str, ours: Tensor, theirs: Tensor) -> None:
        if not self.compared:  # a first batch, whose rows prove which layers count
            return
        if ours.shape[1] <= SHORT:
            self._staged.append((name, ours, theirs))
        else:
            self.accumulator.update(name, ours, theirs)

    def _entered(self, name: str, call: int, ours: Tensor, theirs: Tensor) -> None:
        self._inputs.enter(name, call, ours, theirs)

    def _forget(self) -> None:
        """Take back what this batch has added so far."""
        self.accumulator.restore(self._before)
        self._staged.clear()
        self._inputs.forget()

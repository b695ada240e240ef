"""One forward pass over all pairs, and what is kept of it: sums, embeddings, predictions, labels."""

from __future__ import annotations

import inspect
import itertools
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from tqdm import tqdm

from hitl_fast._common.errors import InputError

from .accumulator import LayerReport, PreIndexAccumulator
from .batches import Inputs, Pair, expected_samples, joined, pairs, same, squared_changes, undecided
from .embeddings import EmbeddingStore
from .forward import SHORT, Watch, logits_of
from .options import Options

WAITING_BYTES = 16 * 2**20
# On a CPU one batch of both is faster while its largest activation stays in a cache (measured: SmallResNet 1.13 times,
# 1 MiB), and slower where it does not (ResNet-18, 32 MiB: 0.85 times).
CACHE_BYTES = 8 * 2**20

RowPair = tuple[str, Tensor, Tensor]


class Pass:
    """One forward pass over all pairs: what it keeps is counts, embeddings, predictions and labels."""

    def __init__(
        self,
        module: nn.Module,
        embedding: str | None,
        output: str | int | Callable[[Any], Any] | None,
        options: Options,
        store: EmbeddingStore,
        place: torch.device,
    ) -> None:
        self.output, self.options, self.store, self.place = output, options, store, place
        self.accumulator = PreIndexAccumulator(options.bins, options.arithmetic)
        self.watch = Watch(module, embedding, options.corrected, options.pooled, self._found)
        self.seconds: dict[str, float] = {}
        # Whether clean and shifted samples go through the model as one batch; None: to be seen from the first.
        mixing = any(isinstance(m, _BatchNorm) and m.running_mean is None for m in module.modules())
        on_sight = options.corrected and options.pooled and place.type == "cpu"
        self._together = False if mixing or not options.corrected else None if on_sight else True
        self._samples_first: bool | None = None  # in every input; None: no shape has left that open yet
        self._ways: dict[str, None] = {}  # how batches went through the model, in order of appearance
        self._staged: list[RowPair] = []  # short rows of this batch
        self._waiting: dict[str, list[RowPair]] = {}  # short rows of the batches before
        self._labels, self._changes, self._finite = _Column(np.int64), _Column(np.float64), _Column(np.bool_)
        self._right = [torch.zeros((), dtype=torch.int64, device=place) for _ in range(2)]  # clean, shifted
        self._predicted = 0  # samples that _right counts the hits of
        self._logits = 0  # how many there are of each sample
        self._parameters = _parameters(module)

    def over(
        self, clean: Iterable[Any], shifted: Iterable[Any], labels: str | int | None, progress: bool
    ) -> None:
        """Read both loaders to their end."""
        start = time.perf_counter()
        total = expected_samples(clean)
        with self.watch, tqdm(total=total, unit=" samples", disable=None if progress else True) as bar:
            for pair in pairs(clean, shifted, labels):
                self._see(pair)
                bar.update(len(pair.labels))
            self._compare()
        passed = time.perf_counter() - start
        self.seconds = {"forward": passed - self.watch.seconds, "statistics": self.watch.seconds}

    def layers(self) -> tuple[dict[str, LayerReport], dict[str, str]]:
        """The layers that count, and why each of the others does not.

        Raises:
            ValueError: none counts.
        """
        why = dict(self.watch.skipped)
        for name in self.watch.never_ran():
            inside = name.endswith("out_proj")  # nn.MultiheadAttention
            why[name] = (
                "attention uses its weights without calling it" if inside else "never ran in a forward pass"
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

    def input_rms(self) -> float | None:
        """Root mean square change of the floating point inputs, over samples where it is finite."""
        changes = self._changes.values
        changes = changes[np.isfinite(changes)]
        return float(np.sqrt(np.mean(changes))) if changes.size else None

    def _see(self, pair: Pair) -> None:
        """Send one batch of pairs through the model and keep what counts."""
        n = len(pair.labels)
        clean, shifted = (side.wanted(self._parameters).to(self.place) for side in (pair.clean, pair.shifted))
        change = squared_changes(clean, shifted, n)
        if change is not None:
            self._changes.append(change)
        outputs, embeddings = self._forward(clean, shifted, n)
        self._keep_hits(outputs, pair.labels)
        finite = torch.isfinite(embeddings[0]).all(1) & torch.isfinite(embeddings[1]).all(1)
        if self.place.type == "cuda" or not bool(finite.all()):
            embeddings = (embeddings[0][finite], embeddings[1][finite])
        self._finite.append(finite.cpu().numpy())
        for row_pair in self._staged:
            self._waiting.setdefault(row_pair[0], []).append(row_pair)
        self._staged.clear()
        if (
            sum(2 * ours.nbytes for row_pairs in self._waiting.values() for _, ours, _ in row_pairs)
            > WAITING_BYTES
        ):
            self._compare()
        self._labels.append(pair.labels)
        self.store.append(*embeddings)

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

    def _forward(
        self, clean: Inputs, shifted: Inputs, n: int
    ) -> tuple[tuple[Any, Any], tuple[Tensor, Tensor]]:
        """Outputs and embeddings of both sides, by whatever way the batch may go."""
        before = self.accumulator.snapshot()
        found = self._through(clean, shifted, n)
        if self.watch.unsure:
            self._forget(before)
            self.watch.learn_axes(clean, n, self._logits_in)
            found = self._through(clean, shifted, n)
        return found

    def _forget(self, before: dict[str, Any]) -> None:
        """Take back what this batch has added so far."""
        self.accumulator.restore(before)
        self._staged.clear()

    def _through(
        self, clean: Inputs, shifted: Inputs, n: int
    ) -> tuple[tuple[Any, Any], tuple[Tensor, Tensor]]:
        if same(clean, shifted):
            self._ways["equal batches once"] = None
            output, rows = self._run(_copied(clean), n, "same")
            return (output, output), (rows, rows)
        both = joined(clean, shifted, n) if self._together and self._joinable(clean, n) else None
        if both is not None:
            before = self.accumulator.snapshot()
            try:
                output, rows = self._run(both, n, "both")
            except (torch.OutOfMemoryError, RuntimeError) as problem:
                if not _out_of_memory(problem):
                    raise
                self._forget(before)
                self._together = False
                del both
                if self.place.type == "cuda":
                    torch.cuda.empty_cache()
            else:
                self._ways["clean and shifted as one batch"] = None
                return (output[:n], output[n:]), (rows[:n], rows[n:])
        self._ways["clean and shifted in turn"] = None
        clean_output, clean_rows = self._run(_copied(clean), n, "clean")
        shifted_output, shifted_rows = self._run(_copied(shifted), n, "shifted")
        if self._together is None:
            self._together = 2 * self.watch.largest_output <= CACHE_BYTES
        return (clean_output, shifted_output), (clean_rows, shifted_rows)

    def _joinable(self, inputs: Inputs, n: int) -> bool:
        """No input could be one with as many time steps first: joined, the samples of both sides would mix."""
        if not undecided(inputs, n):
            return True
        if self._samples_first is None:
            self._samples_first = self.watch.samples_first(inputs, n, self._logits_in)
        return self._samples_first

    def _logits_in(self, output: Any) -> Tensor:
        return logits_of(output, self.output)

    def _run(self, inputs: Inputs, n: int, role: str) -> tuple[Tensor, Tensor]:
        output, rows = self.watch.run(inputs, n, role)
        logits = self._logits_in(output)
        if self.watch.output_layer is None:
            self.watch.find_output_layer(logits)
        return logits, rows

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


def _parameters(module: nn.Module) -> frozenset[str] | None:
    """What the model's forward can be called with by name; None: anything."""
    found = inspect.signature(module.forward).parameters
    if any(p.kind is p.VAR_KEYWORD for p in found.values()):
        return None
    return frozenset(found)


def _copied(inputs: Inputs) -> Inputs:
    """Tensors of the model's own, since a module that works in place must not reach the caller's."""
    return inputs.map(lambda v: v.clone() if isinstance(v, Tensor) else v)


def _out_of_memory(problem: BaseException) -> bool:
    return isinstance(problem, torch.OutOfMemoryError) or "can't allocate memory" in str(problem)

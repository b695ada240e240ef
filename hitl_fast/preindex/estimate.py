"""``preindex``: one forward pass over clean and shifted data, one number for what retraining will cost."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from hitl_kernels.shift_distances import MEASURES, checked_bins
from torch import Tensor, nn
from tqdm import tqdm

from .accumulator import PreIndexAccumulator, mean_over_layers
from .batches import Inputs, Pair, check_loaders, expected_samples, joined, pairs, same, squared_changes
from .clusters import clusterings
from .embeddings import EmbeddingStore, default_budget
from .forward import SHORT, Watch, logits_of, undisturbed, unwrapped
from .report import PreIndexReport
from .scores import Embedding, class_sums, linear_cka, probe_error, resque_angle

POOLINGS = ("mean", "flatten")
WAITING_BYTES = 16 * 2**20
# On a CPU one batch of both is faster while its largest activation stays in a cache (measured: SmallResNet 1.13 times,
# 1 MiB), and slower where it does not (ResNet-18, 32 MiB: 0.85 times).
CACHE_BYTES = 8 * 2**20

RowPair = tuple[str, Tensor, Tensor]


def preindex(
    model: nn.Module,
    clean: Iterable[Any],
    shifted: Iterable[Any],
    embedding: str | None = None,
    *,
    bins: Sequence[int] = (16, 32, 64),
    arithmetic: str = "corrected",
    pooling: str = "mean",
    measure: str = "jensen_shannon",
    measure_bins: int = 32,
    scale: float = 0.0,
    offset: float = 0.0,
    output: str | int | Callable[[Any], Any] | None = None,
    labels: str | int | None = None,
    device: torch.device | str | None = None,
    max_memory: int | None = None,
    progress: bool = True,
) -> PreIndexReport:
    """Estimate, before retraining, what retraining a model to shifted data will cost.

    Clean and shifted versions of the same samples go through the model once. With p the mean distance between the
    histograms of each layer's activations, and ARI the adjusted Rand index of the shifted embeddings, clustered from
    the clean class means, against the labels::

        u = p + (1 - ARI)
        index = u / (1 + u * scale) - offset

    A higher index means more to relearn. At fixed scale and offset the index ranks as u does. The paper's s and s_bar,
    which scale and shift it for the variance of the noise, have no public definition: they are ``scale`` and
    ``offset`` here, 0 unless you give them. The report also has what else one pass tells (accuracy drop, probe error,
    linear CKA, ...): compare before you trust one number.

    Args:
        model: any module. It is evaluated (eval mode, no gradient) under the ambient autocast, and left as it was.
        clean: batches ``(inputs, ..., labels)`` or mappings with labels; labels are (n,) integer classes. A
            DataLoader that does not shuffle, or any iterable of batches.
        shifted: the same samples after the shift, in the same order, with the same labels and batch sizes.
        embedding: name of the module whose output is clustered; default: the input of the last nn.Linear to run.
        bins: numbers of histogram bins, each >= 2, rising.
        arithmetic: "reference" is the published code's: a layer counts if its rows are longer than there are classes,
            token outputs are flattened, embeddings are not pooled, one k-means++ start. "corrected" leaves out the
            layer that made the logits, pools tokens and embeddings under pooling="mean", smooths the
            Kullback-Leibler divergence, takes near-constant rows as constant and starts k-means++ ten times.
        pooling: "mean" over positions, one unit a channel or feature; "flatten": every value is a unit.
        measure: the distance that is p: jensen_shannon, bhattacharyya, kullback_leibler, wasserstein_heights or
            wasserstein_bins; all are reported.
        measure_bins: the number of bins that p is taken at; one of ``bins``.
        scale: s >= 0.
        offset: s_bar.
        output: where the logits are in what the model returns: a key, a position or a function. Default: the
            tensor itself, its ``logits``, or the first of a tuple.
        labels: where the labels are in a batch: a key or a position. Default: the last of a tuple; "labels", "label",
            "targets", "target" or "y" of a mapping.
        device: where to run; default: where the model is. The model is moved back.
        max_memory: bytes of embeddings to hold; beyond, they go to a temporary file without a name (in the folder
            that TMPDIR names). Default: a quarter of the free memory of host or GPU.
        progress: a progress bar on a terminal.

    Returns:
        PreIndexReport. Distances do not depend on the batch size beyond what the model's own arithmetic does. Under
        "corrected", clean and shifted samples go through it as one batch where that is faster and the device has
        room; under "reference" one after the other, as published.

    Raises:
        ValueError: loaders of different length, differing labels (the position is named), a loader that shuffles, the
            same iterator twice, no batch, an unknown embedding (near names are listed), no layer to look at, all
            rows of a layer not finite, bad options.
        TypeError: batches without labels, labels that are not classes, no logits where ``output`` says.

    Warns:
        UserWarning: some row pairs hold NaN or infinite values and are left out; the layers are named.

    Source: Sangarya, Bradford, Kim, Estimating Environmental Cost Throughout Model's Adaptive Life Cycle, AIES 2024
    (arXiv 2408.01446).

    >>> model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
    >>> x, y = torch.randn(30, 4), torch.arange(30) % 3
    >>> report = preindex(model, [(x, y)], [(x + 0.5, y)])
    >>> report.samples, list(report.layers), report.embedding
    (30, ['0'], 'input of 2')
    """
    rising = checked_bins(bins)
    _check_options(rising, pooling, measure, measure_bins, scale, offset, max_memory)
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, not {type(model).__name__}")
    check_loaders(clean, shifted)
    module = unwrapped(model)
    place = _device(module, device)
    accumulator = PreIndexAccumulator(rising, arithmetic)
    budget = default_budget(place) if max_memory is None else max_memory
    with EmbeddingStore(budget) as store, undisturbed(module, place, (clean, shifted)):
        run = _Pass(
            module, embedding, arithmetic == "corrected", pooling == "mean", output, accumulator, store, place
        )
        start = time.perf_counter()
        with (
            run.watch,
            tqdm(total=expected_samples(clean), unit=" samples", disable=None if progress else True) as bar,
        ):
            for pair in pairs(clean, shifted, labels):
                run.see(pair)
                bar.update(len(pair.labels))
            run.compare()
        passed = time.perf_counter() - start
        classes = np.concatenate(run.labels)
        n_classes = len(np.unique(classes))
        skipped = run.skipped(n_classes, arithmetic == "corrected")
        layers = accumulator.result()
        if not layers:
            raise ValueError(
                "no layer counts: " + "; ".join(f"{name}: {why}" for name, why in skipped.items())
            )
        left_out = int((~run.finite).sum())
        _warn({name: layer.left_out for name, layer in layers.items()}, left_out)
        if left_out == classes.size:
            raise ValueError(f"the embeddings of all {classes.size} sample pairs hold NaN or infinite values")
        start = time.perf_counter()
        kept = np.unique(classes[run.finite], return_inverse=True)
        clean_rows, shifted_rows = store.arrays()
        ours, theirs = (Embedding(rows, kept[1], len(kept[0])) for rows in (clean_rows, shifted_rows))
        sums = class_sums(ours), class_sums(theirs)
        clusters = clusterings(ours, theirs, *sums, restarts=10 if arithmetic == "corrected" else 1)
        angle, cka, probe = resque_angle(*sums), linear_cka(ours, theirs), probe_error(theirs)
        clustered = time.perf_counter() - start
    distances = mean_over_layers(rising, layers)
    p, inverse_ari = distances[measure_bins][measure], clusters["shifted_from_clean"].inverse_ari
    u = p + inverse_ari
    changes = np.concatenate(run.changes) if run.changes else np.empty(0)
    changes = changes[np.isfinite(changes)]
    return PreIndexReport(
        index=u / (1 + u * scale) - offset,
        distance=p,
        inverse_ari=inverse_ari,
        u=u,
        samples=classes.size,
        classes=n_classes,
        measure=measure,
        measure_bins=measure_bins,
        scale=scale,
        offset=offset,
        arithmetic=arithmetic,
        pooling=pooling,
        embedding=run.watch.embedding_name or "",
        accuracy=run.accuracy(classes),
        input_rms=float(np.sqrt(np.mean(changes))) if changes.size else None,
        resque_angle=angle,
        cka=cka,
        probe_error=probe,
        left_out=left_out,
        distances=distances,
        clusters=clusters,
        layers=layers,
        skipped=skipped,
        seconds={
            "forward": passed - run.watch.seconds,
            "statistics": run.watch.seconds,
            "clustering": clustered,
        },
        mode=f"{place}, {run.mode}" + (", embeddings in a file" if store.in_file else ""),
        versions=dict(_versions()),
    )


@functools.cache
def _versions() -> tuple[tuple[str, str], ...]:
    packages = [(name, importlib.metadata.version(name)) for name in ("hitl-fast", "torch", "numpy", "numba")]
    return (*packages, ("python", platform.python_version()))


class _Pass:
    """One forward pass over all pairs: what it keeps is counts, embeddings, predictions and labels."""

    def __init__(
        self, module: nn.Module, embedding: str | None, corrected: bool, pooled: bool,
        output: str | int | Callable[[Any], Any] | None, accumulator: PreIndexAccumulator, store: EmbeddingStore,
        place: torch.device,
    ) -> None:  # fmt: skip
        self.accumulator, self.store, self.place, self.output = accumulator, store, place, output
        self.watch = Watch(module, embedding, corrected, pooled, self._found)
        self._staged: list[RowPair] = []  # short rows of this batch
        self._waiting: dict[str, list[RowPair]] = {}  # short rows of the batches before
        # Whether clean and shifted samples go through the model as one batch; None: to be seen from the first.
        self.together = None if corrected and pooled and place.type == "cpu" else corrected
        self.ways: dict[str, None] = {}  # how batches went through the model, in order of appearance
        self.labels: list[np.ndarray] = []
        self.changes: list[np.ndarray] = []
        self._predicted: tuple[list[Tensor], list[Tensor]] = ([], [])
        self._finite: list[Tensor] = []

    def see(self, pair: Pair) -> None:
        """Send one batch of pairs through the model and keep what counts."""
        n = len(pair.labels)
        clean, shifted = pair.clean.to(self.place), pair.shifted.to(self.place)
        change = squared_changes(clean, shifted, n)
        if change is not None:
            self.changes.append(change)
        outputs, embeddings = self._forward(clean, shifted, n)
        self._keep_predictions(outputs, n)
        finite = torch.isfinite(embeddings[0]).all(1) & torch.isfinite(embeddings[1]).all(1)
        if self.place.type == "cuda" or not bool(finite.all()):
            embeddings = (embeddings[0][finite], embeddings[1][finite])
        self._finite.append(finite)
        for row_pair in self._staged:
            self._waiting.setdefault(row_pair[0], []).append(row_pair)
        self._staged.clear()
        if (
            sum(2 * ours.nbytes for row_pairs in self._waiting.values() for _, ours, _ in row_pairs)
            > WAITING_BYTES
        ):
            self.compare()
        self.labels.append(pair.labels)
        self.store.append(*embeddings)

    def compare(self) -> None:
        """Add up the row pairs that wait.

        Many at a time: the kernel's threads and the model's then take turns seldom, where on few cores each turn
        costs both of them time.
        """
        start = time.perf_counter()
        for name, row_pairs in self._waiting.items():
            if len({ours.shape[1] for _, ours, _ in row_pairs}) > 1:
                for _, ours, theirs in row_pairs:
                    self.accumulator.update(name, ours, theirs)  # refuses the one that does not fit
            ours = torch.cat([row_pair[1] for row_pair in row_pairs])
            theirs = torch.cat([row_pair[2] for row_pair in row_pairs])
            self.accumulator.update(name, ours, theirs)
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
        """Outputs and embeddings of both sides."""
        if same(clean, shifted):
            self.ways["equal batches once"] = None
            output, rows = self._run(clean, n, "same")
            return (output, output), (rows, rows)
        both = joined(clean, shifted, n) if self.together else None
        if both is not None:
            before = self.accumulator.snapshot()
            try:
                output, rows = self._run(both, n, "both")
            except (torch.OutOfMemoryError, RuntimeError) as problem:
                if not _out_of_memory(problem):
                    raise
                self.accumulator.restore(before)
                self._staged.clear()
                self.together = False
                del both
                if self.place.type == "cuda":
                    torch.cuda.empty_cache()
            else:
                self.ways["clean and shifted as one batch"] = None
                return (output[:n], output[n:]), (rows[:n], rows[n:])
        self.ways["clean and shifted in turn"] = None
        clean_output, clean_rows = self._run(clean, n, "clean")
        shifted_output, shifted_rows = self._run(shifted, n, "shifted")
        if self.together is None:
            self.together = 2 * self.watch.largest_output <= CACHE_BYTES
        return (clean_output, shifted_output), (clean_rows, shifted_rows)

    def _run(self, inputs: Inputs, n: int, role: str) -> tuple[Tensor, Tensor]:
        output, rows = self.watch.run(inputs, n, role)
        logits = logits_of(output, self.output)
        if self.watch.output_layer is None:
            self.watch.find_output_layer(logits)
        return logits, rows

    def _keep_predictions(self, outputs: tuple[Tensor, Tensor], n: int) -> None:
        for logits, predicted in zip(outputs, self._predicted, strict=True):
            if logits.shape[:1] == (n,) and logits.ndim == 2 and logits.shape[1] > 1:
                predicted.append(logits.argmax(1))

    def accuracy(self, classes: np.ndarray) -> dict[str, float] | None:
        """Share of samples whose largest logit is their label; None if the logits are not (samples, classes)."""
        found = {}
        for name, predicted in zip(("clean", "shifted"), self._predicted, strict=True):
            if len(predicted) < len(self.labels):
                return None
            found[name] = float((torch.cat(predicted).cpu().numpy() == classes).mean())
        return found

    @property
    def finite(self) -> np.ndarray:
        """(samples,) bool: both embeddings hold finite values only."""
        return torch.cat(self._finite).cpu().numpy()

    @property
    def mode(self) -> str:
        return ", ".join(self.ways)

    def skipped(self, n_classes: int, corrected: bool) -> dict[str, str]:
        """Why each layer that does not count does not, and take it out of the sums."""
        why = dict(self.watch.skipped)
        for name in self.watch.never_ran():
            inside = name.endswith("out_proj")  # nn.MultiheadAttention
            why[name] = (
                "attention uses its weights without calling it" if inside else "never ran in a forward pass"
            )
        if corrected and self.watch.output_layer is not None:
            why[self.watch.output_layer] = "made the logits"
        if not corrected:
            for name, layer in self.accumulator.result().items():
                if layer.units <= n_classes:
                    why[name] = f"rows of {layer.units} values, not more than the {n_classes} classes"
        for name in why:
            self.accumulator.discard(name)
        return why


def _out_of_memory(problem: BaseException) -> bool:
    return isinstance(problem, torch.OutOfMemoryError) or "can't allocate memory" in str(problem)


def _device(module: nn.Module, wanted: torch.device | str | None) -> torch.device:
    if wanted is not None:
        return torch.device(wanted)
    first = next((tensor for tensor in (*module.parameters(), *module.buffers())), None)
    return torch.device("cpu") if first is None else first.device


def _warn(rows: dict[str, int], embeddings: int) -> None:
    left_out = [f"{count} row pairs of layer {name}" for name, count in rows.items() if count]
    if embeddings:
        left_out.append(f"{embeddings} sample pairs from the clusters")
    if left_out:
        warnings.warn(f"NaN or infinite values: left out {', '.join(left_out)}", stacklevel=4)


def _check_options(
    bins: tuple[int, ...], pooling: str, measure: str, measure_bins: int, scale: float, offset: float,
    max_memory: int | None,
) -> None:  # fmt: skip
    if pooling not in POOLINGS:
        raise ValueError(f"pooling must be one of {', '.join(POOLINGS)}, not {pooling!r}")
    if measure not in MEASURES:
        raise ValueError(f"measure must be one of {', '.join(MEASURES)}, not {measure!r}")
    if measure_bins not in bins:
        raise ValueError(f"measure_bins must be one of bins {bins}, not {measure_bins!r}")
    if not (np.isfinite(scale) and scale >= 0):
        raise ValueError(f"scale must be a finite number >= 0, not {scale!r}")
    if not np.isfinite(offset):
        raise ValueError(f"offset must be a finite number, not {offset!r}")
    if max_memory is not None and max_memory < 0:
        raise ValueError(f"max_memory must be a number of bytes >= 0, not {max_memory!r}")

"""Reports of data that are no pairs, or of which not all shifted samples are labelled."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from hitl_fast._common.errors import InputError, InputTypeError

from .accumulator import Distances, LayerReport, mean_over_layers
from .after_pass import effort_of, unpaired_effort_of
from .batches import one_side, pairs
from .effort_score import EffortScore
from .embeddings import EmbeddingStore
from .inputs import Inputs
from .labelling import Labelling
from .layer_inputs import LayerInputs
from .one_pass import Pass, Sources
from .options import Options
from .set_scores import Ends, Set, SetScores, interval, jackknife, parts_of, scores_of_sets

NEED_PAIRS = ("index", "distance", "u", "distances", "layers", "input_rms", "cka")
NEED_LABELS = (
    "index",
    "inverse_ari",
    "u",
    "probe_error",
    "resque_angle",
    "class_mean_cka",
    "accuracy of shifted",
    "accuracy_drop",
    "effort_score",
)


@dataclass(frozen=True)
class Resources:
    """Where and how much: the arguments of ``hitl_fast.preindex`` of these names, with defaults filled in."""

    place: torch.device
    max_memory: int
    embedding_dtype: str
    effort_samples: int
    embedding_samples: int | None
    clean_accuracy: float | None
    restarts: int
    progress: bool


@dataclass(frozen=True)
class Kept:
    """What one side's pass kept; arrays are of all n samples, rows of the finite ones.

    Attributes:
        rows: (finite samples, D).
        guesses: (n,) the class of the largest logit; None without logits.
        known: (n,) bool, whose label is known.
    """

    rows: Any
    labels: np.ndarray
    finite: np.ndarray
    known: np.ndarray
    guesses: np.ndarray | None
    confidence: float | None
    captured: LayerInputs

    def set(self, labelled: np.ndarray) -> Set:
        return Set(self.rows, self.labels[self.finite], labelled[self.finite])

    def accuracy(self, labelled: np.ndarray) -> np.ndarray | None:
        """For each labelled sample whether the model is right."""
        return None if self.guesses is None else (self.guesses == self.labels)[labelled]


@dataclass(frozen=True)
class Material:
    """What there is to make scores of, before any choice of labels.

    Attributes:
        layers, skipped: as of the report.
        numbered: labels number the logits.
    """

    clean: Kept
    shifted: Kept
    paired: bool
    numbered: bool
    layers: dict[str, LayerReport]
    skipped: dict[str, str]
    embedding: str
    input_rms: float | None
    seconds: dict[str, float]
    mode: str
    notes: list[str]


@dataclass(frozen=True)
class PartialScores:
    """Every score of a choice of labels."""

    sets: SetScores
    accuracy: dict[str, float] | None
    confidence_drop: float | None
    effort: EffortScore | None
    intervals: dict[str, Ends]
    labelled: int
    notes: list[str] = field(default_factory=list)


def collect(
    stack: ExitStack,
    module: nn.Module,
    loaders: tuple[Iterable[Any], Iterable[Any]],
    labelling: Labelling,
    how: tuple[Sources, Options, Resources],
) -> Material:
    """Send both loaders through the model; ``stack`` keeps the files of the embeddings open."""
    sources, options, resources = how
    most = resources.effort_samples

    def made(compared: bool) -> tuple[Pass, EmbeddingStore]:
        budget = resources.max_memory if compared else resources.max_memory // 2
        store = stack.enter_context(EmbeddingStore(budget, resources.embedding_dtype))
        return Pass(module, sources, options, store, resources.place, most, compared=compared), store

    if labelling.paired:
        run, store = made(True)
        run.stream(pairs(*loaders, sources.splitting, labelling), None, resources.progress)
        layers, skipped = run.layers()
        rows = _arrays(store, run)
        kept = [_kept(run, side, rows[side]) for side in (0, 1)]
        numbered = run.guesses.numbered(run.classes)
        notes, seconds, mode = run.notes(), run.seconds, run.mode
        runs, rms = [run], run.changes.rms()
    else:
        runs, kept = [], []
        clean: tuple[Inputs, Any] | None = None
        for name, loader in zip(("clean", "shifted"), loaders, strict=True):
            run, store = made(False)
            run.stream(one_side(loader, sources.splitting, name, labelling, clean), None, resources.progress)
            assert run.first is not None
            clean = run.first, _counter(run)
            kept.append(_kept(run, 0, _arrays(store, run)[0]))
            runs.append(run)
        _refuse_unlike(runs, kept)
        layers, rms = {}, None
        skipped = runs[0].layers()[1] | runs[1].layers()[1]
        numbered = all(run.guesses.numbered(run.classes[run.known]) for run in runs if run.known.any())
        notes = list(dict.fromkeys(note for run in runs for note in run.notes()))
        seconds = {name: sum(run.seconds[name] for run in runs) for name in runs[0].seconds}
        mode = "clean and shifted apart"
    if any(run.checking.sees_batch for run in runs) and not labelling.paired:
        notes.append("no pairs: clean and shifted batches of different size are then compared")
    if any(s.in_file for s in _stores(runs)):
        mode += ", embeddings in a file"
    embedding = runs[0].watch.embedding_name
    return Material(
        kept[0], kept[1], labelling.paired, numbered, layers, skipped, embedding, rms, seconds,
        f"{resources.place}, {mode}", notes,
    )  # fmt: skip


def scores_of(
    material: Material, labelling: Labelling, resources: Resources, *, intervals: bool = True
) -> PartialScores:
    """The scores of a choice of labels among those known."""
    clean, shifted = material.clean, material.shifted
    n = len(shifted.labels)
    within = shifted.captured.positions if resources.effort_samples else np.arange(n)
    labelled = labelling.choose(shifted.known, within)
    usable = labelled & shifted.finite
    few = labelling.label_budget is not None
    sets = scores_of_sets(
        clean.set(clean.known),
        shifted.set(usable),
        paired=material.paired,
        restarts=resources.restarts,
        samples=resources.embedding_samples,
        intervals=intervals and few,
    )
    found = dict(sets.intervals)
    accuracy: dict[str, float] | None = None
    right = clean.accuracy(clean.known), shifted.accuracy(labelled)
    if right[0] is not None and right[1] is not None and material.numbered:
        accuracy = {"clean": float(right[0].mean())}
        if labelled.any():
            accuracy["shifted"] = float(right[1].mean())
            if intervals and few:
                low, high = interval(np.mean, right[1])
                found["accuracy_shifted"] = low, high
                found["accuracy_drop"] = accuracy["clean"] - high, accuracy["clean"] - low
    effort, notes = _effort(material, labelled, resources)
    if effort is not None and intervals and few:
        found |= _effort_intervals(material, labelled, resources, effort)
    drop = None
    if clean.confidence is not None and shifted.confidence is not None:
        drop = clean.confidence - shifted.confidence
    if few and len(within) < n:
        notes.append(f"label_budget: labelled samples were drawn from the {len(within)} of the effort score")
    return PartialScores(sets, accuracy, drop, effort, found, int(labelled.sum()), notes)


def partial_fields(
    material: Material, labelling: Labelling, options: Options, resources: Resources
) -> dict[str, Any]:
    """The fields of the report, beside the options."""
    start = time.perf_counter()
    scores = scores_of(material, labelling, resources)
    clustering = time.perf_counter() - start
    across = scores.sets.clusters["shifted_from_clean"]
    inverse_ari = None if across is None else across.inverse_ari
    distances: Distances | None = None
    p = u = index = None
    if material.paired:
        distances = mean_over_layers(options.bins, material.layers)
        p = distances[options.measure_bins][options.measure]
    found = dict(scores.intervals)
    if p is not None and inverse_ari is not None:
        u = p + inverse_ari
        index = options.index(u)
        if "inverse_ari" in found:
            ends = tuple(p + end for end in found["inverse_ari"])
            found["u"] = ends[0], ends[1]
            found["index"] = options.index(ends[0]), options.index(ends[1])
    effort = scores.effort
    clean, shifted = material.clean, material.shifted
    known = np.concatenate([clean.labels, shifted.labels[shifted.known]])
    return {
        "index": index, "distance": p, "inverse_ari": inverse_ari, "u": u,
        "samples": len(shifted.labels), "clean_samples": len(clean.labels), "classes": len(np.unique(known)),
        "embedding": material.embedding, "accuracy": scores.accuracy, "input_rms": material.input_rms,
        "resque_angle": scores.sets.resque_angle, "cka": scores.sets.cka,
        "probe_error": scores.sets.probe_error, "left_out": int((~shifted.finite).sum()),
        "distances": distances, "clusters": scores.sets.clusters, "layers": material.layers,
        "skipped": material.skipped, "seconds": material.seconds | {"clustering": clustering},
        "mode": material.mode, "notes": material.notes + scores.notes + missing(labelling, scores),
        "effort_score": None if effort is None else effort.effort_score,
        "path_excess": None if effort is None else effort.path_excess,
        "probe_increase": None if effort is None else effort.probe_increase,
        "effort_samples": None if effort is None else effort.samples,
        "paired": labelling.paired, "labels_for": labelling.labels_for or "both",
        "label_budget": labelling.label_budget,
        "class_mean_cka": scores.sets.class_mean_cka, "clean_probe_error": scores.sets.clean_probe_error,
        "confidence_drop": scores.confidence_drop, "intervals": found or None,
    }  # fmt: skip


def missing(labelling: Labelling, scores: PartialScores) -> list[str]:
    """What the report does not have, and why; and how what it has was made."""
    notes = []
    if not labelling.paired:
        notes.append(f"not reported without pairs: {', '.join(NEED_PAIRS)}")
    if not labelling.shifted_known:
        notes.append(f"not reported without labels of shifted samples: {', '.join(NEED_LABELS)}")
    if labelling.label_budget is not None:
        notes.append(
            f"label_budget: scores that need labels are of {scores.labelled} labelled shifted samples, with 95 %"
            " intervals"
        )
    if not labelling.paired and scores.effort is not None:
        notes.append("effort score without pairs: its targets are the class means of the clean logits")
    return notes


def _effort(
    material: Material, labelled: np.ndarray, resources: Resources
) -> tuple[EffortScore | None, list[str]]:
    clean, shifted = material.clean.captured, material.shifted.captured
    if not resources.effort_samples or not labelled.any():
        return None, []
    theirs = shifted.only(labelled[shifted.positions])
    if material.paired:
        all_labels = material.clean.labels
        return effort_of(theirs, all_labels if len(theirs.labels) else labelled, resources.clean_accuracy)
    return unpaired_effort_of(clean, theirs, resources.clean_accuracy)


def _effort_intervals(
    material: Material, labelled: np.ndarray, resources: Resources, effort: EffortScore
) -> dict[str, Ends]:
    """By jackknife: a sample that is there twice, as in a bootstrap, would tell its label to leave-one-out."""
    positions = np.flatnonzero(labelled)
    without = []
    for left in parts_of(len(positions)):
        part = np.zeros_like(labelled)
        part[positions[left]] = True
        without.append(_effort(material, part, resources)[0])
    found: dict[str, Ends] = {}
    for name, most in (("effort_score", 5.0), ("path_excess", 1.0), ("probe_increase", 1.0)):
        values = [None if score is None else float(getattr(score, name)) for score in without]
        found |= jackknife(name, getattr(effort, name), values, most)
    return found


def _kept(run: Pass, side: int, rows: Any) -> Kept:
    captured = run.layer_inputs()
    n = len(run.classes)
    known = np.ones(n, bool) if side == 0 and run.compared else run.known
    return Kept(
        rows,
        run.classes,
        run.finite,
        known,
        run.guesses.of(side, n),
        run.guesses.confidence(side, n),
        captured,
    )


def _arrays(store: EmbeddingStore, run: Pass) -> tuple[Any, Any]:
    if not run.finite.any():
        raise InputError(f"the embeddings of all {len(run.finite)} samples hold NaN or infinite values")
    return store.arrays()


def _stores(runs: list[Pass]) -> list[EmbeddingStore]:
    return [run.store for run in runs]


def _counter(run: Pass) -> Any:
    """How many samples inputs hold, by what the clean side has proved about their dimensions."""

    def count(inputs: Inputs) -> int:
        inputs = inputs.wanted(run.parameters)
        taking = run.checking.taking
        axes = (None,) * len(inputs.values()) if taking is None else taking.axes
        if len(axes) != len(inputs.values()):
            raise InputTypeError(
                f"a batch of clean has {len(axes)} inputs for the model, but one of shifted {len(inputs.values())}"
            )
        for value, axis in zip(inputs.values(), axes, strict=True):
            if axis is not None and isinstance(value, torch.Tensor) and value.ndim > axis:
                return int(value.shape[axis])
        return 1

    return count


def _refuse_unlike(runs: list[Pass], kept: list[Kept]) -> None:
    names = [run.watch.embedding_name for run in runs]
    if names[0] != names[1]:
        raise InputError(
            f"the logits are made by {names[0]} on clean data but {names[1]} on shifted: name a layer by embedding="
        )
    widths = [int(side.rows.shape[1]) for side in kept]
    if widths[0] != widths[1]:
        raise InputError(
            f"embeddings have {widths[0]} values on clean data but {widths[1]} on shifted: name an embedding of fixed"
            " size, or use pooling='mean'"
        )

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
from .batches import all_numbered, one_side, pairs
from .effort_score import EffortScore
from .effort_unpaired import unlike_classes
from .embedding_scores import Embedding
from .embeddings import EmbeddingStore
from .inputs import Inputs
from .intervals import Ends, wilson
from .labelling import Labelling
from .layer_inputs import LayerInputs
from .one_pass import Pass, Sources
from .options import Options
from .origin import Origin
from .set_scores import SetScores, scores_of_sets

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
        origin: whose the rows are.
    """

    rows: Any
    labels: np.ndarray
    finite: np.ndarray
    known: np.ndarray
    guesses: np.ndarray | None
    confidence: float | None
    captured: LayerInputs
    origin: Origin

    def embedding(self, kinds: np.ndarray, labelled: np.ndarray) -> Embedding:
        """The finite rows, with classes as positions in ``kinds`` where they are ``labelled``, (n,) bool."""
        here = labelled[self.finite]
        classes = np.zeros(len(here), np.int64)
        classes[here] = np.searchsorted(kinds, self.labels[self.finite][here])
        return Embedding(self.rows, classes, len(kinds), here, sampled=not here.all(), origin=self.origin)

    def right(self, labelled: np.ndarray) -> np.ndarray | None:
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

    @property
    def finite(self) -> dict[str, np.ndarray]:
        """Whose embeddings are, by what these samples are called."""
        if self.paired:
            return {"sample pairs": self.shifted.finite}
        return {"clean samples": self.clean.finite, "shifted samples": self.shifted.finite}


@dataclass(frozen=True)
class PartialScores:
    """Every score of a choice of labels; ``seconds`` as of the report."""

    sets: SetScores
    accuracy: dict[str, float] | None
    confidence_drop: float | None
    effort: EffortScore | None
    intervals: dict[str, Ends]
    labelled: int
    seconds: dict[str, float]
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

    def made(sides: int) -> Pass:
        budget = resources.max_memory * sides // 2
        store = stack.enter_context(EmbeddingStore(budget, resources.embedding_dtype, sides=sides))
        most = resources.effort_samples
        return Pass(module, sources, options, store, resources.place, most, labelling=labelling)

    if labelling.paired:
        run = made(2)
        run.stream(pairs(*loaders, sources.splitting, labelling), None, resources.progress)
        layers, skipped = run.layers()
        run.refuse_nothing_finite("sample pairs")
        rows, captured = run.store.arrays(), run.layer_inputs()
        every = np.ones(len(run.classes), bool)
        kept = [
            _kept(run, name, rows[name == "shifted"], captured, every if name == "clean" else run.known)
            for name in ("clean", "shifted")
        ]
        runs, rms, mode = [run], run.changes.rms(), run.mode
        numbered = run.guesses.numbered(run.classes)
    else:
        runs, kept = [made(1)], []
        batches = one_side(loaders[0], sources.splitting, "clean")
        if labelling.shifted_known:
            batches = all_numbered(batches)
        runs[0].stream(batches, None, resources.progress)
        assert runs[0].first is not None
        runs.append(made(1))
        clean = runs[0].first, _counter(runs[0])
        batches = one_side(loaders[1], sources.splitting, "shifted", labelling, clean)
        runs[1].stream(batches, None, resources.progress)
        for name, run in zip(("clean", "shifted"), runs, strict=True):
            run.refuse_nothing_finite(f"{name} samples")
            kept.append(_kept(run, name, run.store.arrays()[0], run.layer_inputs(), run.known))
        _refuse_unlike(runs, kept)
        layers, rms, mode = {}, None, "clean and shifted apart"
        skipped = runs[0].layers()[1] | runs[1].layers()[1]
        numbered = all(run.guesses.numbered(run.classes[run.known]) for run in runs if run.known.any())
    notes = list(dict.fromkeys(note for run in runs for note in run.notes()))
    seconds = {name: sum(run.seconds[name] for run in runs) for name in runs[0].seconds}
    if any(run.checking.sees_batch for run in runs) and not labelling.paired:
        notes.append("no pairs: clean and shifted batches of different size are then compared")
    if any(run.store.in_file for run in runs):
        mode += ", embeddings in a file"
    return Material(
        kept[0], kept[1], labelling.paired, numbered, layers, skipped, runs[0].watch.embedding.name, rms, seconds,
        f"{resources.place}, {mode}", notes,
    )  # fmt: skip


def scores_of(material: Material, labelling: Labelling, resources: Resources) -> PartialScores:
    """The scores of a choice of labels among those known."""
    start = time.perf_counter()
    clean, shifted = material.clean, material.shifted
    labelled = labelling.choose(shifted.known, shifted.finite)
    few = labelling.label_budget is not None
    kinds = np.unique(np.concatenate([clean.labels, shifted.labels[labelled]]))
    sets = scores_of_sets(
        clean.embedding(kinds, clean.known),
        shifted.embedding(kinds, labelled),
        paired=material.paired,
        restarts=resources.restarts,
        samples=resources.embedding_samples,
        intervals=few,
        progress=resources.progress,
    )
    found = dict(sets.intervals)
    accuracy: dict[str, float] | None = None
    right = clean.right(clean.known), shifted.right(labelled)
    if right[0] is not None and right[1] is not None and material.numbered:
        accuracy = {"clean": float(right[0].mean())}
        if labelled.any():
            accuracy["shifted"] = float(right[1].mean())
            if few:
                low, high = wilson(int(right[1].sum()), len(right[1]))
                found["accuracy_shifted"] = low, high
                found["accuracy_drop"] = accuracy["clean"] - high, accuracy["clean"] - low
    clustering = time.perf_counter() - start
    effort, notes = _effort(material, labelled, resources)
    drop = None
    if clean.confidence is not None and shifted.confidence is not None:
        drop = clean.confidence - shifted.confidence
    seconds = {"clustering": clustering, "statistics": time.perf_counter() - start - clustering}
    return PartialScores(
        sets, accuracy, drop, effort, found, int(labelled.sum()), seconds, sets.notes + notes
    )


def partial_fields(
    material: Material, labelling: Labelling, options: Options, resources: Resources
) -> dict[str, Any]:
    """The fields of the report, beside the options."""
    scores = scores_of(material, labelling, resources)
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
    seconds = material.seconds | {"clustering": scores.seconds["clustering"]}
    seconds["statistics"] += scores.seconds["statistics"]
    return {
        "index": index, "distance": p, "inverse_ari": inverse_ari, "u": u,
        "samples": len(shifted.labels), "clean_samples": len(clean.labels), "classes": len(np.unique(known)),
        "embedding": material.embedding, "accuracy": scores.accuracy, "input_rms": material.input_rms,
        "resque_angle": scores.sets.resque_angle, "cka": scores.sets.cka,
        "probe_error": scores.sets.probe_error, "left_out": int((~shifted.finite).sum()),
        "distances": distances, "clusters": scores.sets.clusters, "layers": material.layers,
        "skipped": material.skipped, "seconds": seconds,
        "mode": material.mode, "notes": material.notes + scores.notes + missing(material, labelling, scores),
        "effort_score": None if effort is None else effort.effort_score,
        "path_excess": None if effort is None else effort.path_excess,
        "probe_increase": None if effort is None else effort.probe_increase,
        "effort_samples": None if effort is None else effort.samples,
        "paired": labelling.paired, "labels_for": labelling.labels_for or "both",
        "label_budget": labelling.label_budget,
        "class_mean_cka": scores.sets.class_mean_cka, "clean_probe_error": scores.sets.clean_probe_error,
        "confidence_drop": scores.confidence_drop, "intervals": found or None,
    }  # fmt: skip


def missing(material: Material, labelling: Labelling, scores: PartialScores) -> list[str]:
    """What the report does not have, and why; and how what it has was made."""
    notes = []
    if not labelling.paired:
        notes.append(f"not reported without pairs: {', '.join(NEED_PAIRS)}")
    if not labelling.shifted_known:
        notes.append(f"not reported without labels of shifted samples: {', '.join(NEED_LABELS)}")
    known = material.shifted.labels[material.shifted.known]
    apart = unlike_classes(material.clean.labels, known) if not labelling.paired and len(known) else None
    if apart:
        notes.append(
            f"classes have other shares on both sides (total variation {apart:.2f}), which alone moves accuracy_drop, "
            "confidence_drop, inverse ARI and probe errors"
        )
    if labelling.label_budget is not None:
        notes.append(
            f"label_budget: scores that need labels are of {scores.labelled} labelled shifted samples; without an "
            "interval, they depend on that number: compare reports of equal budgets only"
        )
    if not labelling.paired and scores.effort is not None:
        notes.append("effort score without pairs: its targets are the class means of the clean logits")
    lost = int((~material.clean.finite).sum())
    if not material.paired and lost:
        notes.append(f"left out {lost} clean samples whose embedding holds NaN or infinite values")
    return notes


def _effort(
    material: Material, labelled: np.ndarray, resources: Resources
) -> tuple[EffortScore | None, list[str]]:
    clean, shifted = material.clean.captured, material.shifted.captured
    if not resources.effort_samples or not labelled.any():
        return None, []
    theirs = shifted.only(labelled[shifted.positions])
    kinds = len(np.unique(theirs.labels))
    if kinds < 2:
        return None, [
            f"no effort score: the {len(theirs.labels)} labelled shifted samples that it would be of have {kinds} class"
        ]
    if material.paired:
        return effort_of(theirs, material.clean.labels, resources.clean_accuracy)
    return unpaired_effort_of(clean, theirs, resources.clean_accuracy)


def _kept(run: Pass, name: str, rows: Any, captured: LayerInputs, known: np.ndarray) -> Kept:
    n, guesses = len(run.classes), run.guesses
    side = 1 if run.compared and name == "shifted" else 0
    origin = Origin(name, run.watch.embedding.name, np.flatnonzero(run.finite))
    found = guesses.of(side, n), guesses.confidence(side, n)
    return Kept(rows, run.classes, run.finite, known, *found, captured, origin)


def _counter(run: Pass) -> Any:
    """How many samples inputs hold, by what the clean side has proved about their dimensions."""
    taking = run.checking.taking
    assert taking is not None  # a pass that has seen a batch knows

    def count(inputs: Inputs) -> int:
        values = inputs.wanted(run.parameters).values()
        if len(taking.axes) != len(values):
            raise InputTypeError(
                f"a batch of clean has {len(taking.axes)} inputs for the model, but one of shifted {len(values)}"
            )
        for value, axis in zip(values, taking.axes, strict=True):
            if axis is not None and isinstance(value, torch.Tensor) and value.ndim > axis:
                return int(value.shape[axis])
        return 1

    return count


def _refuse_unlike(runs: list[Pass], kept: list[Kept]) -> None:
    names = [run.watch.embedding.name for run in runs]
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

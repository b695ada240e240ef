"""What is computed once the forward pass is done: clusters and scores of the embeddings, and the effort score."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from .clusters import CLUSTERINGS, ClusterReport, cluster_tasks
from .effort_score import EffortScore, effort_score
from .effort_unpaired import EffortSide, unpaired_effort_score
from .embedding_scores import Embedding, class_sums, linear_cka, probe_error, resque_angle
from .origin import Origin

Tasks = dict[str, Callable[[], Any]]

UNLIKE = 0.1  # total variation between class shares, beyond what a random sample has


@dataclass(frozen=True)
class EmbeddingScores:
    """What the embeddings of both sides say."""

    clusters: dict[str, ClusterReport | None]
    resque_angle: float | None
    cka: float | None
    probe_error: float


class Captured(Protocol):
    """Layer inputs and logits of paired samples; see ``layer_inputs.LayerInputs``."""

    @property
    def inputs(self) -> Mapping[str, tuple[Sequence[np.ndarray], Sequence[np.ndarray]]]: ...
    @property
    def clean_logits(self) -> np.ndarray: ...
    @property
    def shifted_logits(self) -> np.ndarray: ...
    @property
    def labels(self) -> np.ndarray: ...


def score_tasks(
    rows: tuple[Any, Any] | None,
    labels: np.ndarray,
    *,
    restarts: int,
    samples: int | None = None,
    progress: bool = False,
    origin: Origin | None = None,
) -> Tasks:
    """What clusters the embeddings and compares both sides, in parts that do not need each other.

    Args:
        rows: (n, D) floats, finite, of both sides: tensors or memory maps. None: these tasks run elsewhere.
        labels: (n,) integers.
        restarts: of k-means++; 0: none.
        samples: cluster a random sample of so many, the same on both sides; None: all. The other scores are of all.
        progress: progress lines on a terminal.
        origin: what the embedding is, and whose.

    Returns:
        By name, functions whose values JSON holds; ``scores_of`` reads them.
    """
    if rows is None:
        names = ["shifted_from_clean", "shifted", "clean"]
        names += ["clean_kmeans++", "shifted_kmeans++"] if restarts else []
        return dict.fromkeys([*names, "cka", "probe_error", "resque_angle"], _elsewhere)
    kinds, classes = np.unique(labels, return_inverse=True)
    clean, shifted = (
        Embedding(side, classes, len(kinds), origin=replace(origin or Origin(), side=name))
        for name, side in zip(("clean", "shifted"), rows, strict=True)
    )
    parts = clean.subset(samples), shifted.subset(samples)

    @functools.cache
    def sums() -> tuple[np.ndarray, np.ndarray]:
        return class_sums(clean), class_sums(shifted)

    @functools.cache
    def part_sums() -> tuple[np.ndarray, np.ndarray]:
        return sums() if parts[0] is clean else (class_sums(parts[0]), class_sums(parts[1]))

    clusters = cluster_tasks(*parts, part_sums, restarts, progress=progress)
    return {
        **{name: _as_fields(task) for name, task in clusters.items()},
        "cka": lambda: linear_cka(clean, shifted),
        "probe_error": lambda: probe_error(shifted),
        "resque_angle": lambda: resque_angle(*sums()),
    }


def scores_of(values: Mapping[str, Any]) -> EmbeddingScores:
    """The scores from the values of ``score_tasks``."""
    clusters = {name: ClusterReport(**values[name]) if name in values else None for name in CLUSTERINGS}
    return EmbeddingScores(clusters, values["resque_angle"], values["cka"], values["probe_error"])


def scores_of_embeddings(
    clean_rows: Any,
    shifted_rows: Any,
    labels: np.ndarray,
    *,
    restarts: int,
    samples: int | None = None,
    progress: bool = False,
) -> EmbeddingScores:
    """Cluster the embeddings and compare both sides; arguments as for ``score_tasks``."""
    tasks = score_tasks(
        (clean_rows, shifted_rows), labels, restarts=restarts, samples=samples, progress=progress
    )
    return scores_of({name: task() for name, task in tasks.items()})


def _as_fields(task: Callable[[], ClusterReport | None]) -> Callable[[], dict[str, Any]]:
    def fields() -> dict[str, Any]:
        report = task()
        assert report is not None  # pairs that are all labelled have a sample of every class
        return dataclasses.asdict(report)

    return fields


def _elsewhere() -> Any:
    raise AssertionError("this rank does not hold what the task reads")


def effort_task(
    captured: Captured | None, all_labels: np.ndarray, clean_accuracy: float | None = None
) -> Callable[[], Any]:
    """``effort_of`` as a task: a function whose value JSON holds; ``effort_from`` reads it."""
    if captured is None:
        return _elsewhere

    def task() -> tuple[dict[str, Any] | None, list[str]]:
        found, notes = effort_of(captured, all_labels, clean_accuracy)
        return (None if found is None else dataclasses.asdict(found)), notes

    return task


def effort_from(value: Any) -> tuple[EffortScore | None, list[str]]:
    """The effort score and its notes from the value of ``effort_task``."""
    fields, notes = value
    if fields is None:
        return None, list(notes)
    return EffortScore(**{**fields, "notes": tuple(fields["notes"])}), list(notes)


def effort_of(
    captured: Captured, all_labels: np.ndarray, clean_accuracy: float | None = None
) -> tuple[EffortScore | None, list[str]]:
    """The effort score of captured layer inputs, or None; and what to know about it.

    Samples with a value that is not finite are left out on both sides, and counted. There is no score, with the
    reason in the notes, where the model gives no logits, where no label numbers one, where fewer than 2 samples or no
    layer wider than 1 remain. Where the captured samples are of other classes than all samples are, as the first ones
    of sorted data, a note says so.

    Args:
        captured: of some of the samples.
        all_labels: (N,) of all samples.
        clean_accuracy: as for ``effort_score``.

    Raises:
        ValueError: clean_accuracy is not a share.
    """
    reason = _reason_against(captured)
    if reason:
        return None, [f"no effort score: {reason}"]
    sides: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for calls in captured.inputs.values():
        for side, layers in zip(sides, calls, strict=True):
            side.extend(layers)
    finite = np.ones(len(captured.labels), bool)
    for values in itertools.chain(*sides, (captured.clean_logits, captured.shifted_logits)):
        finite &= np.isfinite(values).all(1)
    notes = _unlike(captured.labels, all_labels)
    if not finite.all():
        wrong = int((~finite).sum())
        notes.append(f"effort score: left out {wrong} of {len(finite)} samples with NaN or infinite values")
        if finite.sum() < 2:
            return None, [f"no effort score: {wrong} of {len(finite)} samples hold NaN or infinite values"]
        sides = [X[finite] for X in sides[0]], [X[finite] for X in sides[1]]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "effort score", UserWarning)  # the notes have it
        found = effort_score(
            *sides,
            captured.clean_logits[finite],
            captured.shifted_logits[finite],
            captured.labels[finite],
            clean_accuracy=clean_accuracy,
        )
    return found, notes + [f"effort score: {note}" for note in found.notes]


def unpaired_effort_of(
    clean: Captured, shifted: Captured, clean_accuracy: float | None = None
) -> tuple[EffortScore | None, list[str]]:
    """The effort score of two sets of samples, as ``effort_of``; the shifted ones are all labelled.

    Layers count that ran as often, at one width, on both sides.
    """
    for captured in (clean, shifted):
        reason = _reason_against(captured)
        if reason:
            return None, [f"no effort score: {reason}"]
    found, notes = [], []
    names = [
        name
        for name, (ours, _) in clean.inputs.items()
        if [X.shape[1] for X in ours] == [X.shape[1] for X in shifted.inputs.get(name, ([], []))[0]]
    ]
    for name, captured in (("clean", clean), ("shifted", shifted)):
        layers = [X for layer in names for X in captured.inputs[layer][0]]
        finite = np.isfinite(captured.clean_logits).all(1)
        for X in layers:
            finite &= np.isfinite(X).all(1)
        if not finite.all():
            wrong = int((~finite).sum())
            notes.append(
                f"effort score: left out {wrong} of {len(finite)} {name} samples with NaN or infinite values"
            )
        side = EffortSide(layers, captured.clean_logits, captured.labels)
        found.append(side.only(np.flatnonzero(finite)))
    if not any(X.shape[1] > 1 for X in found[0].inputs):
        return None, ["no effort score: no layer wider than 1 ran as often on both sides"]
    if len(np.intersect1d(found[1].labels, found[0].labels)) < 2:
        return None, ["no effort score: shifted and clean samples have fewer than 2 classes in common"]
    score, doubts = unpaired_effort_score(*found, clean_accuracy=clean_accuracy)
    return score, notes + [f"effort score: {note}" for note in doubts]


def _unlike(labels: np.ndarray, all_labels: np.ndarray) -> list[str]:
    """A note where the classes of the captured samples are not those of a random sample of all."""
    kinds, codes = np.unique(all_labels, return_inverse=True)
    shares = np.bincount(codes) / len(codes)
    own = np.bincount(np.searchsorted(kinds, labels), minlength=len(kinds)) / len(labels)
    apart = float(np.abs(shares - own).sum()) / 2
    if apart <= UNLIKE + float(np.sqrt(len(kinds) / len(labels))):
        return []
    return [
        f"effort score: of {len(labels)} samples whose classes differ from those of all {len(all_labels)} (total "
        f"variation {apart:.2f}), so of these only: mix the classes in both loaders, in one order"
    ]


def _reason_against(captured: Captured) -> str | None:
    labels, logits = captured.labels, captured.clean_logits
    if len(labels) < 2:
        return f"it needs 2 samples or more, not {len(labels)}"
    if logits.shape[1] == 0:
        return "the model gives no logits (samples, classes)"
    if logits.shape[1] == 1:
        return (
            "the model gives one logit, which is always the largest: wrap it in a module that gives two, such as"
            " torch.cat([torch.zeros_like(z), z], 1)"
        )
    if labels.min() < 0 or labels.min() >= logits.shape[1]:
        return f"labels from {labels.min()} to {labels.max()} do not number {logits.shape[1]} logits"
    if not any(X.shape[1] > 1 for calls in captured.inputs.values() for X in calls[0]):
        return "no layer has an input wider than 1"
    return None

"""From a pass and what it kept to the report: the clusterings and scores after it, and what is said of them."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hitl_fast._common.errors import InputTypeError

from .accumulator import LayerReport, mean_over_layers
from .after_pass import EmbeddingScores, effort_from, effort_task, score_tasks, scores_of
from .effort_score import EffortScore, target_error
from .layer_inputs import LayerInputs
from .one_pass import Pass
from .options import Options, whole_number
from .origin import Origin
from .ranks import Joined
from .report import PreIndexReport


@dataclass(frozen=True)
class After:
    """What is computed after the pass: the arguments of ``preindex`` of these names.

    Raises:
        ValueError, TypeError: one has a value that is not allowed.
    """

    effort_samples: int
    clean_accuracy: float | None
    embedding_samples: int | None
    kmeans: bool

    def __post_init__(self) -> None:
        target_error(0.0, self.clean_accuracy)
        for name in ("effort_samples", "embedding_samples"):
            if isinstance(getattr(self, name), float):  # as an index it is none
                raise InputTypeError(f"{name} must be a number of samples, not {getattr(self, name)!r}")
        whole_number("effort_samples", self.effort_samples, 0, "samples")
        if self.embedding_samples is not None:
            whole_number("embedding_samples", self.embedding_samples, 1, "samples")
        if not isinstance(self.kmeans, bool | np.bool_):
            raise InputTypeError(f"kmeans must be True, False or None, not {self.kmeans!r}")

    def restarts(self, options: Options) -> int:
        """Of k-means++; 0: none."""
        return (10 if options.corrected else 1) if self.kmeans else 0


def finished(
    run: Pass,
    after: After,
    found: tuple[Mapping[str, LayerReport], dict[str, str]],
    kept: tuple[Any, LayerInputs | None],
    ranks: Joined,
    progress: bool,
) -> PreIndexReport:
    """The report of a pass.

    Args:
        run: the pass, of all ranks.
        after: what to compute after it.
        found: the layers that count, and why others do not: ``run.layers()``.
        kept: embeddings of both sides and captured layer inputs; None where this rank has none.
        ranks: to which the work is dealt.
        progress: a progress bar.
    """
    options = run.options
    layers, skipped = found
    scores = _scores(run, after, kept[0], kept[1], ranks, progress)
    distances = mean_over_layers(options.bins, layers)
    across = scores.of_embeddings.clusters["shifted_from_clean"]
    assert across is not None
    p, inverse_ari = distances[options.measure_bins][options.measure], across.inverse_ari
    effort = scores.effort
    in_file = ", embeddings in a file" if run.store.in_file else ""
    kinds = len(np.unique(run.classes))
    notes = run.notes() + scores.effort_notes
    if kinds < 2:
        notes.append(
            "all labels are one class: clusters always agree with them, so that inverse ARI, the index, the probe "
            "error and the effort score say nothing here"
        )
    return PreIndexReport(
        index=options.index(p + inverse_ari),
        distance=p,
        inverse_ari=inverse_ari,
        u=p + inverse_ari,
        samples=run.classes.size,
        classes=kinds,
        measure=options.measure,
        measure_bins=options.measure_bins,
        scale=options.scale,
        offset=options.offset,
        arithmetic=options.arithmetic,
        pooling=options.pooling,
        embedding=run.watch.embedding.name,
        accuracy=run.accuracy(),
        input_rms=run.changes.rms(),
        resque_angle=scores.of_embeddings.resque_angle,
        cka=scores.of_embeddings.cka,
        probe_error=scores.of_embeddings.probe_error,
        left_out=int((~run.finite).sum()),
        distances=distances,
        clusters=scores.of_embeddings.clusters,
        layers=dict(layers),
        skipped=skipped,
        seconds=run.seconds,
        mode=f"{run.place}, {run.mode}{in_file}",
        versions=dict(versions()),
        notes=notes,
        effort_score=None if effort is None else effort.effort_score,
        path_excess=None if effort is None else effort.path_excess,
        probe_increase=None if effort is None else effort.probe_increase,
        effort_samples=None if effort is None else effort.samples,
        clean_samples=run.classes.size,
        confidence_drop=run.guesses.confidence_drop(run.classes.size),
    )


@dataclass(frozen=True)
class _Scores:
    of_embeddings: EmbeddingScores
    effort: EffortScore | None
    effort_notes: list[str]


def _scores(
    run: Pass, after: After, rows: Any, captured: LayerInputs | None, ranks: Joined, progress: bool
) -> _Scores:
    """The scores after the pass, dealt to the ranks; their seconds go to the run, summed over ranks."""
    tasks: dict[str, Callable[[], Any]] = {}
    if after.effort_samples:
        tasks["effort"] = effort_task(captured, run.classes, after.clean_accuracy)
    tasks |= score_tasks(
        rows,
        run.classes[run.finite],
        restarts=after.restarts(run.options),
        samples=after.embedding_samples,
        progress=progress,
        origin=Origin("", run.watch.embedding.name, np.flatnonzero(run.finite)),
    )
    done = ranks.run(tasks)
    effort, notes = effort_from(done["effort"][0]) if after.effort_samples else (None, [])
    spent = {name: seconds for name, (_, seconds) in done.items()}
    run.seconds["statistics"] += spent.pop("effort", 0.0)
    run.seconds["clustering"] = sum(spent.values())
    return _Scores(scores_of({name: value for name, (value, _) in done.items()}), effort, notes)


@functools.cache
def versions() -> tuple[tuple[str, str], ...]:
    packages = [(name, _version(name)) for name in ("hitl-fast", "torch", "numpy", "numba")]
    return (*packages, ("python", platform.python_version()))


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # used from a folder, without being installed
        return "unknown"


def warn_of_left_out(
    layers: Mapping[str, LayerReport], finite: Mapping[str, np.ndarray], level: int = 3
) -> None:
    """Name what is left out because it is not finite, and the first sample of each kind."""
    messages = [
        f"{layer.left_out} row pairs of layer {name}" for name, layer in layers.items() if layer.left_out
    ]
    for kind, fine in finite.items():
        wrong = np.flatnonzero(~fine)
        if wrong.size:
            messages.append(f"{wrong.size} {kind} from the clusters (the first is sample {wrong[0]})")
    if messages:
        warnings.warn(f"NaN or infinite values: left out {', '.join(messages)}", stacklevel=level)

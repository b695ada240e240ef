"""What ``preindex`` returns: every number it found, readable, and as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import textwrap
from dataclasses import dataclass, field
from typing import Any

from hitl_fast._common.errors import InputError
from hitl_fast._common.files import write_text
from hitl_fast._common.notebook import html_table

from .accumulator import Distances, LayerReport
from .clusters import ClusterReport

# Of the JSON. 1 had neither this number nor notes nor the effort score.
SCHEMA = 2
# Fields that came after version 1, and what a report has that was written before.
ADDED: dict[str, Any] = {
    "notes": [], "schema": 1, "effort_score": None, "path_excess": None, "probe_increase": None, "effort_samples": None,
}  # fmt: skip


@dataclass(frozen=True)
class PreIndexReport:
    """The index, what it is made of, and the other scores of the same pass. Plain fields; see ``hitl_fast.preindex``.

    Attributes:
        index: (p + inverse_ari) / (1 + (p + inverse_ari) * scale) - offset; higher: more to retrain.
        distance: p, ``distances[measure_bins][measure]``.
        inverse_ari: 1 - adjusted Rand index of shifted embeddings clustered from the clean class means.
        u: p + inverse_ari; at any fixed scale and offset the index ranks as u does.
        samples: pairs seen.
        classes: distinct labels.
        distances: ``distances[bins][measure]``, mean over layers and samples. "bhattacharyya" is 1 - BC (the
            Bhattacharyya coefficient), that is the squared Hellinger distance.
        layers: by name, the layers that count.
        skipped: by name, why a layer does not count.
        clusters: "clean", "shifted", "shifted_from_clean", "clean_kmeans++", "shifted_kmeans++"; the last two None
            without k-means++ runs.
        embedding: where the embeddings were taken.
        accuracy: share of samples whose largest logit is their label, "clean" and "shifted"; None unless the
            labels number the logits.
        input_rms: root mean square change of the floating point inputs; None if there are none.
        resque_angle: mean angle between summed class embeddings, in units of pi; None if none has a direction.
        cka: linear CKA of clean and shifted embeddings, 1 for equal; None if one is constant.
        probe_error: leave-one-out error of a ridge classifier on the shifted embeddings.
        left_out: sample pairs whose embedding holds NaN or infinite values; not clustered.
        seconds: "forward" (with loading), "checking" (samples that were run alone), "statistics", "clustering".
        mode: device, and how batches went through the model.
        versions: of what computed this.
        notes: what to know about the numbers: which mask left padding out, what could not be computed and why.
        schema: version of the JSON.
        effort_score: predicted retraining effort, sqrt(path_excess) + 4 * probe_increase, as
            ``hitl_fast.shift.effort_score.effort_score`` has it; where it is None, a note has the reason.
        path_excess: its part A, what closed-form corrections of the present output leave wrong.
        probe_increase: its part B, class information that no layer shows any more.
        effort_samples: samples that it was computed from.
    """

    index: float
    distance: float
    inverse_ari: float
    u: float
    samples: int
    classes: int
    measure: str
    measure_bins: int
    scale: float
    offset: float
    arithmetic: str
    pooling: str
    embedding: str
    accuracy: dict[str, float] | None
    input_rms: float | None
    resque_angle: float | None
    cka: float | None
    probe_error: float
    left_out: int
    distances: Distances
    clusters: dict[str, ClusterReport | None]
    layers: dict[str, LayerReport]
    skipped: dict[str, str]
    seconds: dict[str, float]
    mode: str
    versions: dict[str, str]
    notes: list[str] = field(default_factory=list)
    schema: int = SCHEMA
    effort_score: float | None = None
    path_excess: float | None = None
    probe_increase: float | None = None
    effort_samples: int | None = None

    @property
    def bins(self) -> tuple[int, ...]:
        return tuple(self.distances)

    @property
    def hellinger_squared(self) -> float:
        """The squared Hellinger distance at ``measure_bins``: another name of the measure "bhattacharyya"."""
        return self.distances[self.measure_bins]["bhattacharyya"]

    @property
    def accuracy_drop(self) -> float | None:
        """Accuracy lost to the shift, in [-1, 1]; None without logits."""
        return None if self.accuracy is None else self.accuracy["clean"] - self.accuracy["shifted"]

    def _repr_html_(self) -> str:
        accuracy = self.accuracy or {}
        rows: list[tuple[str, object]] = [
            ("PreIndex", self.index),
            ("p", self.distance),
            ("inverse ARI", self.inverse_ari),
            ("probe error", self.probe_error),
            ("effort score", getattr(self, "effort_score", None)),
            ("accuracy, clean", accuracy.get("clean")),
            ("accuracy, shifted", accuracy.get("shifted")),
            ("linear CKA", self.cka),
            ("samples", self.samples),
        ]
        worst = sorted(self.layers, key=self._layer_distance, reverse=True)[:5]
        rows += [(f"p of {name}", self._layer_distance(name)) for name in worst]
        return html_table("PreIndexReport", [row for row in rows if row[1] is not None])

    def __str__(self) -> str:
        seconds = self.seconds
        lines = [
            f"PreIndex {self.index:.4f}   p {self.distance:.4f} ({self.measure}, {self.measure_bins} bins)"
            f" + inverse ARI {self.inverse_ari:.4f}",
            f"{self.samples} samples, {self.classes} classes, {len(self.layers)} layers; {self.arithmetic} arithmetic,"
            f" {self.pooling} pooling",
            *self._effort_lines(),
            f"embedding     {self.embedding}",
        ]
        if self.accuracy is not None:
            clean, shifted = self.accuracy["clean"], self.accuracy["shifted"]
            lines.append(
                f"accuracy      {clean:.4f} clean, {shifted:.4f} shifted: drop {clean - shifted:.4f}"
            )
        lines.append(
            f"probe error   {self.probe_error:.4f} (of a new linear layer on the shifted embeddings)"
        )
        others = {"input RMS": self.input_rms, "RESQUE angle": self.resque_angle, "linear CKA": self.cka}
        rows = [f"{name} {value:.4f}" for name, value in others.items() if value is not None]
        if rows:
            lines.append(f"also          {', '.join(rows)}")
        agreement = ", ".join(f"{name} {_agreement(c)}" for name, c in self.clusters.items() if c is not None)
        lines.append(f"cluster ARI   {agreement}")
        worst = sorted(self.layers, key=self._layer_distance, reverse=True)
        lines.append(f"most shifted layers of {len(worst)}:")
        lines += [f"  {self._layer_distance(n):.4f}  {n}  ({self.layers[n].units} units)" for n in worst[:8]]
        broken = {name: layer for name, layer in self.layers.items() if layer.left_out}
        if broken:
            name = max(broken, key=lambda n: broken[n].left_out)
            lines.append(
                f"NaN or inf    left out in {len(broken)} layers, most in {name}: {broken[name].left_out} row pairs"
            )
        if self.left_out:
            lines.append(f"NaN or inf    in the embeddings of {self.left_out} sample pairs: not clustered")
        if self.skipped:
            first = next(iter(self.skipped))
            lines.append(
                f"skipped       {len(self.skipped)}: {first} ({self.skipped[first]})"
                + (", ..." if len(self.skipped) > 1 else "")
            )
        for note in self.notes:
            lines += textwrap.wrap(note, 118, initial_indent="note          ", subsequent_indent=" " * 14)
        lines.append(
            f"seconds       {seconds['forward']:.2f} forward, {seconds.get('checking', 0):.2f} checking,"
            f" {seconds['statistics']:.2f} statistics,"
            f" {seconds['clustering']:.2f} clustering; {self.mode}"
        )
        return "\n".join(lines)

    def _effort_lines(self) -> list[str]:
        if self.effort_score is None:
            return []
        return [
            f"effort score  {self.effort_score:.4f} = sqrt({self.path_excess:.4f} path excess)"
            f" + 4 x {self.probe_increase:.4f} probe increase, of {self.effort_samples} samples"
        ]

    def metrics(self) -> dict[str, float]:
        """Every number by name, flat, as MLflow, Weights & Biases and TensorBoard take it; None is left out."""
        from .metrics import metrics

        return metrics(self)

    def _layer_distance(self, name: str) -> float:
        return self.layers[name].distances[self.measure_bins][self.measure]

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write the report; the file is whole or not there.

        Raises:
            OSError: the folder is missing or not writable.
        """
        text = json.dumps(dataclasses.asdict(self), indent=1, allow_nan=False)
        write_text(path, text + "\n")

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> PreIndexReport:
        """Read what ``to_json`` wrote.

        Raises:
            OSError: no such file.
            ValueError: not JSON, or not a report: what is missing or unknown is named.
        """
        with open(path, encoding="utf-8") as file:
            try:
                held = json.load(file)
            except (ValueError, RecursionError) as problem:
                raise InputError(f"{path} is not JSON: {problem}") from None
        fields = [each.name for each in dataclasses.fields(cls)]
        if not isinstance(held, dict):
            raise InputError(f"{path} is not a PreIndex report: it holds a {type(held).__name__}")
        schema = held.get("schema", 1)
        if not isinstance(schema, int) or schema > SCHEMA:
            raise InputError(
                f"{path} was written by a newer hitl-fast: its schema is {schema!r}, this version reads up to {SCHEMA}"
            )
        held = ADDED | held
        missing, unknown = [n for n in fields if n not in held], [n for n in held if n not in fields]
        if missing or unknown:
            raise InputError(
                f"{path} is not a PreIndex report of this version: missing {', '.join(missing) or 'nothing'}; unknown "
                f"{', '.join(map(str, unknown)) or 'nothing'}"
            )
        try:
            held["distances"] = _distances(held["distances"])
            held["clusters"] = {
                name: None if values is None else ClusterReport(**values)
                for name, values in held["clusters"].items()
            }
            held["layers"] = {name: _layer(values) for name, values in held["layers"].items()}
            report = cls(**held)
            str(report)
        except (TypeError, KeyError, AttributeError, ValueError) as problem:
            raise InputError(
                f"{path} is not a PreIndex report: {type(problem).__name__}: {problem}"
            ) from None
        return report

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw distance against layer, and the histograms of the three most shifted layers.

        Args:
            path: its ending picks the format: .png, .svg or .pdf.

        Raises:
            ImportError: matplotlib is missing (``pip install 'hitl-fast[plots]'``).
        """
        from .plot import draw

        draw(self, path)


def _distances(held: dict[str, dict[str, float]]) -> Distances:
    return {
        int(bins): {name: _finite(value) for name, value in values.items()} for bins, values in held.items()
    }


def _agreement(cluster: ClusterReport) -> str:
    error = cluster.standard_error
    return f"{cluster.ari:.3f}" if error is None else f"{cluster.ari:.3f} +- {error:.3f}"


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise InputError(f"{value!r} is not a finite number")
    return number


def _layer(held: dict[str, Any]) -> LayerReport:
    clean, shifted = held["histogram"]
    return LayerReport(
        **{**held, "distances": _distances(held["distances"]), "histogram": (tuple(clean), tuple(shifted))}
    )

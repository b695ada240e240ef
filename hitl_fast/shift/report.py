"""What ``preindex`` returns: every number it found, readable, and as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import textwrap
from dataclasses import dataclass
from typing import Any

from hitl_fast._common.errors import InputError
from hitl_fast._common.files import write_text
from hitl_fast._common.notebook import html_table

from .accumulator import Distances, LayerReport
from .clusters import ClusterReport
from .metrics import metrics
from .results import ADDED, SCHEMA, PreIndexResults


@dataclass(frozen=True)
class PreIndexReport(PreIndexResults):
    """The index, what it is made of, and the other scores of the same pass; fields as in `PreIndexResults`."""

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
            self._first_line(),
            f"{self._size()}, {self.classes} classes, {len(self.layers)} layers; {self.arithmetic} arithmetic,"
            f" {self.pooling} pooling",
            *self._effort_lines(),
            f"embedding     {self.embedding}",
        ]
        accuracy, drop = self.accuracy or {}, self.accuracy_drop
        if accuracy:
            values = ", ".join(
                f"{accuracy[side]:.4f} {side}" for side in ("clean", "shifted") if side in accuracy
            )
            fall = "" if drop is None else f": drop {drop:.4f}{self._range('accuracy_drop')}"
            lines.append(f"accuracy      {values}{fall}")
        if self.probe_error is not None:
            lines.append(
                f"probe error   {self.probe_error:.4f}{self._range('probe_error')} (of a new linear layer on the"
                " shifted embeddings)"
            )
        others = {
            "input RMS": self.input_rms, "RESQUE angle": self.resque_angle, "linear CKA": self.cka,
            "CKA of class means": self.class_mean_cka, "clean probe error": self.clean_probe_error,
        }  # fmt: skip
        if not (self.paired and self.labels_for == "both"):
            others["confidence drop"] = self.confidence_drop
        rows = [f"{name} {value:.4f}" for name, value in others.items() if value is not None]
        if rows:
            lines.append(f"also          {', '.join(rows)}")
        agreement = ", ".join(f"{name} {_agreement(c)}" for name, c in self.clusters.items() if c is not None)
        lines.append(f"cluster ARI   {agreement}")
        worst = sorted(self.layers, key=self._layer_distance, reverse=True)
        lines += [f"most shifted layers of {len(worst)}:"] if worst else []
        lines += [f"  {self._layer_distance(n):.4f}  {n}  ({self.layers[n].units} units)" for n in worst[:8]]
        broken = {name: layer for name, layer in self.layers.items() if layer.left_out}
        if broken:
            name = max(broken, key=lambda n: broken[n].left_out)
            lines.append(
                f"NaN or inf    left out in {len(broken)} layers, most in {name}: {broken[name].left_out} row pairs"
            )
        if self.left_out:
            kind = "sample pairs" if self.paired else "shifted samples"
            lines.append(f"NaN or inf    in the embeddings of {self.left_out} {kind}: not clustered")
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

    def _first_line(self) -> str:
        if self.index is not None:
            value = f"PreIndex {self.index:.4f}{self._range('index')}"
        else:
            value = "PreIndex not reported"
        parts = []
        if self.distance is not None:
            parts.append(f"p {self.distance:.4f} ({self.measure}, {self.measure_bins} bins)")
        if self.inverse_ari is not None:
            parts.append(f"inverse ARI {self.inverse_ari:.4f}{self._range('inverse_ari')}")
        return f"{value}   {' + '.join(parts)}".rstrip()

    def _size(self) -> str:
        if self.paired:
            return f"{self.samples} samples"
        return f"{self.clean_samples} clean and {self.samples} shifted samples (no pairs)"

    def _range(self, name: str) -> str:
        ends = (self.intervals or {}).get(name)
        return "" if ends is None else f" [{ends[0]:.4f}, {ends[1]:.4f}]"

    def _effort_lines(self) -> list[str]:
        if self.effort_score is None:
            return []
        return [
            f"effort score  {self.effort_score:.4f}{self._range('effort_score')}"
            f" = sqrt({self.path_excess:.4f} path excess)"
            f" + 4 x {self.probe_increase:.4f} probe increase, of {self.effort_samples} samples"
        ]

    def metrics(self) -> dict[str, float]:
        """Every number by name, flat, as MLflow, Weights & Biases and TensorBoard take it; None is left out."""
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
            held["distances"] = None if held["distances"] is None else _distances(held["distances"])
            if held["intervals"] is not None:
                held["intervals"] = {n: (_finite(a), _finite(b)) for n, (a, b) in held["intervals"].items()}
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

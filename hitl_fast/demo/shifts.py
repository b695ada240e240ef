"""Demo step: rank ten shifts by the predicted retraining effort, from one forward pass each."""

from __future__ import annotations

import dataclasses
import io
import json
import time
from typing import TYPE_CHECKING

import torch

from hitl_fast._common.files import write_bytes
from hitl_fast.experiments.common import digits
from hitl_fast.shift import PreIndexReport, preindex

if TYPE_CHECKING:
    from torch import nn

    from .context import Context

TITLE = "PreIndex: what will retraining to each shift cost?"


def run(context: Context) -> None:
    """Train a model, shift the test digits, estimate the effort, rank; prints a table, writes a plot and reports."""
    start = time.perf_counter()
    model = context.model
    seconds = time.perf_counter() - start
    print(
        f"A small CNN, trained on {len(context.training)} real MNIST digits in {seconds:.0f} s, classifies",
        end=" ",
    )
    print(f"{_accuracy(model, context):.1%} of {len(context.test)} test digits correctly.")
    print(
        "Each shifted version of the test digits is compared with the clean one in a single forward pass.\n"
    )
    start = time.perf_counter()
    reports = ranked(context)
    seconds = time.perf_counter() - start
    print(f"{'shift':<16}{'index':>8}{'p':>8}{'inverse ARI':>13}{'accuracy drop':>15}{'probe error':>13}")
    for name, report in reports.items():
        drop = report.accuracy_drop or 0.0
        print(f"{name:<16}{report.index:8.3f}{report.distance:8.3f}{report.inverse_ari:13.3f}", end="")
        print(f"{drop:15.3f}{report.probe_error:13.3f}")
    print(f"\nHighest predicted effort first; {len(reports)} estimates took {seconds:.1f} s.")
    print(
        "p: how far activations moved. Inverse ARI: how badly shifted embeddings cluster by class. Accuracy drop and"
    )
    print("probe error (of a new last layer) come from the same pass.")
    content = {name: dataclasses.asdict(report) for name, report in reports.items()}
    write_bytes(context.output("shifts.json"), json.dumps(content, indent=1).encode())
    write_bytes(context.output("shifts.png"), picture(reports))


def ranked(context: Context) -> dict[str, PreIndexReport]:
    """A report for each shift and strength, highest index first."""
    clean = context.test
    reports = {}
    for name, (shift, strengths) in digits.SHIFTS.items():
        for strength in strengths:
            shifted = digits.Digits(shift(clean.images, strength, context.seed), clean.labels)
            reports[f"{name} {strength:g}"] = preindex(
                context.model, clean.batches(), shifted.batches(), progress=False
            )
    return dict(sorted(reports.items(), key=lambda entry: entry[1].index, reverse=True))


def picture(reports: dict[str, PreIndexReport]) -> bytes:
    """The index of each shift as a PNG bar plot, split into its two parts."""
    from matplotlib.figure import Figure

    names = list(reports)
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    distances = [reports[name].distance for name in names]
    inverse = [reports[name].inverse_ari for name in names]
    axes.barh(names, distances, color="#4c72b0", label="p: change of activations")
    axes.barh(names, inverse, left=distances, color="#dd8452", label="inverse ARI: loss of class clusters")
    axes.invert_yaxis()
    axes.set_xlabel("PreIndex")
    axes.set_title("Predicted effort of retraining a small CNN to shifted MNIST digits")
    axes.legend()
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120)
    return file.getvalue()


def _accuracy(model: nn.Module, context: Context) -> float:
    with torch.no_grad():
        return float((model(context.test.images).argmax(1) == context.test.labels).float().mean())

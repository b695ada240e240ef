"""Demo step: rank ten shifts by the predicted retraining effort, from one forward pass each."""

from __future__ import annotations

import dataclasses
import io
import json
import math
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
    print(f"{'shift':<16}{'effort score':>13}{'index':>8}{'accuracy drop':>15}{'probe error':>13}")
    for name, report in reports.items():
        print(f"{name:<16}{_score(report):13.3f}{report.index:8.3f}", end="")
        print(f"{report.accuracy_drop or 0.0:15.3f}{report.probe_error:13.3f}")
    print(f"\nHighest predicted effort first; {len(reports)} estimates took {seconds:.1f} s.")
    print(
        "Effort score: what corrections of the present output leave wrong, and class information that no layer shows"
    )
    print(
        "any more. Index: the published PreIndex. Both, accuracy drop and probe error come from the same pass."
    )
    content = {name: dataclasses.asdict(report) for name, report in reports.items()}
    write_bytes(context.output("shifts.json"), json.dumps(content, indent=1).encode())
    write_bytes(context.output("shifts.png"), picture(reports))


def ranked(context: Context) -> dict[str, PreIndexReport]:
    """A report for each shift and strength, highest effort score first."""
    clean = context.test
    reports = {}
    for name, (shift, strengths) in digits.SHIFTS.items():
        for strength in strengths:
            shifted = digits.Digits(shift(clean.images, strength, context.seed), clean.labels)
            reports[f"{name} {strength:g}"] = preindex(
                context.model, clean.batches(), shifted.batches(), progress=False
            )
    return dict(sorted(reports.items(), key=lambda entry: _score(entry[1]), reverse=True))


def picture(reports: dict[str, PreIndexReport]) -> bytes:
    """Effort score, split into its two parts, and published index of each shift: two bar plots as a PNG."""
    from matplotlib.figure import Figure

    names = list(reports)
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    score, index = figure.subplots(1, 2, sharey=True)
    parts = [(math.sqrt(r.path_excess or 0.0), 4 * (r.probe_increase or 0.0)) for r in reports.values()]
    path, probe = (list(values) for values in zip(*parts, strict=True))
    score.barh(names, path, color="#4c72b0", label="output stays wrong")
    score.barh(names, probe, left=path, color="#dd8452", label="class information lost")
    score.invert_yaxis()
    score.set_xlabel("effort score")
    score.legend()
    index.barh(names, [report.index for report in reports.values()], color="#8c8c8c")
    index.set_xlabel("published index")
    figure.suptitle("Predicted effort of retraining a small CNN to shifted MNIST digits")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120)
    return file.getvalue()


def _score(report: PreIndexReport) -> float:
    return report.effort_score or 0.0


def _accuracy(model: nn.Module, context: Context) -> float:
    with torch.no_grad():
        return float((model(context.test.images).argmax(1) == context.test.labels).float().mean())

"""The scores of the cells that are retrained at other sizes: what is known before, from one forward pass each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..common.journal import Record
from . import sizes
from .datasets import dataset
from .jobs import VARIANTS, Settings, report_of, rounded, samples_of, split, trained

EXPERIMENT = "calibration sizes, scores"
SCORES = ("effort_score", "path_excess", "probe_increase", "probe_error", "accuracy_drop")
CELL = ("key", "dataset", "architecture", "seed", "shift", "strength")


def depends_on(settings: Settings) -> dict[str, Any]:
    """What the retrainings depend on, and the names of the scores."""
    return sizes.depends_on(settings) | {"scores": list(SCORES)}


def cells(records: Sequence[Record]) -> list[dict[str, Any]]:
    """The jobs: the cells of these retrainings."""
    return [{name: record[name] for name in CELL} for record in records]


def work(job: dict[str, Any], *, settings: Settings, folder: str) -> dict[str, Any]:
    """The scores of a cell, from the samples that the grid's scores are of; the model is the retrainings' own."""
    data, seed = dataset(job["dataset"]), job["seed"]
    model, _ = trained(data, job["architecture"], seed, settings, Path(folder))
    samples = samples_of(data.name, seed)
    clean = split(settings, data, samples).estimation
    moved = split(settings, data, data.shifted(samples, job["shift"], job["strength"], seed)).estimation
    report = report_of(model, clean, moved, data.mask, *VARIANTS[0])
    return rounded({"scores": {name: getattr(report, name) for name in SCORES}})

"""The scores of PreIndex without pairs, without labels and with few labels, on the retrainings of a grid that is done.

Nothing is retrained: the steps of every cell are in the grid's file of results. Its model and its shifted samples
follow from the seed and are made again, and every mode's report is that of ``hitl_fast.preindex``, from one pass for
all modes with pairs and one for all without.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hitl_fast._common.errors import InputError
from hitl_fast.shift.embeddings import default_budget
from hitl_fast.shift.evaluation import undisturbed
from hitl_fast.shift.labelling import Labelling
from hitl_fast.shift.one_pass import Sources
from hitl_fast.shift.options import Options
from hitl_fast.shift.partial import Resources, collect, partial_fields
from hitl_fast.shift.splitting import Splitting

from ..common.journal import Record
from ..common.samples import Samples
from .datasets import Mask, dataset
from .effort_table import retrainings
from .jobs import Parts, Settings, rounded, samples_of, split, trained

EXPERIMENT = "calibration modes"
OPTIMIZER = "adam"  # of the retrainings whose steps are compared
BINS = 32  # the p of the grid's own scores
CLEAN_SHARE = 0.9  # of the validation samples, so that the two sets without pairs differ in number too
SCORES = (
    "effort_score",
    "path_excess",
    "probe_increase",
    "index",
    "distance",
    "inverse_ari",
    "accuracy_drop",
    "probe_error",
    "cka",
    "class_mean_cka",
    "resque_angle",
    "input_rms",
    "confidence_drop",
)
WITH_INTERVALS = ("accuracy_drop", "inverse_ari")
BASE = "paired"


@dataclass(frozen=True)
class Mode:
    """The arguments of ``preindex`` of these names, and what a table calls them."""

    told: str
    paired: bool = True
    labels_for: str | None = None
    label_budget: int | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        return {name: value for name, value in dataclasses.asdict(self).items() if name != "told"}

    @property
    def labelling(self) -> Labelling:
        return Labelling(self.paired, self.labels_for, self.label_budget)


MODES = {
    BASE: Mode("pairs, all labels"),
    "1000 labels": Mode("pairs, 1,000 labels", label_budget=1000),
    "300 labels": Mode("pairs, 300 labels", label_budget=300),
    "100 labels": Mode("pairs, 100 labels", label_budget=100),
    "30 labels": Mode("pairs, 30 labels", label_budget=30),
    "clean labels": Mode("pairs, no shifted labels", labels_for="clean"),
    "unpaired": Mode("no pairs, all labels", paired=False),
    "unpaired, 300 labels": Mode("no pairs, 300 labels", paired=False, label_budget=300),
    "unpaired, 100 labels": Mode("no pairs, 100 labels", paired=False, label_budget=100),
}


def settings_of(header: Mapping[str, Any]) -> Settings:
    """The settings that a grid's file of results was made with.

    Raises:
        ValueError: it is the file of another experiment, or of another version of this one.
    """
    if header["experiment"] != "calibration":
        raise InputError(f"the results are of the experiment {header['experiment']!r}, not of 'calibration'")
    known = header["settings"]
    names = [field.name for field in dataclasses.fields(Settings)]
    lacking = [name for name in names if name not in known]
    if lacking:
        raise InputError(
            f"the grid is of another version: its settings lack {', '.join(lacking)}; run it again"
        )
    values: dict[str, Any] = {n: tuple(known[n]) if isinstance(known[n], list) else known[n] for n in names}
    return Settings(**values)


def depends_on(header: Mapping[str, Any]) -> dict[str, Any]:
    """What the journal of modes depends on: the grid, whose seeds may become more, and the modes."""
    grid = {name: value for name, value in header["settings"].items() if name not in ("seeds", "optimizers")}
    return {"grid": grid, "modes": {name: mode.arguments for name, mode in MODES.items()}}


def cells(records: Sequence[Record], seeds: int, networks: Sequence[str] | None) -> list[dict[str, Any]]:
    """The jobs: retrainings with Adam of the first seeds and of some networks (None: all), one network after another.

    Raises:
        ValueError: the grid has no such retraining, or no network of a name.
    """
    rows = [row for row in retrainings(records) if row["optimizer"] == OPTIMIZER]
    if not rows:
        raise InputError(f"the results hold no retraining with {OPTIMIZER}: run the grid first")
    there = list(dict.fromkeys(row["architecture"] for row in rows))
    wanted = there if networks is None else list(dict.fromkeys(networks))
    strange = next((name for name in wanted if name not in there), None)
    if strange is not None:
        raise InputError(f"networks must be of the grid's, {', '.join(there)}; {strange!r} is none of them")
    first = list(dict.fromkeys(row["seed"] for row in rows))[:seeds]
    names = ("key", "dataset", "architecture", "seed", "shift", "strength")
    return [
        {name: row[name] for name in names}
        for network in wanted
        for row in rows
        if row["architecture"] == network and row["seed"] in first
    ]


def work(job: dict[str, Any], *, settings: Settings, folder: str) -> dict[str, Any]:
    """The scores of one cell in every mode that has enough samples, with the intervals that a mode states.

    As many labels as there are pairs are all labels: these scores are not computed twice, and have no interval.
    """
    data, seed = dataset(job["dataset"]), job["seed"]
    model, _ = trained(data, job["architecture"], seed, settings, Path(folder))
    samples = samples_of(data.name, seed)
    before = split(settings, data, samples)
    after = split(settings, data, data.shifted(samples, job["shift"], job["strength"], seed))
    found = {}
    for paired in (True, False):
        modes = {
            name: mode
            for name, mode in MODES.items()
            if mode.paired == paired and (mode.label_budget or 0) < len(after.estimation)
        }
        for name, fields in reports(model, *samples_for(paired, before, after, job["key"]), data.mask, modes):
            found[name] = _record(fields)
    for name, mode in MODES.items():
        if mode.paired and mode.label_budget == len(after.estimation):
            found[name] = found[BASE]
    return rounded({"modes": {name: found[name] for name in MODES if name in found}})


def samples_for(paired: bool, before: Parts, after: Parts, key: str) -> tuple[Samples, Samples]:
    """Clean and shifted samples, none of which the model was trained on.

    Pairs are those that the grid's scores are of. Without pairs the shifted ones are the same, and the clean ones are
    most of the validation samples. Labelled samples are drawn by their position in the loader, so that each cell has
    an order of its own.
    """
    order = torch.from_numpy(
        np.random.default_rng(zlib.crc32(key.encode())).permutation(len(after.estimation))
    )
    shifted = after.estimation[order]
    if paired:
        return before.estimation[order], shifted
    return before.validation[: max(2, round(CLEAN_SHARE * len(before.validation)))], shifted


def reports(
    model: nn.Module, clean: Samples, shifted: Samples, mask: Mask | None, modes: Mapping[str, Mode]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The fields of ``hitl_fast.preindex``'s report for each mode; all modes have pairs, or none has.

    What goes through the model does not depend on the labels that are used, so that one pass serves all modes.
    """
    if not modes:
        return
    options = Options((BINS,), "corrected", "mean", "jensen_shannon", BINS, 0.0, 0.0)
    place = torch.device("cpu")
    resources = Resources(
        place, default_budget(place), "float32", len(shifted) + len(clean), None, None, 0, False
    )
    loaders = clean.batches(), shifted.batches()
    (paired,) = {mode.paired for mode in modes.values()}
    any_budget = Labelling(paired, None, 2)  # the labels of all samples are kept
    how = Sources(None, None, Splitting(mask=mask)), options, resources
    with ExitStack() as stack, undisturbed(model, place, loaders):
        material = collect(stack, model, loaders, any_budget, how)
        for name, mode in modes.items():
            yield name, partial_fields(material, mode.labelling, options, resources)


def _record(fields: Mapping[str, Any]) -> dict[str, Any]:
    accuracy = fields["accuracy"] or {}
    drop = accuracy["clean"] - accuracy["shifted"] if len(accuracy) == 2 else None
    values = {**fields, "accuracy_drop": drop}
    intervals = fields["intervals"] or {}
    ends = {name: list(intervals[name]) for name in WITH_INTERVALS if name in intervals}
    return {"scores": {name: values[name] for name in SCORES if values[name] is not None}} | (
        {"intervals": ends} if ends else {}
    )

"""The jobs of the grid: train and examine a base model; score a shift, then retrain to it."""

from __future__ import annotations

import copy
import fcntl
import functools
import json
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from hitl_fast._common.files import write_bytes
from hitl_fast.energy import EnergyMeter
from hitl_fast.shift import PreIndexReport, preindex

from ..common.digits import seeded
from ..common.flops import training_flops
from ..common.samples import Samples
from .datasets import DATASETS, DataSet, Mask, dataset
from .forward_scores import forward_scores
from .retraining import BATCH, Recipe, accuracy, base_model, retrain

# (arithmetic, pooling) of ``preindex``; the first is what the scores named like its report's attributes come from.
VARIANTS = (("corrected", "mean"), ("corrected", "flatten"), ("reference", "mean"), ("reference", "flatten"))
BINS = (16, 32, 64)
FEWER = (25, 50, 100, 200, 400)  # pairs of samples, beside all
DIGITS_KEPT = 8  # significant ones: a file of results is to be small


@dataclass(frozen=True)
class Settings:
    """Everything that the results depend on, besides the code.

    Attributes:
        datasets: names of data sets; each brings its networks, shifts and sizes.
        strengths, seeds: the grid.
        optimizers: of the retraining, by seed, repeated as needed.
        architectures, shifts: names to keep; None: all of each data set.
        sizes: training, validation and estimation samples; None: those of each data set.
        epochs: factor on each data set's epochs of the base model.
        cap: steps after which a retraining is given up.
    """

    datasets: tuple[str, ...] = tuple(DATASETS)
    strengths: tuple[int, ...] = (0, 1, 2)
    seeds: tuple[int, ...] = (0, 1, 2)
    optimizers: tuple[str, ...] = ("adam", "adam", "sgd")
    architectures: tuple[str, ...] | None = None
    shifts: tuple[str, ...] | None = None
    sizes: tuple[int, int, int] | None = None
    epochs: float = 1.0
    cap: int = 800


@dataclass(frozen=True)
class Parts:
    """The samples of one seed, split."""

    training: Samples
    validation: Samples
    estimation: Samples


def grid(settings: Settings) -> list[dict[str, Any]]:
    """All jobs: each model, then its retrainings; models that share a lock file lie far apart."""
    models: list[dict[str, Any]] = [
        {"dataset": name, "architecture": architecture, "seed": seed}
        for seed in settings.seeds
        for name in settings.datasets
        for architecture in dataset(name).architectures
        if settings.architectures is None or architecture in settings.architectures
    ]
    jobs = [{"key": _key(model), **model} for model in models]
    for model in models:
        place = settings.seeds.index(model["seed"])
        optimizer = settings.optimizers[place % len(settings.optimizers)]
        for shift, (_, amounts) in dataset(model["dataset"]).shifts.items():
            if settings.shifts is not None and shift not in settings.shifts:
                continue
            for strength in settings.strengths:
                of = {**model, "shift": shift, "strength": strength}
                jobs.append({"key": _key(of), **of, "amount": amounts[strength], "optimizer": optimizer})
    return jobs


def work(job: dict[str, Any], *, settings: Settings, folder: str, energy: bool) -> dict[str, Any]:
    """The results of one job of the grid; see :func:`examine` and :func:`calibrate`."""
    data = dataset(job["dataset"])
    model, clean_accuracy = trained(data, job["architecture"], job["seed"], settings, Path(folder))
    if "shift" not in job:
        parts = split(settings, data, samples_of(data.name, job["seed"]))
        return rounded(examine(model, clean_accuracy, parts, data.mask))
    found = calibrate(model, clean_accuracy, job, settings, energy)
    joules = found.pop("joules")
    return rounded(found) | {"measured": {"joules": joules}}


def trained(
    data: DataSet, architecture: str, seed: int, settings: Settings, folder: Path
) -> tuple[nn.Module, float]:
    """The base model and its clean validation accuracy, from a file in the folder or trained and written there.

    Training is deterministic, so a file that is missing, cut or of other settings only costs time.
    """
    parts = split(settings, data, samples_of(data.name, seed))
    epochs = max(1, round(settings.epochs * data.epochs[architecture]))
    of = json.dumps([data.name, architecture, seed, len(parts.training), epochs, torch.__version__])
    path = folder / f"{data.name}-{architecture}-{seed}.safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    make = data.architectures[architecture]
    model = seeded(make, seed)
    # Two workers that need the same model at once: the second waits, and reads.
    with open(folder / f".{path.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _read(path, model, of):
            model = base_model(make, parts.training, epochs, seed)
            write_bytes(path, save(model.state_dict(), {"of": of}))
    model.eval()
    return model, accuracy(model, parts.validation)


def examine(model: nn.Module, clean_accuracy: float, parts: Parts, mask: Mask | None) -> dict[str, Any]:
    """Properties of a base model before any shift: accuracy, cost per sample, and its scores with no shift.

    "floor" has the scores of clean data against itself, "paired", and against other samples of the same classes,
    "unpaired".
    """
    clean = parts.estimation
    others = {"paired": clean, "unpaired": clean[torch.from_numpy(_others(clean.labels.numpy()))]}
    flops = training_flops(model, *parts.training.batches(BATCH)[0])
    return {
        "clean_accuracy": clean_accuracy,
        "parameters": sum(p.numel() for p in model.parameters()),
        "flops_per_sample": {"forward": flops[0], "backward": flops[1]},
        "floor": {
            name: _all_scores(model, report_of(model, clean, other, mask, *VARIANTS[0]), clean, other)
            for name, other in others.items()
        },
    }


def calibrate(
    model: nn.Module, clean_accuracy: float, job: dict[str, Any], settings: Settings, energy: bool
) -> dict[str, Any]:
    """Every score of one shift, and then the effort of retraining to it."""
    data, seed = dataset(job["dataset"]), job["seed"]
    samples = samples_of(data.name, seed)
    before = split(settings, data, samples)
    after = split(settings, data, data.shifted(samples, job["shift"], job["strength"], seed))
    clean, moved = before.estimation, after.estimation
    reports = {"/".join(variant): report_of(model, clean, moved, data.mask, *variant) for variant in VARIANTS}
    scores = _all_scores(model, reports["/".join(VARIANTS[0])], clean, moved)
    fewer = {}
    for n in FEWER:
        if n < len(clean):
            which = torch.from_numpy(np.random.default_rng([seed, n]).choice(len(clean), n, replace=False))
            report = report_of(model, clean[which], moved[which], data.mask, *VARIANTS[0])
            fewer[str(n)] = {
                name: getattr(report, name)
                for name in ("index", "inverse_ari", "accuracy_drop", "probe_error")
            }
    flops = sum(training_flops(model, *after.training.batches(BATCH)[0]))
    tuned = copy.deepcopy(model)
    with EnergyMeter(gpus="none") if energy else nullcontext() as meter:
        recipe = Recipe(job["optimizer"])
        took = retrain(tuned, after.training, after.validation, clean_accuracy, settings.cap, seed, recipe)
    seen = took.steps * BATCH
    return {
        "clean_accuracy": clean_accuracy,
        "scores": scores | {"gradient_norm": took.gradient_norm},
        "variants": {name: _variant(report) for name, report in reports.items()},
        "fewer": fewer,
        "effort": {
            "steps": took.steps, "samples": seen, "epochs": seen / len(after.training),
            "flops": int(seen * flops),
            "censored": took.censored, "steps_to": list(took.steps_to), "accuracy_before": took.accuracy_before,
            "accuracy_after": took.accuracy_after, "parameter_change": took.parameter_change,
        },
        "joules": None if meter is None else meter.total.total_joules,
    }  # fmt: skip


def split(settings: Settings, data: DataSet, samples: Samples) -> Parts:
    """Training, validation and estimation samples, disjoint."""
    ends = np.cumsum(settings.sizes or (data.training, data.validation, data.estimation))
    return Parts(samples[: ends[0]], samples[ends[0] : ends[1]], samples[ends[1] : ends[2]])


def _key(of: dict[str, Any]) -> str:
    """``mnist/cnn/0`` or ``mnist/cnn/0/noise/2``."""
    return "/".join(
        str(of[name]) for name in ("dataset", "architecture", "seed", "shift", "strength") if name in of
    )


@functools.lru_cache(maxsize=4)
def samples_of(name: str, seed: int) -> Samples:
    return dataset(name).load(seed)


def _read(path: Path, model: nn.Module, of: str) -> bool:
    """Fill the model from the file; False if it is missing, no such file, or of another model."""
    try:
        with safe_open(path, "pt") as file:
            if (file.metadata() or {}).get("of") != of:
                return False
            model.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except (OSError, SafetensorError, RuntimeError):
        return False
    return True


def report_of(
    model: nn.Module, clean: Samples, moved: Samples, mask: Mask | None, arithmetic: str, pooling: str
) -> PreIndexReport:
    return preindex(
        model,
        clean.batches(),
        moved.batches(),
        mask=mask,
        # The same for all variants, and in the scores from the first one.
        effort_samples=len(clean) if (arithmetic, pooling) == VARIANTS[0] else 0,
        arithmetic=arithmetic,
        pooling=pooling,
        bins=BINS,
        progress=False,
    )


def _variant(report: PreIndexReport) -> dict[str, Any]:
    assert report.distances is not None
    measures = report.distances[BINS[0]]
    distances = {name: [report.distances[bins][name] for bins in BINS] for name in measures}
    return {"inverse_ari": report.inverse_ari, "distances": distances}


def _all_scores(
    model: nn.Module, report: PreIndexReport, clean: Samples, moved: Samples
) -> dict[str, float | None]:
    """By the names of the report's attributes and distances where they are its own."""
    names = (
        "effort_score",
        "path_excess",
        "probe_increase",
        "index",
        "distance",
        "inverse_ari",
        "accuracy_drop",
        "input_rms",
        "resque_angle",
        "cka",
        "probe_error",
    )
    scores: dict[str, float | None] = {name: getattr(report, name) for name in names}
    assert report.distances is not None
    return scores | report.distances[report.measure_bins] | forward_scores(model, clean, moved)


def _others(classes: np.ndarray) -> np.ndarray:
    """For each sample the position of another of its class."""
    others = np.empty(len(classes), dtype=np.int64)
    for kind in np.unique(classes):
        members = np.flatnonzero(classes == kind)
        others[members] = np.roll(members, 1)
    return others


def rounded(found: dict[str, Any]) -> dict[str, Any]:
    return {name: _short(value) for name, value in found.items()}


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return rounded(value)
    if isinstance(value, list):
        return [_short(held) for held in value]
    # What is left of 0 after float64's rounding is 0.
    return float(f"{round(value, 12):.{DIGITS_KEPT}g}") if isinstance(value, float) else value

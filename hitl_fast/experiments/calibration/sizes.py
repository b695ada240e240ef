"""The same retraining from fewer samples and in smaller batches: in which unit does its effort stay the same?

Each cell of a small grid is retrained to one target from a third of the training samples and from all of them, in
batches of 32 and of 64, at the grid's learning rate. Its seed is none of the grid's, so that base models, samples and
orders are new.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hitl_fast._common.errors import InputError

from .datasets import dataset
from .jobs import Settings, grid, rounded, samples_of, split, trained
from .retraining import BATCH, LEARNING_RATE, MARGINS, Recipe, retrain

EXPERIMENT = "calibration sizes"
SEED = 11
LOWER = 0.03  # below the grid's target, which a third of the samples need not reach at all
BATCHES = (BATCH // 2, BATCH)
SHIFTS = (
    *("speckle", "shear", "stripes", "ghost", "local_shuffle"),
    *("unknown", "truncation", "reversal", "dialect", "simplification"),
    *("noise", "rotation", "inversion", "occlusion", "patches"),
)
LEFT_OUT = (("glosses", "cnn"),)  # for time: its embeddings take longest to train
PARTS = (3, 1)  # a third of the training samples, and all of them


def settings(quick: bool) -> Settings:
    """The cells: networks, shifts and strengths that the grid has too."""
    if quick:
        return Settings(
            datasets=("digits8",), architectures=("mlp",), shifts=("speckle", "shear", "ghost"), strengths=(2,),
            seeds=(SEED,), optimizers=("adam",), sizes=(600, 397, 300), epochs=0.5, cap=60,
        )  # fmt: skip
    return Settings(
        datasets=("digits8", "glosses", "mnist"),
        architectures=("mlp", "cnn"),
        shifts=SHIFTS,
        strengths=(1, 2),
        seeds=(SEED,),
        optimizers=("adam",),
        cap=400,
    )


def depends_on(settings: Settings) -> dict[str, Any]:
    """Everything that the results depend on, besides the code; networks may become more."""
    amounts = {
        name: {shift: list(strengths) for shift, (_, strengths) in dataset(name).shifts.items()}
        for name in settings.datasets
    }
    held = {name: value for name, value in dataclasses.asdict(settings).items() if name != "architectures"}
    return held | {
        "lower": LOWER, "amounts": amounts, "margins": MARGINS, "batches": BATCHES, "parts": PARTS,
        "learning_rate": LEARNING_RATE,
    }  # fmt: skip


def cells(settings: Settings, networks: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """The jobs, one for each shift of each model, one network after another (None: all).

    Raises:
        ValueError: no network of a name.
    """
    assert settings.architectures is not None
    wanted = settings.architectures if networks is None else tuple(dict.fromkeys(networks))
    strange = next((name for name in wanted if name not in settings.architectures), None)
    if strange is not None:
        known = ", ".join(settings.architectures)
        raise InputError(f"networks must be of {known}; {strange!r} is none of them")
    jobs = [
        job
        for job in grid(settings)
        if "shift" in job and (job["dataset"], job["architecture"]) not in LEFT_OUT
    ]
    return [job for network in wanted for job in jobs if job["architecture"] == network]


def work(job: dict[str, Any], *, settings: Settings, folder: str) -> dict[str, Any]:
    """What retraining takes at each size of the training set and of the batch.

    All are given up after as many samples as ``settings.cap`` steps of the grid's batches have.
    """
    data, seed = dataset(job["dataset"]), job["seed"]
    model, clean_accuracy = trained(data, job["architecture"], seed, settings, Path(folder))
    after = split(
        settings, data, data.shifted(samples_of(data.name, seed), job["shift"], job["strength"], seed)
    )
    found = []
    for part in PARTS:
        training = after.training[: len(after.training) // part]
        for batch in BATCHES:
            took = retrain(
                copy.deepcopy(model), training, after.validation, clean_accuracy - LOWER,
                settings.cap * BATCH // batch, seed, Recipe(job["optimizer"], batch),
            )  # fmt: skip
            found.append(
                {
                    "dataset_size": len(training), "batch_size": batch,
                    "steps": took.steps, "samples": took.steps * batch,
                    "censored": took.censored, "steps_to": list(took.steps_to),
                    "accuracy_before": took.accuracy_before, "accuracy_after": took.accuracy_after,
                }
            )  # fmt: skip
    return rounded({"clean_accuracy": clean_accuracy}) | {"retrainings": [rounded(one) for one in found]}

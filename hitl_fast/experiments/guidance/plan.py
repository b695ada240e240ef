"""The grid: which arms are trained under which trouble and with which raters, and how often."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from .conditions import ARMS
from .defects import Planting
from .raters import Crew
from .tasks import TASKS, Sizes
from .training import Recipe

MAIN = "main"
ALL_TROUBLE, USUAL = Planting(), Crew()
RATED = ("sampler", "loss", "sampler+loss")
WITHOUT_PEOPLE = ("automatic", "automatic_low")


@dataclass(frozen=True)
class Setting:
    """One combination of planted trouble and raters, and the arms that are trained in it.

    Attributes:
        says: for tables.
        arms: their names.
        planting: what is wrong with the pool.
        crew: who rates it.
        control: the setting whose `uniform` runs are compared with: one with the same planting.
        strength: of the penalty on features, chosen for the planting on other seeds.
    """

    says: str
    arms: tuple[str, ...]
    planting: Planting = ALL_TROUBLE
    crew: Crew = USUAL
    control: str = MAIN
    strength: float = 1.0


_MAP = ("uniform", *RATED, *WITHOUT_PEOPLE)
SETTINGS = {
    MAIN: Setting("all trouble, usual raters", tuple(ARMS)),
    "truth": Setting(
        "raters who know the truth", (*RATED, "features"),
        crew=replace(USUAL, bias=0.0, scale=0.0, jitter=0.0, noise=0.0, spam=0.0),
    ),
    **{
        f"noise-{share}": Setting(
            f"{share} % of answers random", RATED, crew=replace(USUAL, noise=share / 100)
        )
        for share in (0, 30, 50, 100)
    },
    **{
        f"coverage-{share}": Setting(
            f"{share} % of the pool rated", RATED, crew=replace(USUAL, coverage=share / 100)
        )
        for share in (1, 5, 20)
    },
    "nothing": Setting("nothing planted", _MAP, Planting(0.0, 1.0, 0.0), control="nothing"),
    "only-label-noise": Setting(
        "label noise alone", _MAP, Planting(imbalance=1.0, redundancy=0.0), control="only-label-noise"
    ),
    "only-imbalance": Setting(
        "imbalance alone", _MAP, Planting(label_noise=0.0, redundancy=0.0), control="only-imbalance"
    ),
    "only-redundancy": Setting(
        "near copies alone", _MAP, Planting(label_noise=0.0, imbalance=1.0), control="only-redundancy"
    ),
    "marks": Setting(
        "marks that tell the label", ("uniform", "sampler", "features"), Planting(marks=0.5),
        control="marks", strength=300.0
    ),
}  # fmt: skip
NOISES = {0: "noise-0", 10: MAIN, 30: "noise-30", 50: "noise-50", 100: "noise-100"}
COVERAGES = {1: "coverage-1", 5: "coverage-5", 20: "coverage-20", 100: MAIN}


@dataclass(frozen=True)
class Plan:
    """All that the results follow from.

    Attributes:
        tasks: their names.
        settings: names of `SETTINGS`.
        arms: names of arms; those that a setting names and this does not are left out.
        seeds: what is paired over. Each draws its own pool, trouble, ratings, initial weights and orders.
        sizes, recipes: by task.
        ratings: a person's own export, whose items are positions in the pool of ``data_seed``; None simulates.
        data_seed: where there are own ratings, all runs share the pool of this seed, and the seeds vary the training.
    """

    tasks: tuple[str, ...]
    settings: tuple[str, ...]
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    sizes: dict[str, Sizes]
    recipes: dict[str, Recipe]
    ratings: str | None = None
    data_seed: int = 0

    def jobs(self) -> list[dict[str, Any]]:
        """One dict for each run, seed by seed, so that an interrupted grid has whole pairs."""
        return list(self._jobs())

    def _jobs(self) -> Iterator[dict[str, Any]]:
        for seed in self.seeds:
            for task in self.tasks:
                for setting in self.settings:
                    for arm in SETTINGS[setting].arms:
                        if arm in self.arms:
                            key = f"{task}/{setting}/{arm}/{seed}"
                            yield {"key": key, "task": task, "setting": setting, "arm": arm, "seed": seed}

    def described(self) -> dict[str, Any]:
        """The plan in JSON's types, with what its names stand for."""
        named = {
            name: {
                "planting": asdict(SETTINGS[name].planting),
                "raters": asdict(SETTINGS[name].crew),
                "strength": SETTINGS[name].strength,
            }
            for name in self.settings
        }
        told = {**asdict(self), "settings": named}
        if self.ratings is not None:
            content = Path(self.ratings).read_bytes()
            told["ratings"] = {"file": Path(self.ratings).name, "sha256": hashlib.sha256(content).hexdigest()}
            for setting in named.values():
                del setting["raters"]
        return told


FULL = Plan(
    TASKS,
    tuple(SETTINGS),
    tuple(ARMS),
    tuple(range(10)),
    {"image": Sizes(1800, 1000, 1000), "text": Sizes(4000, 1000, 1000)},
    {
        "image": Recipe(800, 32, 25, 0.80, 2e-3, 4),
        "text": Recipe(800, 32, 25, 0.55, 3e-3, 4),
    },
)
QUICK = replace(
    FULL,
    settings=(MAIN, "truth", "noise-100"),
    seeds=(0, 1, 2),
    sizes={"image": Sizes(600, 500, 500), "text": Sizes(1200, 500, 500)},
    recipes={
        "image": Recipe(240, 32, 20, 0.50, 2e-3, 4),
        "text": Recipe(300, 32, 20, 0.35, 3e-3, 4),
    },
)

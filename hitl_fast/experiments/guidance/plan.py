"""The grid: which conditions are trained with which defects and with which raters, and how often."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from .conditions import FIRST, SECOND
from .defects import Defects
from .raters import Crew
from .tasks import TASKS, Sizes
from .training import Recipe

MAIN = "main"
ALL_DEFECTS, USUAL = Defects(), Crew()
RATED = ("sampler", "loss", "sampler+loss")
WITHOUT_PEOPLE = ("automatic", "automatic_low")


@dataclass(frozen=True)
class Setting:
    """One combination of synthetic data defects and raters, and the conditions that are trained in it.

    Attributes:
        says: for tables.
        conditions: their names.
        defects: what is wrong with the pool.
        crew: who rates it.
        control: the setting whose `uniform` runs are compared with: one with the same defects.
        strength: of the penalty on features, chosen for the defects on other seeds.
    """

    says: str
    conditions: tuple[str, ...]
    defects: Defects = ALL_DEFECTS
    crew: Crew = USUAL
    control: str = MAIN
    strength: float = 1.0


_MAP = ("uniform", *RATED, *WITHOUT_PEOPLE)
SETTINGS = {
    MAIN: Setting("all defects, usual raters", FIRST),
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
    "nothing": Setting("no defects", _MAP, Defects(0.0, 1.0, 0.0), control="nothing"),
    "only-label-noise": Setting(
        "label noise alone", _MAP, Defects(imbalance=1.0, redundancy=0.0), control="only-label-noise"
    ),
    "only-imbalance": Setting(
        "imbalance alone", _MAP, Defects(label_noise=0.0, redundancy=0.0), control="only-imbalance"
    ),
    "only-redundancy": Setting(
        "near copies alone", _MAP, Defects(label_noise=0.0, imbalance=1.0), control="only-redundancy"
    ),
    "marks": Setting(
        "marks that tell the label", ("uniform", "sampler", "features"), Defects(marks=0.5),
        control="marks", strength=300.0
    ),
}  # fmt: skip
FIRST_SETTINGS = tuple(SETTINGS)
_NO_NOISE = Defects(label_noise=0.0)
_SECOND = {
    "all-defects": ("label noise, imbalance and near copies", Defects()),
    "random-noise": ("label noise alone", Defects(imbalance=1.0, redundancy=0.0)),
    "systematic-noise": (
        "systematic label noise alone",
        Defects(label_noise=0.0, imbalance=1.0, redundancy=0.0, systematic=0.6),
    ),
    "imbalance": ("imbalance alone", Defects(label_noise=0.0, redundancy=0.0)),
    "near-copies": ("near copies alone", Defects(label_noise=0.0, imbalance=1.0)),
    "systematic-and-others": (
        "systematic label noise, imbalance and near copies",
        replace(_NO_NOISE, systematic=0.6),
    ),
    "all-four": ("all four defects", Defects(systematic=0.6)),
    "unbalanced-test": (
        "label noise, imbalance and near copies; unbalanced test set",
        Defects(unbalanced_test=True),
    ),
}
SETTINGS |= {name: Setting(says, SECOND, defects, control=name) for name, (says, defects) in _SECOND.items()}
SETTINGS |= {
    f"spam-{share}": Setting(
        f"all-defects, {share} % of raters answer at random", SECOND[4:], crew=replace(USUAL, spam=share / 100),
        control="all-defects",
    )
    for share in (30, 50)
}  # fmt: skip
SECOND_SETTINGS = tuple(name for name in SETTINGS if name not in FIRST_SETTINGS)
NOISES = {0: "noise-0", 10: MAIN, 30: "noise-30", 50: "noise-50", 100: "noise-100"}
COVERAGES = {1: "coverage-1", 5: "coverage-5", 20: "coverage-20", 100: MAIN}


@dataclass(frozen=True)
class Plan:
    """All that the results follow from.

    Attributes:
        tasks: their names.
        settings: names of `SETTINGS`.
        conditions: names of conditions; those that a setting names and this does not are left out.
        seeds: what is paired over. Each draws its own pool, defects, ratings, initial weights and orders.
        sizes, recipes: by task.
        ratings: a person's own export, whose items are positions in the pool of ``data_seed``; None simulates.
        data_seed: where there are own ratings, all runs share the pool of this seed, and the seeds vary the training.
        edition: 1, or 2: few answers, propagated, beside conditions without human input.
        seconds: of real answers, from a collected database, to draw people's time from; () for the simulated times.
    """

    tasks: tuple[str, ...]
    settings: tuple[str, ...]
    conditions: tuple[str, ...]
    seeds: tuple[int, ...]
    sizes: dict[str, Sizes]
    recipes: dict[str, Recipe]
    ratings: str | None = None
    data_seed: int = 0
    edition: int = 1
    seconds: tuple[float, ...] = ()

    @property
    def until_target(self) -> bool:
        """Whether runs end where they meet the target: the second edition asks what it takes to get there only."""
        return self.edition == 2

    def jobs(self) -> list[dict[str, Any]]:
        """One dict for each run, seed by seed, so that an interrupted grid has whole pairs."""
        return list(self._jobs())

    def _jobs(self) -> Iterator[dict[str, Any]]:
        for seed in self.seeds:
            for task in self.tasks:
                for setting in self.settings:
                    for condition in SETTINGS[setting].conditions:
                        if condition in self.conditions:
                            key = f"{task}/{setting}/{condition}/{seed}"
                            yield {
                                "key": key,
                                "task": task,
                                "setting": setting,
                                "arm": condition,
                                "seed": seed,
                            }

    def described(self) -> dict[str, Any]:
        """The plan in JSON's types, with what its names stand for."""
        named = {
            name: {
                "planting": asdict(SETTINGS[name].defects),
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
    FIRST_SETTINGS,
    FIRST,
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
FULL_SECOND = replace(FULL, settings=SECOND_SETTINGS, conditions=SECOND, edition=2)
QUICK_SECOND = replace(
    QUICK,
    settings=("all-defects", "systematic-and-others"),
    conditions=("uniform", "class_balance", "auto", "ask_54", "ask_54_prior", "all"),
    edition=2,
)

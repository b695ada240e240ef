"""Simulated raters: what they know, where they err, how long they take; and weights from any export."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hitl_fast._common.files import write_text
from hitl_fast.ratings import Ratings, simulated_ratings

from .defects import SCALE
from .tasks import Task

FLOOR = 0.1  # weight of the lowest score


@dataclass(frozen=True)
class Crew:
    """People who are simulated.

    A rater scores an item ``centre + bias_r + scale_r (truth - centre) + jitter``, rounded to a whole score from 1
    to 5; see `simulated_ratings`. Then a share ``noise`` of all scores, whoever gave them, is replaced by any
    score, each as likely: at noise 1 nothing is left of the truth.

    Attributes:
        raters: how many people there are.
        each: how many of them rate an item.
        bias: standard deviation of the raters' biases, in scores.
        scale: standard deviation of the logarithm of the raters' scales.
        jitter: standard deviation of one answer, in scores.
        noise: share of answers that are replaced by random ones.
        spam: share of raters whose every answer is random.
        coverage: share of the pool that is rated at all, drawn from the seed.
        seconds: median time of an answer; times are log-normal with a standard deviation of 0.5 of the logarithm.
    """

    raters: int = 12
    each: int = 3
    bias: float = 0.4
    scale: float = 0.2
    jitter: float = 0.6
    noise: float = 0.1
    spam: float = 0.1
    coverage: float = 1.0
    seconds: float = 4.0

    def __str__(self) -> str:
        return (
            f"{self.raters} simulated raters, {self.each} answers an item, bias {self.bias:g}, scale {self.scale:g}, "
            f"jitter {self.jitter:g}, noise {self.noise:.0%}, spam {self.spam:.0%}, coverage {self.coverage:.0%}, "
            f"{self.seconds:g} s an answer"
        )


@dataclass(frozen=True)
class Guidance:
    """What people's ratings come to.

    Attributes:
        weights: (n,) of the samples.
        importance: (features,) in [0, 1], None where no features were rated.
        ratings, minutes: answers about samples and the time that they took.
        feature_ratings, feature_minutes: the same about features.
    """

    weights: np.ndarray
    importance: torch.Tensor | None
    ratings: int
    minutes: float
    feature_ratings: int
    feature_minutes: float


def write_export(path: Path, truth: np.ndarray, crew: Crew, seed: int) -> None:
    """Have a crew rate items into a CSV file such as rating tools export: item, rater, score, seconds.

    Args:
        path: of the file, written whole or not at all.
        truth: (n,) importance of each item on the scale of 1 to 5; items are called 0 to n - 1.
        crew: who rates.
        seed: of everything drawn.
    """
    _write(path, "item", [str(i) for i in range(len(truth))], truth, crew, seed)


def write_feature_export(
    path: Path, names: tuple[str, ...], truth: np.ndarray, crew: Crew, seed: int
) -> None:
    """The same for features of the whole task: feature, rater, score, seconds."""
    _write(path, "feature", list(names), truth, crew, seed)


def guidance_from(
    path: Path,
    items: int,
    features: tuple[str, ...] = (),
    *,
    scale: tuple[float, float] | None = None,
    seconds: float = Crew.seconds,
    power: float = 1.0,
) -> Guidance:
    """Weights of samples and importance of features from a rating tool's export.

    Samples: calibrated scores, drawn to their mean as far as their variance says (``temper=1``), from 0.1 to 1;
    plain means where no item has two raters; what nobody rated gets the mean weight. Features: calibrated, those
    that nobody rated count as important.

    Args:
        path: anything that `Ratings.read` reads; items are positions in the pool, features go by their names.
        items: samples in the pool.
        features: names in the order that is wanted.
        scale: lowest and highest possible score; None as found.
        seconds: time of an answer whose time the export does not say.
        power: of the weights.

    Raises:
        ValueError: the export cannot be read, or names an item or feature that is not there.
    """
    ratings = Ratings.read(path, scale=scale)
    of_features = ratings.frame.feature.notna().to_numpy()
    spent = ratings.frame.seconds.fillna(seconds).to_numpy() / 60
    weights, importance = np.ones(items), None
    if not of_features.all():
        rated = ratings.only(None) if of_features.any() else ratings
        method = _method(rated)
        temper = 1.0 if method == "calibrated" else 0.0
        weights = rated.aggregate(method).weights(items, power=power, floor=FLOOR, temper=temper)
    if of_features.any():
        rated = ratings.frame[of_features]
        method = "calibrated" if rated.duplicated("feature").any() else "mean"
        importance = ratings.importance(method, features=features, missing=1.0)
    return Guidance(
        weights,
        importance,
        int((~of_features).sum()),
        float(spent[~of_features].sum()),
        int(of_features.sum()),
        float(spent[of_features].sum()),
    )


def simulated_guidance(
    task: Task, crew: Crew, seed: int, *, features: bool = False, power: float = 1.0
) -> Guidance:
    """What a crew's ratings of the samples, or of the features alone, come to: through a file, as a real export."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ratings.csv"
        if features:
            write_feature_export(path, task.features, task.feature_truth, crew, seed)
        else:
            write_export(path, task.split.importance, crew, seed)
        return guidance_from(path, len(task), task.features, scale=SCALE, power=power)


def _method(ratings: Ratings) -> str:
    """Calibrated, where some item has two raters to calibrate by."""
    raters = ratings.frame.drop_duplicates(["item", "rater"]).item
    return "calibrated" if raters.duplicated().any() else "mean"


def _write(path: Path, role: str, names: list[str], truth: np.ndarray, crew: Crew, seed: int) -> None:
    generator = np.random.default_rng([seed, 2])
    covered = max(2, round(crew.coverage * len(truth)))
    chosen = np.sort(generator.permutation(len(truth))[:covered])
    answers = simulated_ratings(
        truth[chosen], raters=crew.raters, each=crew.each, spammers=crew.spam, bias=crew.bias, spread=crew.scale,
        noise=crew.jitter, scale=SCALE, seed=seed,
    ).frame  # fmt: skip
    score = answers.score.to_numpy().copy()
    replaced = generator.random(score.size) < crew.noise
    score[replaced] = generator.integers(int(SCALE[0]), int(SCALE[1]) + 1, int(replaced.sum()))
    seconds = np.exp(generator.normal(np.log(crew.seconds), 0.5, score.size))
    lines = [f"{role},rater,score,seconds"]
    lines += [
        f"{names[chosen[item]]},simulated-{rater:02d},{value:g},{spent:.2f}"
        for item, rater, value, spent in zip(answers.item, answers.rater, score, seconds, strict=True)
    ]
    write_text(path, "\n".join(lines) + "\n")

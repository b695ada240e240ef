"""Weights from few answers, propagated, and from no answers: the conditions of the second edition."""

from __future__ import annotations

import functools
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hitl_fast.ratings import Priorities, Ratings, Signals, ask_next
from hitl_fast.ratings.propagation import FITTED, STEPS, Check
from hitl_fast.ratings.questions import CANDIDATES, REFERENCE

from .conditions import Condition
from .defects import SCALE
from .detector import operations, signals_of
from .raters import FLOOR, Crew, Guidance, write_export
from .tasks import Task

TEMPER = 1.0

_signals = functools.lru_cache(maxsize=2)(signals_of)  # own and cleanlab's, of the conditions of one setting


@dataclass(frozen=True)
class Advice:
    """Weights and what they took.

    Attributes:
        guidance: weights, answers and minutes.
        operations: floating-point operations of signals, choice and propagation.
        check: whether the answers contradict the automatic priorities; None without answers.
    """

    guidance: Guidance
    operations: float
    check: Check | None = None


def advice(task: Task, condition: Condition, crew: Crew, seed: int) -> Advice:
    """Weights of the samples of a pool by a condition whose weights are not of ratings of all samples."""
    if condition.weights == "class_balance":
        return Advice(_unpaid(class_balance(task.labels.numpy())), 0.0)
    signals = _signals(task, seed, "cleanlab" if condition.weights == "cleanlab" else "own")
    spent = operations(task)
    if condition.weights in ("auto", "cleanlab"):
        return Advice(_unpaid(signals.priorities().weights(power=condition.power, floor=FLOOR)), spent)
    items = _questions(signals, condition, seed)
    priorities, minutes = answered(task, items, crew, seed)
    found = priorities.propagate(signals, condition.prior, seed=seed)
    weights = found.weights(power=condition.power, floor=FLOOR, temper=TEMPER)
    spent += _propagation(len(task), len(items), condition.chosen)
    return Advice(Guidance(weights, None, len(items), minutes, 0, 0.0), spent, found.check)


def class_balance(labels: np.ndarray) -> np.ndarray:
    """floor + (1 - floor) (smallest class / own class)^(1/2), as in the automatic priorities without their doubt."""
    sizes = np.bincount(labels)
    u = np.sqrt(sizes[sizes > 0].min() / sizes[labels])
    return np.asarray(FLOOR + (1 - FLOOR) * np.minimum(1, u / np.quantile(u, 0.99)))


def answered(task: Task, items: np.ndarray, crew: Crew, seed: int) -> tuple[Priorities, float]:
    """One simulated answer to each item, through a file as a real export, and the minutes that they took."""
    one = replace(crew, each=1, coverage=1.0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ratings.csv"
        write_export(path, task.split.importance[items], one, seed)
        ratings = Ratings.read(path, scale=SCALE)
    found = ratings.aggregate("mean")
    minutes = float(ratings.frame.seconds.sum() / 60)
    return replace(found, items=items[found.items], num_items=len(task)), minutes


def _questions(signals: Signals, condition: Condition, seed: int) -> np.ndarray:
    if condition.chosen:
        return np.sort(ask_next(signals, condition.answers, seed=seed))
    generator = np.random.default_rng([seed, 12])
    return np.sort(generator.choice(len(signals), condition.answers, replace=False))


def _unpaid(weights: np.ndarray) -> Guidance:
    return Guidance(weights, None, 0, 0.0, 0, 0.0)


def _propagation(n: int, answers: int, chosen: bool) -> float:
    """Operations of the choice, of the fit (a factorisation and its derivative a step), and of the predictions."""
    asked = 2.0 * (CANDIDATES + REFERENCE) * CANDIDATES * (8 + 2 * answers) if chosen else 0.0
    m = min(answers, FITTED)
    return asked + 1.25 * STEPS * (m**3 + 50.0 * m * m) + n * answers * (50.0 + 2 * answers)

"""One job of the grid, in whatever process: draw the task, ask the raters, train, report."""

from __future__ import annotations

import functools
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hitl_fast.energy import EnergyMeter

from .conditions import CONDITIONS
from .few_answers import advice
from .plan import SETTINGS, Plan
from .raters import Guidance, guidance_from, simulated_guidance
from .tasks import Task, make
from .training import train
from .training_cost import Spending

_task = functools.lru_cache(maxsize=1)(make)  # conditions of a setting, which follow each other, share it


def run_job(plan: Plan, joules: bool, job: dict[str, Any]) -> dict[str, Any]:
    """The record of one run. Everything outside "measured" follows from the plan and the job.

    Args:
        plan: the grid that the job is of.
        joules: whether to read the sensors, which is right where no other run is beside this one.
        job: one of `Plan.jobs`.
    """
    setting, condition = SETTINGS[job["setting"]], CONDITIONS[job["arm"]]
    recipe = replace(plan.recipes[job["task"]], strength=setting.strength)
    seed = job["seed"] if plan.ratings is None else plan.data_seed
    task = _task(job["task"], plan.sizes[job["task"]], setting.defects, seed)
    guidance, added = asked(plan, task, job, seed) if condition.human or condition.draw else (None, {})
    detector = float(added.get("detector_flops", 0.0))
    with EnergyMeter(gpus="none") if joules else nullcontext() as meter:
        spending = Spending(meter)
        outcome = train(
            task, condition, guidance, recipe, job["seed"], spending, until_target=plan.until_target
        )
    ratings, minutes = (
        _paid(guidance, condition.features) if guidance is not None and condition.human else (0, 0.0)
    )
    stopped = outcome.steps_to_target if outcome.steps_to_target is not None else recipe.steps
    return {
        "steps_to_target": outcome.steps_to_target,
        "samples": stopped * recipe.batch,
        "epochs": stopped / outcome.steps_per_epoch,
        "flops": outcome.flops(stopped) + detector,
        "flops_of_budget": outcome.flops(recipe.steps) + detector,
        "flops_per_sample": outcome.flops_per_step / recipe.batch,
        "accuracy": outcome.test_right / outcome.test,
        "accuracy_at_target": None
        if outcome.test_right_at_target is None
        else outcome.test_right_at_target / outcome.test,
        "curve": outcome.curve,
        "ratings": ratings,
        "minutes": round(minutes, 6),
        **added,
        "measured": spending.measured(),
    }


def asked(plan: Plan, task: Task, job: dict[str, Any], seed: int) -> tuple[Guidance, dict[str, Any]]:
    """Weights of the task's samples, and what the record holds besides: the detector's operations and the check.

    From the plan's export, or from simulated raters' answers to the condition's questions, or without answers.
    """
    if plan.ratings is not None:
        return guidance_from(Path(plan.ratings), len(task), task.features), {}
    crew, condition = SETTINGS[job["setting"]].crew, CONDITIONS[job["arm"]]
    added: dict[str, Any] = {}
    if condition.weights == "ratings":
        guidance = simulated_guidance(task, crew, seed, features=condition.features, power=condition.power)
    else:
        found = advice(task, condition, crew, seed)
        guidance, added = found.guidance, {"detector_flops": found.operations}
        if found.check is not None:
            added["check"] = {
                "contradicts": found.check.contradicts,
                "p_value": round(found.check.p_value, 6),
            }
    if plan.seconds and guidance.ratings:
        drawn = np.random.default_rng([seed, 13]).choice(plan.seconds, guidance.ratings)
        guidance = replace(guidance, minutes=float(drawn.sum() / 60))
    return guidance, added


def work(plan: Plan, joules: bool) -> functools.partial[dict[str, Any]]:
    """A function of the job alone, which other processes can be sent."""
    return functools.partial(run_job, plan, joules)


def _paid(guidance: Guidance, features: bool) -> tuple[int, float]:
    if features:
        return guidance.feature_ratings, guidance.feature_minutes
    return guidance.ratings, guidance.minutes

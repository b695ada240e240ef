"""One job of the grid, in whatever process: draw the task, ask the raters, train, report."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

from hitl_fast.energy import EnergyMeter

from .conditions import ARMS
from .plan import SETTINGS, Plan
from .raters import Guidance, guidance_from, simulated_guidance
from .tasks import Task, make
from .training import train
from .training_cost import Spending


def run_job(plan: Plan, joules: bool, job: dict[str, Any]) -> dict[str, Any]:
    """The record of one run. Everything outside "measured" follows from the plan and the job.

    Args:
        plan: the grid that the job is of.
        joules: whether to read the sensors, which is right where no other run is beside this one.
        job: one of `Plan.jobs`.
    """
    setting, arm = SETTINGS[job["setting"]], ARMS[job["arm"]]
    recipe = replace(plan.recipes[job["task"]], strength=setting.strength)
    seed = job["seed"] if plan.ratings is None else plan.data_seed
    task = make(job["task"], plan.sizes[job["task"]], setting.planting, seed)
    guidance = asked(plan, task, job, seed) if arm.human or arm.draw else None
    if joules:
        with EnergyMeter(gpus="none") as meter:
            spending = Spending(meter)
            outcome = train(task, arm, guidance, recipe, job["seed"], spending)
    else:
        spending = Spending()
        outcome = train(task, arm, guidance, recipe, job["seed"], spending)
    ratings, minutes = _paid(guidance, arm.features) if guidance is not None and arm.human else (0, 0.0)
    stopped = outcome.steps_to_target if outcome.steps_to_target is not None else recipe.steps
    return {
        "steps_to_target": outcome.steps_to_target,
        "samples": stopped * recipe.batch,
        "epochs": stopped / outcome.steps_per_epoch,
        "flops": outcome.flops(stopped),
        "flops_of_budget": outcome.flops(recipe.steps),
        "flops_per_sample": outcome.flops_per_step / recipe.batch,
        "accuracy": outcome.test_right / outcome.test,
        "accuracy_at_target": None
        if outcome.test_right_at_target is None
        else outcome.test_right_at_target / outcome.test,
        "curve": outcome.curve,
        "ratings": ratings,
        "minutes": round(minutes, 6),
        "measured": spending.measured(),
    }


def asked(plan: Plan, task: Task, job: dict[str, Any], seed: int) -> Guidance:
    """What people said of the task: the plan's export, or simulated raters' answers to what the arm asks."""
    if plan.ratings is not None:
        return guidance_from(Path(plan.ratings), len(task), task.features)
    crew = SETTINGS[job["setting"]].crew
    return simulated_guidance(task, crew, seed, features=ARMS[job["arm"]].features)


def work(plan: Plan, joules: bool) -> functools.partial[dict[str, Any]]:
    """A function of the job alone, which other processes can be sent."""
    return functools.partial(run_job, plan, joules)


def _paid(guidance: Guidance, features: bool) -> tuple[int, float]:
    if features:
        return guidance.feature_ratings, guidance.feature_minutes
    return guidance.ratings, guidance.minutes

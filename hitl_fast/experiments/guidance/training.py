"""One run: a small model trained one way, watched on validation samples, its cost counted."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hitl_fast._common.errors import InputError
from hitl_fast.losses import feature_importance_penalty, weighted_cross_entropy
from hitl_fast.sampling import PriorityBatchSampler

from ..common import digits
from ..common.flops import training_flops
from .conditions import Condition
from .models import ImageModel, TextModel
from .raters import FLOOR, Guidance
from .tasks import Task
from .training_cost import Spending

Model = ImageModel | TextModel


@dataclass(frozen=True)
class Recipe:
    """How a task is trained, the same for every condition.

    Attributes:
        steps: the budget.
        batch: samples a step.
        every: steps between two looks at the validation accuracy.
        target: validation accuracy at which one would stop.
        rate: learning rate of Adam.
        penalty_every: steps that share one penalty on features, in the condition that has one.
        strength: of that penalty.
    """

    steps: int
    batch: int
    every: int
    target: float
    rate: float
    penalty_every: int
    strength: float = 1.0


@dataclass(frozen=True)
class Outcome:
    """What a run came to; all of it follows from task, condition, guidance, recipe and seed.

    Attributes:
        curve: validation samples classified rightly after every ``recipe.every`` steps, up to the end of the run.
        validation, test: samples in each set.
        steps_to_target: at the first look with the target reached; None if the budget ended before.
        test_right: test samples classified rightly at the end of the run.
        test_right_at_target: the same when the target was reached.
        flops_per_step: forward and backward, with what the condition adds to a step.
        flops_per_epoch: what the condition adds to an epoch.
        steps_per_epoch: steps of an epoch.
    """

    curve: list[int]
    validation: int
    test: int
    steps_to_target: int | None
    test_right: int
    test_right_at_target: int | None
    flops_per_step: float
    flops_per_epoch: float
    steps_per_epoch: int

    def flops(self, steps: int) -> float:
        """Operations of that many steps. The first epoch is trained before anything is scored."""
        scorings = max(0, (steps - 1) // self.steps_per_epoch)
        return steps * self.flops_per_step + scorings * self.flops_per_epoch


def train(
    task: Task,
    condition: Condition,
    guidance: Guidance | None,
    recipe: Recipe,
    seed: int,
    spending: Spending | None = None,
    *,
    until_target: bool = False,
) -> Outcome:
    """Train one condition. Conditions of one seed begin at the same weights; no global state is touched.

    Args:
        task: drawn from the seed that is to be paired over.
        condition: what guides the training.
        guidance: what people said, for conditions that ask them.
        recipe: the same for all conditions of a task.
        seed: of the initial weights, of the order of samples and of the shuffling of priorities.
        spending: told when training goes on, when it rests for a look at the accuracy, and when the target is met.
        until_target: end with the look that met the target, not with the budget; test accuracy is that of the end.

    Raises:
        ValueError: the condition needs guidance and there is none.
    """
    if guidance is None and (condition.human or condition.draw):
        raise InputError(f"arm {condition.name!r} needs ratings")
    if guidance is not None and len(guidance.weights) != len(task):
        raise InputError(f"{len(guidance.weights)} weights for {len(task)} samples")
    spending = spending or Spending()
    weights = np.ones(len(task)) if guidance is None else guidance.weights
    model: Model = digits.seeded(task.model, seed)  # type: ignore[assignment]
    loss_of = _loss(task, condition, guidance, recipe)
    in_loss = torch.from_numpy(weights / weights.mean()).float() if condition.loss else None
    sampler = PriorityBatchSampler(
        _drawn_by(condition, weights, seed), recipe.batch, method="systematic", seed=seed, drop_last=True
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.rate)
    curve: list[int] = []
    reached: int | None = None
    right_then: int | None = None
    step = epoch = 0
    while step < recipe.steps and not (until_target and reached):
        sampler.set_epoch(epoch)
        if condition.automatic and epoch > 0:
            with spending.training():
                sampler.update(np.arange(len(task)), _scores(model, task, condition.automatic))
        for part in _split(list(sampler)[: recipe.steps - step], recipe.every, step):
            with spending.training():
                model.train()
                for which in part:
                    weight = None if in_loss is None else in_loss[which]
                    loss = loss_of(model, task.inputs[which], task.labels[which], weight, step)
                    optimizer.zero_grad()
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
                    step += 1
            if step % recipe.every == 0:
                curve.append(right(model, *task.validation))
                if reached is None and curve[-1] >= recipe.target * len(task.validation[1]):
                    reached, right_then = step, right(model, *task.test)
                    spending.reached()
                    if until_target:
                        break
        epoch += 1
    per_step, per_epoch = step_flops(task, condition, guidance, recipe)
    return Outcome(
        curve, len(task.validation[1]), len(task.test[1]), reached, right(model, *task.test), right_then,
        per_step, per_epoch, len(sampler),
    )  # fmt: skip


def right(model: nn.Module, inputs: Tensor, labels: Tensor) -> int:
    """How many samples are classified rightly; the model is left in its mode."""
    before = model.training
    model.eval()
    with torch.no_grad():
        found = int((model(inputs).argmax(1) == labels).sum())
    model.train(before)
    return found


def step_flops(
    task: Task, condition: Condition, guidance: Guidance | None, recipe: Recipe
) -> tuple[float, float]:
    """Operations of a step (mean over steps with and without a penalty) and, besides, of an epoch.

    Torch counts products of matrices and convolutions, so that weighing the loss, drawing samples and Adam itself
    count 0.
    """
    model: Model = digits.seeded(task.model, 0)  # type: ignore[assignment]
    inputs, labels = task.inputs[: recipe.batch], task.labels[: recipe.batch]
    plain = training_flops(model, inputs, labels)
    per_step = sum(plain) * len(labels)
    if condition.features:
        loss_of = _loss(task, condition, guidance, recipe)
        with_penalty = sum(
            training_flops(model, inputs, labels, lambda m, x, y: loss_of(m, x, y, None, 0))  # type: ignore[arg-type]
        ) * len(labels)
        per_step += (with_penalty - per_step) / recipe.penalty_every
    return per_step, plain[0] * len(task) if condition.automatic else 0.0


def _drawn_by(condition: Condition, weights: np.ndarray, seed: int) -> np.ndarray:
    if condition.draw == "rated":
        return weights
    if condition.draw == "shuffled":
        return np.random.default_rng([seed, 3]).permutation(weights)
    return np.ones(len(weights))


def _loss(
    task: Task, condition: Condition, guidance: Guidance | None, recipe: Recipe
) -> Callable[[Model, Tensor, Tensor, Tensor | None, int], Tensor]:
    if not condition.features:
        return _plain_loss
    if guidance is None or guidance.importance is None:
        raise InputError(f"arm {condition.name!r} needs ratings of features")
    return functools.partial(_penalised_loss, task.spread(guidance.importance), recipe)


def _plain_loss(model: Model, x: Tensor, labels: Tensor, weight: Tensor | None, step: int) -> Tensor:
    return (
        F.cross_entropy(model(x), labels)
        if weight is None
        else weighted_cross_entropy(model(x), labels, weight)
    )


def _penalised_loss(
    importance: Callable[[Tensor], Tensor],
    recipe: Recipe,
    model: Model,
    x: Tensor,
    labels: Tensor,
    weight: Tensor | None,
    step: int,
) -> Tensor:
    embedded = model.embed(x)
    if step % recipe.penalty_every == 0 and not embedded.requires_grad:
        embedded = embedded.detach().requires_grad_()
    log_probs = model.classify(embedded, x).log_softmax(1)
    return F.nll_loss(log_probs, labels) + feature_importance_penalty(
        log_probs, embedded, importance(x), recipe.strength, every=recipe.penalty_every, step=step
    )


def _scores(model: Model, task: Task, favours: str) -> np.ndarray:
    """The weights that the model itself gives: 0.1 for the least, 1 for the most.

    With p the probability of a sample's label under the model (its loss is -log p): 1 - p where high losses are
    favoured, p where low ones are.
    """
    model.eval()
    with torch.no_grad():
        p = model(task.inputs).softmax(1).gather(1, task.labels[:, None])[:, 0].double().numpy()
    model.train()
    return np.asarray(FLOOR + (1 - FLOOR) * (1 - p if favours == "high" else p))


def _split(batches: list[Tensor], every: int, step: int) -> list[list[Tensor]]:
    """Batches of an epoch in parts that end where the validation accuracy is looked at."""
    first = every - step % every
    cuts = [0, *range(first, len(batches), every), len(batches)]
    return [batches[a:b] for a, b in itertools.pairwise(cuts) if b > a]

"""Train a base model, and retrain it to a shift until it is about as accurate as it was."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hitl_fast._common.errors import InputError

from ..common.digits import seeded, train
from ..common.samples import Samples

BATCH = 64
LEARNING_RATE = 1e-3  # of Adam
SGD_LEARNING_RATE, MOMENTUM = 0.01, 0.9
# How far below the clean validation accuracy a retraining counts as done. The first, the strictest, is the target;
# the others are noted on the way, to tell whether an answer hangs on it.
MARGINS = (0.02, 0.035, 0.05)


@dataclass(frozen=True)
class Recipe:
    """How is retrained: the optimizer by name, at its rate above, and the samples of a batch."""

    optimizer: str = "adam"
    batch: int = BATCH


@dataclass(frozen=True)
class Retraining:
    """What one retraining took.

    Attributes:
        steps: optimiser steps until the target, or the cap where it was not reached.
        censored: the target was not reached.
        steps_to: steps until within each of ``MARGINS``; None where it was not reached.
        accuracy_before: on shifted validation data, before the first step.
        accuracy_after: the same at the end.
        gradient_norm: of the loss of the first batch, before the first step.
        parameter_change: |after - before| / |before| over all parameters.
    """

    steps: int
    censored: bool
    steps_to: tuple[int | None, ...]
    accuracy_before: float
    accuracy_after: float
    gradient_norm: float
    parameter_change: float


def base_model(make: Callable[[], nn.Module], training: Samples, epochs: int, seed: int) -> nn.Module:
    """A model trained on clean samples; all that is drawn comes from the seed."""
    model = seeded(make, seed)
    train(model, training, epochs, seed)
    return model


def accuracy(model: nn.Module, data: Samples, batch_size: int = 250) -> float:
    """Share of the samples that are classified correctly."""
    with torch.no_grad():
        right = sum(int((model(x).argmax(1) == y).sum()) for x, y in data.batches(batch_size))
    return right / len(data)


def evaluations(cap: int) -> list[int]:
    """The steps after which accuracy is measured: each at first, then a sixteenth apart, and the cap.

    >>> evaluations(40)[-5:]
    [32, 34, 36, 38, 40]
    """
    steps = [0]
    while steps[-1] < cap:
        steps.append(min(cap, steps[-1] + max(1, steps[-1] // 16)))
    return steps


def retrain(
    model: nn.Module,
    training: Samples,
    validation: Samples,
    clean_accuracy: float,
    cap: int,
    seed: int,
    recipe: Recipe = Recipe(),
) -> Retraining:
    """Train on shifted samples at a constant rate until within ``MARGINS[0]`` of the clean accuracy, or the cap.

    The model is changed. Batches come in an order drawn from the seed.

    Raises:
        ValueError: fewer samples than a batch, or an unknown optimizer.
    """
    before = _flat(model)
    first = reached = accuracy(model, validation)
    optimizer = make_optimizer(recipe.optimizer, model)
    batches = _batches(training, recipe.batch, seed)
    _backward(model, next(batches))
    gradient_norm = _gradient_norm(model)
    steps_to: list[int | None] = [None] * len(MARGINS)
    done = 0
    for step in evaluations(cap):
        while done < step:
            optimizer.step()
            done += 1
            _backward(model, next(batches))
        if step:
            reached = accuracy(model, validation)
        steps_to = [
            step if held is None and reached >= clean_accuracy - margin else held
            for held, margin in zip(steps_to, MARGINS, strict=True)
        ]
        if steps_to[0] is not None:
            break
    change = float((_flat(model) - before).norm() / before.norm())
    return Retraining(done, steps_to[0] is None, tuple(steps_to), first, reached, gradient_norm, change)


def make_optimizer(name: str, model: nn.Module) -> torch.optim.Optimizer:
    """Adam, or SGD with momentum, at a constant learning rate.

    Raises:
        ValueError: another name.
    """
    if name == "adam":
        return torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    if name == "sgd":
        return torch.optim.SGD(model.parameters(), lr=SGD_LEARNING_RATE, momentum=MOMENTUM)
    raise InputError(f"optimizer must be 'adam' or 'sgd', not {name!r}")


def _backward(model: nn.Module, batch: Samples) -> None:
    model.zero_grad()
    F.cross_entropy(model(batch.inputs), batch.labels).backward()  # type: ignore[no-untyped-call]


def _batches(data: Samples, size: int, seed: int) -> Iterator[Samples]:
    """Whole batches without end, each epoch in an order of its own."""
    if len(data) < size:
        raise InputError(f"a batch of {size} samples takes as many to train on, not {len(data)}")
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(data), generator=generator)
        for start in range(0, len(data) - size + 1, size):
            yield data[order[start : start + size]]


def _flat(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()]).double()


def _gradient_norm(model: nn.Module) -> float:
    gradients = (p.grad for p in model.parameters() if p.grad is not None)
    return math.sqrt(sum(float(gradient.double().square().sum()) for gradient in gradients))

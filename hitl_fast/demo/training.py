"""Chapter: the same CNN with and without people's weights, on digits a third of which are labelled wrongly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from hitl_fast.experiments.common import digits
from hitl_fast.losses import weighted_cross_entropy
from hitl_fast.ratings import simulated_ratings
from hitl_fast.sampling import PrioritySampler

if TYPE_CHECKING:
    from .context import Stage

TITLE = "Weights: the same loop, three lines changed"
SAMPLES, WRONG, EPOCHS, BATCH = 2000, 0.35, 5, 64
DIFF = """\
+ weights = ratings.aggregate("calibrated").weights(num_items=len(dataset))
  for index in batches:
      logits = model(images[index])
-     loss = F.cross_entropy(logits, labels[index])
+     loss = hf.weighted_cross_entropy(logits, labels[index], weights[index])

  or leave the loss alone and let the weights choose what is drawn:
- sampler = torch.utils.data.RandomSampler(dataset)
+ sampler = hf.PrioritySampler(weights, seed=0)
"""


def tell(stage: Stage) -> None:
    """Spoil labels, rate, train three ways, compare on digits that are labelled rightly."""
    data = stage.training[:SAMPLES]
    generator = np.random.default_rng(stage.seed)
    wrong = generator.random(len(data)) < WRONG
    moved = (data.labels.numpy() + generator.integers(1, digits.CLASSES, len(data))) % digits.CLASSES
    labels = torch.from_numpy(np.where(wrong, moved, data.labels.numpy()))
    # Simulated raters: 1 for a label they find wrong, 5 for a right one, with their usual noise.
    ratings = simulated_ratings(np.where(wrong, 1.0, 5.0), seed=stage.seed)
    weights = ratings.aggregate("calibrated").weights(num_items=len(data), power=2.0)
    print(f"{wrong.mean():.0%} of {len(data)} labels are made wrong on purpose;", end=" ")
    print("simulated raters say which they believe.\n")
    print(DIFF)
    spoiled = digits.Digits(data.images, labels)
    for name in ("as they are", "weighted loss", "weighted sampler"):
        model = digits.seeded(digits.SmallCNN, stage.seed)
        _train(model, spoiled, torch.from_numpy(weights).float(), name, stage.seed)
        with torch.no_grad():
            right = (model(stage.test.images).argmax(1) == stage.test.labels).float().mean()
        print(f"  {name:<17} {float(right):.1%} of {len(stage.test)} test digits right")
    print("\nPlanted noise and raters that see it: this shows how, not how much people would save.")


def _train(model: torch.nn.Module, data: digits.Digits, weights: torch.Tensor, way: str, seed: int) -> None:
    if way == "weighted sampler":
        sampler = PrioritySampler(weights.double().numpy(), seed=seed)
    else:
        sampler = PrioritySampler(np.ones(len(data)), seed=seed, method="systematic")  # each once, shuffled
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for epoch in range(EPOCHS):
        sampler.set_epoch(epoch)
        for index in torch.tensor(list(sampler)).split(BATCH):  # type: ignore[no-untyped-call]
            logits, wanted = model(data.images[index]), data.labels[index]
            if way == "weighted loss":
                loss = weighted_cross_entropy(logits, wanted, weights[index])
            else:
                loss = F.cross_entropy(logits, wanted)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()

"""Demo step: the same CNN with and without rating weights, on digits a third of which have wrong labels."""

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
    from .context import Context

TITLE = "Weights: the same loop, three lines changed"
SAMPLES, WRONG, EPOCHS, BATCH = 2000, 0.35, 5, 64
DIFF = """\
+ weights = ratings.aggregate("calibrated").weights(num_items=len(dataset))
  for index in batches:
      logits = model(images[index])
-     loss = F.cross_entropy(logits, labels[index])
+     loss = hf.weighted_cross_entropy(logits, labels[index], weights[index])

  or keep the loss and draw samples by weight:
- sampler = torch.utils.data.RandomSampler(dataset)
+ sampler = hf.PrioritySampler(weights, seed=0)
"""


def run(context: Context) -> None:
    """Corrupt labels, simulate ratings, train in three ways, compare on correctly labelled digits."""
    data = context.training[:SAMPLES]
    generator = np.random.default_rng(context.seed)
    wrong = generator.random(len(data)) < WRONG
    moved = (data.labels.numpy() + generator.integers(1, digits.CLASSES, len(data))) % digits.CLASSES
    labels = torch.from_numpy(np.where(wrong, moved, data.labels.numpy()))
    # Simulated raters: 1 for a wrong label, 5 for a correct one, plus each rater's noise.
    ratings = simulated_ratings(np.where(wrong, 1.0, 5.0), seed=context.seed)
    weights = ratings.aggregate("calibrated").weights(num_items=len(data), power=2.0)
    print(f"{wrong.mean():.0%} of {len(data)} labels are corrupted;", end=" ")
    print("simulated raters rate how plausible each label is.\n")
    print(DIFF)
    corrupted = digits.Digits(data.images, labels)
    for name in ("unweighted", "weighted loss", "weighted sampler"):
        model = digits.seeded(digits.SmallCNN, context.seed)
        _train(model, corrupted, torch.from_numpy(weights).float(), name, context.seed)
        with torch.no_grad():
            correct = (model(context.test.images).argmax(1) == context.test.labels).float().mean()
        print(f"  {name:<17} {float(correct):.1%} of {len(context.test)} test digits correct")
    print(
        "\nSynthetic label noise that the raters can see: this shows the procedure, not what people would save."
    )


def _train(
    model: torch.nn.Module, data: digits.Digits, weights: torch.Tensor, method: str, seed: int
) -> None:
    if method == "weighted sampler":
        sampler = PrioritySampler(weights.double().numpy(), seed=seed)
    else:
        sampler = PrioritySampler(np.ones(len(data)), seed=seed, method="systematic")  # each once, shuffled
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for epoch in range(EPOCHS):
        sampler.set_epoch(epoch)
        for index in torch.tensor(list(sampler)).split(BATCH):  # type: ignore[no-untyped-call]
            logits, wanted = model(data.images[index]), data.labels[index]
            if method == "weighted loss":
                loss = weighted_cross_entropy(logits, wanted, weights[index])
            else:
                loss = F.cross_entropy(logits, wanted)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()

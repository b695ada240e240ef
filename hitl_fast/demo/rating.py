"""Demo step: simulated raters rate digits, and the ratings become sample weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from hitl_fast.ratings import simulated_ratings
from hitl_fast.ratings.plot import plot_weights

if TYPE_CHECKING:
    from .context import Context

TITLE = "Ratings: which digits are worth training on?"
RATERS, EACH, SPAMMERS = 20, 5, 0.2


def run(context: Context) -> None:
    """Simulate ratings, check agreement, aggregate, compute weights; prints a table and writes a bar plot."""
    digits = context.training
    truth = importance(digits.images, digits.labels)
    ratings = simulated_ratings(truth, raters=RATERS, each=EACH, spammers=SPAMMERS, seed=context.seed)
    print(
        f"{RATERS} simulated raters, each with their own bias and scale, {SPAMMERS:.0%} of them answering at random,"
    )
    print(
        f"rate {len(truth):,} real MNIST digits from 1 to 5: higher for a digit unlike others of its class.\n"
    )
    print(ratings.summary())
    print()
    for method in ("mean", "calibrated"):
        error = float(np.sqrt(np.mean((ratings.aggregate(method).score - truth) ** 2)))
        print(f"  {method:<11} scores: root mean square error {error:.2f} against the true importance")
    weights = ratings.aggregate("calibrated").weights(num_items=len(truth), floor=0.1)
    title = "weight of digits by class, from simulated raters"
    plot_weights(weights, digits.labels.numpy(), context.output("weights.png"), title=title)


def importance(images: torch.Tensor, labels: torch.Tensor) -> np.ndarray:
    """1 for the digit nearest to the mean of its class, 5 for the one furthest from it, by rank."""
    flat = images.flatten(1).double()
    distance = torch.zeros(len(flat), dtype=torch.float64)
    for label in sorted(set(labels.tolist())):
        of = labels == label
        distance[of] = (flat[of] - flat[of].mean(0)).norm(dim=1)
    rank = distance.argsort().argsort().double()
    return np.asarray(1 + 4 * rank / max(len(flat) - 1, 1))

"""`Priorities`: how much each item matters, and what follows from that for all other items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .propagation import Check, propagate
from .scored import ScoredItems
from .signal_data import SignalData


@dataclass(frozen=True, eq=False)
class Priorities(ScoredItems):
    """How much each rated item matters to people.

    Attributes:
        items: (n,) positions in the data set, or ids, in rising order.
        score: (n,) float64, on the raters' scale.
        variance: (n,) float64, of the score, as if raters erred independently of each other given the item. Where
            they share a wrong belief it is too small: with two of three raters misled alike on a fifth of the
            items, intervals that claim 95 % held the truth of 76 % of the items (95 % without that), and of
            none of those on which the raters were far off (tests/ratings/test_questions.py). Ratings alone
            cannot show this. Ground truth can: with ten items of it or more, variances are multiplied by how
            much scores miss it (``overdispersion``).
        count: (n,) ratings of the item.
        scale: lowest and highest possible score.
        method: how the scores were made.
        num_items: length of the data set, where it is known.
        categories: names of the categories (``dawid_skene`` alone).
        probability: (n, categories) of each item's category (``dawid_skene`` alone).
        notes: what to know of these scores, such as an assumed noise.
        overdispersion: what variances were multiplied by, as measured on ground truth; 1 where there was none.
    """

    def propagate(self, signals: SignalData, prior: str | None = None, *, seed: int = 0) -> Propagated:
        """Scores and variances of all samples from those of the samples that people were asked about.

        See `hitl_fast.ratings.propagation.propagate` for formulas, arguments and errors.
        """
        found = propagate(self, signals, prior, seed=seed)
        method = "propagated" if prior is None else f"propagated on {prior}"
        return Propagated(
            np.arange(len(signals)), found.mean, found.variance, found.count, self.scale, method, len(signals),
            check=found.check, hyperparameters=found.hyperparameters, noise=found.noise, inducing=found.inducing,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Propagated(Priorities):
    """Priorities of every sample, from answers about some.

    Attributes:
        check: whether the answers contradict the automatic priorities.
        hyperparameters: "signals" and "features" (prior variances of the two parts), "extra" (noise an answer beyond
            the stated), all in squared points of a scale from 1 to 5, and "length" (of the features' kernel, in median
            distances between the answered samples).
        noise: where the noise of answers comes from.
        inducing: answers that stand for all; 0 where all were used.
    """

    check: Check | None = None
    hyperparameters: dict[str, float] | None = None
    noise: str = ""
    inducing: int = 0

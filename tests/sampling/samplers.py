"""Samplers and data that the tests of sampling share."""

import numpy as np
from torch.utils.data import Dataset

from hitl_fast import PrioritySampler

METHODS = ("independent", "systematic", "without_replacement")


class Identity(Dataset):
    """Item i is i, so that a loader gives back what its sampler said."""

    def __init__(self, items: int) -> None:
        self.items = items

    def __len__(self) -> int:
        return self.items

    def __getitem__(self, index: int) -> int:
        return index


def some_weights(n: int = 60) -> np.ndarray:
    generator = np.random.default_rng(n)
    weights = generator.random(n) * (generator.random(n) < 0.8)
    weights[0] = 3.0
    return weights


def sampler_of(method: str, **arguments: object) -> PrioritySampler:
    defaults = {"num_samples": 37, "seed": 11}
    return PrioritySampler(some_weights(), method=method, **{**defaults, **arguments})

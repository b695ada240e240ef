"""Adjusted Rand index of a million samples, beside scikit-learn: few classes, many, and hashes."""

from __future__ import annotations

import numpy as np
import pytest
from hitl_kernels.rand_index import rand_index
from numpy.typing import NDArray
from race import race
from sklearn.metrics import adjusted_rand_score

N, AGREEMENT = 1_000_000, 0.7


def partitions(classes: int, hashed: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    generator = np.random.default_rng(0)
    labels = generator.integers(classes, size=N)
    clusters = np.where(generator.random(N) < AGREEMENT, labels, generator.integers(classes, size=N))
    if hashed:
        names = generator.integers(-(2**63), 2**63 - 1, size=classes)
        labels, clusters = names[labels], names[clusters]
    return labels, clusters


@pytest.mark.parametrize(
    ("classes", "hashed"), [(2, False), (10, False), (100, False), (1000, False), (100, True), (N, True)]
)
def test_rand_index(classes: int, hashed: bool) -> None:
    labels, clusters = partitions(classes, hashed)
    result = rand_index(labels, clusters)
    assert result == pytest.approx(adjusted_rand_score(labels, clusters), abs=1e-9)
    race(
        "rand_index",
        {
            "hitl": lambda: rand_index(labels, clusters),
            "sklearn": lambda: adjusted_rand_score(labels, clusters),
        },
        shape=f"N={N} classes={classes}{' hashes' if hashed else ''}",
        dtype="int64",
    )

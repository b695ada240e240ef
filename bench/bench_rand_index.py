"""Adjusted Rand index of a million samples, beside scikit-learn: few classes, many, and hashes."""

from __future__ import annotations

import pytest
from hitl_kernels.rand_index import rand_index
from problems import RAND_INDEX, RAND_INDEX_SAMPLES, partitions
from race import race
from sklearn.metrics import adjusted_rand_score

N = RAND_INDEX_SAMPLES


@pytest.mark.parametrize(("classes", "hashed"), RAND_INDEX)
def test_rand_index(classes: int, hashed: bool) -> None:
    labels, clusters = partitions(N, classes, hashed)
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

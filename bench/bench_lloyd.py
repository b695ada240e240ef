"""Lloyd's k-means beside scikit-learn: time per iteration, set-up and last E-step of both included."""

from __future__ import annotations

import numpy as np
import pytest
from hitl_kernels.lloyd import kmeans, lloyd
from problems import LLOYD
from problems import cluster_rows as rows
from race import race
from sklearn.cluster import KMeans


@pytest.mark.parametrize("kind", ["blobs", "noise"])
@pytest.mark.parametrize(
    ("n", "d", "k", "iterations"),
    LLOYD,
)
def test_lloyd(n: int, d: int, k: int, iterations: int, kind: str) -> None:
    x = rows(n, d, k, kind)
    starts = x[:k].copy()

    def ours() -> object:
        return lloyd(x, starts, max_iter=iterations, tol=0.0)

    def peer() -> KMeans:
        return KMeans(k, init=starts, n_init=1, max_iter=iterations, tol=0.0).fit(x)

    result, expected = lloyd(x, starts, max_iter=iterations, tol=0.0), peer()
    assert result.iterations == expected.n_iter_
    assert np.mean(result.labels != expected.labels_) < 0.01  # scikit-learn sums its centroids in float32
    assert result.inertia == pytest.approx(float(expected.inertia_), rel=1e-5)
    race(
        "lloyd",
        {"hitl": ours, "sklearn": peer},
        shape=f"N={n} D={d} K={k} {kind}, an iteration of {result.iterations}",
        work=dict.fromkeys(("hitl", "sklearn"), result.iterations),
        inner={"hitl": 10, "sklearn": 10} if n < 5_000 else None,
    )


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_kmeans() -> None:
    """What PreIndex does: ten k-means++ starts on the embeddings of a small set."""
    x = rows(1_792, 128, 10, "blobs")
    expected = KMeans(10, n_init=10, random_state=0).fit(x)
    result = kmeans(x, 10, n_init=10, random_state=0)
    assert np.array_equal(result.labels, expected.labels_)
    race(
        "lloyd",
        {
            "hitl": lambda: kmeans(x, 10, n_init=10, random_state=0),
            "sklearn": lambda: KMeans(10, n_init=10, random_state=0).fit(x),
        },
        shape="N=1792 D=128 K=10 blobs, 10 k-means++ starts",
    )

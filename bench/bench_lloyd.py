"""Lloyd's k-means beside scikit-learn: time per iteration, set-up and last E-step of both included."""

from __future__ import annotations

import numpy as np
import pytest
from hitl_kernels.lloyd import kmeans, lloyd
from numpy.typing import NDArray
from race import race
from sklearn.cluster import KMeans

Float32 = NDArray[np.float32]


def rows(n: int, d: int, k: int, kind: str) -> Float32:
    """Noise without clusters, or k blobs that overlap."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal((n, d), dtype=np.float32)
    if kind == "blobs":
        x += generator.standard_normal((k, d), dtype=np.float32)[generator.integers(k, size=n)]
    return x


@pytest.mark.parametrize("kind", ["blobs", "noise"])
@pytest.mark.parametrize(
    ("n", "d", "k", "iterations"),
    [(50_000, 512, 100, 10), (300_000, 64, 10, 20), (1_792, 128, 10, 20), (5_000, 8_192, 100, 5)],
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

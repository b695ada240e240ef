"""How well clusters of the embeddings agree with the classes, before and after the shift."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hitl_kernels.lloyd import KMeansResult, kmeans, lloyd
from hitl_kernels.rand_index import rand_index

from .embedding_scores import Embedding


@dataclass(frozen=True)
class ClusterReport:
    """One clustering: k-means with as many clusters as classes, against the classes."""

    ari: float  # adjusted Rand index: 1 agrees, 0 is chance
    inverse_ari: float  # 1 - ari
    iterations: int
    inertia: float


def clusterings(
    clean: Embedding, shifted: Embedding, clean_sums: np.ndarray, shifted_sums: np.ndarray, restarts: int
) -> dict[str, ClusterReport]:
    """The five of the published code: from class means, across the shift, and from k-means++ with so many restarts."""
    counts = np.bincount(clean.classes, minlength=clean.n_classes)[:, None]
    clean_means, shifted_means = ((sums / counts).astype(np.float32) for sums in (clean_sums, shifted_sums))
    found = {
        "clean": lloyd(clean.rows, clean_means),
        "shifted": lloyd(shifted.rows, shifted_means),
        "shifted_from_clean": lloyd(shifted.rows, clean_means),
        "clean_kmeans++": kmeans(clean.rows, clean.n_classes, n_init=restarts, random_state=0),
        "shifted_kmeans++": kmeans(shifted.rows, shifted.n_classes, n_init=restarts, random_state=0),
    }
    return {name: _report(clean.classes, result) for name, result in found.items()}


def _report(classes: np.ndarray, result: KMeansResult[np.ndarray]) -> ClusterReport:
    ari = rand_index(classes, result.labels)
    return ClusterReport(ari=ari, inverse_ari=1 - ari, iterations=result.iterations, inertia=result.inertia)

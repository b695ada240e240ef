"""How well clusters of the embeddings agree with the classes, before and after the shift."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hitl_kernels.lloyd import KMeansResult, kmeans, lloyd
from hitl_kernels.rand_index import rand_index
from tqdm import tqdm

from .embedding_scores import Embedding

PARTS = 10  # the jackknife leaves out each in turn


@dataclass(frozen=True)
class ClusterReport:
    """One clustering: k-means with as many clusters as classes, against the classes.

    Attributes:
        ari: adjusted Rand index: 1 agrees, 0 is chance.
        inverse_ari: 1 - ari.
        iterations: of Lloyd's algorithm.
        inertia: sum over samples of the squared distance to their centroid.
        standard_error: of ari, where some of the samples were clustered; None where all were.
    """

    ari: float
    inverse_ari: float
    iterations: int
    inertia: float
    standard_error: float | None = None


def clusterings(
    clean: Embedding,
    shifted: Embedding,
    clean_sums: np.ndarray,
    shifted_sums: np.ndarray,
    restarts: int,
    *,
    sampled: bool = False,
    progress: bool = False,
) -> dict[str, Any]:
    """The five of the published code: from class means, across the shift, and from k-means++ starts.

    Args:
        clean: embeddings of the clean samples.
        shifted: of the shifted samples, in the same order.
        clean_sums: (K, D) float64 sums of each class, of these samples.
        shifted_sums: the same of the shifted ones.
        restarts: runs from k-means++ starts, of which the best counts; 0: none, "clean_kmeans++" and
            "shifted_kmeans++" are None.
        sampled: the rows are a sample of more, so that the error of ari is asked for.
        progress: a progress line for the k-means++ runs on a terminal.
    """
    counts = np.bincount(clean.classes, minlength=clean.n_classes)[:, None]
    clean_means, shifted_means = ((sums / counts).astype(np.float32) for sums in (clean_sums, shifted_sums))
    found: dict[str, ClusterReport | None] = {
        "clean": _report(clean.classes, lloyd(clean.rows, clean_means), sampled),
        "shifted": _report(clean.classes, lloyd(shifted.rows, shifted_means), sampled),
        "shifted_from_clean": _report(clean.classes, lloyd(shifted.rows, clean_means), sampled),
        "clean_kmeans++": None,
        "shifted_kmeans++": None,
    }
    if restarts == 0:
        return found
    sides = {"clean_kmeans++": clean, "shifted_kmeans++": shifted}
    for name, side in tqdm(sides.items(), "k-means++", unit=" data sets", disable=None if progress else True):
        result = kmeans(side.rows, side.n_classes, n_init=restarts, random_state=0)
        found[name] = _report(side.classes, result, sampled)
    return found


def _report(classes: np.ndarray, result: KMeansResult[np.ndarray], sampled: bool) -> ClusterReport:
    ari = rand_index(classes, result.labels)
    error = _jackknife(classes, result.labels) if sampled else None
    return ClusterReport(ari, 1 - ari, result.iterations, result.inertia, error)


def _jackknife(classes: np.ndarray, labels: np.ndarray) -> float:
    """Standard error of the adjusted Rand index over samples, the clusters as they are: delete-a-group jackknife.

    ``sqrt((g - 1) / g * sum over groups of (ARI without it - their mean)^2)`` with g = 10 random groups.

    Source: Shao and Tu, The Jackknife and Bootstrap, 1995, section 5.
    """
    labels = np.asarray(labels.cpu() if hasattr(labels, "cpu") else labels)
    part = np.random.default_rng(0).permutation(len(classes)) % PARTS
    values = [rand_index(classes[part != g], labels[part != g]) for g in range(PARTS) if (part != g).any()]
    return float(np.sqrt((PARTS - 1) * np.var(values)))

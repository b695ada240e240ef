"""How well clusters of the embeddings agree with the classes, before and after the shift."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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


CLUSTERINGS = ("clean", "shifted", "shifted_from_clean", "clean_kmeans++", "shifted_kmeans++")


def cluster_tasks(
    clean: Embedding,
    shifted: Embedding,
    sums: Callable[[], tuple[np.ndarray, np.ndarray]],
    restarts: int,
    *,
    sampled: bool = False,
    progress: bool = False,
) -> dict[str, Callable[[], ClusterReport]]:
    """The clusterings of the published code, each on its own: from class means, across the shift, from k-means++.

    Args:
        clean: embeddings of the clean samples.
        shifted: of the shifted samples, in the same order.
        sums: gives the (K, D) float64 sums of each class of these samples, clean and shifted.
        restarts: runs from k-means++ starts, of which the best counts; 0: none.
        sampled: the rows are a sample of more, so that the error of ari is asked for.
        progress: a progress line for the k-means++ runs on a terminal.
    """

    def from_means(side: Embedding, of: int) -> ClusterReport:
        counts = np.bincount(clean.classes, minlength=clean.n_classes)[:, None]
        means = (sums()[of] / counts).astype(np.float32)
        return _report(side.classes, lloyd(side.rows, means), sampled)

    def from_starts(side: Embedding, name: str) -> ClusterReport:
        with tqdm(total=1, desc=name, unit=" data set", disable=None if progress else True) as bar:
            result = kmeans(side.rows, side.n_classes, n_init=restarts, random_state=0)
            bar.update()
        return _report(side.classes, result, sampled)

    tasks = {
        "shifted_from_clean": lambda: from_means(shifted, 0),
        "shifted": lambda: from_means(shifted, 1),
        "clean": lambda: from_means(clean, 0),
    }
    if restarts:
        tasks["clean_kmeans++"] = lambda: from_starts(clean, "clean_kmeans++")
        tasks["shifted_kmeans++"] = lambda: from_starts(shifted, "shifted_kmeans++")
    return tasks


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

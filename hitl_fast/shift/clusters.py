"""How well clusters of the embeddings agree with the classes, before and after the shift."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from hitl_kernels.lloyd import KMeansResult, kmeans, lloyd
from hitl_kernels.rand_index import rand_index
from tqdm import tqdm

from .embedding_scores import Embedding
from .intervals import Ends, rand_index_interval
from .origin import named

PARTS = 10  # the jackknife leaves out each in turn


@dataclass(frozen=True)
class ClusterReport:
    """One clustering: k-means with as many clusters as classes, against the classes.

    Attributes:
        ari: adjusted Rand index: 1 agrees, 0 is chance.
        inverse_ari: 1 - ari.
        iterations: of Lloyd's algorithm.
        inertia: sum over samples of the squared distance to their centroid.
        standard_error: of ari, where some of the samples were clustered, or labelled; None where all were.
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
    progress: bool = False,
    intervals: dict[str, Ends] | None = None,
) -> dict[str, Callable[[], ClusterReport | None]]:
    """The clusterings of the published code, each on its own: from class means, across the shift, from k-means++.

    Args:
        clean: embeddings of the clean samples.
        shifted: of the shifted samples.
        sums: gives the (K, D) float64 sums of each class of the labelled ones of these, clean and shifted.
        restarts: runs from k-means++ starts, of which the best counts; 0: none.
        progress: a progress line for the k-means++ runs on a terminal.
        intervals: the task "shifted_from_clean" puts the 95 % interval of its ARI here, by its name.

    Returns:
        All samples are clustered; agreement is of the labelled ones. A task gives None where there are fewer samples
        than clusters, and where ``labelled`` of its side (not None) says that fewer than 2 classes are labelled.
    """

    def from_means(side: Embedding, of: int, name: str) -> ClusterReport | None:
        source = (clean, shifted)[of]
        counts = _counts(source, len(sums()[of]))
        there = counts > 0
        means = (sums()[of][there] / counts[there, None]).astype(np.float32)
        if not _can(side, len(means)):
            return None
        with named(side, source):
            found = lloyd(side.rows, means)
        return _report(side, found, name, intervals)

    def from_starts(side: Embedding, name: str) -> ClusterReport | None:
        clusters = int((_counts(clean, clean.n_classes) > 0).sum())
        if not _can(side, clusters):
            return None
        line = tqdm(total=1, desc=name, unit=" data set", disable=None if progress else True)
        with line as bar, named(side):
            result = kmeans(side.rows, clusters, n_init=restarts, random_state=0)
            bar.update()
        return _report(side, result, name, None)

    tasks: dict[str, Callable[[], ClusterReport | None]] = {
        "shifted_from_clean": lambda: from_means(shifted, 0, "shifted_from_clean"),
        "shifted": lambda: from_means(shifted, 1, "shifted"),
        "clean": lambda: from_means(clean, 0, "clean"),
    }
    if restarts:
        tasks["clean_kmeans++"] = lambda: from_starts(clean, "clean_kmeans++")
        tasks["shifted_kmeans++"] = lambda: from_starts(shifted, "shifted_kmeans++")
    return tasks


def _counts(side: Embedding, n_classes: int) -> np.ndarray:
    """How many samples of each class are labelled."""
    classes = side.classes if side.labelled is None else side.classes[side.labelled]
    return np.bincount(classes, minlength=n_classes)


def _can(side: Embedding, clusters: int) -> bool:
    enough = side.labelled is None or (_counts(side, side.n_classes) > 0).sum() > 1
    return bool(enough) and 0 < clusters <= side.shape[0]


def _report(
    side: Embedding, result: KMeansResult[np.ndarray], name: str, intervals: dict[str, Ends] | None
) -> ClusterReport:
    labels = result.labels
    labels = np.asarray(labels.cpu() if hasattr(labels, "cpu") else labels)
    classes = side.classes
    if side.labelled is not None:
        classes, labels = classes[side.labelled], labels[side.labelled]
    ari = rand_index(classes, labels)
    error = _jackknife(classes, labels) if side.sampled else None
    if intervals is not None and name == "shifted_from_clean":
        ends = rand_index_interval(classes, labels)
        if ends is not None:
            intervals[name] = ends
    return ClusterReport(ari, 1 - ari, result.iterations, result.inertia, error)


def _jackknife(classes: np.ndarray, labels: np.ndarray) -> float:
    """Standard error of the adjusted Rand index over samples, the clusters as they are: delete-a-group jackknife.

    ``sqrt((g - 1) / g * sum over groups of (ARI without it - their mean)^2)`` with g = 10 random groups.

    Source: Shao and Tu, The Jackknife and Bootstrap, 1995, section 5.
    """
    part = np.random.default_rng(0).permutation(len(classes)) % PARTS
    values = [rand_index(classes[part != g], labels[part != g]) for g in range(PARTS) if (part != g).any()]
    return float(np.sqrt((PARTS - 1) * np.var(values)))

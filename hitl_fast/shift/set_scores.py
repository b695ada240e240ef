"""Scores of two sets of embeddings that need no pairs, from the shifted samples that are labelled."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import numpy as np

from .clusters import CLUSTERINGS, ClusterReport, cluster_tasks
from .embedding_scores import Embedding, class_sums, linear_cka, probe_error, resque_angle
from .intervals import Ends

FEWEST = 30  # labels: of 10, 95 % intervals of the adjusted Rand index hold its value in 6 of 10 simulations


@dataclass(frozen=True)
class SetScores:
    """What two sets of embeddings say; None: it needs labels, classes or samples that there are not (see ``notes``)."""

    clusters: dict[str, ClusterReport | None]
    resque_angle: float | None
    cka: float | None
    class_mean_cka: float | None
    probe_error: float | None
    clean_probe_error: float | None
    intervals: dict[str, Ends]
    notes: list[str] = field(default_factory=list)


def scores_of_sets(
    clean: Embedding,
    shifted: Embedding,
    *,
    paired: bool,
    restarts: int,
    samples: int | None,
    intervals: bool,
    progress: bool = False,
) -> SetScores:
    """Clusters and scores of a clean set, all of it labelled, and a shifted one, some of it labelled.

    All shifted samples are clustered; the adjusted Rand index is of those that are labelled. A class that is in one of
    the sets only has no angle, and counts in no CKA of class means.

    Args:
        clean, shifted: with classes numbered alike.
        paired: row i of both is the same sample.
        restarts: of k-means++; 0: none.
        samples: cluster a random sample of so many of each set; None: all.
        intervals: also the 95 % interval of "inverse_ari" over labelled shifted samples, of which there must be 30. The
            angle, the CKA of class means and the probe error have none: noise in few samples moves them one way, so
            that an interval of their spread does not hold the value of more samples.
        progress: progress lines on a terminal.
    """
    known = shifted.known()
    labelled, kinds = len(known.classes), len(np.unique(known.classes))
    parts = clean.subset(samples), shifted.subset(samples)

    @functools.cache
    def sums() -> tuple[np.ndarray, np.ndarray]:
        ours = class_sums(clean)
        return ours, class_sums(known) if labelled else np.zeros_like(ours)

    @functools.cache
    def part_sums() -> tuple[np.ndarray, np.ndarray]:
        ours = sums()[0] if parts[0] is clean else class_sums(parts[0])
        whole = parts[1] is shifted or not labelled
        return ours, sums()[1] if whole else class_sums(parts[1].known())

    found: dict[str, Ends] = {}
    enough = intervals and labelled >= FEWEST
    tasks = cluster_tasks(*parts, part_sums, restarts, progress=progress, intervals=found if enough else None)
    clusters = dict.fromkeys(CLUSTERINGS) | {name: task() for name, task in tasks.items()}
    cka = linear_cka(clean, shifted) if paired else None
    own_error = probe_error(clean) if len(np.unique(clean.classes)) > 1 else None
    if not labelled:
        return SetScores(clusters, None, cka, None, None, own_error, {})
    counts = [np.bincount(side.classes, minlength=side.n_classes) for side in (clean, known)]
    across, ends = clusters["shifted_from_clean"], found.get("shifted_from_clean")
    notes = []
    if kinds < 2:
        notes.append(
            f"no inverse ARI and probe error: the {labelled} labelled shifted samples are of one class"
        )
    elif across is None:
        wanted, there = int((counts[0] > 0).sum()), parts[1].shape[0]
        notes.append(f"no inverse ARI: {there} shifted samples are fewer than the {wanted} clean classes")
    elif intervals and not enough:
        notes.append(f"no interval of inverse ARI: it needs {FEWEST} labelled shifted samples")
    elif intervals and not found:
        notes.append(
            f"no interval of inverse ARI: the {labelled} labelled shifted samples agree or differ all alike"
        )
    return SetScores(
        clusters,
        resque_angle(*sums()),
        cka,
        class_mean_cka(*sums(), counts[0], counts[1]),
        probe_error(known) if kinds > 1 else None,
        own_error,
        {} if ends is None else {"inverse_ari": (1 - ends[1], 1 - ends[0])},
        notes,
    )


def class_mean_cka(
    clean_sums: np.ndarray, shifted_sums: np.ndarray, clean_counts: np.ndarray, shifted_counts: np.ndarray
) -> float | None:
    """Linear CKA of the class means, (K, D) of each set: |A'B|^2 / (|A'A| |B'B|) of centred A and B.

    None where fewer than 3 classes are in both sets (2 centred means are always aligned), or where the means of a set
    are equal.

    >>> sums = np.array([[1.0, 0.0], [0.0, 1.0], [3.0, 3.0]])
    >>> round(class_mean_cka(sums, 2 * sums, np.ones(3), np.full(3, 2)), 12)
    1.0
    """
    both = (clean_counts > 0) & (shifted_counts > 0)
    if both.sum() < 3:
        return None
    A, B = (
        sums[both] / counts[both, None]
        for sums, counts in ((clean_sums, clean_counts), (shifted_sums, shifted_counts))
    )
    scales = [float(np.abs(X).max()) for X in (A, B)]
    A, B = A - A.mean(0), B - B.mean(0)
    if any(float(np.abs(X).max()) <= 1e-7 * scale for X, scale in zip((A, B), scales, strict=True)):
        return None
    K, L = A @ A.T, B @ B.T
    return min(float((K * L).sum() / (np.linalg.norm(K) * np.linalg.norm(L))), 1.0)

"""Scores of two sets of embeddings that need no pairs, from the shifted samples that are labelled, with intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from hitl_kernels.lloyd import kmeans, lloyd
from hitl_kernels.rand_index import rand_index
from torch import Tensor

from hitl_fast._common.bootstrap import bootstrap

from .clusters import ClusterReport
from .embedding_scores import Embedding, class_sums, linear_cka, probe_error, probe_misses, resque_angle

CLUSTERS = ("clean", "shifted", "shifted_from_clean", "clean_kmeans++", "shifted_kmeans++")
RESAMPLES = 500
PARTS = 10  # groups that the jackknife leaves out in turn
NORMAL = 1.96  # 95 % of a normal distribution lie within so many standard errors
Ends = tuple[float, float]


@dataclass(frozen=True)
class Set:
    """The embeddings of one side.

    Attributes:
        rows: (n, D) floats, finite: a tensor or a memory map.
        labels: (n,) integers; any where not ``labelled``.
        labelled: (n,) bool.
    """

    rows: Any
    labels: np.ndarray
    labelled: np.ndarray

    def part(self, which: np.ndarray) -> Set:
        return Set(_rows(self.rows, which), self.labels[which], self.labelled[which])

    def sample(self, most: int | None) -> Set:
        """A random part of so many samples, those with labels first."""
        n = len(self.labels)
        if most is None or n <= most:
            return self
        order = np.random.default_rng(0).permutation(n)
        order = order[np.argsort(~self.labelled[order], kind="stable")]
        return self.part(np.sort(order[:most]))

    def embedding(self, kinds: np.ndarray) -> Embedding:
        """The labelled rows, with classes as positions in ``kinds``."""
        rows = self.rows if self.labelled.all() else _rows(self.rows, np.flatnonzero(self.labelled))
        return Embedding(rows, np.searchsorted(kinds, self.labels[self.labelled]), len(kinds))


@dataclass(frozen=True)
class SetScores:
    """What two sets of embeddings say; None: it needs labels or pairs that there are not."""

    clusters: dict[str, ClusterReport | None]
    resque_angle: float | None
    cka: float | None
    class_mean_cka: float | None
    probe_error: float | None
    clean_probe_error: float
    intervals: dict[str, Ends]


def scores_of_sets(
    clean: Set, shifted: Set, *, paired: bool, restarts: int, samples: int | None, intervals: bool
) -> SetScores:
    """Clusters and scores of a clean set, all of it labelled, and a shifted one, some of it labelled.

    All shifted samples are clustered; the adjusted Rand index is of those that are labelled. A class that is in one of
    the sets only has no angle, and counts in no CKA of class means.

    Args:
        paired: row i of both is the same sample.
        restarts: of k-means++; 0: none.
        samples: cluster a random sample of so many of each set; None: all.
        intervals: also the 95 % intervals over labelled shifted samples: percentiles of 500 bootstrap resamples, of the
            clusters and fits as they are (a fit to samples that are there twice would see their labels). The angle
            and the CKA, which noise in the class means moves one way: value +- 1.96 jackknife standard errors.
    """
    labelled = shifted.labelled
    kinds = np.unique(np.concatenate([clean.labels, shifted.labels[labelled]]))
    ours = clean.embedding(kinds)
    clean_sums = class_sums(ours)
    cka = linear_cka(ours, Embedding(shifted.rows, ours.classes, len(kinds))) if paired else None
    clusters: dict[str, ClusterReport | None] = dict.fromkeys(CLUSTERS)
    found: dict[str, Ends] = {}
    few_clean = clean.sample(samples)
    means = class_means(few_clean)
    clusters["clean"], _ = _clustered(few_clean, lloyd(few_clean.rows, means))
    if restarts:
        clusters["clean_kmeans++"], _ = _clustered(few_clean, _from_random(few_clean, len(means), restarts))
    if not labelled.any():
        return SetScores(clusters, None, cka, None, None, probe_error(ours), found)
    few = shifted.sample(samples)
    clusters["shifted"], _ = _clustered(few, lloyd(few.rows, class_means(few)))
    across, assigned = _clustered(few, lloyd(few.rows, means))
    clusters["shifted_from_clean"] = across
    if restarts:
        clusters["shifted_kmeans++"], _ = _clustered(few, _from_random(few, len(means), restarts))
    theirs = shifted.embedding(kinds)
    sums, counts = class_sums(theirs), (_counts(ours), _counts(theirs))
    scores = SetScores(
        clusters,
        resque_angle(clean_sums, sums),
        cka,
        class_mean_cka(clean_sums, sums, *counts),
        probe_error(theirs),
        probe_error(ours),
        found,
    )
    if intervals:
        classes = few.labels[few.labelled]
        found["inverse_ari"] = interval(lambda c, a: 1 - rand_index(c, a), classes, assigned)
        wrong, own = probe_misses(theirs)
        found["probe_error"] = interval(_at_most_guessing, wrong, own)
        parts = _without_each_part(theirs)
        angles = [resque_angle(clean_sums, class_sums(part)) for part in parts]
        found |= jackknife("resque_angle", scores.resque_angle, angles)
        alignments = [
            class_mean_cka(clean_sums, class_sums(part), counts[0], _counts(part)) for part in parts
        ]
        found |= jackknife("class_mean_cka", scores.class_mean_cka, alignments)
    return scores


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


def class_means(side: Set) -> np.ndarray:
    """(K, D) float32 means of the labelled samples of each class that is there."""
    kinds, codes = np.unique(side.labels[side.labelled], return_inverse=True)
    embedding = side.embedding(kinds)
    return (class_sums(embedding) / np.bincount(codes)[:, None]).astype(np.float32)


def interval(statistic: Callable[..., float], *columns: np.ndarray) -> Ends:
    """The 95 % percentile interval over samples."""
    found = bootstrap(statistic, *columns, seed=0, resamples=RESAMPLES)
    return found.low, found.high


def jackknife(
    name: str, value: float | None, without: list[float | None], most: float = 1.0
) -> dict[str, Ends]:
    """``{name: value -+ 1.96 standard errors}`` by delete-a-group jackknife, within 0 and ``most``; or nothing.

    Source: Shao and Tu, The Jackknife and Bootstrap, 1995, section 5.
    """
    values = np.array([np.nan if v is None else v for v in without])
    values = values[np.isfinite(values)]
    if value is None or len(values) < 2:
        return {}
    error = NORMAL * float(np.sqrt((len(values) - 1) * np.var(values)))
    return {name: (max(0.0, value - error), min(most, value + error))}


def parts_of(n: int) -> list[np.ndarray]:
    """What is left where each of 10 random groups of n samples is left out in turn."""
    group = np.random.default_rng(0).permutation(n) % PARTS
    return [np.flatnonzero(group != g) for g in range(min(PARTS, n))]


def _without_each_part(embedding: Embedding) -> list[Embedding]:
    return [
        Embedding(_rows(embedding.rows, which), embedding.classes[which], embedding.n_classes)
        for which in parts_of(len(embedding.classes))
    ]


def _counts(embedding: Embedding) -> np.ndarray:
    return np.bincount(embedding.classes, minlength=embedding.n_classes)


def _at_most_guessing(wrong: np.ndarray, classes: np.ndarray) -> float:
    return min(float(wrong.mean()), 1 - float(np.bincount(classes).max()) / len(classes))


def _from_random(side: Set, clusters: int, restarts: int) -> Any:
    return kmeans(side.rows, clusters, n_init=restarts, random_state=0)


def _clustered(side: Set, result: Any) -> tuple[ClusterReport, np.ndarray]:
    """The agreement of clusters with the labels that there are, and the labelled samples' clusters."""
    assigned = result.labels.cpu().numpy() if isinstance(result.labels, Tensor) else np.asarray(result.labels)
    assigned = assigned[side.labelled]
    ari = rand_index(side.labels[side.labelled], assigned)
    return ClusterReport(ari, 1 - ari, result.iterations, result.inertia), assigned


def _rows(rows: Any, which: np.ndarray) -> Any:
    if isinstance(rows, Tensor):
        return rows[torch.from_numpy(which).to(rows.device)]
    return np.asarray(rows)[which]

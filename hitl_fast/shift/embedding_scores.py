"""Scores of the embeddings beside the index: RESQUE angle, linear CKA and probe error, from sums that stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from hitl_kernels.leave_one_out_ridge import leave_one_out_labels
from hitl_kernels.lloyd.rows import read_chunks
from hitl_kernels.segment_sums import segment_sums
from torch import Tensor

from .origin import Origin, named, refuse_too_large

# Wider embeddings, or more values than samples, are compared through the Gram matrix of at most SAMPLES samples: both
# bounds are where (width, width) algebra over all samples would become the dearer one.
WIDEST = SAMPLES = 2048
CHUNK = 1 << 19  # values read at a time, and
ROWS = 1024  # at least so many rows: matrix products of fewer do not run at full speed
# Ridge penalty, as a share of the mean diagonal of X'X.
RIDGE = 0.01


@dataclass(frozen=True)
class Embedding:
    """(N, D) rows in memory or in a file, and each row's class as 0 .. K-1.

    Attributes:
        labelled: (N,) bool, whose class is known; None: all are. Scores of classes are of ``known`` embeddings.
        sampled: the rows are a sample of more, or not all labelled, so that agreement with classes has an error.
        origin: whose they are, for messages.
    """

    rows: Any
    classes: np.ndarray
    n_classes: int
    labelled: np.ndarray | None = None
    sampled: bool = False
    origin: Origin = field(default_factory=Origin)

    @property
    def shape(self) -> tuple[int, int]:
        return int(self.rows.shape[0]), int(self.rows.shape[1])

    @property
    def wide(self) -> bool:
        """Whether samples, not values, are compared with each other."""
        return self.shape[1] > min(self.shape[0], WIDEST)

    def subset(self, most: int | None) -> Embedding:
        """A random sample of so many rows, always the same ones; itself where there are no more, or None are asked.

        Labelled rows come before others, since only they agree with a class or do not.
        """
        if most is None or self.shape[0] <= most:
            return self
        which = self._chosen(most)
        labelled = self.labelled
        if labelled is not None and not labelled.all():
            order = np.random.default_rng(0).permutation(self.shape[0])
            order = order[np.argsort(~labelled[order], kind="stable")]
            which = np.sort(order[:most])
        known = np.ones(most, bool) if labelled is None else labelled[which]
        kinds, found = np.unique(self.classes[which][known], return_inverse=True)
        codes = np.zeros(most, found.dtype)
        codes[known] = found
        unlabelled = None if labelled is None else known
        rows, origin = _rows_at(self.rows, which), self.origin.at(which)
        return Embedding(rows, codes, len(kinds), unlabelled, sampled=True, origin=origin)

    def known(self) -> Embedding:
        """The labelled rows alone."""
        if self.labelled is None:
            return self
        if self.labelled.all():
            return Embedding(self.rows, self.classes, self.n_classes, origin=self.origin)
        which = np.flatnonzero(self.labelled)
        rows, origin = _rows_at(self.rows, which), self.origin.at(which)
        return Embedding(rows, self.classes[which], self.n_classes, origin=origin)

    def largest(self) -> tuple[float, int]:
        """The largest magnitude, and the row that has it."""
        found, start = (0.0, 0), 0
        for rows in self._chunks():
            value, row = rows.abs().amax(1).max(0)
            found = max(found, (float(value), start + int(row)), key=lambda one: one[0])
            start += len(rows)
        return found

    def mean(self) -> Tensor:
        """(D,) float64, where the rows are."""
        total = None
        for rows in self._chunks():
            part = rows.sum(0, dtype=torch.float64)
            total = part if total is None else total.add_(part)
        assert total is not None
        return total / self.shape[0]

    def centred(self) -> Iterator[Tensor]:
        """The rows less their mean, chunk by chunk, float32."""
        mean = self.mean().float()
        return (rows - mean for rows in self._chunks())

    def rounding(self) -> float:
        """The sum of squares that float32's rounding alone gives to rows that are all their mean."""
        spread = self.mean() * float(np.finfo(np.float32).eps)
        return float(self.shape[0] * spread.square().sum())

    def sample(self, most: int) -> tuple[Tensor, np.ndarray]:
        """At most so many rows, centred on their mean, and which: always the same ones."""
        which = self._chosen(most)
        chosen = torch.as_tensor(_rows_at(self.rows, which)).float()
        return chosen - chosen.double().mean(0).float(), which

    def _chosen(self, most: int) -> np.ndarray:
        n = self.shape[0]
        if n <= most:
            return np.arange(n)
        return np.sort(np.random.default_rng(0).choice(n, most, replace=False))

    def _chunks(self) -> Iterator[Tensor]:
        step = max(ROWS, CHUNK // self.shape[1])
        if isinstance(self.rows, Tensor):
            for start in range(0, self.shape[0], step):
                yield self.rows[start : start + step].float()
            return
        for _, rows in read_chunks(self.rows, step):
            yield torch.from_numpy(rows.copy())


def _rows_at(rows: Any, which: np.ndarray) -> Any:
    if isinstance(rows, Tensor):
        return rows[torch.from_numpy(which).to(rows.device)]
    return np.asarray(rows)[which]


def class_sums(embedding: Embedding) -> np.ndarray:
    """(K, D) float64: the sum of each class's embeddings."""
    sums = segment_sums(embedding.rows, embedding.classes, embedding.n_classes)
    return sums.cpu().numpy() if isinstance(sums, Tensor) else np.asarray(sums)


def resque_angle(clean_sums: np.ndarray, shifted_sums: np.ndarray) -> float | None:
    """Mean over classes of the angle between the summed embeddings, in units of pi.

    arccos(a . b / (|a| |b|)) / pi; classes whose sum is 0 on either side have no angle and do not count.
    """
    directed = (clean_sums != 0).any(1) & (shifted_sums != 0).any(1)
    if not directed.any():
        return None
    a, b = (
        sums[directed] / np.linalg.norm(sums[directed], axis=1, keepdims=True)
        for sums in (clean_sums, shifted_sums)
    )
    # 2 atan2(|a - b|, |a + b|): exactly 0 for equal sums, where the arc cosine of 1 - 1e-16 is 1e-8.
    angles = 2 * np.arctan2(np.linalg.norm(a - b, axis=1), np.linalg.norm(a + b, axis=1))
    return float(np.mean(angles) / np.pi)


def linear_cka(clean: Embedding, shifted: Embedding) -> float | None:
    """Linear centred kernel alignment: |A'B|^2 / (|A'A| |B'B|) in the Frobenius norm, 1 for equal embeddings.

    None where one of them is constant to float32's rounding. Products are float32 over 1,024 samples or more, their
    sums float64: against float64 throughout the value is off by less than 1e-6, and the number of threads moves it by
    some 1e-7. More than 2,048 values a sample: measured on at most 2,048 samples.

    Source: Kornblith et al., Similarity of Neural Network Representations Revisited, 2019, eq. 3.
    """
    if clean.wide:
        K, L = (_self_product(side.sample(SAMPLES)[0]) for side in (clean, shifted))
        cross, left, right = _inner(K, L), _inner(K, K), _inner(L, L)
        spreads = float(K.trace()), float(L.trace())
    else:
        AA, BB, AB = _products(clean, shifted)
        cross, left, right = _inner(AB, AB), _inner(AA, AA), _inner(BB, BB)
        spreads = float(AA.trace()), float(BB.trace())
    if not np.isfinite([cross, left, right]).all():
        refuse_too_large(clean, shifted)
    if any(spread <= e.rounding() for spread, e in zip(spreads, (clean, shifted), strict=True)):
        return None
    return min(cross / float(np.sqrt(left) * np.sqrt(right)), 1.0)


def _products(clean: Embedding, shifted: Embedding) -> tuple[Tensor, Tensor, Tensor]:
    """A'A, B'B and A'B of the centred rows, (D, D) float64 sums of float32 products."""
    AA = BB = AB = torch.zeros(())
    for A, B in zip(clean.centred(), shifted.centred(), strict=True):
        ours = _self_product(A.T)
        # Equal rows get equal products, so that without a shift the value is 1 exactly.
        theirs, both = (ours, ours) if torch.equal(A, B) else (_self_product(B.T), (A.T @ B).double())
        AA, BB, AB = AA + ours, BB + theirs, AB + both
    return AA, BB, AB


def _self_product(X: Tensor) -> Tensor:
    """X X' in float64 of float32 products; on a CPU through NumPy, which knows that half of it is enough."""
    if X.is_cuda:
        return (X @ X.T).double()
    rows = X.numpy()
    with np.errstate(over="ignore", invalid="ignore"):  # linear_cka names what overflows
        return torch.from_numpy(rows @ rows.T).double()


def _inner(K: Tensor, L: Tensor) -> float:
    return float(torch.dot(K.flatten(), L.flatten()))


def probe_error(shifted: Embedding) -> float:
    """Leave-one-out error of a ridge classifier on the shifted embeddings: what a new last layer could not do.

    One-hot targets, centred embeddings X, an intercept, penalty 0.01 times the mean diagonal of X'X, float64
    (``hitl_kernels.leave_one_out_ridge``). At most the error of always guessing the most frequent class: leaving a
    sample out makes its own class rarer, so that embeddings which tell nothing would otherwise do worse than that
    guess. More than 2,048 values a sample, or more values than samples: of at most 2,048 samples.
    """
    rows, classes = shifted.rows, shifted.classes
    if shifted.wide:
        rows, which = shifted.sample(SAMPLES)
        classes = classes[which]
    if len(classes) < 2:
        return 0.0
    with named(shifted):
        found = leave_one_out_labels(
            classes, RIDGE / shifted.shape[1], features=rows, n_classes=shifted.n_classes
        )
    found = found.cpu().numpy() if isinstance(found, Tensor) else found
    wrong = float((np.asarray(found) != classes).mean())
    return min(wrong, 1 - float(np.bincount(classes).max()) / classes.size)

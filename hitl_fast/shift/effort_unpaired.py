"""The effort score of two sets of samples that are no pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .effort_score import (
    WEIGHT,
    EffortScore,
    checked_labels,
    checked_logits,
    clean_side,
    doubts,
    shifted_side,
    target_error,
    wrong_share,
)

Layers = list[tuple[str, Any]]


@dataclass(frozen=True)
class EffortSide:
    """One side's samples: a list of (n, width) layer inputs, (n, C) logits, (n,) labels."""

    inputs: Sequence[np.ndarray]
    logits: np.ndarray
    labels: np.ndarray

    def only(self, rows: np.ndarray) -> EffortSide:
        return EffortSide([X[rows] for X in self.inputs], self.logits[rows], self.labels[rows])


def unpaired_effort_score(
    clean: EffortSide, shifted: EffortSide, *, clean_accuracy: float | None = None
) -> tuple[EffortScore, list[str]]:
    """The effort score where clean and shifted are different samples, and what to know about it.

    As ``effort_score``, but the target T of a shifted sample is the mean of the clean logits of its class. The probe
    errors, whose difference is B, are of equal numbers of samples of each class on both sides (the first ones), for a
    leave-one-out error falls with the number of samples. Shifted samples of a class that no clean sample has are left
    out.

    Args:
        clean: finite, with layers in the order of the shifted ones and as wide.
        shifted: finite.

    Raises:
        ValueError: no class is on both sides, or fewer than 2 samples of such classes.
    """
    labels = checked_labels(clean.labels)
    known = np.isin(shifted.labels, clean.labels)
    notes = []
    if not known.all():
        notes.append(
            f"left out {int((~known).sum())} of {len(known)} shifted samples of classes that no clean sample has"
        )
        shifted = shifted.only(np.flatnonzero(known))
    wanted = checked_labels(shifted.labels)
    target = checked_logits(clean.logits, "clean logits", len(labels))
    base = checked_logits(shifted.logits, "shifted logits", len(wanted))
    clean_error = wrong_share(target, labels)
    tau = target_error(clean_error, clean_accuracy)
    layers = _named(shifted, "shifted")
    excess, probe, copies = shifted_side(layers, base, _class_means(target, labels, wanted), wanted, tau)
    ours, theirs = equal_classes(clean.labels, shifted.labels)
    if len(theirs) < len(wanted):
        probe = clean_side(_named(shifted.only(theirs), "shifted"), wanted[torch.from_numpy(theirs)])[0]
    clean_probe, clean_copies = clean_side(_named(clean.only(ours), "clean"), labels[torch.from_numpy(ours)])
    increase = max(0.0, probe - clean_probe)
    if len(theirs) < len(wanted):
        notes.append(f"probe_increase is of {len(theirs)} samples a side, as many of each class on both")
    near = int(copies.sum()) + int(clean_copies.sum())
    notes += doubts(wanted, near, clean_error, clean_accuracy)
    score = EffortScore(
        effort_score=float(np.sqrt(excess) + WEIGHT * increase),
        path_excess=excess,
        probe_increase=increase,
        target_error=tau,
        clean_error=clean_error,
        shifted_error=wrong_share(base, wanted),
        clean_probe_error=clean_probe,
        shifted_probe_error=probe,
        samples=len(wanted),
        near_copies=near,
        notes=tuple(notes),
    )
    return score, notes


def equal_classes(clean: np.ndarray, shifted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the first samples of each class, as many on both sides.

    >>> equal_classes(np.array([0, 1, 1, 1]), np.array([1, 0, 0, 1]))
    (array([0, 1, 2]), array([0, 1, 3]))
    """
    ours, theirs = [], []
    for kind in np.intersect1d(clean, shifted):
        members = np.flatnonzero(clean == kind), np.flatnonzero(shifted == kind)
        most = min(map(len, members))
        ours.append(members[0][:most])
        theirs.append(members[1][:most])
    return tuple(np.sort(np.concatenate(side)) if side else np.zeros(0, int) for side in (ours, theirs))  # type: ignore[return-value]


def _class_means(logits: Tensor, labels: Tensor, wanted: Tensor) -> Tensor:
    """(m, C) float64 mean of the logits of each wanted label, all of which are among the labels."""
    kinds, member, sizes = torch.unique(labels, return_inverse=True, return_counts=True)
    sums = torch.zeros(len(kinds), logits.shape[1], dtype=torch.float64)
    sums.index_add_(0, member, logits)
    means: Tensor = (sums / sizes[:, None])[torch.searchsorted(kinds, wanted)]
    return means


def _named(side: EffortSide, name: str) -> Layers:
    return [(f"{name} layer {i}", X) for i, X in enumerate(side.inputs) if X.shape[1] > 1]

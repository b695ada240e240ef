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
    copies_doubt,
    doubts,
    shifted_side,
    target_error,
    wrong_share,
)

Layers = list[tuple[str, Any]]
UNLIKE = 0.1  # total variation between class shares, beyond what random samples have


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
    out. Where the classes of both have other shares (`unlike_classes`), tau is of the clean errors of the classes at
    the shares of the shifted samples: with those of the clean ones, a set of hard classes would be a shift.

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
    apart = unlike_classes(clean.labels, shifted.labels)
    expected = clean_error
    if apart:
        expected = _error_at_shares(target, labels, wanted)
        goal = (
            f"the target is of a clean error of {expected:.1%}, by class at the shifted shares, not {clean_error:.1%}"
            if clean_accuracy is None
            else "clean_accuracy must be of classes at the shifted shares"
        )
        notes.append(f"classes have other shares on both sides (total variation {apart:.2f}): {goal}")
    tau = target_error(expected, clean_accuracy)
    layers = _named(shifted, "shifted")
    excess, probe, copies = shifted_side(layers, base, _class_means(target, labels, wanted), wanted, tau)
    ours, theirs = equal_classes(clean.labels, shifted.labels)
    if len(theirs) < len(wanted):
        probe = clean_side(_named(shifted.only(theirs), "shifted"), wanted[torch.from_numpy(theirs)])[0]
    clean_probe, clean_copies = clean_side(_named(clean.only(ours), "clean"), labels[torch.from_numpy(ours)])
    increase = max(0.0, probe - clean_probe)
    if len(theirs) < len(wanted):
        notes.append(f"probe_increase is of {len(theirs)} samples a side, as many of each class on both")
    near = int(copies.sum()), int(clean_copies.sum())
    notes += doubts(wanted, near[0], clean_error, clean_accuracy)
    notes += copies_doubt(near[1], len(ours), "clean samples")
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
        near_copies=sum(near),
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


def unlike_classes(clean: np.ndarray, shifted: np.ndarray) -> float | None:
    """Total variation between the shares of classes; None where random samples of one set may have as much.

    >>> unlike_classes(np.arange(1000) % 2, np.arange(1000) % 10 // 9)
    0.4
    """
    kinds = np.union1d(clean, shifted)
    shares = [
        np.bincount(np.searchsorted(kinds, side), minlength=len(kinds)) / len(side)
        for side in (clean, shifted)
    ]
    apart = float(np.abs(shares[0] - shares[1]).sum()) / 2
    least = min(len(clean), len(shifted))
    return apart if apart > UNLIKE + float(np.sqrt(len(kinds) / least)) else None


def _error_at_shares(logits: Tensor, labels: Tensor, wanted: Tensor) -> float:
    """The error of each class of labels, at its share of the wanted ones."""
    kinds, member, sizes = torch.unique(labels, return_inverse=True, return_counts=True)
    wrong = torch.zeros(len(kinds), dtype=torch.float64)
    wrong.index_add_(0, member, (logits.argmax(1) != labels).double())
    return float((wrong / sizes)[torch.searchsorted(kinds, wanted)].mean())


def _class_means(logits: Tensor, labels: Tensor, wanted: Tensor) -> Tensor:
    """(m, C) float64 mean of the logits of each wanted label, all of which are among the labels."""
    kinds, member, sizes = torch.unique(labels, return_inverse=True, return_counts=True)
    sums = torch.zeros(len(kinds), logits.shape[1], dtype=torch.float64)
    sums.index_add_(0, member, logits)
    means: Tensor = (sums / sizes[:, None])[torch.searchsorted(kinds, wanted)]
    return means


def _named(side: EffortSide, name: str) -> Layers:
    return [(f"{name} layer {i}", X) for i, X in enumerate(side.inputs) if X.shape[1] > 1]

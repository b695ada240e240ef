"""Adjusted Rand index: how far a clustering agrees with the true classes, beyond chance."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from .._dispatch import implementation
from . import cpu

__all__ = ["rand_index"]


def rand_index(
    labels: torch.Tensor | NDArray[np.integer], clusters: torch.Tensor | NDArray[np.integer]
) -> float:
    """Adjusted Rand index of a clustering against the true classes.

    With ``n[i, j]`` samples of class i in cluster j, row sums a, column sums b and C2(k) = k (k - 1) / 2::

        expected = sum C2(a) * sum C2(b) / C2(n)
        ARI = (sum C2(n[i, j]) - expected) / ((sum C2(a) + sum C2(b)) / 2 - expected)

    Counts and pair counts are integers and their products Python's, so the result is the exact value
    rounded once, whatever the order of the samples or the number of threads.

    Args:
        labels: (n,) integers or booleans, the class of each sample; any values, hashes included.
        clusters: (n,) integers or booleans, the cluster of each sample; any values.
            Two tensors are counted where labels are, other pairs on the CPU.

    Returns:
        1 for the same partition, near 0 for a random one, negative for worse. 1 if both put all
        samples in one group, or each in its own. Exact for n up to 3e9.

    Raises:
        TypeError: an argument does not hold integers.
        ValueError: the shapes are not both (n,) with the same n >= 1, or n exceeds 3e9.

    Source: Hubert and Arabie, Comparing partitions, 1985, eq. 5.

    >>> rand_index(np.array([0, 0, 1, 1]), np.array([5, 5, 7, 7]))
    1.0
    >>> round(rand_index(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 2])), 3)
    0.571
    """
    sizes = [_checked(labels, "labels"), _checked(clusters, "clusters")]
    if sizes[0] != sizes[1]:
        raise ValueError(f"{sizes[0]} labels but {sizes[1]} clusters: one of each per sample")
    if isinstance(labels, torch.Tensor) and isinstance(clusters, torch.Tensor) and labels.is_cuda:
        counted = implementation(__name__, labels).pair_counts(labels, clusters.to(labels.device))
    else:
        counted = cpu.pair_counts(_array(labels), _array(clusters))
    same_both, same_class, same_cluster = counted
    return _adjusted(same_both, same_class, same_cluster, everything=sizes[0] * (sizes[0] - 1) // 2)


def _adjusted(same_both: int, same_class: int, same_cluster: int, everything: int) -> float:
    """Eq. 5 times twice the number of all pairs: integers until the one division."""
    chance = same_class * same_cluster
    most = (same_class + same_cluster) * everything - 2 * chance
    return 1.0 if most == 0 else 2 * (same_both * everything - chance) / most


def _checked(values: torch.Tensor | NDArray[np.integer], name: str) -> int:
    """The number of samples."""
    if isinstance(values, torch.Tensor):
        wrong = values.dtype.is_floating_point or values.dtype.is_complex
    else:
        values = np.asarray(values)
        wrong = values.dtype.kind not in "iub"
    if wrong:
        raise TypeError(f"{name} must hold integers, not {values.dtype}")
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"{name} must have shape (n,) with n >= 1, not {tuple(values.shape)}")
    if len(values) > 3_000_000_000:
        raise ValueError(f"{name} has {len(values)} samples: pair counts are exact up to 3e9 only")
    return len(values)


def _array(values: torch.Tensor | NDArray[np.integer]) -> NDArray[np.integer]:
    return values.cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)

"""The definition of the adjusted Rand index, straight from Hubert and Arabie (1985), eq. 5."""

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.integer]


def rand_index(labels: Integers, clusters: Integers) -> float:
    classes, groups = np.unique(labels), np.unique(clusters)
    together = np.array(
        [[np.sum((labels == c) & (clusters == g)) for g in groups] for c in classes]
    )  # [classes, clusters]
    same_both, same_class, same_cluster = (pairs(c) for c in (together, together.sum(1), together.sum(0)))
    everything = pairs(np.array([len(labels)]))
    expected = Fraction(same_class * same_cluster, max(everything, 1))
    most = Fraction(same_class + same_cluster, 2)
    # Both partitions put everything together, or nothing: they agree, and chance could not do otherwise.
    return 1.0 if most == expected else float((same_both - expected) / (most - expected))


def pairs(counts: Integers) -> int:
    """The number of pairs inside groups of these sizes."""
    return sum(int(k) * (int(k) - 1) // 2 for k in counts.ravel())

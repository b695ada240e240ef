"""Sums of rows by segment, as a product with the one-hot matrix of the segments."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def segment_sums(rows: NDArray[Any], segments: NDArray[np.integer], n_segments: int) -> NDArray[np.float64]:
    """``sums[k] = sum of rows[i] over segments[i] == k``: (n_segments, width) float64."""
    member = np.arange(n_segments)[:, None] == segments
    return np.asarray(member.astype(np.float64) @ rows.astype(np.float64))

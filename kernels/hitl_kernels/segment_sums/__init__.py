"""Sums of rows by segment: class sums of embeddings without a one-hot matrix."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..lloyd.rows import Sliceable
from . import cpu

__all__ = ["segment_sums"]

CHUNK = 1 << 22  # values of a file, or of half precision, that are at hand at a time


def segment_sums(
    rows: Sliceable | torch.Tensor, segments: NDArray[np.integer] | torch.Tensor, n_segments: int
) -> Any:
    """Sum the rows of each segment: ``sums[k] = sum of rows[i] over segments[i] == k``.

    O(N D) operations. On a CPU each sum is float64 and taken in the order of the rows, so it is the same bits for any
    number of threads, in memory or in a file. On a GPU sums of 256 rows are added up: float64's rounding differs.

    Args:
        rows: (N, D) floats: an array, a memory map (read in chunks) or a tensor.
        segments: (N,) integers 0 .. n_segments - 1.
        n_segments: at least 1.

    Returns:
        (n_segments, D) float64; a tensor where rows are one, else an array. Segments without rows are 0. Values that
        are not finite are added like others.

    Raises:
        TypeError: rows do not hold floats, or segments not integers.
        ValueError: shapes that do not fit, n_segments < 1, a segment out of range (its position is named).

    >>> segment_sums(np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), np.array([2, 0, 2]), 3).tolist()
    [[3.0, 4.0], [0.0, 0.0], [6.0, 8.0]]
    """
    _check_rows(rows)
    n, width = int(rows.shape[0]), int(rows.shape[1])
    n_segments = operator.index(n_segments)
    if n_segments < 1:
        raise ValueError(f"n_segments must be at least 1, not {n_segments}")
    codes = _checked_segments(segments, n, n_segments)
    if isinstance(rows, torch.Tensor) and rows.is_cuda:
        from . import gpu

        wide = rows.detach().float() if rows.dtype == torch.bfloat16 else rows.detach()
        wide = wide if wide.stride(1) == 1 else wide.contiguous()
        return gpu.segment_sums(wide, codes.to(rows.device), n_segments)
    order: NDArray[np.int64] = np.ascontiguousarray(codes.cpu().numpy())
    sums = np.zeros((n_segments, width))
    step = max(1, CHUNK // max(width, 1))
    for start in range(0, n, step):
        cpu.add(_plain(rows[start : start + step]), order[start : start + step], sums)
    return torch.from_numpy(sums) if isinstance(rows, torch.Tensor) else sums


def _plain(part: Any) -> NDArray[np.floating]:
    """Contiguous float32 or float64, without a copy where it is that already."""
    if isinstance(part, torch.Tensor):
        part = part.detach()
        part = (part if part.dtype in (torch.float32, torch.float64) else part.float()).numpy()
    wide = np.float64 if part.dtype.itemsize > 4 else np.float32
    return np.ascontiguousarray(np.asarray(part), wide)


def _check_rows(rows: Any) -> None:
    if not (hasattr(rows, "shape") and hasattr(rows, "dtype")):
        raise TypeError(f"rows must be an array or a tensor, not {type(rows).__name__}")
    floating = rows.dtype.is_floating_point if isinstance(rows, torch.Tensor) else rows.dtype.kind == "f"
    if not floating:
        raise TypeError(f"rows must hold floats, not {rows.dtype}")
    if len(rows.shape) != 2:
        raise ValueError(f"rows must have shape (N, D), not {tuple(rows.shape)}")


def _checked_segments(segments: Any, n: int, n_segments: int) -> torch.Tensor:
    codes = segments.detach() if isinstance(segments, torch.Tensor) else torch.from_numpy(np.array(segments))
    if codes.dtype.is_floating_point or codes.dtype.is_complex or codes.dtype == torch.bool:
        raise TypeError(f"segments must hold integers, not {codes.dtype}")
    if codes.shape != (n,):
        raise ValueError(f"segments must have shape ({n},), one a row, not {tuple(codes.shape)}")
    codes = codes.long()
    wrong = ((codes < 0) | (codes >= n_segments)).nonzero()
    if len(wrong):
        row = int(wrong[0, 0])
        raise ValueError(
            f"segments must be from 0 to {n_segments - 1}, but segments[{row}] is {int(codes[row])}"
        )
    return codes

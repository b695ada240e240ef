"""Distances between two data sets' representations, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch

from .._dispatch import implementation
from . import cpu
from .reference import MEASURES

__all__ = [
    "ARITHMETICS",
    "MEASURES",
    "ShiftDistances",
    "add_in_order",
    "checked_bins",
    "pooled_rows",
    "row_histograms",
    "shift_distances",
]

ARITHMETICS = ("corrected", "reference")


@dataclass(frozen=True)
class ShiftDistances:
    """What ``shift_distances`` found; arrays if rows came as arrays, tensors on their device if as tensors."""

    distances: (
        Any  # (bins, measures) float64, sums over the rows that count; (rows, bins, measures) if per row
    )
    left_out: Any  # row pairs left out: NaN or infinite values, or a range that overflows
    counts: Any  # (2, finest bins) int64: histograms of clean and of shifted rows, summed over rows


def shift_distances(
    clean: torch.Tensor | np.ndarray,
    shifted: torch.Tensor | np.ndarray,
    bins: Sequence[int] = (16, 32, 64),
    *,
    arithmetic: str = "corrected",
    per_row: bool = False,
) -> ShiftDistances:
    """Five distances between the histograms of each clean row and of its shifted partner.

    Each row is binned like ``np.histogram(row, bins=B)``, over its own minimum to maximum, so with the very same
    counts for float32 and float64. With p, q the counts of n values, P = p/n, Q = q/n, M = (P + Q)/2::

        jensen_shannon       (sum P log(P/M) + sum Q log(Q/M)) / 2            nats, 0 to log 2
        bhattacharyya        1 - sum sqrt(P Q)                                0 to 1 (squared Hellinger distance)
        kullback_leibler     sum P log(P/Q)                                   nats
        wasserstein_heights  mean |sort(P) - sort(Q)|                         of the heights, whatever their place
        wasserstein_bins     sum |cumsum(P) - cumsum(Q)| / B                  along the bins, range = 1

    ``arithmetic="reference"`` is the published code's: terms of the Kullback-Leibler sum where P or Q is 0 count 0,
    so that it can be negative. ``"corrected"`` adds half a count to every bin first, and takes a row whose range
    is under 64 units in the last place of its values as constant: all in bin B // 2. So is, in both, a row that
    ``np.histogram`` refuses to cut into B bins.

    Args:
        clean: (R, C) floating point rows, 1 <= C; or (N, C, ...) maps, which are pooled on the way to (N, C) rows
            by their mean over what follows. float16 and bfloat16 are computed in float32.
        shifted: same shape, dtype and device.
        bins: numbers of bins, each >= 2, rising. Ratios that are powers of two cost nothing extra.
        per_row: distances of each row, NaN where left out, in place of the sum over rows.

    Returns:
        Sums are taken in the order of the rows. For sums over batches that do not depend on how rows were cut into
        them, take ``per_row`` distances and ``add_in_order``.

    Raises:
        TypeError: not floating point, or not both tensors or both arrays, or of different dtype.
        ValueError: shapes differ or have fewer than 2 dimensions, no values, bins not rising from 2, unknown
            arithmetic, different devices.

    Source: Sangarya, Bradford, Kim, Estimating Environmental Cost Throughout Model's Adaptive Life Cycle, AIES
    2024 (arXiv 2408.01446); what is corrected and why stands above.

    >>> rows = np.array([[0.0, 1.0, 2.0, 3.0], [0.0, 0.0, 0.0, 1.0]], np.float32)
    >>> result = shift_distances(rows, rows[::-1].copy(), bins=(2,))
    >>> dict(zip(MEASURES, result.distances[0].round(3).tolist()))["wasserstein_bins"]
    0.25
    >>> float(shift_distances(rows, 5 * rows + 1).distances.max())  # neither scale nor offset of a row counts
    0.0
    """
    rising = checked_bins(bins)
    corrected = _is_corrected(arithmetic)
    _check_pair(clean, shifted)
    if isinstance(clean, torch.Tensor) and clean.is_cuda:
        backend = implementation(__name__, clean)
        return ShiftDistances(*backend.shift_distances(clean, shifted, rising, corrected, per_row))
    distances, left_out, counts = cpu.shift_distances(
        _rows(clean, corrected), _rows(shifted, corrected), rising, corrected
    )
    if not per_row:
        distances = cpu.add_in_order(np.zeros(distances.shape[1:]), distances)
    if isinstance(clean, torch.Tensor):
        return ShiftDistances(torch.from_numpy(distances), left_out, torch.from_numpy(counts))
    return ShiftDistances(distances, left_out, counts)


def row_histograms(
    rows: torch.Tensor | np.ndarray, bins: int = 64, *, arithmetic: str = "corrected"
) -> np.ndarray:
    """The counts that the distances are made of: (R, bins) int64, zeros for a row that is left out.

    Args:
        rows: (R, C) floating point, or maps to pool, as for ``shift_distances``; on the CPU.
        bins: at least 2.
        arithmetic: "corrected" takes near-constant rows as constant, "reference" as NumPy bins them.

    Raises:
        TypeError, ValueError: as ``shift_distances``.

    >>> row_histograms(np.array([[0.0, 1.0, 2.0, 3.0, 4.0]]), bins=4)
    array([[1, 1, 1, 2]])
    """
    (n_bins,) = checked_bins((bins,))
    _check_pair(rows, rows)
    corrected = _is_corrected(arithmetic)
    return cpu.histograms(_rows(rows, corrected), n_bins, corrected)


def add_in_order(total: Any, distances: Any) -> Any:
    """``total`` (bins, measures) plus each row of ``distances`` (rows, bins, measures) in turn, NaN rows left out.

    One row after the other, so that a total over batches does not depend on how the rows were cut into batches.
    """
    if isinstance(distances, torch.Tensor):
        if distances.is_cuda:
            return implementation(__name__, distances).add_in_order(total, distances)
        return torch.from_numpy(cpu.add_in_order(total.numpy(), distances.numpy()))
    return cpu.add_in_order(total, distances)


def checked_bins(bins: Sequence[int]) -> tuple[int, ...]:
    """The numbers of bins as a tuple of int, or ValueError / TypeError where they do not rise from 2 or more."""
    if isinstance(bins, str) or not isinstance(bins, Sequence | np.ndarray):
        raise TypeError(f"bins must be a sequence of integers such as (16, 32, 64), not {bins!r}")
    checked: list[int] = []
    for position, value in enumerate(bins):
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise TypeError(f"bins must be integers; at position {position} stands {value!r}")
        if value < 2:
            raise ValueError(f"bins must each be at least 2; at position {position} stands {value}")
        if checked and value <= checked[-1]:
            raise ValueError(f"bins must rise; at position {position}, {value} follows {checked[-1]}")
        checked.append(int(value))
    if not checked:
        raise ValueError("bins must name at least one number of bins")
    return tuple(checked)


def pooled_rows(maps: torch.Tensor, *, arithmetic: str = "corrected") -> torch.Tensor:
    """The (N, C) rows that ``shift_distances`` makes of (N, C, ...) maps, for rows that wait for their partners.

    >>> pooled_rows(torch.arange(8.0).reshape(1, 2, 4))
    tensor([[1.5000, 5.5000]])
    """
    corrected = _is_corrected(arithmetic)
    if maps.is_cuda:
        pooled: torch.Tensor = implementation(__name__, maps).rows(maps)
        return pooled
    return torch.from_numpy(_rows(maps, corrected))


def _is_corrected(arithmetic: str) -> bool:
    if arithmetic not in ARITHMETICS:
        raise ValueError(f"arithmetic must be one of {', '.join(ARITHMETICS)}, not {arithmetic!r}")
    return arithmetic == "corrected"


def _check_pair(clean: object, shifted: object) -> None:
    for name, rows in (("clean", clean), ("shifted", shifted)):
        if isinstance(rows, torch.Tensor):
            floating = rows.is_floating_point()
        elif isinstance(rows, np.ndarray):
            floating = rows.dtype.kind == "f" and rows.dtype.itemsize <= 8
        else:
            raise TypeError(f"{name} must be a torch.Tensor or numpy.ndarray, not {type(rows).__name__}")
        if not floating:
            raise TypeError(f"{name} must hold float16, bfloat16, float32 or float64, not {rows.dtype}")
        if rows.ndim < 2:
            raise ValueError(
                f"{name} must be rows (R, C) or maps (N, C, ...), not of shape {tuple(rows.shape)}"
            )
        if 0 in rows.shape[1:]:
            raise ValueError(f"{name} has rows of no values: shape {tuple(rows.shape)}")
    assert isinstance(clean, torch.Tensor | np.ndarray)
    assert isinstance(shifted, torch.Tensor | np.ndarray)
    if isinstance(clean, torch.Tensor) != isinstance(shifted, torch.Tensor):
        raise TypeError("clean and shifted must both be tensors or both be arrays")
    if clean.shape != shifted.shape:
        raise ValueError(
            f"clean has shape {tuple(clean.shape)} but shifted {tuple(shifted.shape)}: rows are compared in pairs"
        )
    if clean.dtype != shifted.dtype:
        raise TypeError(f"clean holds {clean.dtype} but shifted {shifted.dtype}")
    if isinstance(clean, torch.Tensor) and clean.device != cast(torch.Tensor, shifted).device:
        raise ValueError(f"clean is on {clean.device} but shifted on {cast(torch.Tensor, shifted).device}")


def _rows(values: torch.Tensor | np.ndarray, corrected: bool) -> np.ndarray:
    """Contiguous (R, C) float32 or float64, pooled where there are more dimensions."""
    tensor = (
        values.detach()
        if isinstance(values, torch.Tensor)
        else torch.from_numpy(np.ascontiguousarray(values))
    )
    if tensor.dtype in (torch.float16, torch.bfloat16):
        tensor = tensor.float()
    if tensor.ndim == 2:
        return tensor.contiguous().numpy()
    maps = tensor.flatten(2)
    if corrected:
        return maps.mean(2).numpy()
    # The published code's mean is NumPy's, and its order of summation decides values that lie on an edge.
    return np.asarray(maps.numpy().mean(2, dtype=maps.numpy().dtype))

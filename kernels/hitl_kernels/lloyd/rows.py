"""Rows in float32, a chunk at a time, from memory or from a file that is never held whole."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numba
import numpy as np
from numpy.lib.array_utils import byte_bounds
from numpy.typing import NDArray

from ..policy import compiled, compiled_fast_by_size

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

CHUNK = 1 << 22  # elements: 16 MiB of float32 are at hand at a time
SEGMENT = 256  # rows whose squares are one term of the sum over rows


@dataclass
class Run:
    """Where a clustering stands: centroids about the mean of the rows, and what the last E-step said."""

    centroids: Float32  # [clusters, width]
    labels: Any  # [samples] int32, where the rows are
    iterations: int = 0
    inertia: float = 0.0


class Sliceable(Protocol):
    """Anything with a shape whose rows can be sliced: an array, a memory map, a data set in a file."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> Any: ...
    def __getitem__(self, rows: slice, /) -> Any: ...


class Rows:
    """The (N, D) rows of ``source`` in float32, and the origin of their distances.

    Args:
        source: (N, D) floats.
        stream: convert chunk by chunk on every pass, instead of once in memory.

    Raises:
        ValueError: a value is NaN or infinite, or the rows spread too far for float32 distances.

    Attributes:
        mean: (D,) of all rows.
        variance: of the columns, its mean.

    Chunks begin at multiples of the same number of rows either way, so results do not depend on ``stream``.
    """

    def __init__(self, source: Sliceable, stream: bool) -> None:
        self.stream = stream
        self.source = source if stream else _float32(source)
        self.samples, self.width = source.shape
        self.per_chunk = max(CHUNK // self.width // SEGMENT, 1) * SEGMENT
        self.mean = self._mean()
        squares = sum(_squares(x.size, x, self.mean, _segments(x)) for _, x in self.chunks())
        check_spread(squares)
        self.variance = squares / self.samples / self.width

    def chunks(self) -> Iterator[tuple[int, Float32]]:
        """The number of its first row and the rows, chunk by chunk."""
        if self.stream:
            return read_chunks(self.source, self.per_chunk)
        starts = range(0, self.samples, self.per_chunk)
        return ((start, self.source[start : start + self.per_chunk]) for start in starts)

    def take(self, indices: NDArray[np.integer]) -> Float32:
        if self.stream:
            return np.concatenate([_float32(self.source[i : i + 1]) for i in indices])
        rows: Float32 = np.asarray(self.source)[indices]
        return rows

    def _mean(self) -> Float32:
        # In float32 and in the order of the rows, which is how NumPy's mean(0) gives scikit-learn the origin
        # of its distances: k-means++ then draws the same rows. Past 2**24 rows such a sum stands still.
        total: NDArray[Any] = np.zeros(self.width, np.float32 if self.samples <= 2**24 else np.float64)
        for start, rows in self.chunks():
            _add_rows(rows, total)
            if not np.isfinite(total).all():
                wrong = np.argwhere(~np.isfinite(rows))
                if len(wrong) == 0:
                    raise ValueError("x is too large for float32: the sum of a column overflows")
                row, column = wrong[0]
                raise ValueError(
                    f"x must be finite in float32, but x[{start + row}, {column}] is {rows[row, column]}"
                )
        return np.asarray(np.divide(total, self.samples, dtype=total.dtype), np.float32)


def read_chunks(source: Sliceable, per_chunk: int) -> Iterator[tuple[int, Float32]]:
    """The number of its first row and the rows in float32, chunk by chunk; a file's pages are given back after."""
    for start in range(0, source.shape[0], per_chunk):
        part = source[start : start + per_chunk]
        yield start, _float32(part)
        _release(part)


def check_spread(squares: float) -> None:
    """Refuses rows whose squared distances to their mean, summed, leave float32."""
    if not squares < float(np.finfo(np.float32).max):
        raise ValueError(f"x spreads too far for float32: squared distances to its mean sum to {squares:.3g}")


def _float32(part: Any) -> Float32:
    # A plain array of a memory map too, so that kernels see one type; a copy only where it must be converted.
    with np.errstate(over="ignore"):  # what overflows is found and named with the NaNs
        return np.ascontiguousarray(np.asarray(part), np.float32)


def _release(part: Any) -> None:
    """Gives pages of a mapped file back to the system, which keeps them as long as it likes.

    Not those of a private map: what was written there exists nowhere else.
    """
    if not isinstance(part, np.memmap) or part.mode == "c":
        return
    mapped: mmap.mmap | None = getattr(part, "_mmap", None)
    if mapped is None:
        return
    base = np.frombuffer(mapped, np.uint8, 1).__array_interface__["data"][0]
    first, last = byte_bounds(part)
    begin = (first - base) // mmap.PAGESIZE * mmap.PAGESIZE
    end = (last - base) // mmap.PAGESIZE * mmap.PAGESIZE
    if end > begin:
        mapped.madvise(mmap.MADV_DONTNEED, begin, end - begin)


def _segments(rows: Float32) -> Float64:
    return np.empty(-(-len(rows) // SEGMENT))


@compiled
def _add_rows(rows: Float32, total: Float32 | Float64) -> None:
    for i in range(rows.shape[0]):
        for d in range(rows.shape[1]):
            total[d] += rows[i, d]


@compiled_fast_by_size
def _squares(rows: Float32, mean: Float32, of_segments: Float64) -> float:
    """The sum of squares of rows - mean; ``of_segments`` is room for its terms."""
    segments = of_segments.size
    for segment in numba.prange(segments):
        squares = 0.0
        for i in range(segment * SEGMENT, min((segment + 1) * SEGMENT, rows.shape[0])):
            for d in range(rows.shape[1]):
                apart = np.float64(rows[i, d] - mean[d])
                squares += apart * apart
        of_segments[segment] = squares
    squares = 0.0
    for segment in range(segments):
        squares += of_segments[segment]
    return squares

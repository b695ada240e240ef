"""Rows about their mean in float32, a chunk at a time, from memory or from a file never held whole."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.lib.array_utils import byte_bounds
from numpy.typing import NDArray

from ..policy import compiled, compiled_fast

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

CHUNK = 1 << 20  # elements; 4 MiB of float32 lie in a last-level cache between two passes over them
TILE = 4  # kernels take rows four at a time: buffers are padded to a multiple
SEGMENT = 256  # rows whose float64 sum is one term of the next sum


class Sliceable(Protocol):
    """Anything with a shape whose rows can be sliced: an array, a memory map, a data set in a file."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> Any: ...
    def __getitem__(self, rows: slice, /) -> Any: ...


class Rows:
    """The (N, D) rows of ``source`` less their mean.

    Args:
        source: (N, D) floats.
        stream: read and centre chunk by chunk on every pass, instead of once into memory.

    Raises:
        ValueError: a value is NaN or infinite, or the rows spread too far for float32 distances.

    Chunks begin at multiples of the same number of rows either way, so results do not depend on ``stream``.
    """

    def __init__(self, source: Sliceable, stream: bool) -> None:
        self.source = source
        self.samples, self.width = source.shape
        self.per_chunk = max(CHUNK // self.width // SEGMENT, 1) * SEGMENT
        self._memory = None if stream else np.empty((-(-self.samples // TILE) * TILE, self.width), np.float32)
        self.mean = self._mean()
        self._buffer = np.empty((min(self.per_chunk, _padded(self.samples)), self.width), np.float32)
        squares = 0.0
        for start, rows in self._read():
            centred = self._into(start, len(rows))
            squares += float(_centre(rows, self.mean, centred))
        if not squares < np.finfo(np.float32).max:
            raise ValueError(
                f"x spreads too far for float32: squared distances to its mean sum to {squares:.3g}"
            )
        self.variance = squares / self.samples / self.width

    def chunks(self) -> Iterator[tuple[int, int, Float32]]:
        """The first row's number, the number of rows, and the rows, padded to a multiple of ``TILE``."""
        if self._memory is not None:
            for start in range(0, self.samples, self.per_chunk):
                stop = min(start + self.per_chunk, self.samples)
                yield start, stop - start, self._memory[start : start + _padded(stop - start)]
            return
        for start, rows in self._read():
            centred = self._into(start, len(rows))
            _centre(rows, self.mean, centred)
            yield start, len(rows), centred

    def take(self, indices: NDArray[np.integer]) -> Float32:
        """Some rows, centred."""
        if self._memory is not None:
            return np.asarray(self._memory[indices])
        rows = np.concatenate([_float32(self.source[i : i + 1]) for i in indices])
        return np.asarray(rows - self.mean)

    def _into(self, start: int, rows: int) -> Float32:
        place = self._buffer if self._memory is None else self._memory[start:]
        place[rows : _padded(rows)] = 0
        return place[: _padded(rows)]

    def _mean(self) -> Float32:
        # In float32 and in the order of the rows, which is how NumPy's mean(0) gives scikit-learn the origin
        # of its distances: k-means++ then draws the same rows. Past 2**24 rows such a sum stands still.
        total: NDArray[Any] = np.zeros(self.width, np.float32 if self.samples <= 2**24 else np.float64)
        for start, rows in self._read():
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

    def _read(self) -> Iterator[tuple[int, Float32]]:
        for start in range(0, self.samples, self.per_chunk):
            part = self.source[start : start + self.per_chunk]
            yield start, _float32(part)
            _release(part)


def _padded(rows: int) -> int:
    return -(-rows // TILE) * TILE


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


@compiled
def _add_rows(rows: Float32, total: Float32 | Float64) -> None:
    for i in range(rows.shape[0]):
        for d in range(rows.shape[1]):
            total[d] += rows[i, d]


@compiled_fast
def _centre(rows: Float32, mean: Float32, out: Float32) -> float:
    """Writes rows - mean and returns the sum of squares."""
    squares = 0.0
    for i in range(rows.shape[0]):
        of_row = 0.0
        for d in range(rows.shape[1]):
            out[i, d] = rows[i, d] - mean[d]
            of_row += float(out[i, d]) ** 2
        squares += of_row
    return squares

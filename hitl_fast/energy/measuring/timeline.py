"""Samples over time in arrays of fixed size: a long run gets a coarser timeline, never a longer one."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CAPACITY = 16384


class Timeline:
    """Energies at sampling times. When full, every second sample is dropped and the peaks are kept.

    Args:
        channels: how many energies a sample has.
        capacity: how many samples are kept, even.
    """

    def __init__(self, channels: int, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._times = array("q", bytes(8 * capacity))
        self._energies = [array("q", bytes(8 * capacity)) for _ in range(channels)]
        self._peaks = [array("q", bytes(8 * capacity)) for _ in range(channels)]
        self._size = 0
        self._stride = 1  # samples that one kept sample stands for
        self._skipped = 0
        self._waiting = [0] * channels  # highest watts among the samples skipped since the last kept one

    def __len__(self) -> int:
        return self._size

    def append(self, time: int, energies: Sequence[int], milliwatts: Sequence[int]) -> None:
        """Add a sample: its time, energies, and the mean power since the sample before."""
        self._skipped += 1
        keep = self._skipped >= self._stride or self._size == 0
        for i, power in enumerate(milliwatts):
            self._waiting[i] = max(self._waiting[i], power)
        if not keep:
            return
        if self._size == self._capacity:
            self._thin()
        at = self._size
        self._times[at] = time
        for i, energy in enumerate(energies):
            self._energies[i][at] = energy
            self._peaks[i][at] = self._waiting[i]
            self._waiting[i] = 0
        self._skipped = 0
        self._size = at + 1

    def extend(
        self, times: NDArray[np.int64], energies: NDArray[np.int64], milliwatts: NDArray[np.int64]
    ) -> None:
        """What `append` does for each of many samples. ``energies`` and ``milliwatts``: [channels, samples]."""
        import numpy as np

        done, n = 0, len(times)
        while done < n:
            first = done + (0 if self._size == 0 else self._stride - self._skipped - 1)
            if first >= n:  # none of the rest is kept
                for i, powers in enumerate(milliwatts):
                    self._waiting[i] = max(self._waiting[i], int(powers[done:].max()))
                self._skipped += n - done
                return
            if self._size == self._capacity:
                self._thin()
            count = min((n - 1 - first) // self._stride + 1, self._capacity - self._size)
            kept = np.arange(count) * self._stride + first
            at = slice(self._size, self._size + count)
            starts = np.concatenate(([done], kept[:-1] + 1))
            self._times[at] = array("q", times[kept].tobytes())
            for i in range(len(self._energies)):
                self._energies[i][at] = array("q", energies[i, kept].tobytes())
                peaks = np.maximum.reduceat(milliwatts[i, : kept[-1] + 1], starts)
                peaks[0] = max(peaks[0], self._waiting[i])
                self._peaks[i][at] = array("q", peaks.tobytes())
                self._waiting[i] = 0
            self._skipped = 0
            self._size += count
            done = int(kept[-1]) + 1

    def _thin(self) -> None:
        half = self._capacity // 2
        for peaks in self._peaks:
            # A kept sample's peak covers the time since the kept sample before it.
            peaks[1:half] = array("q", map(max, peaks[1 : 2 * half - 2 : 2], peaks[2 : 2 * half : 2]))
        for column in (self._times, *self._energies):
            column[:half] = column[: 2 * half : 2]
        self._size = half
        self._stride *= 2

    def times(self) -> list[int]:
        return self._times[: self._size].tolist()

    def energies(self, channel: int) -> list[int]:
        return self._energies[channel][: self._size].tolist()

    def peak(self, channel: int, start: int, end: int) -> int | None:
        """Highest mean power, in milliwatts, between two samples that both lie in the span; None without such."""
        first = bisect_left(self._times, start, 0, self._size)
        last = bisect_right(self._times, end, 0, self._size)
        if last - first < 2:
            return None
        return max(self._peaks[channel][first + 1 : last])

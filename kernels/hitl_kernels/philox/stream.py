"""Which random numbers a caller reads: the key and the upper half of the counter."""

from enum import IntEnum
from typing import NamedTuple


class Purpose(IntEnum):
    """What the numbers are for. Two purposes of one seed and epoch never share a number."""

    DRAW = 0
    LIVE = 1
    OFFSET = 2
    PADDING = 3
    SHUFFLE = 4
    TREE = 5
    ORDER = 256  # 256 + k for the k-th pass over the items without replacement


class Stream(NamedTuple):
    """2**64 blocks of random words, one for each draw number.

    Philox is keyed by (seed, epoch) and counts (draw number, purpose); the upper half of a seed beyond
    32 bits goes into the counter's last word, so that no two streams can meet.
    """

    seed: int  # below 2**64
    epoch: int  # below 2**32
    purpose: int  # below 2**32

    @property
    def words(self) -> tuple[int, int, int, int]:
        """(key word 0, key word 1, counter word 2, counter word 3), each below 2**32."""
        return self.seed & 0xFFFFFFFF, self.epoch, int(self.purpose), self.seed >> 32

"""Philox 4x32-10, straight from Salmon, Moraes, Dror and Shaw (2011), section 3.3."""

import numpy as np

from .stream import Stream

MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
WEYL = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
LOW, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
ROUNDS = 10


def blocks(stream: Stream, draws: np.ndarray) -> np.ndarray:
    """Four 32-bit words for each draw number: uint64 [draws] -> uint64 [draws, 4]."""
    k0, k1, c2, c3 = (np.uint64(word) for word in stream.words)
    a, b = draws & LOW, draws >> HALF
    c, d = np.full_like(draws, c2), np.full_like(draws, c3)
    for _ in range(ROUNDS):
        left, right = MULTIPLIERS[0] * a, MULTIPLIERS[1] * c  # 32 x 32 -> 64 bits
        a, b, c, d = (right >> HALF) ^ b ^ k0, right & LOW, (left >> HALF) ^ d ^ k1, left & LOW
        k0, k1 = (k0 + WEYL[0]) & LOW, (k1 + WEYL[1]) & LOW
    return np.stack([a, b, c, d], axis=1)


def uniforms(stream: Stream, draws: np.ndarray) -> np.ndarray:
    """Two numbers in [0, 1) for each draw number, multiples of 2**-53: uint64 [draws] -> float64 [2, draws]."""
    words = blocks(stream, draws).T
    bits = (words[0::2] << HALF | words[1::2]) >> np.uint64(11)
    numbers: np.ndarray = bits.astype(np.float64) * 2.0**-53
    return numbers

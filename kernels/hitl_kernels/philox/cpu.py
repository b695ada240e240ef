"""Philox 4x32-10 in Numba. ``block`` is what the other operations' kernels call once a draw."""

import numpy as np
import torch

from .. import policy
from .stream import Stream

# Numba turns uint64 with a Python integer into float64, so every constant is a uint64.
LOW, HALF, DROP = np.uint64(0xFFFFFFFF), np.uint64(32), np.uint64(11)
MULTIPLY_A, MULTIPLY_C = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
WEYL_0, WEYL_1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
UNIT = 2.0**-53
CPU = torch.device("cpu")

Words = tuple[np.uint64, np.uint64, np.uint64, np.uint64]


def words(stream: Stream) -> Words:
    k0, k1, c2, c3 = stream.words
    return np.uint64(k0), np.uint64(k1), np.uint64(c2), np.uint64(c3)


@policy.compiled_inline
def block(draw: np.uint64, words: Words) -> Words:
    """The four words of one draw number. Words stay in uint64 so that the loop over draws vectorises."""
    k0, k1, c, d = words
    a, b = draw & LOW, draw >> HALF
    for _ in range(10):
        left, right = MULTIPLY_A * a, MULTIPLY_C * c
        a, b, c, d = (right >> HALF) ^ b ^ k0, right & LOW, (left >> HALF) ^ d ^ k1, left & LOW
        k0, k1 = (k0 + WEYL_0) & LOW, (k1 + WEYL_1) & LOW
    return a, b, c, d


@policy.compiled_inline
def unit(high: np.uint64, low: np.uint64) -> float:
    """53 bits of two words as a number in [0, 1)."""
    return np.float64(np.int64(((high << HALF) | low) >> DROP)) * UNIT


@policy.compiled
def fill(words: Words, start: np.uint64, stride: np.uint64, first: np.ndarray, second: np.ndarray) -> None:
    """The two uniforms of draws start, start + stride, ...; contiguous arrays, or the loop does not vectorise."""
    for i in range(first.size):
        a, b, c, d = block(start + np.uint64(i) * stride, words)
        first[i] = unit(a, b)
        second[i] = unit(c, d)


def uniforms(stream: Stream, start: int, count: int, stride: int, device: torch.device = CPU) -> np.ndarray:
    out = np.empty((2, count))
    fill(words(stream), np.uint64(start), np.uint64(stride), out[0], out[1])
    return out

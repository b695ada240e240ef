"""One exponential key an item; the k smallest, in order, are k draws without replacement.

Efraimidis and Spirakis, Weighted random sampling with a reservoir (2006), in the form of exponential clocks.
"""

import numpy as np

from ..philox.reference import uniforms
from ..philox.stream import Stream

NEVER = np.int64(2**63 - 1)  # the key of a weight of zero
ONE = np.float64(1.0).view(np.int64)
LN_2 = float.fromhex("0x1.62e42fefa39efp-1")
SERIES = [1.0 / (2 * n + 1) for n in range(12)]


def exponential_keys(weights: np.ndarray, stream: Stream) -> np.ndarray:
    """E[i] / w[i] with E[i] = -log(uniform), as an integer of the same order: [items] -> int64 [items].

    Item i takes uniform i % 2 of draw i // 2. The bits of a positive float64 read as an integer keep its
    order, and there a power of two is an addition: so the quotient neither overflows nor underflows for any
    two weights, and integers compare alike on every machine.
    """
    draws = np.arange((len(weights) + 1) // 2, dtype=np.uint64)
    uniform = uniforms(stream, draws).T.ravel()[: len(weights)]
    clock = np.maximum(minus_log(uniform + 2.0**-53), 2.0**-54)  # uniforms in (0, 1]; their log not zero
    positive = weights > 0
    fraction, exponent = np.frexp(np.where(positive, weights, 1.0))
    keys = (clock / fraction).view(np.int64) - ONE - (exponent.astype(np.int64) << 52)
    return np.where(positive, keys, NEVER)


def minus_log(x: np.ndarray) -> np.ndarray:
    """-log(x) within 4 ulp for 0 < x <= 1, in additions, multiplications and one division.

    Those are rounded alike everywhere, and what a processor's library calls log is not. With x = m 2**e and
    m in (sqrt(1/2), sqrt(2)]: log m = 2 artanh(s) for s = (m - 1) / (m + 1), by its Taylor series.
    """
    m, e = np.frexp(x)
    low = m <= np.sqrt(0.5)
    m, e = np.where(low, 2 * m, m), np.where(low, e - 1, e)
    s = (m - 1) / (m + 1)
    z = s * s
    series = np.full_like(z, SERIES[-1])
    for coefficient in SERIES[-2::-1]:
        series = series * z + coefficient
    logarithm: np.ndarray = e * LN_2 + (2 * s) * series
    return -logarithm


def smallest(keys: np.ndarray, k: int) -> np.ndarray:
    """The k items of smallest key, the smallest first and equal keys by item: int64 [items] -> int64 [k]."""
    return np.argsort(keys, kind="stable")[:k]

"""The alias method (Walker, 1977), its table built in linear time with two pointers.

Hübschle-Schneider and Sanders, Parallel weighted random sampling (2019), section 4.1.
"""

import numpy as np

from ..philox.reference import uniforms
from ..philox.stream import Stream


def build(weights: np.ndarray) -> np.ndarray:
    """One bucket an item, each of the mean weight: [items] -> [items, (threshold, alias)].

    A light item fills its bucket up to the threshold and a heavy item, its alias, the rest. A heavy item gives
    to the light ones until it is light itself and the next heavy one fills up its bucket.
    """
    shares = weights / weights.max()
    shares = shares / np.mean(shares)  # 1 is a full bucket
    table = np.stack([np.ones(len(shares)), np.arange(len(shares))], axis=1)
    light, heavy = iter(np.flatnonzero(shares <= 1)), iter(np.flatnonzero(shares > 1))
    giver, i = next(heavy, None), next(light, None)
    while giver is not None and (shares[giver] <= 1 or i is not None):
        if shares[giver] > 1:
            table[i] = shares[i], giver
            shares[giver] -= 1 - shares[i]
            i = next(light, None)
        else:
            following = next(heavy, None)
            if following is not None:
                table[giver] = shares[giver], following
                shares[following] -= 1 - shares[giver]
            giver = following
    return table


def draw(table: np.ndarray, stream: Stream, draws: np.ndarray) -> np.ndarray:
    """The item of each draw number: its first uniform picks the bucket, its second the item in it."""
    first, second = uniforms(stream, draws)
    bucket = np.minimum(np.floor(first * len(table)).astype(np.int64), len(table) - 1)
    items: np.ndarray = np.where(second < table[bucket, 0], bucket, table[bucket, 1].astype(np.int64))
    return items

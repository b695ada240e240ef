"""A hardware counter that wraps around: how far it has moved, in whole counts."""

from __future__ import annotations


def difference(before: int, now: int, modulus: int | None) -> int | None:
    """Counts between two readings of a counter that wrapped at most once between them.

    ``(now - before) mod modulus``. None where the counter went back and its modulus is unknown or contradicts
    the readings: then nobody can say how far it moved.

    >>> difference(10, 25, modulus=100), difference(90, 5, modulus=100), difference(90, 5, modulus=None)
    (15, 15, None)
    """
    if now >= before:
        return now - before
    if modulus is None or before >= modulus:
        return None
    return now - before + modulus

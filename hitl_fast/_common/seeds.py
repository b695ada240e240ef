"""Seeds of random generators."""

from __future__ import annotations

from numbers import Integral
from typing import Any

from .errors import InputError, InputTypeError

__all__ = ["checked_seed"]


def checked_seed(seed: Any) -> int:
    """A seed of NumPy's generators.

    Raises:
        TypeError: it is no integer; True and False are none.
        ValueError: it is below 0.

    >>> checked_seed(3)
    3
    """
    if isinstance(seed, bool) or not isinstance(seed, Integral):
        raise InputTypeError(f"seed must be an integer, not {seed!r:.40}")
    if seed < 0:
        raise InputError(f"seed must be 0 or more, not {seed}")
    return int(seed)

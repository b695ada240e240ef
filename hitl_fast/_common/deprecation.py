"""The deprecation policy as one decorator: a name keeps working for two minor versions and says what replaces it."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar

__all__ = ["deprecated"]

P = ParamSpec("P")
T = TypeVar("T")

KEPT_MINOR_VERSIONS = 2


def deprecated(since: str, instead: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Warn of a function that will be removed two minor versions after ``since``.

    The warning (a FutureWarning, which Python shows by default) names the function, the version in which it will be
    removed, and what to use instead. It points at the caller's line.

    Args:
        since: the version that deprecated it, ``"MAJOR.MINOR"``.
        instead: what to use.

    >>> @deprecated(since="0.2", instead="hf.preindex(paired=False)")
    ... def old(x):
    ...     return x
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     old(3)
    3
    >>> str(caught[0].message)
    'old is deprecated since 0.2 and will be removed in 0.4: use hf.preindex(paired=False)'
    """
    major, minor = map(int, since.split("."))
    removed = f"{major}.{minor + KEPT_MINOR_VERSIONS}"

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        message = f"{function.__qualname__} is deprecated since {since} and will be removed in {removed}: use {instead}"

        @functools.wraps(function)
        def warned(*args: P.args, **kwargs: P.kwargs) -> T:
            warnings.warn(message, FutureWarning, stacklevel=2)
            return function(*args, **kwargs)

        warned.__dict__["__deprecated__"] = (since, removed)
        return warned

    return decorate

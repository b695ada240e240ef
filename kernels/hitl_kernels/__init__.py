"""The compiled core: one folder per operation, each with a definition in NumPy and kernels in Numba and Triton.

Nothing here knows of models, loaders or files. Import the operation that you want, for example
``from hitl_kernels.rand_index import rand_index``; nothing is imported before.
"""

from collections.abc import Iterator

__all__ = ["warm"]


def warm() -> Iterator[tuple[str, float]]:
    """Compile every operation for its usual arguments and keep the result in Numba's cache.

    For installation time, or for building a container image: later processes load what is compiled instead of
    compiling it at the first call. Set NUMBA_CACHE_DIR to choose the folder.

    Returns:
        An iterator, to be run to its end: each operation's name and the seconds that it took.

    >>> names = [name for name, seconds in warm()]
    >>> "lloyd" in names
    True
    """
    from ._warm import warm as each

    return each()

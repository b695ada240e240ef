"""How the kernels are compiled, cached and given threads: one place for what all of them share."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import stat
import tempfile
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

import numba
import torch
from numba.core import event

# Reassociation and contraction, so that sums vectorise; never `nnan` or `ninf`: they make isfinite wrong.
FASTMATH = {"nsz", "arcp", "contract", "afn", "reassoc"}
# Fused multiply-adds only: for code that splits a constant in two, which reassociation would join again.
CONTRACT = {"contract"}

# Units of work (about a nanosecond each) that justify a further thread. Starting one costs about 10 us on a
# quiet machine and a scheduler's time slice on a busy one, where OpenMP's threads spin while they wait.
WORK_PER_THREAD = 1 << 17


def compiled(function: Callable[..., Any]) -> Any:
    """One thread, GIL released, IEEE arithmetic: for code whose rounding is part of its contract."""
    return _compile(function)


def compiled_part(function: Callable[..., Any]) -> Any:
    """As :func:`compiled`, called by compiled code only: an entry for Python takes long to compile."""
    return _compile(function, no_cpython_wrapper=True)


def compiled_inline(function: Callable[..., Any]) -> Any:
    """As :func:`compiled`, inlined in its callers: a loop around it vectorises (Philox: 1.8 ns, not 11.8)."""
    return _compile(function, inline="always")


def compiled_unchecked(function: Callable[..., Any]) -> Any:
    """As :func:`compiled`, but x / 0 is inf or nan: without the check a loop that divides vectorises."""
    return _compile(function, error_model="numpy")


def compiled_fast(function: Callable[..., Any]) -> Any:
    """One thread, GIL released, sums may be reassociated."""
    return _compile(function, fastmath=FASTMATH)


def compiled_fast_part(function: Callable[..., Any]) -> Any:
    """As :func:`compiled_part`, and sums may be reassociated."""
    return _compile(function, no_cpython_wrapper=True, fastmath=FASTMATH)


def compiled_by_size(function: Callable[..., Any]) -> BySize:
    """A ``prange`` over Numba's threads for large work, the same loop on one thread for small work."""
    return BySize(function, {})


def compiled_fast_by_size(function: Callable[..., Any]) -> BySize:
    """As :func:`compiled_by_size`, and sums inside an iteration may be reassociated."""
    return BySize(function, {"fastmath": FASTMATH})


class BySize:
    """A kernel compiled twice: ``one`` runs on one thread, ``several`` is the ``prange`` over threads.

    A call takes the units of work first, about a nanosecond each, and then the kernel's own arguments. Either
    form is compiled only when it is first called. Both give the same result: a kernel's iterations may not
    depend on each other.
    """

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        self.one = _compile(function, **options)
        self.several = _compile(_renamed(function), parallel=True, **options)

    def __call__(self, work: float, *arguments: Any) -> Any:
        threads = threads_for(work)
        if threads == 1:
            return self.one(*arguments)
        before = numba_threads()
        numba.set_num_threads(min(threads, before))
        try:
            return self.several(*arguments)
        finally:
            numba.set_num_threads(before)


def threads_for(work: float) -> int:
    """Threads for so many units of work (about a nanosecond each): 1 for small work and in a forked child."""
    if _forced:
        return _forced
    if work < 2 * WORK_PER_THREAD or not threads_allowed():
        return 1
    return int(min(numba_threads(), work // WORK_PER_THREAD))


def numba_threads() -> int:
    """Numba's number of threads.

    The first question after it starts them, which sets the caller's number in OpenMP. PyTorch reads its own from
    there, whatever ``torch.set_num_threads`` had set: it is set back.
    """
    of_torch = torch.get_num_threads()
    count = int(numba.get_num_threads())
    if torch.get_num_threads() != of_torch:
        torch.set_num_threads(of_torch)
    return count


@contextlib.contextmanager
def forced_threads(threads: int) -> Iterator[None]:
    """As if any work were worth so many threads: to compile both forms of a kernel. Not for several threads."""
    global _forced
    _forced = threads
    try:
        yield
    finally:
        _forced = 0


def threads_allowed() -> bool:
    """Whether ``prange`` may run here: not in a forked child, which GNU OpenMP ends with SIGTERM."""
    return os.getpid() == _PID


_PID = os.getpid()
_forced = 0


class _Uncollected(event.Listener):  # type: ignore[misc]  # Numba has no types
    """Python's garbage collection pauses while a kernel is compiled: visiting what Numba builds takes a tenth."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._before = False

    def on_start(self, event: event.Event) -> None:
        if _is_ours(event):
            with self._lock:
                # Counted before, and at the end after: a fork in between leaves no child with collection off.
                if self._depth == 0:
                    self._before = gc.isenabled()
                self._depth += 1
                if self._depth == 1:
                    gc.disable()

    def on_end(self, event: event.Event) -> None:
        if _is_ours(event):
            with self._lock:
                if self._depth == 1 and self._before:
                    gc.enable()
                self._depth -= 1

    def after_fork(self) -> None:
        """A child has only the thread that forked it: what others compiled never ends there, nor do they unlock."""
        if self._depth and self._before:
            gc.enable()
        self._lock, self._depth = threading.Lock(), 0


def _is_ours(event: event.Event) -> bool:
    function = getattr(event.data["dispatcher"], "py_func", None)
    return str(getattr(function, "__module__", "")).startswith(f"{__package__}.")


_uncollected = _Uncollected()
event.register("numba:compile", _uncollected)
os.register_at_fork(after_in_child=_uncollected.after_fork)


def _renamed(function: Callable[..., Any]) -> Callable[..., Any]:
    """A copy under another name: Numba's cache on disk identifies a function by its name, not its options."""
    twin = types.FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    twin.__qualname__ = f"{function.__qualname__}_parallel"
    twin.__module__ = function.__module__
    return twin


def _compile(function: Callable[..., Any], **options: Any) -> Any:
    with _cache_in(cache_folder()) as cached:
        return numba.njit(cache=cached, nogil=True, no_cfunc_wrapper=True, **options)(function)


@contextlib.contextmanager
def _cache_in(folder: str | None) -> Iterator[bool]:
    """Whether to cache; a folder of ours is set while the function is decorated, which is when Numba looks."""
    if not folder:
        yield folder is not None
        return
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = folder
    try:
        yield True
    finally:
        numba.config.CACHE_DIR = before


@functools.cache
def cache_folder() -> str | None:
    """Where compiled code is kept: "" for where Numba puts it, else a folder; None if there is no place.

    Numba takes NUMBA_CACHE_DIR, else ``__pycache__`` beside the source, else the user's cache folder, and raises
    RuntimeError where none can be written (a read-only container without a HOME).
    """
    try:
        numba.njit(cache=True)(_probe)
    except RuntimeError:
        return _private_folder()
    return ""


def _probe() -> None:
    pass


def _private_folder() -> str | None:
    """A folder of this user in the temporary folder; None if there is none that nobody else can write to.

    Compiled code is loaded from it, so whoever can write there can run code as this user.
    """
    path = os.path.join(tempfile.gettempdir(), f"hitl-kernels-{os.geteuid()}")
    with contextlib.suppress(OSError):
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
        found = os.lstat(path)
        private = stat.S_ISDIR(found.st_mode) and not found.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
        if private and found.st_uid == os.geteuid() and os.access(path, os.W_OK | os.X_OK):
            return path
    return None

"""Atomic file writes: a file is written beside its target and renamed, so that a reader sees the old or the new one.

Pipes and devices cannot be replaced and are written to directly.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from .errors import InputError

__all__ = [
    "atomic_path",
    "beside",
    "is_stream",
    "refuse_overwriting",
    "why_unreadable",
    "write_bytes",
    "write_text",
]


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[str]:
    """A name in the same folder to write to, with the same ending; renamed to ``path`` if the block succeeds.

    A symbolic link stays, and the file that it points to is replaced. A target that is no regular file
    (``/dev/null``, a pipe, a shell's ``>(command)``) is yielded itself. The file gets the permissions that the
    umask allows. If the block raises, the temporary file is removed and the old file is unchanged.
    """
    if is_stream(path):
        yield os.fspath(path)
        return
    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    temporary = os.path.join(folder, beside(name))
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    try:
        yield temporary
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def beside(name: str) -> str:
    """A hidden name that no other writer of this file chooses: two machines or containers may have one process id."""
    return f".{os.getpid()}-{os.urandom(4).hex()}-{name}"


def is_stream(path: str | os.PathLike[str]) -> bool:
    """Whether ``path`` is a device, a pipe, or a stream of this process (``/dev/stdout``, ``/dev/fd/3``)."""
    if os.path.abspath(path).startswith(("/dev/fd/", "/dev/std", "/proc/")):
        return True
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def refuse_overwriting(
    option: str, target: str | os.PathLike[str], *sources: str | os.PathLike[str] | None
) -> None:
    """Refuse to write to a file that is read, or to a log of a database that is.

    Raises:
        ValueError: ``target`` is one of ``sources``; the message begins with ``option``.
    """
    wanted = os.path.realpath(target)
    for source in (s for s in sources if s is not None):
        own = os.path.realpath(source)
        same = os.path.exists(own) and os.path.exists(wanted) and os.path.samefile(own, wanted)
        if same or wanted in (own, f"{own}-wal", f"{own}-shm", f"{own}-journal"):
            raise InputError(f"{option} {target} would overwrite what is read: choose another file")


def why_unreadable(problem: Exception) -> str:
    """Why NumPy could not read a file of arrays, without its advice to execute what is in the file (pickle).

    >>> why_unreadable(ValueError("No data left in file"))
    'No data left in file'
    """
    if "pickle" in str(problem):
        return "it holds no arrays of numbers (expected what numpy.save or numpy.savez wrote)"
    return str(problem)


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write the whole content atomically, and wait until it is on the disk."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        if not is_stream(path):
            os.fsync(file.fileno())


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 text atomically, its line ends as given."""
    write_bytes(path, text.encode())

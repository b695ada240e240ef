"""Files appear whole: written beside, then renamed. Pipes and devices are written to as they are."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def beside(path: str | os.PathLike[str]) -> Iterator[str]:
    """A name in the same folder to write to, with the same ending; renamed to ``path`` if the block succeeds.

    A link stays, and what it leads to is replaced. What is no regular file (``/dev/null``, a pipe, a shell's
    ``>(command)``) is not replaced by one: its own name is what to write to.
    """
    if streams(path):
        yield os.fspath(path)
        return
    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    temporary = os.path.join(folder, f".{os.getpid()}-{name}")
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666))
    try:
        yield temporary
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def streams(path: str | os.PathLike[str]) -> bool:
    """Whether ``path`` takes bytes as they come: a device, a pipe, or a stream of this process by its number."""
    if os.path.abspath(path).startswith(("/dev/fd/", "/dev/std", "/proc/")):
        return True
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    with beside(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        if not streams(path):
            os.fsync(file.fileno())

"""Several ranks on one node: each socket and GPU is counted by the first that locks it.

A lock is on a file in the run's directory. The kernel gives it up when its process ends, however it ends. Only ranks of
one run exclude each other: a process of the same rank number is another program of the same job, and an ancestor or
descendant of the holder is a meter within a measured command; both measure for themselves.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Mapping
from contextlib import suppress

try:
    import fcntl
except ImportError:  # Windows has none; ranks cannot share out sensors there
    fcntl = None  # type: ignore[assignment]

# Within a process meters share a claim: (descriptor, how many meters hold it) by path.
_held: dict[str, tuple[int, int]] = {}
_lock = threading.Lock()

# What launchers tell their ranks: the number of processes, and a name that only the ranks of this run share.
_LAUNCHERS = (
    ("LOCAL_WORLD_SIZE", ("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT")),
    ("OMPI_COMM_WORLD_LOCAL_SIZE", ("OMPI_MCA_ess_base_jobid", "PMIX_NAMESPACE")),
    ("MPI_LOCALNRANKS", ("PMI_ID", "HYDI_CONTROL_FD")),
    ("SLURM_NTASKS", ("SLURM_JOB_ID", "SLURM_STEP_ID")),
)
_RANKS = ("RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID")


def run_directory(environment: Mapping[str, str] = os.environ) -> str | None:
    """Where the ranks of this run meet, from what their launcher set; None for a process on its own."""
    import tempfile

    for count, names in _LAUNCHERS:
        if count == "SLURM_NTASKS" and not environment.get("SLURM_STEP_ID"):
            continue  # a program in a job, not started by srun: it has no siblings
        if environment.get(count, "1") not in ("", "1"):
            run = "-".join(environment[name] for name in names if environment.get(name))
            folder = f"hitl-fast-energy-{_user()}-{re.sub(r'[^A-Za-z0-9.]+', '-', run)}"
            return os.path.join(tempfile.gettempdir(), folder)
    return None


class DeviceLocks:
    """What this meter counts among the ranks of its run. Without a directory everything is its own."""

    def __init__(self, directory: str | os.PathLike[str] | None) -> None:
        self._directory = None if directory is None else os.fspath(directory)
        self._mine: list[str] = []
        if self._directory is not None:
            os.makedirs(self._directory, mode=0o700, exist_ok=True)

    def acquire(self, name: str) -> str:
        """Claim a domain: "" if it is ours (or cannot be shared out), else who counts it."""
        if self._directory is None:
            return ""
        import socket

        # A directory may be shared between nodes, a processor's socket is not.
        file = re.sub(r"[^A-Za-z0-9.-]+", "-", f"{socket.gethostname()}-{name}") + ".lock"
        path = os.path.join(self._directory, file)
        with _lock:
            descriptor, holders = _held.get(path, (-1, 0))
            if not holders:
                found = _locked(path)
                if isinstance(found, str):
                    return found
                descriptor = found
            if descriptor >= 0:
                _held[path] = (descriptor, holders + 1)
                self._mine.append(path)
        return ""

    def release(self) -> None:
        with _lock:
            for path in self._mine:
                descriptor, holders = _held.pop(path)
                if holders > 1:
                    _held[path] = (descriptor, holders - 1)
                else:
                    os.close(descriptor)
        self._mine = []


def _locked(path: str) -> int | str:
    """The descriptor of the lock, -1 where this process measures without one, or who has it."""
    if fcntl is None:
        warn_unshared(OSError("this system has no file locks"))
        return -1
    try:
        guard = _opened(f"{path}.guard")
        try:
            fcntl.flock(guard, fcntl.LOCK_EX)  # nobody looks who has the lock before that name is in the file
            return _claimed(path)
        finally:
            with suppress(OSError):
                fcntl.flock(guard, fcntl.LOCK_UN)  # also where another thread has forked meanwhile
            os.close(guard)
    except OSError as problem:  # somebody else's folder, or a file system without locks: nobody holds it
        warn_unshared(problem)
        return -1


def _opened(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _claimed(path: str) -> int | str:
    """The descriptor of the lock, or who has it."""
    descriptor = _opened(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, _self().encode(), 0)
    except BlockingIOError:
        holder = os.pread(descriptor, 100, 0).decode(errors="replace").strip()
        os.close(descriptor)
        return -1 if _is_other_program(holder) else holder or "another process"
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


_HOLDER = re.compile(r"(?:rank (\d+) \()?process (\d+)\)?")


def _is_other_program(holder: str) -> bool:
    """Whether who holds a lock is no other rank of this run: of the same rank number, or in one line of descent."""
    match = _HOLDER.fullmatch(holder)
    if match is None:
        return False
    rank, process = match[1], int(match[2])
    if process == os.getpid():
        return False
    if rank is not None and rank == _rank():
        return True
    return process in _ancestors(os.getpid()) or os.getpid() in _ancestors(process)


def _ancestors(process: int) -> list[int]:
    """Parents of a process up to the first, as far as /proc shows them."""
    found: list[int] = []
    while process > 1:
        try:
            with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as file:
                process = int(file.read().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            break
        if process in found:
            break
        found.append(process)
    return found


def warn_unshared(problem: OSError) -> None:
    """Ranks that cannot meet count everything, each for itself: better than none, but their sum is too much."""
    import logging

    logging.getLogger("hitl_fast.energy").warning(
        "the ranks of this run cannot share out the sensors (%s): each counts all of them, do not add them up",
        problem,
    )


def close_inherited() -> None:
    """In a forked child: close the descriptors without unlocking what the parent holds."""
    global _lock
    _lock = threading.Lock()
    for descriptor, _ in _held.values():
        os.close(descriptor)
    _held.clear()


def _rank() -> str | None:
    return next((os.environ[name] for name in _RANKS if os.environ.get(name)), None)


def _self() -> str:
    rank = _rank()
    return f"process {os.getpid()}" if rank is None else f"rank {rank} (process {os.getpid()})"


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")

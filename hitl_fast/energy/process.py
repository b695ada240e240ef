"""Running a command in our place: its streams, its signals and its end are the caller's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

# What a terminal, a shell or a scheduler sends to a running program.
FORWARDED = tuple(
    getattr(signal, name)
    for name in (
        "SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGWINCH", "SIGCONT", "SIGTSTP",
    )
    if hasattr(signal, name)
)  # fmt: skip
# Waiting for signals needs what only Linux has of these.
WAITS = hasattr(signal, "sigwaitinfo") and hasattr(signal, "sigtimedwait")
FROM_KERNEL = 0x80  # si_code of what the terminal sends, to the whole foreground group at once


class Child:
    """A command that gets our signals, and whose end is ours.

    Signals are blocked and taken one by one with sigwaitinfo, which tells who sent them: what the terminal sends
    (Ctrl-C) has reached the command already and is not sent twice.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        self._pid = 0

    def __enter__(self) -> Child:
        if not WAITS:
            return self
        self._signals = {signal.SIGCHLD, *FORWARDED}
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)
        # A blocked signal that is ignored is not kept, and SIGCHLD is, by default.
        self._handler = signal.signal(signal.SIGCHLD, lambda number, frame: None)
        return self

    def __exit__(self, *exception: object) -> None:
        if not WAITS:
            return
        signal.signal(signal.SIGCHLD, self._handler)
        # What came too late for the command was still meant for it, not for the one that tells of its end.
        while signal.sigtimedwait(self._signals, 0):
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def run(self) -> int:
        """Run to the end; returns a wait status, or 126 << 8 or 127 << 8 where there is nothing to run."""
        _flush()
        if not WAITS:
            return self._run_plainly()
        restored = [signal.SIGPIPE, signal.SIGXFSZ]  # Python ignores them, and a child would inherit that
        try:
            self._pid = os.posix_spawnp(
                self._command[0], self._command, os.environ, setsigmask=self._mask, setsigdef=restored
            )
        except FileNotFoundError:
            tell(f"hitl-fast energy: {self._command[0]}: command not found")
            return 127 << 8
        except OSError as problem:
            tell(f"hitl-fast energy: {self._command[0]}: {problem.strerror}")
            return 126 << 8
        while True:
            status = self._ended()
            if status is not None:
                return status
            self._pass_on(signal.sigwaitinfo(self._signals))

    def _run_plainly(self) -> int:
        """Where signals cannot be waited for (macOS, Windows): they arrive as the system delivers them."""
        try:
            status = subprocess.run(self._command, check=False).returncode
        except FileNotFoundError:
            tell(f"hitl-fast energy: {self._command[0]}: command not found")
            return 127 << 8
        except OSError as problem:
            tell(f"hitl-fast energy: {self._command[0]}: {problem.strerror}")
            return 126 << 8
        return -status if status < 0 else status << 8

    def _ended(self) -> int | None:
        while True:
            pid, status = os.waitpid(self._pid, os.WNOHANG | os.WUNTRACED)
            if pid == 0:
                return None
            if not os.WIFSTOPPED(status):
                return status
            if os.WSTOPSIG(status) in (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
                # Ctrl-Z: stop as it did, so that the shell gets its prompt; `fg` then wakes both.
                os.kill(os.getpid(), signal.SIGSTOP)
                os.kill(self._pid, signal.SIGCONT)

    def _pass_on(self, info: Any) -> None:
        if info.si_signo == signal.SIGCHLD:
            return
        if info.si_code == FROM_KERNEL and os.getpgid(self._pid) == os.getpgrp():
            return
        os.kill(self._pid, info.si_signo)


def leave(status: int) -> int:
    """The exit status for a wait status; dies of the signal that the command died of."""
    number = status & 0x7F
    if not number:
        return status >> 8
    if resource is not None:  # one core file is enough
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    _flush()
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    return 128 + number


def tell(text: str) -> None:
    """To standard error, if somebody is there to read it: the command's status is worth more than our words."""
    if sys.stderr is None:  # closed by the caller (2>&-); print would take standard output in its place
        return
    try:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
    except OSError:
        sys.stderr = None  # a reader that has gone; else Python's own last flush would make the status 120


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError):
                stream.flush()

"""A run's results on the disk while it goes on, so that a killed process leaves a whole file."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from hitl_fast._common.files import write_text

SECONDS = 3.0  # between two versions of the file; with a slow disk still less than five seconds are lost


class Journal:
    """Writes a text at once and every few seconds from a thread of its own: a slow disk delays no sample.

    Args:
        path: the file, replaced atomically each time.
        text: makes its contents.
    """

    def __init__(
        self, path: str | os.PathLike[str], text: Callable[[], str], seconds: float = SECONDS
    ) -> None:
        self._path = os.fspath(path)
        self._text = text
        self._seconds = seconds
        self._stopped = threading.Event()
        self._process = os.getpid()
        self._warned = False
        write_text(
            self._path, self._text()
        )  # a file that cannot be written is an error now, not after the run
        self._thread = threading.Thread(target=self._run, name="hitl-fast-energy-journal", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and write the last version."""
        if self._process != os.getpid():  # forked: the parent writes its file
            return
        self._stopped.set()
        self._thread.join()  # else its older version may come after the last one
        self._write()

    def _run(self) -> None:
        while not self._stopped.wait(self._seconds):
            self._write()

    def _write(self) -> None:
        try:
            write_text(self._path, self._text())
        except Exception as problem:  # a full disk must not end a training
            if not self._warned:
                import logging

                self._warned = True
                logging.getLogger("hitl_fast.energy").warning("cannot write %s: %s", self._path, problem)

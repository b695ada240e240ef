"""A window that is being taken."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from ..reporting.results import Window
from .session import Session
from .windows import Record


class OpenWindow:
    """A window that is being taken; `result` once it is closed."""

    def __init__(self, session: Session, name: str, finish: Callable[[Window], Window]) -> None:
        self._finish = finish
        self.name = name
        self._session = session
        self._record: Record | None = None

    def start(self) -> OpenWindow:
        """The opening edge."""
        if self._record is not None:
            raise RuntimeError(f"window {self.name!r} is already open: ask the meter for a new one")
        self._record = self._session.open(self.name)
        return self

    def stop(self, error: str | None = None) -> None:
        """The closing edge; the meter's end, if that was earlier. Does nothing in a process forked since, or twice."""
        record = self._record
        if record is not None and record.closing is None and record.numbers is None:
            self._session.close(record, error)

    def __enter__(self) -> OpenWindow:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop(None if kind is None else kind.__name__)

    @property
    def result(self) -> Window:
        """The numbers, as well as they are known by now: just after the end a GPU's next refresh is still to come."""
        record = self._record
        if record is None or (record.closing is None and record.numbers is None):
            raise RuntimeError(f"window {self.name!r} is not closed yet")
        return self._finish(self._session.one(record))

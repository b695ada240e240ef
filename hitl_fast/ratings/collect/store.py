"""Questions and answers in SQLite: an answer is on the disk before the browser is told so.

Nothing is overwritten: undoing marks an answer, and a ticket, which stands for one showing of a question to one person,
takes one answer.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sqlite3
import sys
import threading
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from hitl_fast._common.errors import InputError

from .reading import APPLICATION, VERSION, Answer, about_of, answers_of, check_is_collection, numbered_answers
from .tally import Tally

MOST_SECONDS = sys.float_info.max  # an integer may be larger
HELD = 1800.0  # seconds for which an open question is not given to somebody else
SCHEMA = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE people (name TEXT PRIMARY KEY, secret TEXT NOT NULL, joined TEXT NOT NULL);
CREATE TABLE asked (
    ticket TEXT PRIMARY KEY, rater TEXT NOT NULL, item INTEGER NOT NULL, other INTEGER, repeat INTEGER NOT NULL,
    at REAL NOT NULL
);
CREATE TABLE answers (
    id INTEGER PRIMARY KEY AUTOINCREMENT, ticket TEXT NOT NULL UNIQUE REFERENCES asked (ticket), rater TEXT NOT NULL,
    item INTEGER NOT NULL, other INTEGER, repeat INTEGER NOT NULL, value REAL, seconds REAL, at TEXT NOT NULL,
    undone INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX asked_by ON asked (rater);
CREATE INDEX answers_by ON answers (rater);
"""
LATER = "CREATE INDEX IF NOT EXISTS asked_at ON asked (at)"  # older databases get it when they are opened for writing


@dataclass(frozen=True)
class Ticket:
    """One showing of a question to one person; ``other`` is the second item of a pair, ``repeat`` 1 for a retest."""

    ticket: str
    item: int
    other: int | None
    repeat: int


class Store:
    """A database of one collection, open for writing.

    Args:
        path: of the database; made where there is none.
        about: what was asked of which data set. It must equal that of the database where there is one.

    Raises:
        ValueError: the file is something else, or of another data set or question, or it cannot be made or written.
    """

    def __init__(self, path: str | os.PathLike[str], about: dict[str, Any] | None = None) -> None:
        self.path = Path(path)
        if about is None or self.path.exists():
            check_is_collection(self.path, may_be_empty=about is not None)
        elif not self.path.absolute().parent.is_dir():
            raise InputError(f"{self.path} cannot be made: there is no folder {self.path.parent}")
        self._lock = threading.RLock()
        self._tally, self._version = Tally(), -1
        self._settled: dict[str, int] = {}  # person -> of which all questions up to this row were answered
        self._shown: dict[str, float] = {}  # ticket -> when it was last shown, on a clock that is never set
        try:
            self._connection = sqlite3.connect(
                self.path, isolation_level=None, check_same_thread=False, timeout=10
            )
        except sqlite3.OperationalError as problem:
            raise InputError(f"{self.path} cannot be opened: {problem}") from None
        try:
            self._prepare(about)
        except sqlite3.DatabaseError as problem:
            self._connection.close()
            raise InputError(f"{self.path} cannot be written: {problem}") from None
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self, about: dict[str, Any] | None) -> None:
        run = self._connection.execute
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = FULL")  # a commit waits for the disk
        run("PRAGMA foreign_keys = ON")
        with self.transaction():
            if run("PRAGMA user_version").fetchone()[0] == 0:
                if about is None:
                    raise InputError(f"{self.path.name} holds no collection yet")
                for statement in filter(str.strip, SCHEMA.split(";")):
                    run(statement)
                run(f"PRAGMA application_id = {APPLICATION}")
                run(f"PRAGMA user_version = {VERSION}")
                run("INSERT INTO about VALUES ('about', ?)", [json.dumps(about)])
            run(LATER)
        self.about = about_of(self._connection, self.path.name)
        for name, value in (about or {}).items():
            if self.about.get(name) != json.loads(json.dumps(value)):
                raise InputError(
                    f"{self.path.name} is of another collection: its {name} is {self.about.get(name)!r}, not "
                    f"{value!r}; choose another --out, or the same data set and question"
                )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # SQLite itself takes back what a full disk has ended
                    self._connection.execute("ROLLBACK")
                raise

    def keep_port(self, port: int) -> None:
        """Remember where the page was: browsers keep people's secrets under its address."""
        with self.transaction():
            self._run("INSERT OR REPLACE INTO about VALUES ('port', ?)", str(port))

    def join(self, name: str, secret: str | None) -> str:
        """Claim a name, or come back under it with the secret that claiming it gave.

        Raises:
            PermissionError: somebody else has the name.
        """
        with self.transaction():
            known = self._one("SELECT secret FROM people WHERE name = ?", name)
            if known is None:
                secret = secrets.token_urlsafe(16)
                self._run("INSERT INTO people VALUES (?, ?, ?)", name, _hashed(secret), _now())
                return secret
        if secret is None or not secrets.compare_digest(known[0], _hashed(secret)):
            raise PermissionError(name)
        return secret

    def is_member(self, name: str, secret: str) -> bool:
        """Whether the name was claimed with this secret."""
        with self._lock:
            known = self._one("SELECT secret FROM people WHERE name = ?", name)
        return known is not None and secrets.compare_digest(known[0], _hashed(secret))

    def open_ticket(self, rater: str) -> Ticket | None:
        """What the person was last shown and has not answered."""
        with self._lock:
            self._look()
            row = self._one(
                "SELECT ticket, item, other, repeat FROM asked WHERE rater = ? AND rowid > ? AND NOT EXISTS "
                "(SELECT 1 FROM answers WHERE answers.ticket = asked.ticket) ORDER BY rowid DESC LIMIT 1",
                rater, self._settled.get(rater, 0),
            )  # fmt: skip
            if row is None:
                newest = self._one("SELECT max(rowid) FROM asked WHERE rater = ?", rater)[0]
                self._settled[rater] = newest or 0
            else:
                self._run("UPDATE asked SET at = ? WHERE ticket = ?", time.time(), row[0])
                self._shown[row[0]] = time.monotonic()
        return None if row is None else Ticket(*row)

    def give(self, rater: str, item: int, other: int | None, repeat: int) -> Ticket:
        """A new ticket."""
        ticket = Ticket(secrets.token_urlsafe(12), item, other, repeat)
        self._run(
            "INSERT INTO asked VALUES (?, ?, ?, ?, ?, ?)",
            ticket.ticket, rater, item, other, repeat, time.time(),
        )  # fmt: skip
        self._shown[ticket.ticket] = time.monotonic()
        return ticket

    def answer(self, rater: str, ticket: str, value: float | None, seconds: float | None) -> bool:
        """Keep an answer; False where this ticket was answered before, which then stays as it is.

        Seconds beyond the time since the question was shown cannot be, and are kept as unknown. That time is of a
        clock that is never set, unless the server was restarted since.

        Raises:
            KeyError: the person was given no such ticket.
        """
        with self.transaction():
            row = self._one(
                "SELECT item, other, repeat, at FROM asked WHERE ticket = ? AND rater = ?", ticket, rater
            )
            if row is None:
                raise KeyError(ticket)
            *question, given = row
            if self._one("SELECT 1 FROM answers WHERE ticket = ?", ticket) is not None:
                return False
            shown = self._shown.get(ticket)  # kept until the answer is: where writing fails, it is sent again
            passed = time.time() - given if shown is None else time.monotonic() - shown
            if seconds is not None and seconds > passed + 2:
                seconds = None
            self._run(
                "INSERT INTO answers (ticket, rater, item, other, repeat, value, seconds, at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                ticket, rater, *question, value, seconds, _now(),
            )  # fmt: skip
        self._shown.pop(ticket, None)
        return True

    def undo(self, rater: str) -> bool:
        """Mark the person's own last answer as undone and put its question again; False where there is none."""
        with self.transaction():
            row = self._one(
                "SELECT id, item, other, repeat FROM answers WHERE rater = ? AND NOT undone ORDER BY id DESC LIMIT 1",
                rater,
            )
            if row is None:
                return False
            self._run("UPDATE answers SET undone = 1 WHERE id = ?", row[0])
            self.give(rater, *row[1:])
        with self._lock:
            self._tally.take(rater, row[0])
        return True

    def held(self) -> list[tuple[str, int, int | None]]:
        """Rater, item and other of questions that were put and not answered within the last half hour."""
        now = time.time()
        with self._lock:
            return self._connection.execute(
                "SELECT rater, item, other FROM asked WHERE at > ? AND at < ? AND NOT EXISTS "
                "(SELECT 1 FROM answers WHERE answers.ticket = asked.ticket)",
                [now - HELD, now + HELD],
            ).fetchall()

    def tally(self) -> Tally:
        """Sums over all answers that count; of those added since the last call only the new ones are read."""
        with self._lock:
            self._look()
            for number, answer in numbered_answers(self._connection, self._tally.last):
                self._tally.add(number, answer)
            return self._tally

    def _look(self) -> None:
        """Forget what is known of the rows where another program has changed them."""
        version = self._one("PRAGMA data_version")[0]
        if version != self._version:
            self._tally, self._version = Tally(), version
            self._settled.clear()

    def answers(self) -> list[Answer]:
        """All that count, in the order in which they were given."""
        with self._lock:
            return answers_of(self._connection)

    def forget(self, name: str) -> int:
        """Delete a person's name and answers, also from the file's unused pages; returns the number of answers.

        Raises:
            ValueError: nobody has the name.
        """
        with self.transaction():
            if self._one("SELECT 1 FROM people WHERE name = ?", name) is None:
                name = canonical(name)
            if self._one("SELECT 1 FROM people WHERE name = ?", name) is None:
                raise InputError(f"{self.path.name} knows nobody called {name!r}")
            count = self._run("DELETE FROM answers WHERE rater = ?", name).rowcount
            self._run("DELETE FROM asked WHERE rater = ?", name)
            self._run("DELETE FROM people WHERE name = ?", name)
        with self._lock:
            self._tally = Tally()
            self._settled.clear()  # numbers of rows may come again
            self._connection.execute("VACUUM")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return int(count)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _run(self, statement: str, *values: Any) -> sqlite3.Cursor:
        return self._connection.execute(statement, values)

    def _one(self, statement: str, *values: Any) -> Any:
        return self._connection.execute(statement, values).fetchone()


def canonical(name: str) -> str:
    """A name in one of the ways to write it: spaces single, letters with their accents composed (NFC)."""
    return unicodedata.normalize("NFC", " ".join(name.split()))


def _hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def checked_seconds(value: Any) -> float | None:
    """Seconds as a browser sends them; None where it knows none.

    Raises:
        ValueError: they are no number of 0 or more.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST_SECONDS:
        raise InputError(f"seconds must be a finite number of 0 or more, not {value!r:.40}")
    return float(value)

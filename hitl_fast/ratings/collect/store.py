"""Questions and answers in SQLite: an answer is on the disk before the browser is told so.

Nothing is overwritten: undoing marks an answer, and a ticket, which stands for one showing of a question to one person,
takes one answer.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from hitl_fast._common.errors import InputError

APPLICATION = 0x48495446  # "HITF" in the file's header
VERSION = 1
QUESTIONS = ("rating", "yesno", "pairs")
VALUES = {"rating": (1.0, 2.0, 3.0, 4.0, 5.0), "yesno": (0.0, 1.0), "pairs": (0.0, 0.5, 1.0)}
MAGIC = b"SQLite format 3\x00"
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
EXPORTED = ("item", "other", "rater", "value", "status", "repeat", "seconds", "at")


@dataclass(frozen=True)
class Ticket:
    """One showing of a question to one person; ``other`` is the second item of a pair, ``repeat`` 1 for a retest."""

    ticket: str
    item: int
    other: int | None
    repeat: int


@dataclass(frozen=True)
class Answer:
    """An answer that counts; ``value`` is None where the question was skipped, ``seconds`` where they are unknown."""

    rater: str
    item: int
    other: int | None
    repeat: int
    value: float | None
    seconds: float | None
    at: str


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
        try:
            self._connection = sqlite3.connect(
                self.path, isolation_level=None, check_same_thread=False, timeout=10
            )
        except sqlite3.OperationalError as problem:
            raise InputError(f"{self.path} cannot be opened: {problem}") from None
        try:
            self._prepare(about)
        except sqlite3.OperationalError as problem:
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
        self.about: dict[str, Any] = _about(self._connection)
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
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

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
            row = self._one(
                "SELECT ticket, item, other, repeat FROM asked WHERE rater = ? AND ticket NOT IN "
                "(SELECT ticket FROM answers) ORDER BY rowid DESC LIMIT 1", rater,
            )  # fmt: skip
            if row is not None:
                self._run("UPDATE asked SET at = ? WHERE ticket = ?", time.time(), row[0])
        return None if row is None else Ticket(*row)

    def give(self, rater: str, item: int, other: int | None, repeat: int) -> Ticket:
        """A new ticket."""
        ticket = Ticket(secrets.token_urlsafe(12), item, other, repeat)
        self._run(
            "INSERT INTO asked VALUES (?, ?, ?, ?, ?, ?)",
            ticket.ticket, rater, item, other, repeat, time.time(),
        )  # fmt: skip
        return ticket

    def answer(self, rater: str, ticket: str, value: float | None, seconds: float | None) -> bool:
        """Keep an answer; False where this ticket was answered before, which then stays as it is.

        Seconds beyond the time since the question was given cannot be, and are kept as unknown.

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
            if seconds is not None and seconds > time.time() - given + 2:
                seconds = None
            self._run(
                "INSERT INTO answers (ticket, rater, item, other, repeat, value, seconds, at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                ticket, rater, *question, value, seconds, _now(),
            )  # fmt: skip
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
        return True

    def held(self) -> list[tuple[str, int, int | None]]:
        """Rater, item and other of questions that were put and not answered within the last half hour."""
        with self._lock:
            return self._connection.execute(
                "SELECT rater, item, other FROM asked WHERE at > ? AND ticket NOT IN (SELECT ticket FROM answers)",
                [time.time() - HELD],
            ).fetchall()

    def answers(self) -> list[Answer]:
        """All that count, in the order in which they were given."""
        with self._lock:
            return _answers(self._connection)

    def forget(self, name: str) -> int:
        """Delete a person's name and answers, also from the file's unused pages; returns the number of answers.

        Raises:
            ValueError: nobody has the name.
        """
        with self.transaction():
            if self._one("SELECT 1 FROM people WHERE name = ?", name) is None:
                raise InputError(f"{self.path.name} knows nobody called {name!r}")
            count = self._run("DELETE FROM answers WHERE rater = ?", name).rowcount
            self._run("DELETE FROM asked WHERE rater = ?", name)
            self._run("DELETE FROM people WHERE name = ?", name)
        with self._lock:
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


def read_collection(path: str | os.PathLike[str]) -> tuple[dict[str, Any], list[Answer]]:
    """What was asked and the answers that count, without changing anything; also while people answer.

    Raises:
        ValueError: the file is no database of a collection.
        OSError: it cannot be opened.
    """
    path = Path(path)
    check_is_collection(path)
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)
    try:
        connection.execute("BEGIN")  # both from one state of the database
        return _about(connection), _answers(connection)
    except sqlite3.DatabaseError as problem:
        raise InputError(f"{path.name} cannot be read: {problem}") from None
    finally:
        connection.close()


def export_csv(path: str | os.PathLike[str]) -> str:
    """Every answer that counts as CSV, skipped questions among them."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(EXPORTED)
    for a in read_collection(path)[1]:
        status = "skipped" if a.value is None else "submitted"
        seconds = "" if a.seconds is None else round(a.seconds, 3)
        value = "" if a.value is None else f"{a.value:g}"
        other = "" if a.other is None else a.other
        writer.writerow([a.item, other, a.rater, value, status, a.repeat, seconds, a.at])
    return text.getvalue()


def check_is_collection(path: Path, may_be_empty: bool = False) -> None:
    """Refuse a file that is not a database of a collection, before SQLite touches it."""
    with path.open("rb") as file:
        head = file.read(100)
    if may_be_empty and not head:
        return
    if head[:16] != MAGIC:
        raise InputError(f"{path.name} is no SQLite database: expected one that `hitl-fast collect` made")
    # The header may still be in the write-ahead log, so that ask SQLite.
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)
    try:
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.DatabaseError as problem:
        raise InputError(f"{path.name} cannot be read: {problem}") from None
    finally:
        connection.close()
    if application == version == 0 and may_be_empty and path.stat().st_size <= 4096:
        return  # a server that was ended before its first commit
    if application != APPLICATION:
        raise InputError(f"{path.name} is a database of another program, not of `hitl-fast collect`")
    if version != VERSION:
        raise InputError(f"{path.name} has schema version {version}, and this is version {VERSION}")


def _about(connection: sqlite3.Connection) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        connection.execute("SELECT value FROM about WHERE key = 'about'").fetchone()[0]
    )
    return found


def _answers(connection: sqlite3.Connection) -> list[Answer]:
    rows = connection.execute(
        "SELECT rater, item, other, repeat, value, seconds, at FROM answers WHERE NOT undone ORDER BY id"
    )
    return [Answer(*row) for row in rows]


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
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise InputError(f"seconds must be a finite number of 0 or more, not {value!r:.40}")
    return float(value)

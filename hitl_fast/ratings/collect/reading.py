"""Databases of collections, read without changing anything, also while people answer."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hitl_fast._common.errors import InputError

APPLICATION = 0x48495446  # "HITF" in the file's header
VERSION = 1
QUESTIONS = ("rating", "yesno", "pairs")
VALUES = {"rating": (1.0, 2.0, 3.0, 4.0, 5.0), "yesno": (0.0, 1.0), "pairs": (0.0, 0.5, 1.0)}
MAGIC = b"SQLite format 3\x00"
EXPORTED = ("item", "other", "rater", "value", "status", "repeat", "seconds", "at")
EXPORTED_PAIRS = ("first", "second", "rater", "winner", "status", "repeat", "seconds", "at")


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


def read_collection(path: str | os.PathLike[str]) -> tuple[dict[str, Any], list[Answer]]:
    """What was asked and the answers that count, without changing anything; also while people answer.

    Raises:
        ValueError: the file is no database of a collection.
        OSError: it cannot be opened.
    """
    path = Path(path)
    check_is_collection(path)
    connection = _reading(path)
    try:
        connection.execute("BEGIN")  # both from one state of the database
        about, answers = about_of(connection, path.name), answers_of(connection)
    except sqlite3.DatabaseError as problem:
        raise InputError(f"{path.name} cannot be read: {problem}") from None
    finally:
        connection.close()
    _check_answers(path.name, about, answers)
    return about, answers


def is_begun(path: Path) -> bool:
    """Whether there is a database with a collection in it; a server that starts makes an empty file first."""
    try:
        if path.stat().st_size == 0:
            return False
    except FileNotFoundError:
        return False
    check_is_collection(path, may_be_empty=True)
    connection = _reading(path)
    try:
        return bool(connection.execute("PRAGMA user_version").fetchone()[0])
    finally:
        connection.close()


def last_port(path: str | os.PathLike[str]) -> int | None:
    """Where the page of a database was served; None where there is no database, or its page was never served.

    Raises:
        ValueError: the file is no database of a collection, or it cannot be read.
    """
    path = Path(path)
    try:
        if not is_begun(path):
            return None
        connection = _reading(path)
        try:
            row = connection.execute("SELECT value FROM about WHERE key = 'port'").fetchone()
        finally:
            connection.close()
    except sqlite3.DatabaseError as problem:  # a page on another port would not know people's names
        raise InputError(f"{path.name} cannot be read: {problem}") from None
    given = str(row[0]) if row else ""
    return int(given) if re.fullmatch("[0-9]{1,5}", given) and 0 < int(given) < 65536 else None


def export_csv(path: str | os.PathLike[str]) -> str:
    """Every answer that counts as CSV, skipped questions among them; of pairs the winner, or "tie"."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    about, answers = read_collection(path)
    pairs = about["question"] == "pairs"
    writer.writerow(EXPORTED_PAIRS if pairs else EXPORTED)
    for a in answers:
        status = "skipped" if a.value is None else "submitted"
        seconds = "" if a.seconds is None else round(a.seconds, 3)
        value = "" if a.value is None else f"{a.value:g}"
        if pairs and a.value is not None:
            value = {1.0: str(a.item), 0.0: str(a.other)}.get(a.value, "tie")
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
    connection = _reading(path)
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


def _reading(path: Path) -> sqlite3.Connection:
    """A connection that changes nothing.

    On a disk that cannot be written to, SQLite cannot share a database with writers. There are none, so that it is
    read as it is, unless a log or its index lies beside it: then another account may be writing, and a file that
    changes while it is read as one that does not gives wrong rows.
    """
    address = f"{path.absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(address, uri=True, timeout=10)
    try:
        connection.execute("PRAGMA schema_version")
    except sqlite3.OperationalError as problem:
        beside = any(path.with_name(path.name + end).exists() for end in ("-wal", "-shm"))
        # Only Python 3.11 gives the code of SQLITE_BUSY and SQLITE_LOCKED; both say "locked".
        if os.access(path.absolute().parent, os.W_OK) or beside or "lock" in str(problem):
            return connection  # the next statement says what is wrong
        connection.close()
        return sqlite3.connect(f"{address}&immutable=1", uri=True)
    except sqlite3.DatabaseError:
        pass
    return connection


def about_of(connection: sqlite3.Connection, name: str) -> dict[str, Any]:
    row = connection.execute("SELECT value FROM about WHERE key = 'about'").fetchone()
    try:
        found = json.loads(row[0])
        known = found["question"] in QUESTIONS and isinstance(found["items"], int)
    except (TypeError, ValueError, KeyError, RecursionError):
        known = False
    if not known:
        raise InputError(
            f"{name} does not say what was asked of how many items: it is damaged, or of another program"
        )
    return dict(found)


def _check_answers(name: str, about: dict[str, Any], answers: list[Answer]) -> None:
    """Refuse answers that the page cannot have given: someone else wrote into the file."""
    values = {None, *VALUES[about["question"]]}
    places = {None} if about["question"] != "pairs" else range(about["items"])
    for number, a in enumerate(answers, 1):
        if a.value not in values:
            raise InputError(
                f"{name}, answer {number}: {a.value!r} is no answer to {about['question']!r}: it is damaged"
            )
        if a.item not in range(about["items"]) or a.other not in places:
            raise InputError(
                f"{name}, answer {number}: no question about item {a.item!r} and {a.other!r} was put of "
                f"{about['items']} items: the file is damaged"
            )
        seconds = 0.0 if a.seconds is None else a.seconds
        if not (isinstance(seconds, float) and 0 <= seconds < math.inf):
            raise InputError(
                f"{name}, answer {number}: seconds must be a finite number of 0 or more, not {seconds!r:.40}: "
                "the file is damaged"
            )
        if a.repeat not in (0, 1) or not (isinstance(a.rater, str) and isinstance(a.at, str)):
            raise InputError(
                f"{name}, answer {number}: rater and time must be text and repeat 0 or 1, not {a.rater!r:.40}, "
                f"{a.at!r:.40} and {a.repeat!r:.40}: the file is damaged"
            )


def answers_of(connection: sqlite3.Connection) -> list[Answer]:
    return [answer for _, answer in numbered_answers(connection, 0)]


def numbered_answers(connection: sqlite3.Connection, after: int) -> Iterator[tuple[int, Answer]]:
    """Answers that count whose number is larger, with their numbers, in the order in which they were given."""
    rows = connection.execute(
        "SELECT id, rater, item, other, repeat, value, seconds, at FROM answers WHERE id > ? AND NOT undone "
        "ORDER BY id",
        [after],
    )
    return ((number, Answer(*rest)) for number, *rest in rows)

"""Text and JSON from a file, each record with the line that it starts on, so that an error can name it."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from hitl_fast._common.errors import InputError

WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # the first bytes of .xlsx, .ods and .xls
BLANK = re.compile(r"[\s\x1e]*")  # JSON text sequences put a record separator before each record


class Record(NamedTuple):
    """One JSON value of a file and the line, from 1, that it starts on."""

    line: int
    value: Any


def read_text(path: Path) -> str:
    """The file's text: UTF-8 (with or without a mark) or marked UTF-16, gzipped or not."""
    data = path.read_bytes()
    if data[:4] in WORKBOOKS:
        raise InputError(f"{path.name}: a workbook or another archive: save the sheet of ratings as CSV")
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (EOFError, OSError) as problem:
            raise InputError(f"{path.name}: the gzip file is cut off or damaged: {problem}") from None
    if b"\0" in data[:1000] and data[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        raise InputError(f"{path.name}, line 1: not text: save it as UTF-8")
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as problem:
        line = data[: problem.start].count(b"\n") + 1
        raise InputError(
            f"{path.name}, line {line}: not {encoding} text: {problem.reason}; save it as UTF-8"
        ) from None


def read_records(text: str, name: str) -> list[Record]:
    """Records of a JSON array, of JSON lines, or of values one after the other.

    Raises:
        ValueError: a record is cut off or not JSON; names the line and how many whole records precede it.
    """
    decoder = json.JSONDecoder()
    position, line, records = _skip(text, 0), 1, list[Record]()
    line += text.count("\n", 0, position)
    in_array = text.startswith("[", position)
    if in_array:
        position, line = _advance(text, position, position + 1, line)
    while position < len(text):
        if in_array and text[position] == "]":
            rest = _skip(text, position + 1)
            if rest < len(text):
                raise _problem(name, line, len(records), "more text follows the end of the list")
            return records
        try:
            value, end = decoder.raw_decode(text, position)
        except json.JSONDecodeError as problem:
            cut = _skip(text, problem.pos) >= len(text) or problem.msg.startswith("Unterminated")
            what = "is cut off" if cut else f"is not JSON: {problem.msg} at line {problem.lineno}"
            raise _problem(name, line, len(records), f"the record {what}") from None
        except RecursionError:
            raise _problem(name, line, len(records), "the record is nested too deeply") from None
        records.append(Record(line, value))
        position, line = _advance(text, position, end, line)
        if in_array and position < len(text) and text[position] != "]":
            if text[position] != ",":
                raise _problem(name, line, len(records), "a comma is missing between records")
            position, line = _advance(text, position, position + 1, line)
    if in_array:
        raise _problem(name, line, len(records), "the file is cut off: its list is never closed")
    return records


def _skip(text: str, position: int) -> int:
    match = BLANK.match(text, position)
    return match.end() if match else position


def _advance(text: str, start: int, end: int, line: int) -> tuple[int, int]:
    """Next position after blanks, and its line."""
    after = _skip(text, end)
    return after, line + text.count("\n", start, after)


def _problem(name: str, line: int, whole: int, what: str) -> InputError:
    return InputError(f"{name}, line {line}: {what} ({whole} whole records before it)")

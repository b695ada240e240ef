"""Results of a long run as JSON lines: one finished job a line, whole or not there, resumed after any kill."""

from __future__ import annotations

import datetime
import fcntl
import importlib.metadata
import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from hitl_fast._common.errors import InputError
from hitl_fast._common.files import beside

Record = dict[str, Any]

_VERSIONS = ("hitl-fast", "torch", "numpy", "scipy", "scikit-learn")


class Journal:
    """The file of results of one experiment, open for one writer.

    The first line is the header: experiment, settings, command, versions, machine and date. Every other line is a
    finished job, ``{"key": ..., fields, "measured": {...}}``. What a clock or a sensor says stands under
    "measured", and nothing else does: the rest follows from settings and seed, byte for byte.

    Opening a file that exists goes on with it. A last line that was cut by a kill is dropped.

    Args:
        path: the file; its folder is made.
        experiment: name of the experiment.
        settings: what the jobs depend on, in JSON's types.
        command: what a person types to get this file again.

    Attributes:
        header: the first line.
        done: key -> finished job, in the order of the file.

    Raises:
        ValueError: the file holds another experiment, other settings or other versions (the message names what
            differs), is not a journal, or a record is not fit for one.
        BlockingIOError: another process is writing the file.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Journal(Path(folder) / "results.jsonl", "example", {"seed": 0}) as journal:
    ...         journal.append({"key": "a", "accuracy": 0.5, "measured": {"seconds": 1.2}})
    ...     header, records = read(Path(folder) / "results.jsonl")
    >>> records
    [{'key': 'a', 'accuracy': 0.5, 'measured': {'seconds': 1.2}}]
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        experiment: str,
        settings: Mapping[str, Any],
        command: str = "",
    ) -> None:
        self.path = Path(path)
        self.done: dict[str, Record] = {}
        header = {
            "experiment": experiment, "settings": json.loads(_line(settings)), "command": command,
            "versions": _versions(), "machine": machine(),
            "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        }  # fmt: skip
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file: int | None = None
        try:
            self._lock()
            self.header = self._resume(header)
        except BaseException:
            self.close()
            raise

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one finished job; it is on the disk when this returns.

        Raises:
            ValueError: no string "key", one that is there already, or what JSON cannot hold (NaN and infinity
                included: None says that there is no number).
        """
        key = record.get("key")
        if not isinstance(key, str):
            raise InputError(f"a record needs a string under 'key', not {key!r}")
        if key in self.done:
            raise InputError(f"the job {key!r} is in {self.path} already")
        line = _line(record)
        self._write(line)
        self.done[key] = json.loads(line)

    def finish(self, order: Sequence[str]) -> None:
        """Put the lines into the order of the grid, whatever order they were finished in.

        Raises:
            ValueError: ``order`` is not the keys of the finished jobs, each once.
        """
        wrong = sorted(set(order) ^ self.done.keys())
        if wrong or len(order) != len(self.done):
            raise InputError(f"the order must name each finished job once; wrong: {wrong[:5]}")
        lines = [_line(self.header), *(_line(self.done[key]) for key in order)]
        temporary = self.path.with_name(beside(self.path.name))
        file = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
        try:
            # Locked before it gets its name, so that no other writer finds the new file free.
            fcntl.flock(file, fcntl.LOCK_EX)
            _write_all(file, "".join(lines).encode())
            os.replace(temporary, self.path)
        except BaseException:
            os.close(file)
            temporary.unlink(missing_ok=True)
            raise
        self.close()
        self._file = file
        self.done = {key: self.done[key] for key in order}

    def close(self) -> None:
        """Let others write the file. A second call does nothing."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _lock(self) -> None:
        """Open and lock the file that has the name: another writer may put its finished one there in between."""
        while True:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BlockingIOError(f"{self.path} is being written by another process") from None
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(self._file), os.stat(self.path)):
                    return
            self.close()

    def _resume(self, header: Record) -> Record:
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        lines = _parse(self.path, content[:whole])
        if not lines and content and not _line(header).encode().startswith(content[:16]):
            raise InputError(
                f"{self.path} is not a journal of experiments; give another place for the results"
            )
        kept, records = _split(self.path, lines) if lines else (header, [])
        for name in ("experiment", "settings", "versions"):
            if kept[name] != header[name]:
                raise InputError(
                    f"{self.path} differs in {name}: {_difference(kept[name], header[name])}; "
                    "give another place for the results, or remove the file"
                )
        # Only what is a journal, and this one, is cut: another file is left as it is.
        if whole < len(content):
            os.truncate(self.path, whole)
        if not lines:
            self._write(_line(header))
        self.done = {record["key"]: record for record in records}
        return kept

    def _write(self, line: str) -> None:
        if self._file is None:
            raise InputError(f"the journal {self.path} is closed")
        _write_all(self._file, line.encode())


def read(path: str | os.PathLike[str]) -> tuple[Record, list[Record]]:
    """The header and the finished jobs of a journal; a last line that was cut by a kill is left out.

    Raises:
        ValueError: not a journal; the line is named.
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    content = path.read_bytes()
    lines = _parse(path, content[: content.rfind(b"\n") + 1])
    if not lines:
        raise InputError(f"{path} is not a journal of experiments: it has no header")
    return _split(path, lines)


def deterministic(path: str | os.PathLike[str]) -> str:
    """What two runs with the same settings and seed share byte for byte: all but "measured" and who ran it when."""
    header, records = read(path)
    kept = {name: header[name] for name in ("experiment", "settings")}
    return "".join(
        _line({name: value for name, value in record.items() if name != "measured"})
        for record in (kept, *records)
    )


def machine() -> str:
    """The hardware that results are of: "2 cores of an AMD EPYC, Linux x86_64"."""
    model = ""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"{cores} cores of {model or platform.processor() or 'a CPU'}, {platform.system()} {platform.machine()}"


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _VERSIONS:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions


def _line(value: Mapping[str, Any]) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as problem:
        raise InputError(f"not fit for a journal: {problem}; {str(value)[:200]}") from None


def _write_all(file: int, content: bytes) -> None:
    """All of it or none: a disk that is full must not leave half a line."""
    size = os.fstat(file).st_size
    try:
        written = os.write(file, content)
        while written < len(content):
            written += os.write(file, content[written:])
        os.fsync(file)
    except BaseException:
        os.ftruncate(file, size)
        raise


def _parse(path: Path, content: bytes) -> list[Any]:
    lines = []
    for number, line in enumerate(content.splitlines(), 1):
        try:
            lines.append(json.loads(line))
        except ValueError as problem:
            raise InputError(f"{path}, line {number}, is not JSON: {problem}") from None
    return lines


def _split(path: Path, lines: Sequence[Any]) -> tuple[Record, list[Record]]:
    header, *records = lines
    if not (isinstance(header, dict) and {"experiment", "settings", "versions"} <= header.keys()):
        raise InputError(f"{path}, line 1, is not the header of a journal")
    seen = set()
    for number, record in enumerate(records, 2):
        if not (isinstance(record, dict) and isinstance(record.get("key"), str)):
            raise InputError(f"{path}, line {number}, is not a job: it has no key")
        if record["key"] in seen:
            raise InputError(f"{path}, line {number}: the job {record['key']!r} is there twice")
        seen.add(record["key"])
    return header, records


def _difference(kept: Any, wanted: Any) -> str:
    if not (isinstance(kept, dict) and isinstance(wanted, dict)):
        return f"{kept!r} there, {wanted!r} now"
    names: Iterable[str] = [name for name in {**kept, **wanted} if kept.get(name) != wanted.get(name)]
    return "; ".join(f"{name} is {kept.get(name)!r} there and {wanted.get(name)!r} now" for name in names)

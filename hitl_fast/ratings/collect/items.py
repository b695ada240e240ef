"""Kinds of items to show: images of a folder or an array, texts, rows of a table; each is read when shown."""

from __future__ import annotations

import csv
import hashlib
import json
import mmap
import os
import struct
import weakref
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hitl_fast._common.errors import InputError
from hitl_fast._common.files import why_unreadable

# No SVG: it may hold scripts.
IMAGE_TYPES = {
    ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp",
    ".bmp": "image/bmp",
}  # fmt: skip
TEXT_FIELDS = ("text", "sentence", "content", "document", "prompt")
LABEL_FIELDS = ("label", "class", "target", "category")
IMAGE_ARRAYS = ("images", "image", "x", "X", "inputs", "data")
LABEL_ARRAYS = ("labels", "label", "y", "targets")
MAX_TEXT = 100_000  # characters of one item that are shown


class Items(ABC):
    """The items of a data set, by position.

    Attributes:
        kind: "image", "text" or "row".
        source: name of the file or folder.
    """

    kind: str
    source: str

    @abstractmethod
    def __len__(self) -> int:
        """How many items there are."""

    @abstractmethod
    def content(self, item: int) -> dict[str, Any]:
        """What the page shows beside an image: ``label`` and ``name`` where known, ``text`` or ``row``."""

    def image(self, item: int) -> tuple[bytes, str]:
        """The encoded image and its media type.

        Raises:
            ValueError: the items are no images, or this one cannot be read.
        """
        raise InputError(f"the items of {self.source} are of kind {self.kind!r}: item {item} is no image")

    @abstractmethod
    def fingerprint(self) -> str:
        """Differs where the positions stand for other items, as far as that shows without reading them all."""


class ImageFolder(Items):
    """Images of a folder and its sub-folders in the order of their names; a sub-folder's name is the label."""

    kind = "image"

    def __init__(self, root: Path) -> None:
        self.root, self.source = Path(os.path.realpath(root)), root.name
        self.names = sorted(self._walk(self.root, ""))
        if not self.names:
            raise InputError(f"{root} holds no images: expected files ending in {', '.join(IMAGE_TYPES)}")

    def _walk(self, folder: Path, prefix: str) -> list[str]:
        found = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_symlink() and entry.is_dir():
                    raise InputError(
                        f"{entry.path} is a link to a folder, and links to folders are not followed: copy the folder"
                    )
                if entry.is_dir(follow_symlinks=False):
                    found += self._walk(Path(entry.path), f"{prefix}{entry.name}/")
                elif os.path.splitext(entry.name)[1].lower() in IMAGE_TYPES:
                    self._inside(Path(entry.path))
                    if entry.is_file() or entry.is_symlink():  # no pipe, which would be waited for
                        found.append(prefix + entry.name)
        return found

    def _inside(self, path: Path) -> None:
        if self.root not in Path(os.path.realpath(path)).parents:
            raise InputError(
                f"{path} links to a file outside the data set, and only the data set's files are served: "
                "copy the file, or name the folder that holds it"
            )

    def __len__(self) -> int:
        return len(self.names)

    def content(self, item: int) -> dict[str, Any]:
        folder, _, name = self.names[item].rpartition("/")
        return {"name": name, **({"label": folder} if folder else {})}

    def image(self, item: int) -> tuple[bytes, str]:
        path = self.root / self.names[item]
        self._inside(path)  # it, or a folder on the way, may have become a link since
        if path.exists() and not path.is_file():
            raise InputError(f"item {item}: no longer a file: {self.names[item]}")
        try:
            return path.read_bytes(), IMAGE_TYPES[path.suffix.lower()]
        except OSError as problem:
            raise InputError(f"item {item}: {problem.strerror}: {self.names[item]}") from None

    def fingerprint(self) -> str:
        return hashlib.sha256("\n".join(self.names).encode()).hexdigest()


class ImageArray(Items):
    """Images of an array (n, height, width), (n, height, width, 1 or 3) or (n, 1 or 3, height, width)."""

    kind = "image"

    def __init__(self, source: str, images: np.ndarray, labels: np.ndarray | None) -> None:
        self.source = source
        if images.dtype.kind not in "fiub" or images.ndim not in (3, 4) or images.size == 0:
            raise InputError(
                f"{source}: images have shape {images.shape} and type {images.dtype}: expected numbers of shape "
                "(n, height, width), (n, height, width, 3) or (n, 3, height, width)"
            )
        self.channels_first = images.ndim == 4 and images.shape[3] not in (1, 3)
        if self.channels_first and images.shape[1] not in (1, 3):
            raise InputError(f"{source}: images of shape {images.shape} have neither 1 nor 3 channels")
        if labels is not None and labels.shape != (len(images),):
            raise InputError(
                f"{source}: {len(images)} images and labels of shape {labels.shape}: one a image"
            )
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def content(self, item: int) -> dict[str, Any]:
        return {} if self.labels is None else {"label": str(self.labels[item])}

    def image(self, item: int) -> tuple[bytes, str]:
        image = np.asarray(self.images[item])
        if self.channels_first:
            image = image.transpose(1, 2, 0)
        if image.dtype != np.uint8:
            image = image.astype(np.float64)
            if not np.isfinite(image).all():
                raise InputError(f"item {item} of {self.source} has a value that is not finite")
            low, high = min(0.0, float(image.min())), max(1.0, float(image.max()))
            image = np.round((image - low) / (high - low) * 255).astype(np.uint8)
        return png(image), "image/png"

    def fingerprint(self) -> str:
        first = np.ascontiguousarray(self.images[0]).tobytes()
        return hashlib.sha256(repr(self.images.shape).encode() + first).hexdigest()


class Lines(Items):
    """A text or a JSON record a line, read when it is shown."""

    def __init__(self, path: Path, records: bool, text: str | None) -> None:
        self.source, self.records = path.name, records
        if path.stat().st_size == 0:
            raise InputError(f"{path.name} is empty")
        self._file = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)
        self._state = self._now()
        with mmap.mmap(self._file, 0, access=mmap.ACCESS_READ) as content:
            breaks = np.flatnonzero(np.frombuffer(content, np.uint8) == 10)
        # No map is kept: a page of a file that was cut short meanwhile would end the process.
        self._starts = np.concatenate([[0], breaks + 1])
        if self._starts[-1] == self._state[0]:
            self._starts = self._starts[:-1]
        self.text = _text_field(self._record(0), text, path.name) if records else ""
        self.kind = "row" if self.text is None else "text"

    def __len__(self) -> int:
        return len(self._starts)

    def _now(self) -> tuple[int, int]:
        about = os.fstat(self._file)
        return about.st_size, about.st_mtime_ns

    def _line(self, item: int) -> str:
        start = int(self._starts[item])
        stop = int(self._starts[item + 1]) if item + 1 < len(self._starts) else self._state[0]
        content = os.pread(self._file, stop - start, start)
        if self._now() != self._state:
            raise InputError(
                f"{self.source} was changed since it was opened: positions may stand for other lines"
            )
        try:
            return content.decode("utf-8-sig").rstrip("\r\n")
        except UnicodeDecodeError:
            raise InputError(f"{self.source}, line {item + 1}: not UTF-8") from None

    def _record(self, item: int) -> dict[str, Any]:
        try:
            record = json.loads(self._line(item))
        except (json.JSONDecodeError, RecursionError) as problem:
            raise InputError(f"{self.source}, line {item + 1}: no JSON record: {problem}") from None
        if not isinstance(record, dict):
            raise InputError(f"{self.source}, line {item + 1}: expected a JSON object with fields")
        return record

    def content(self, item: int) -> dict[str, Any]:
        return (
            _shown(self._record(item), self.text) if self.records else {"text": self._line(item)[:MAX_TEXT]}
        )

    def fingerprint(self) -> str:
        ends = self._line(0) + "\n" + self._line(len(self) - 1)
        return hashlib.sha256(f"{len(self)} {self._state[0]}\n{ends}".encode()).hexdigest()


class Records(Items):
    """Mappings of fields to values: rows of a CSV file, or any sequence such as a Hugging Face Dataset of texts."""

    def __init__(self, source: str, rows: Sequence[Mapping[str, Any]], text: str | None) -> None:
        if len(rows) == 0:
            raise InputError(f"{source} has no rows")
        self.source, self.rows = source, rows
        self.text = _text_field(rows[0], text, source)
        self.kind = "row" if self.text is None else "text"

    def __len__(self) -> int:
        return len(self.rows)

    def content(self, item: int) -> dict[str, Any]:
        return _shown(self.rows[item], self.text)

    def fingerprint(self) -> str:
        ends = [dict(self.rows[0]), dict(self.rows[len(self.rows) - 1])]
        return hashlib.sha256(f"{len(self)} {ends!r}".encode()).hexdigest()


def png(image: np.ndarray) -> bytes:
    """An 8-bit PNG of (height, width), (height, width, 1) or (height, width, 3); W3C, PNG, second edition."""
    height, width = image.shape[:2]
    colour = image.ndim == 3 and image.shape[2] == 3
    rows = np.ascontiguousarray(image).reshape(height, -1)
    raw = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1).tobytes()  # filter 0 a row

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2 if colour else 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(raw, 6))
        + chunk(b"IEND", b"")
    )


def from_arrays(path: Path) -> Items:
    try:
        if path.suffix.lower() == ".npy":
            return ImageArray(path.name, np.load(path, mmap_mode="r", allow_pickle=False), None)
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
            names = file.files
            wanted = [name for name in IMAGE_ARRAYS if name in names] or [
                name for name in names if file[name].ndim in (3, 4)
            ]
            if not wanted:
                raise InputError(f"{path.name} has no array of images, only {', '.join(names) or 'nothing'}")
            label = next((name for name in LABEL_ARRAYS if name in names), None)
            return ImageArray(path.name, file[wanted[0]], None if label is None else file[label])
    except InputError:
        raise
    except (ValueError, EOFError, zlib.error, KeyError) as problem:
        raise InputError(f"{path.name} is no readable file of arrays: {why_unreadable(problem)}") from None
    except Exception as problem:
        import zipfile

        if isinstance(problem, zipfile.BadZipFile):
            raise InputError(
                f"{path.name} is no readable file of arrays: {why_unreadable(problem)}"
            ) from None
        raise


def rows_of(path: Path, delimiter: str) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            header = next(reader, None)
            if not header or len(set(header)) < len(header):
                raise InputError(f"{path.name}, line 1: expected a header with different names of columns")
            rows = []
            for row in reader:
                if len(row) != len(header):
                    raise InputError(
                        f"{path.name}, line {reader.line_num}: {len(row)} values for {len(header)} columns"
                    )
                rows.append(dict(zip(header, row, strict=True)))
    except (csv.Error, UnicodeDecodeError) as problem:
        raise InputError(f"{path.name} is no readable table: {problem}") from None
    return rows


def _text_field(record: Mapping[str, Any], wanted: str | None, source: str) -> str | None:
    if wanted is not None:
        if wanted not in record:
            raise InputError(f"{source} has no field {wanted!r}; fields: {', '.join(map(str, record))}")
        return wanted
    return next((name for name in TEXT_FIELDS if name in record), None)


def _shown(record: Mapping[str, Any], text: str | None) -> dict[str, Any]:
    label = next((name for name in LABEL_FIELDS if record.get(name) not in (None, "")), None)
    about = {} if label is None else {"label": str(record[label])}
    if text is not None:
        return {**about, "text": str(record.get(text, ""))[:MAX_TEXT]}
    row = [[str(name), str(value)[:MAX_TEXT]] for name, value in record.items() if name != label]
    return {**about, "row": row}

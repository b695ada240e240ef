"""A Hugging Face Dataset, in memory or saved to disk, as items to show: its images, texts or rows."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from hitl_fast._common.errors import InputError, require

from .items import LABEL_FIELDS, Items, Records

SAVED = ("dataset_info.json", "state.json")  # what `Dataset.save_to_disk` writes
SEVERAL = "dataset_dict.json"
MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"), (b"BM", "image/bmp"),
)  # fmt: skip


def is_saved(folder: Path) -> bool:
    """Whether a folder was written by ``save_to_disk``."""
    return (folder / SEVERAL).is_file() or all((folder / name).is_file() for name in SAVED)


def is_dataset(value: Any) -> bool:
    kind = type(value)
    return kind.__module__.partition(".")[0] == "datasets" and hasattr(value, "features")


def refuse_splits(value: Any) -> None:
    """Refuse a DatasetDict, which holds several data sets.

    Raises:
        ValueError: it is one; names the splits.
    """
    if type(value).__module__.partition(".")[0] == "datasets" and isinstance(value, dict):
        splits = list(map(str, value))
        advice = f": pass one, such as data[{splits[0]!r}]" if splits else ""
        raise InputError(
            f"data is a {type(value).__name__} of the splits {', '.join(splits) or '(none)'}{advice}"
        )


def open_saved(folder: Path, text: str | None) -> Items:
    """The items of a folder that ``Dataset.save_to_disk`` has written.

    Raises:
        ValueError: it holds several splits, or is damaged.
        ImportError: the library datasets is not installed.
    """
    if (folder / SEVERAL).is_file():
        splits = sorted(p for p in folder.iterdir() if all((p / name).is_file() for name in SAVED))
        if not splits:
            raise InputError(f"{folder} is no whole saved DatasetDict: the folders of its splits are missing")
        raise InputError(f"{folder} holds several splits: name the folder of one, such as {splits[0]}")
    datasets = require("datasets", "", "reading a saved Dataset")
    try:
        data = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        why = f"{problem.args[0]!r} is missing in it" if isinstance(problem, KeyError) else str(problem)
        raise InputError(f"{folder} is no whole saved Dataset: {why}; save it again") from None
    return from_dataset(data, folder.name, text, on_disk=True)


def from_dataset(data: Any, source: str, text: str | None, on_disk: bool = False) -> Items:
    """The items of a Dataset: its first column of images, else its texts or rows.

    Raises:
        ValueError: it is empty, a column is not there, or it is streamed, so that it has no positions.
    """
    if not hasattr(data, "__len__"):
        raise InputError(f"{source} is streamed: items are asked about by position, so load it whole")
    if len(data) == 0:
        raise InputError(f"{source} has no rows")
    data = data.with_format(None)
    features = dict(data.features or {})
    data = _with_names(
        data, {n: f for n, f in features.items() if type(f).__name__ == "ClassLabel" and f.names}
    )
    image = next((n for n, f in features.items() if type(f).__name__ == "Image"), None)
    if image is None or text is not None:
        return Records(source, data, text)
    return DatasetImages(data, source, image, on_disk)


def _with_names(data: Any, classes: dict[str, Any]) -> Any:
    """The Dataset with the names of the classes in place of their numbers, made when a row is read."""

    def named(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        found = dict(batch)
        for column in classes.keys() & batch.keys():
            names = classes[column].names
            found[column] = [None if v is None or v < 0 else names[v] for v in batch[column]]
        return found

    return data.with_transform(named) if classes else data  # one for all: a second would replace it


class DatasetImages(Items):
    """The column of images of a Dataset, as they are encoded there."""

    kind = "image"

    def __init__(self, data: Any, source: str, column: str, on_disk: bool) -> None:
        datasets = require("datasets", "", "reading a Dataset")
        self.source, self.column, self.on_disk = source, column, on_disk
        label = next((n for n in LABEL_FIELDS if n in data.features), None)
        self._label = data.features[label] if label is not None else None
        self._label_name = label
        plain = data.with_format(None).cast_column(column, datasets.Image(decode=False))
        self._labels = plain.select_columns([label]) if label is not None else None
        self._images = plain.select_columns([column])

    def __len__(self) -> int:
        return len(self._images)

    def content(self, item: int) -> dict[str, Any]:
        if self._labels is None:
            return {}
        value = self._labels[item][self._label_name]
        names = getattr(self._label, "names", None)
        if value is None or (names and value < 0):
            return {}
        return {"label": names[value] if names else str(value)}

    def image(self, item: int) -> tuple[bytes, str]:
        held = self._images[item][self.column] or {}
        content: bytes | None = held.get("bytes")
        if content is None and held.get("path") and not self.on_disk:
            try:
                content = Path(held["path"]).read_bytes()
            except OSError as problem:
                raise InputError(f"item {item} of {self.source}: {problem.strerror}") from None
        if content is None:
            raise InputError(
                f"item {item} of {self.source} has no image in it, and only the data set's files are served: save it "
                "with its images (Dataset.save_to_disk does)"
            )
        kind = next((kind for magic, kind in MAGIC if content.startswith(magic)), None)
        if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
            kind = "image/webp"
        if kind is None:
            raise InputError(f"item {item} of {self.source}: expected PNG, JPEG, GIF, WebP or BMP")
        return content, kind

    def fingerprint(self) -> str:
        ends = [self._images[0][self.column], self._images[len(self) - 1][self.column]]
        about = [(one or {}).get("bytes") or (one or {}).get("path") for one in ends]
        return hashlib.sha256(f"{len(self)} {about!r}".encode()).hexdigest()

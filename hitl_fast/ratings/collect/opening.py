"""Data sets as items to show, recognised by what they are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hitl_fast._common.errors import InputError, InputTypeError

from .hub_dataset import from_dataset, is_dataset, is_saved, open_saved, refuse_splits
from .items import ImageFolder, Items, Lines, Records, from_arrays, rows_of


def open_items(data: str | os.PathLike[str] | Any, text: str | None = None) -> Items:
    """The items of a folder of images, ``.npy`` or ``.npz``, ``.txt``, ``.jsonl``, ``.csv``, or a Hugging Face Dataset.

    Args:
        data: path, also of a folder that ``Dataset.save_to_disk`` wrote; or a Dataset in memory. In a ``.npz`` the
            images are the array "images", "x" or the only one of 3 or 4 dimensions.
        text: field or column with the text; by default "text" or the like. Without one, whole rows are shown.

    Raises:
        ValueError: it is of no such kind, empty or damaged; what was expected is named.
        TypeError: it is neither a path nor a Dataset.
        OSError: it cannot be opened.
    """
    if is_dataset(data):
        return from_dataset(data, "Dataset", text)
    refuse_splits(data)
    if not isinstance(data, str | os.PathLike):
        raise InputTypeError(f"data must be a path or a Hugging Face Dataset, not {type(data).__name__}")
    if not os.fspath(data).strip():
        raise InputError("data is an empty path: name the folder or file ('.' is the current folder)")
    path = Path(data)
    if path.is_dir():
        return open_saved(path, text) if is_saved(path) else ImageFolder(path)
    suffix = path.suffix.lower()
    if suffix in (".npz", ".npy"):
        return from_arrays(path)
    if suffix in (".txt", ".jsonl", ".ndjson"):
        return Lines(path, suffix != ".txt", text)
    if suffix in (".csv", ".tsv"):
        return Records(path.name, rows_of(path, "\t" if suffix == ".tsv" else ","), text)
    path.stat()
    raise InputError(
        f"{path.name}: expected a folder of images or of a saved Dataset, or a file ending in .npz, .npy, .txt, "
        ".jsonl, .csv or .tsv"
    )

"""Whole weight columns of Hugging Face datasets, checked before a training starts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from hitl_fast._common.errors import InputError

from .weight_columns import COLUMNS, SAMPLE, TOKEN, refuse_invalid

LARGEST = float(np.finfo(np.float32).max)  # batches carry weights in float32


def refuse_invalid_columns(dataset: Any, drawn: bool = False) -> None:
    """Read the weights of a ``datasets.Dataset`` or of a list of samples; other datasets are checked batch by batch.

    ``drawn``: weights are only drawn by, in float64, and any range of them will do.

    Raises:
        ValueError: a value that is no finite number of at least 0, a missing one, weights that are all 0, or another
            number of token weights than tokens; with the first such position.
    """
    known = getattr(dataset, "weights", None)
    if isinstance(known, np.ndarray):
        if not drawn:
            _refuse_all_zero(known, "weights")
    elif isinstance(dataset, list | tuple):
        _check_list(dataset, drawn)
    elif type(dataset).__module__.partition(".")[0] == "datasets" and hasattr(dataset, "__len__"):
        _check_table(dataset, drawn)


def _check_table(dataset: Any, drawn: bool) -> None:
    present = [name for name in COLUMNS if name in dataset.column_names]
    tokens = ["input_ids"] if TOKEN in present and "input_ids" in dataset.column_names else []
    table = dataset.select_columns(present + tokens).with_format("arrow")[:]
    if SAMPLE in present:
        numbers = _numbers(table[SAMPLE], SAMPLE)
        _refuse(_invalid(numbers), numbers, SAMPLE)
        if not drawn:
            _refuse_all_zero(numbers, f"the column {SAMPLE!r} of train_dataset")
    if TOKEN in present:
        _check_tokens(table)


def _check_list(samples: Sequence[Any], drawn: bool) -> None:
    """Weights of samples in memory, as each batch would check those of its own."""
    for name in COLUMNS:
        held = [sample.get(name) if isinstance(sample, Mapping) else None for sample in samples]
        if all(value is None for value in held):
            continue
        if name == SAMPLE and set(map(type, held)) <= {int, float} and not _invalid(_plain(held)).any():
            if not drawn:
                _refuse_all_zero(_plain(held), f"{name!r} of train_dataset")
            continue
        for position, value in enumerate(held):
            refuse_invalid(name, position, value, "train_dataset")
        if not drawn and not any(bool(torch.as_tensor(value, dtype=torch.float32).any()) for value in held):
            raise InputError(_all_zero(f"{name!r} of train_dataset"))


def _plain(held: list[Any]) -> np.ndarray:
    """Numbers as float64; integers beyond it as infinite, which is refused."""
    try:
        return np.array(held, np.float64)
    except OverflowError:
        return np.array([math.inf])


def _refuse_all_zero(numbers: np.ndarray, what: str) -> None:
    if numbers.size and not numbers.astype(np.float32).any():
        raise InputError(_all_zero(what))


def _all_zero(what: str) -> str:
    return f"{what} is all 0 in float32, in which batches carry weights: nothing would be learned"


def _check_tokens(table: Any) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    column = table[TOKEN]
    kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    if not any(is_of(column.type) for is_of in kinds):
        raise InputError(f"the column {TOKEN!r} must hold a list of numbers a sample, not {column.type}")
    _refuse_missing(column, TOKEN)
    lengths = pc.list_value_length(column).to_numpy()
    if "input_ids" in table.column_names:
        counts = pc.list_value_length(table["input_ids"]).to_numpy()
        unequal = lengths != counts
        if unequal.any():
            row = int(unequal.argmax())
            raise InputError(
                f"sample {row} of train_dataset has {counts[row]} tokens (input_ids) and {lengths[row]} numbers in "
                f"{TOKEN!r}: give one number a token"
            )
    if not lengths.sum():
        return  # of other types than numbers if nothing is in them
    numbers = _numbers(pc.list_flatten(column), TOKEN, places=False)
    bad = _invalid(numbers)
    if bad.any():
        place = int(bad.argmax())
        ends = np.cumsum(lengths)
        row = int(np.searchsorted(ends, place, side="right"))
        inside = place - int(ends[row] - lengths[row])
        value = column[row][inside].as_py()
        if value is None:
            raise InputError(
                f"{TOKEN}[{row}][{inside}] of train_dataset is missing (None): give every token a weight"
            )
        raise InputError(_message(f"{TOKEN}[{row}][{inside}]", value))
    _refuse_all_zero(numbers, f"the column {TOKEN!r} of train_dataset")


def _invalid(numbers: np.ndarray) -> np.ndarray:
    return np.asarray(~((numbers >= 0) & (numbers <= LARGEST)))


def _numbers(column: Any, name: str, places: bool = True) -> np.ndarray:
    """A column as float64; what is missing is refused, or NaN where its place in the column is no sample's."""
    import pyarrow as pa

    kind = column.type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        first = column[0].as_py() if len(column) else None
        raise InputError(
            f"the column {name!r} of train_dataset must hold real numbers, not {kind}: its first value is {first!r}"
        )
    if places:
        _refuse_missing(column, name)
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)


def _refuse_missing(column: Any, name: str) -> None:
    if column.null_count:
        row = int(np.asarray(column.is_null().to_numpy()).argmax())
        raise InputError(f"{name}[{row}] of train_dataset is missing (None): give every sample a weight")


def _refuse(bad: np.ndarray, numbers: np.ndarray, name: str) -> None:
    if bad.any():
        row = int(bad.argmax())
        raise InputError(_message(f"{name}[{row}]", numbers[row]))


def _message(place: str, value: float) -> str:
    return f"{place} of train_dataset is {value}: a finite number of at least 0 (in float32) is expected"

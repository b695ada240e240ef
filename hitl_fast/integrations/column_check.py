"""Whole weight columns of Hugging Face datasets, checked before a training starts."""

from __future__ import annotations

from typing import Any

import numpy as np

from hitl_fast._common.errors import InputError

from .weight_columns import COLUMNS, SAMPLE, TOKEN

LARGEST = float(np.finfo(np.float32).max)  # batches carry weights in float32


def refuse_invalid_columns(dataset: Any) -> None:
    """Read the weight columns of a ``datasets.Dataset``; other datasets are checked batch by batch.

    Raises:
        ValueError: a value that is no finite number of at least 0, a missing one, weights that are all 0, or another
            number of token weights than tokens; with the first such position.
    """
    if type(dataset).__module__.partition(".")[0] != "datasets" or not hasattr(dataset, "__len__"):
        return
    present = [name for name in COLUMNS if name in dataset.column_names]
    tokens = ["input_ids"] if TOKEN in present and "input_ids" in dataset.column_names else []
    table = dataset.select_columns(present + tokens).with_format("arrow")[:]
    if SAMPLE in present:
        numbers = _numbers(table[SAMPLE], SAMPLE)
        _refuse(~((numbers >= 0) & (numbers <= LARGEST)), numbers, SAMPLE)
        if len(numbers) and not numbers.any():
            raise InputError(f"the column {SAMPLE!r} of train_dataset is all 0: nothing would be learned")
    if TOKEN in present:
        _check_tokens(table)


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
    numbers = _numbers(pc.list_flatten(column), TOKEN)
    bad = ~((numbers >= 0) & (numbers <= LARGEST))
    if bad.any():
        place = int(bad.argmax())
        ends = np.cumsum(lengths)
        row = int(np.searchsorted(ends, place, side="right"))
        inside = place - int(ends[row] - lengths[row])
        raise InputError(_message(f"{TOKEN}[{row}][{inside}]", numbers[place]))


def _numbers(column: Any, name: str) -> np.ndarray:
    import pyarrow as pa

    kind = column.type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        first = column[0].as_py() if len(column) else None
        raise InputError(
            f"the column {name!r} of train_dataset must hold real numbers, not {kind}: its first value is {first!r}"
        )
    _refuse_missing(column, name)
    return np.asarray(column.to_numpy(), dtype=np.float64)


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

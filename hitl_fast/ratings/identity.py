"""Ids of items and raters: integers where all are, text otherwise; and the positions of items in a data set."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hitl_fast._common.errors import InputError, InputTypeError, MissingExtraError

from .formats.cells import is_shortened
from .formats.column import Column

if TYPE_CHECKING:
    import pandas

WHOLE = re.compile(r"(?:0|[1-9]\d*)(?:\.0+)?")  # spellings of a whole number
CANONICAL = re.compile(r"0|-?[1-9]\d{0,17}")  # text that an integer prints as: "007" stays text


def pandas_module() -> Any:
    """The module pandas, which only the extra ``ratings`` installs."""
    try:
        import pandas
    except ImportError:
        raise MissingExtraError("ratings are pandas frames: run pip install 'hitl-fast[ratings]'") from None
    return pandas


def ids(values: Any, name: str, *, from_text: bool = False, may_miss: bool = False) -> np.ndarray:
    """One-dimensional ids as int64 if all of them are integers, else as text in an object array.

    Args:
        values: list, array, tensor, Series or `Column`.
        name: what they are, for errors.
        from_text: text that is an integer counts as one, as in a file that has no other way to write it.
        may_miss: allow None and NaN, which become None.
    """
    pd = pandas_module()
    if isinstance(values, Column):
        return _ids_of_column(values, name, from_text, may_miss)
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    array = values if hasattr(values, "dtype") else _object_array(values)
    if getattr(array, "ndim", 1) != 1:
        raise InputError(f"{name} must be one-dimensional, not of shape {tuple(array.shape)}")
    if isinstance(array, np.ndarray) and array.dtype.kind in "iu" and array.dtype != np.uint64:
        return array.astype(np.int64)
    codes, distinct = pd.factorize(array)
    return _named(codes, list(distinct), name, from_text, may_miss)


def _ids_of_column(column: Column, name: str, from_text: bool, may_miss: bool) -> np.ndarray:
    used = column.used()
    known: dict[Any, int] = {}
    # 1, 1.0 and "1" are looked at as they are; equal ones have one code, a missing one -1
    table = [-1 if v is None or v != v else known.setdefault((type(v), v), len(known)) for v in used.values]
    codes = np.array(table, dtype=np.int64)[used.codes] if table else used.codes
    return _named(codes, [value for _, value in known], name, from_text, may_miss)


def _named(codes: np.ndarray, distinct: list[Any], name: str, from_text: bool, may_miss: bool) -> np.ndarray:
    """Ids from codes into different values, -1 being a missing one."""
    missing = codes < 0
    if missing.any() and not may_miss:
        raise InputError(f"{name}[{int(missing.argmax())}] is missing: every rating needs one")
    for code, value in enumerate(distinct):
        if isinstance(value, str) and is_shortened(value):
            raise InputError(
                f"{name}[{int((codes == code).argmax())}] is {value!r}, a long number shortened by a spreadsheet: "
                "different ones may look the same, so export it again as text"
            )
    if from_text:
        _refuse_two_spellings(codes, distinct, name)
    plain = [_plain(value, from_text) for value in distinct]
    whole = all(isinstance(value, int) for value in plain)
    if not missing.any() and whole:
        return np.array(plain, dtype=np.int64)[codes] if plain else np.empty(0, np.int64)
    table = np.empty(len(plain) + 1, dtype=object)
    table[: len(plain)] = [value if whole else str(value) for value in plain]
    return np.asarray(table[codes])  # the last entry, None, stands for -1


def _refuse_two_spellings(codes: np.ndarray, distinct: list[Any], name: str) -> None:
    """Refuse "1.0" beside "1", which programs make of it: one would count as two. "007" is an id of its own."""
    if not any(isinstance(value, str) and value.endswith("0") and "." in value for value in distinct):
        return
    known: dict[str, str] = {}
    for code, value in enumerate(distinct):
        if isinstance(value, str) and WHOLE.fullmatch(value):
            other = known.setdefault(value.partition(".")[0], value)
            if other != value:
                raise InputError(
                    f"{name}[{int((codes == code).argmax())}] is {value!r}, and another is {other!r}: if they are one, "
                    "write it in one way; if not, give one a letter"
                )


def _object_array(values: Any) -> np.ndarray:
    """One entry a value, whatever the values are."""
    values = list(values)
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _plain(value: Any, from_text: bool) -> int | str:
    """An integer that int64 holds, or text: 64-bit hashes without a sign may be beyond it."""
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, int | np.integer) or (
        isinstance(value, float | np.floating) and float(value).is_integer()
    ):
        return int(value) if -(2**63) <= int(value) < 2**63 else str(int(value))
    text = str(value)
    return int(text) if from_text and CANONICAL.fullmatch(text) else text


class Positions:
    """Where each item of a data set is: from its ids in order, or from a mapping of ids to positions."""

    def __init__(self, items: Mapping[Any, int] | Sequence[Any] | np.ndarray) -> None:
        if isinstance(items, str | bytes):
            raise InputTypeError(
                "items must be the data set's item ids in order, or a mapping of ids to positions"
            )
        pairs = items.items() if isinstance(items, Mapping) else ((id_, i) for i, id_ in enumerate(items))
        self.of: dict[str, int] = {}
        for id_, position in pairs:
            if isinstance(position, bool) or not isinstance(position, int | np.integer) or position < 0:
                raise InputError(f"items[{id_!r}] is {position!r}: a position is an integer from 0")
            key = str(_plain(id_, from_text=False))
            if self.of.setdefault(key, int(position)) != position:
                raise InputError(f"items names {id_!r} twice: at {self.of[key]} and at {position}")
        if not self.of:
            raise InputError("items is empty: it must name the data set's items")
        self.count = max(self.of.values()) + 1

    def places(self, values: np.ndarray) -> np.ndarray:
        """Position of each id; -1 where it is not known, and for None."""
        pd = pandas_module()
        codes, distinct = pd.factorize(values)
        table = np.array([self.of.get(str(value), -1) for value in distinct] + [-1], dtype=np.int64)
        return np.asarray(table[codes])


def frame(columns: Mapping[str, Any]) -> pandas.DataFrame:
    """A frame whose text stays Python text and whose None stays None."""
    pd = pandas_module()
    return pd.DataFrame(
        {
            name: pd.Series(values, dtype=object)
            if getattr(values, "dtype", None) == np.dtype(object)
            else values
            for name, values in columns.items()
        }
    )


def codes_of(values: np.ndarray, ordered: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Codes from 0 in the order of the sorted names (``ordered``; else of their first rows), None last; the names."""
    codes, names = pandas_module().factorize(values)
    names = np.asarray(names)
    if ordered:
        by_name = (
            np.array(sorted(range(len(names)), key=lambda i: natural_key(names[i])), dtype=np.int64)
            if names.dtype == object
            else names.argsort()
        )
        rank = np.empty(len(names) + 1, np.int64)
        rank[by_name] = np.arange(len(names))
        names = names[by_name]
    else:
        rank = np.arange(len(names) + 1)
    rank[-1] = len(names)
    if not (codes < 0).any():
        return rank[codes], names
    named = np.empty(len(names) + 1, dtype=object)
    named[:-1], named[-1] = names, None
    return rank[codes], named


def natural_key(name: Any) -> tuple[int, float, str]:
    """Numbers in their order, then text."""
    try:
        return 0, float(name), str(name)
    except ValueError:
        return 1, 0.0, str(name)

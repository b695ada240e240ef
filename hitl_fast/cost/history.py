"""Past retrainings as arrays, checked: what a cost model learns from."""

from __future__ import annotations

import csv
import difflib
import os
import re
import unicodedata
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hitl_fast._common.errors import InputError, InputTypeError, MissingExtraError

from .carry import FROM, Range
from .conformal import Floats
from .csv_text import of_csv, refuse_repeated

EFFORTS = ("epochs", "samples", "flops", "joules")
FEWEST = 8
COPIES = 0.05  # by chance, easy retrainings can be equal in the few columns that there are
# So many efforts equal to the largest, beside fewer ties at the other large ones, look like a limit.
FEW_AT_CAP, CAP_SHARE, CAP_TIES = 3, 0.1, 2
UNLIKE_SIZES = 2.5  # a last epoch counted as whole makes samples / epochs up to 2 times too small
AUTO = "auto"
GROUP_COLUMN = "shift"
READ = ("censored", "joules", "accuracy_drop", *FROM)


@dataclass(frozen=True)
class History:
    """Past retrainings, one a row.

    Attributes:
        scores: (n, k), what was known before retraining.
        effort: (n,), at least 0; of a censored retraining, where it was given up.
        censored: (n,) whether the target was not reached.
        joules: (n,), NaN where they were not measured.
        groups: (n,) integers, rows of one group are left out together; None: each row alone.
        accuracy_drop: (n,), or None where the history does not tell it of every row.
        sizes: lowest and highest dataset_size and batch_size; None where the history does not tell it of every row.
    """

    scores: Floats
    effort: Floats
    censored: NDArray[np.bool_]
    joules: Floats
    groups: NDArray[np.intp] | None
    accuracy_drop: Floats | None
    sizes: dict[str, Range | None]


def read(history: Any, scores: Sequence[str], effort: str, groups: str | None) -> History:
    """Check a table of past retrainings, and take what is needed out of it.

    Args:
        history: path of a CSV file, pandas DataFrame, or sequence of dicts.
        scores: names of columns.
        effort: name of the column to predict.
        groups: name of a column; "auto": "shift", if it is there and has three values or more; or None.

    Raises:
        ValueError: fewer than 8 rows, a missing column (near ones are named), a value that is missing, not finite or
            negative (its row is named), a retraining given up before it began, a score or effort that does not vary,
            no retraining that reached its target.
        TypeError: not a table; a column that does not hold numbers; groups that are no name.
        OSError: no such file.
    """
    if groups is not None and not isinstance(groups, str):
        raise InputTypeError(f"groups must be the name of a column or None, not {groups!r}")
    frame = table(history)
    if len(frame) < FEWEST:
        raise InputError(f"history must hold at least {FEWEST} past retrainings, not {len(frame)}")
    if effort not in EFFORTS:
        raise InputError(f"effort must be {', '.join(EFFORTS)}, not {effort!r}{_near(effort, EFFORTS)}")
    columns = [str(name) for name in frame.columns]
    refuse_repeated(columns)
    _refuse_spellings(
        columns, {*READ, effort, *([GROUP_COLUMN] if groups == AUTO else [])}, {*scores, groups}
    )
    X = np.column_stack([_numbers(frame, name) for name in scores])
    for name, column in zip(scores, X.T, strict=True):
        if column.min() == column.max():
            raise InputError(
                f"score {name!r} is {column[0]:g} in every past retraining, so nothing can be predicted from it"
            )
    y = _numbers(frame, effort)
    if (y < 0).any():
        row = int(np.flatnonzero(y < 0)[0])
        raise InputError(f"history row {row}: {effort} is {y[row]:g}; an effort must be at least 0")
    _warn_of_copies(frame, y)
    _warn_of_a_cap(frame, y)
    if y.min() == y.max():
        raise InputError(f"{effort} is {y[0]:g} in every past retraining, so there is nothing to predict")
    censored = np.zeros(len(frame), dtype=bool)
    if "censored" in frame.columns:
        flags = _numbers(frame, "censored")
        if not np.isin(flags, (0, 1)).all():
            row = int(np.flatnonzero(~np.isin(flags, (0, 1)))[0])
            raise InputError(f"history row {row}: censored is {flags[row]:g}; it must be 0 or 1")
        censored = flags == 1
    if (censored & (y == 0)).any():
        row = int(np.flatnonzero(censored & (y == 0))[0])
        raise InputError(f"history row {row} was given up at 0 {effort}, which tells nothing: leave it out")
    if censored.all():
        raise InputError("every past retraining is censored: none tells what reaching the target takes")
    drop = None
    if "accuracy_drop" in frame.columns and not frame["accuracy_drop"].isna().any():
        drop = _numbers(frame, "accuracy_drop")
    sizes = {name: _sizes(frame, name) for name in FROM}
    return History(X, y, censored, _joules(frame), _groups(frame, groups), drop, sizes)


def table(history: Any) -> Any:
    """The history as a pandas DataFrame with rows numbered from 0."""
    try:
        import pandas as pd
    except ImportError:
        raise MissingExtraError("cost models need pandas: pip install 'hitl-fast[experiment]'") from None
    if isinstance(history, (str, os.PathLike)):
        try:
            return of_csv(Path(history).read_text(encoding="utf-8-sig"))
        except (
            csv.Error, pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError, UnicodeDecodeError
        ) as problem:  # fmt: skip
            raise InputError(f"{os.fspath(history)} is not a CSV file: {problem}") from None
    if isinstance(history, pd.DataFrame):
        return history.reset_index(drop=True)
    if isinstance(history, Iterable) and not isinstance(history, Mapping):
        rows = list(history)
        for i, row in enumerate(rows):
            if not isinstance(row, Mapping):
                raise InputTypeError(
                    f"history row {i} must be a dict of column to value, not {type(row).__name__}"
                )
        return pd.DataFrame([dict(row) for row in rows])
    raise InputTypeError(
        f"history must be a path of a CSV file, a DataFrame or a sequence of dicts, not {type(history).__name__}"
    )


def complete(frame: Any, name: str) -> bool:
    """Whether a column holds a finite number in every row of a table."""
    if name not in frame.columns:
        return False
    try:
        _numbers(frame, name)
    except (InputError, InputTypeError):
        return False
    return True


def _refuse_spellings(names: Sequence[str], read: Collection[str], named: Collection[str | None]) -> None:
    """A column of another spelling would be left out in silence: given-up retrainings would count as finished."""
    for name in names:
        meant = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        if meant in read and name not in read and meant not in names and name not in named:
            raise InputError(f"history has a column {name!r}, but reads {meant!r} only: rename it")


def _warn_of_copies(frame: Any, effort: Floats) -> None:
    """Retrainings that are there twice count twice, and one predicts the other."""
    told = frame[[name for name in frame.columns if not _counts_rows(frame[name])]]
    copies = int((told.astype(str).duplicated().to_numpy() & (effort > 0)).sum())
    if copies > COPIES * len(frame):
        warnings.warn(
            f"{copies} of {len(frame)} past retrainings equal another one in every column: leave copies out, or the"
            " intervals are too narrow",
            stacklevel=4,
        )


def _counts_rows(column: Any) -> bool:
    """Whether a column only numbers the rows, as the index that pandas writes: it tells no copy from its original."""
    if column.dtype.kind not in "iu":
        return False
    values = column.to_numpy()
    return bool((np.diff(values) == 1).all())


def _warn_of_a_cap(frame: Any, effort: Floats) -> None:
    """Many efforts that equal the largest one may be those of retrainings that were given up, and count as finished."""
    if "censored" in frame.columns:
        return
    values, counts = np.unique(effort, return_counts=True)
    upper = counts[values > np.median(effort)]
    at_most = int(counts[-1])
    if at_most >= max(FEW_AT_CAP, CAP_SHARE * len(effort)) and at_most > CAP_TIES * max(
        upper[:-1], default=1
    ):
        warnings.warn(
            f"{at_most} of {len(effort)} past retrainings took the largest effort, {values[-1]:g}: if they were given"
            " up there, say so in a column 'censored' (1 for these, 0 for others), or large efforts are predicted too"
            " low; a column of zeros says that none was",
            stacklevel=4,
        )


def _column(frame: Any, name: str) -> Any:
    if name not in frame.columns:
        columns = [str(column) for column in frame.columns]
        raise InputError(
            f"history has no column {name!r}{_near(name, columns)}; it has: {', '.join(columns)}"
        )
    return frame[name]


def _near(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3)
    return f" (did you mean {' or '.join(repr(other) for other in near)}?)" if near else ""


def _numbers(frame: Any, name: str) -> Floats:
    """A column as float64; what is missing, not a number or not finite is refused."""
    column = _column(frame, name)
    values = np.empty(len(column))
    for row, value in enumerate(column.tolist()):
        try:
            if isinstance(value, (bool, np.bool_)) and name != "censored":
                raise TypeError
            values[row] = np.nan if value is None else float(value)
        except (TypeError, ValueError, OverflowError):
            shown = str(value)[:40]
            why = (
                ": a comma may part thousands or be a decimal sign; write 1100 or 1.1" if "," in shown else ""
            )
            raise InputTypeError(f"history row {row}: {name} is {shown!r}, not a number{why}") from None
        if not np.isfinite(values[row]):
            what = "missing" if np.isnan(values[row]) else "infinite"
            raise InputError(f"history row {row}: {name} is {what}")
    return values


def _joules(frame: Any) -> Floats:
    """Joules where they were measured; NaN elsewhere."""
    joules = np.full(len(frame), np.nan)
    if "joules" in frame.columns:
        there = frame["joules"].notna().to_numpy()
        joules[there] = _numbers(frame[there].reset_index(drop=True), "joules")
        if (joules[there] < 0).any():
            row = int(np.flatnonzero(joules < 0)[0])
            raise InputError(f"history row {row}: joules is {joules[row]:g}; it must be at least 0")
    return joules


def _sizes(frame: Any, name: str) -> Range | None:
    """Lowest and highest size of the training set or of a batch: its own column, or samples over epochs or steps."""
    if name in frame.columns:
        if not complete(frame, name):
            return None
        sizes = _numbers(frame, name)
        if (sizes <= 0).any():
            row = int(np.flatnonzero(sizes <= 0)[0])
            raise InputError(f"history row {row}: {name} is {sizes[row]:g}; it must be above 0")
        _refuse_unlike_sizes(frame, name, sizes)
    else:
        if not all(complete(frame, column) for column in FROM[name]):
            return None
        samples, count = (_numbers(frame, column) for column in FROM[name])
        sizes = samples[(samples > 0) & (count > 0)] / count[(samples > 0) & (count > 0)]
    return (float(sizes.min()), float(sizes.max())) if len(sizes) else None


def _refuse_unlike_sizes(frame: Any, name: str, sizes: Floats) -> None:
    """A size in another unit than the samples, such as thousands, would carry predictions to the wrong sizes."""
    if not all(complete(frame, column) for column in FROM[name]):
        return
    samples, count = (_numbers(frame, column) for column in FROM[name])
    there = (samples > 0) & (count >= 2)
    if not there.any():
        return
    by_count = samples[there] / count[there]
    apart = float(np.median(by_count / sizes[there]))
    if not 1 / UNLIKE_SIZES < apart < UNLIKE_SIZES:
        row = int(np.flatnonzero(there)[0])
        raise InputError(
            f"history row {row}: {name} is {sizes[row]:g}, but {FROM[name][0]} / {FROM[name][1]} is {by_count[0]:.4g}:"
            " one of these columns is in another unit or counts something else; correct it or leave it out"
        )


def _groups(frame: Any, name: str | None) -> NDArray[np.intp] | None:
    if name is None or (name == AUTO and GROUP_COLUMN not in frame.columns):
        return None
    column = _column(frame, GROUP_COLUMN if name == AUTO else name)
    if column.isna().any():
        row = int(np.flatnonzero(column.isna().to_numpy())[0])
        raise InputError(f"history row {row}: {column.name} is missing, so its group is unknown")
    names = [_group_name(value) for value in column.tolist()]
    kinds, members = np.unique(np.array(names), return_inverse=True)
    if len(kinds) < 3:
        if name == AUTO:
            return None
        raise InputError(f"groups: column {name!r} has {len(kinds)} values; leaving out one takes at least 3")
    return np.asarray(members, dtype=np.intp)


def _group_name(value: Any) -> str:
    """One name for the spellings of a kind: "Noise ", "noise": left out apart, one would predict the other."""
    return " ".join(unicodedata.normalize("NFKC", str(value)).casefold().split())

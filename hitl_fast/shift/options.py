"""How distances become an index: the options of ``preindex``, validated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hitl_kernels.shift_distances import ARITHMETICS, MEASURES

from hitl_fast._common.errors import InputError, InputTypeError

POOLINGS = ("mean", "flatten")


@dataclass(frozen=True)
class Options:
    """The arguments of ``hitl_fast.preindex`` of the same names.

    Raises:
        ValueError: one has a value that is not allowed.
    """

    bins: tuple[int, ...]
    arithmetic: str
    pooling: str
    measure: str
    measure_bins: int
    scale: float
    offset: float

    def __post_init__(self) -> None:
        for name, known in (("arithmetic", ARITHMETICS), ("pooling", POOLINGS), ("measure", MEASURES)):
            if getattr(self, name) not in known:
                raise InputError(f"{name} must be one of {', '.join(known)}, not {getattr(self, name)!r}")
        if self.measure_bins not in self.bins:
            raise InputError(f"measure_bins must be one of bins {self.bins}, not {self.measure_bins!r}")
        if not (np.isfinite(self.scale) and self.scale >= 0):
            raise InputError(f"scale must be a finite number >= 0, not {self.scale!r}")
        if not np.isfinite(self.offset):
            raise InputError(f"offset must be a finite number, not {self.offset!r}")

    @property
    def corrected(self) -> bool:
        return self.arithmetic == "corrected"

    @property
    def pooled(self) -> bool:
        return self.pooling == "mean"

    def index(self, u: float) -> float:
        """The published index of u."""
        return u / (1 + u * self.scale) - self.offset


def whole_number(name: str, value: object, least: int, of: str) -> None:
    """Refuse what is no whole number of at least ``least``.

    Raises:
        TypeError: it is no integer.
        ValueError: it is less.
    """
    wanted = f"{name} must be a number of {of} >= {least}, not {value!r}"
    if isinstance(value, float) and value.is_integer():  # 1e9 is a number too
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise InputTypeError(wanted)
    if value < least:
        raise InputError(wanted)

"""A cost model as JSON, which has neither infinity nor NaN."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from hitl_fast._common.bootstrap import Interval
from hitl_fast._common.errors import InputError

from . import curves
from .estimate import Energy, Rival


def without_infinities(value: Any) -> Any:
    """JSON has neither infinity nor NaN: "inf" and null stand for them."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf"
    if isinstance(value, dict):
        return {name: without_infinities(held) for name, held in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_infinities(held) for held in value]
    return value


def fields_of(held: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The fields of a cost model by name, as their types.

    Raises:
        KeyError, TypeError, ValueError: one is missing or of another kind.
    """
    rivals = [
        Rival(r["name"], float(r["error"]), Interval(*map(number, r["excess"]))) for r in held["rivals"]
    ]
    energy = held["energy"]
    fields = {name: held[name] for name in names}
    fields |= {
        "scores": tuple(map(str, held["scores"])),
        "cap": number(held["cap"]),
        "offset": float(held["offset"]),
        "error": float(held["error"]),
        "ranges": tuple((float(low), float(high)) for low, high in held["ranges"]),
        "rivals": tuple(rivals),
        "curve": curves.from_json(held["curve"], len(held["scores"])),
        "fold_curves": tuple(curves.from_json(curve, len(held["scores"])) for curve in held["fold_curves"]),
        "folds": tuple(map(int, held["folds"])),
        "residuals": tuple(map(number, held["residuals"])),
        "weights": tuple(map(float, held["weights"])),
        "energy": None
        if energy is None
        else Energy(
            int(energy["retrainings"]),
            float(energy["mean"]),
            tuple(map(float, energy["fold_means"])),
            tuple(map(number, energy["residuals"])),
        ),
        "dataset_sizes": _range(held["dataset_sizes"]),
        "batch_sizes": _range(held["batch_sizes"]),
        "median": None if held["median"] is None else float(held["median"]),
    }
    return fields


def _range(held: Any) -> tuple[float, float] | None:
    if held is None:
        return None
    low, high = map(float, held)
    if not 0 < low <= high < math.inf:
        raise InputError(f"sizes must be above 0 and rise, not {held}")
    return low, high


def number(value: Any) -> float:
    return math.nan if value is None else float(value)

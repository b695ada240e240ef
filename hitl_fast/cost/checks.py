"""Options and parts of a cost model: the default score, and checks."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import numpy as np

from hitl_fast._common.errors import InputError, InputTypeError

from .curves import METHODS
from .history import EFFORTS, complete

PREFERRED, FALLBACK = "effort_score", "probe_error"


def check_options(names: tuple[str, ...], method: str, level: float) -> None:
    if not names or len(set(names)) < len(names) or not all(isinstance(name, str) for name in names):
        raise InputError(f"scores must name one or more columns, each once, not {list(names)}")
    wrong = set(names) & {*EFFORTS, "steps", "censored"}
    if wrong:
        raise InputError(f"scores must be known before retraining, which {sorted(wrong)[0]!r} is not")
    if method not in METHODS:
        raise InputError(f"method must be {', '.join(METHODS)}, not {method!r}")
    if method == "isotonic" and len(names) > 1:
        raise InputError(f"isotonic takes one score, not {len(names)}: use method='ridge' or 'log_linear'")
    if isinstance(level, bool) or not isinstance(level, Real) or not 0 < float(level) < 1:
        raise InputError(f"level must be within 0 and 1, not {level!r}")


def check_number(name: str, value: Any) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, Real)):
        raise InputTypeError(f"{name} must be a number, not {value!r}")


def check_defined(names: tuple[str, ...], x: Any, *predicted: Any) -> None:
    """Refuse scores so far away that several of them, each infinite in the sum, cancel."""
    if any(np.isnan(value).any() for value in predicted):
        values = ", ".join(f"{name} {value:.4g}" for name, value in zip(names, x, strict=True))
        raise InputError(f"{values}: too far from the past retrainings for a prediction")


def check_parts(model: Any) -> None:
    """Refuse parts that cannot be of one ``CostModel``."""
    lengths = {len(model.folds), len(model.residuals), len(model.weights), model.retrainings}
    if len(lengths) > 1 or not set(model.folds) <= set(range(len(model.fold_curves))):
        raise InputError("its parts do not belong together")
    if len(model.ranges) != len(model.scores):
        raise InputError("it has not one range for each score")
    check_options(model.scores, model.method, model.level)
    if model.effort not in EFFORTS:
        raise InputError(f"effort is {model.effort!r}")
    if model.median is not None and not 0 < model.median < math.inf:
        raise InputError(f"median must be above 0, not {model.median}")
    weights, residuals = np.array(model.weights), np.array(model.residuals)
    if not ((weights >= 0).all() and weights.sum() <= 1 and (residuals >= 0).all()):
        raise InputError("weights and residuals must be at least 0, and weights at most 1 together")


def chosen_score(history: Any) -> tuple[str, str]:
    """The default score of a history, and why."""
    if complete(history, PREFERRED):
        return PREFERRED, f"{PREFERRED}, which the history has of every retraining"
    return FALLBACK, f"{FALLBACK}, for the history has no {PREFERRED} of every retraining"


def remedy(name: str) -> str:
    if name != PREFERRED:
        return ""
    return f": run hitl-fast preindex again, or fit with scores={FALLBACK!r}"

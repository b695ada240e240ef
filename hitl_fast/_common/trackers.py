"""Metrics as every tracker takes them."""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Mapping

# What MLflow allows in a name; the others take more.
REFUSED = re.compile(r"[^\w\-. :/]")


def flat(found: Mapping[str, float | None]) -> dict[str, float]:
    """The finite numbers as floats, under names that trackers accept; what is missing or not finite is left out.

    Windows, layers and questions carry names that users chose. A character that MLflow refuses becomes "_", and a path
    that it would normalise is written as it would be; where two names become one, the later ones are numbered.

    >>> flat({"loss (train)": 1, "loss [train]": 2, "a//b": 3, "missing": None, "unknown": float("nan")})
    {'loss _train_': 1.0, 'loss _train__2': 2.0, 'a/b': 3.0}
    """
    result: dict[str, float] = {}
    taken: set[str] = set()  # by what is left out too: a metric keeps its name while another one is missing
    for name, value in found.items():
        clean = posixpath.normpath(REFUSED.sub("_", name.replace("..", "__"))).lstrip("/")
        clean = "_" if clean in ("", ".") else clean
        unique, count = clean, 1
        while unique in taken:
            count += 1
            unique = f"{clean}_{count}"
        taken.add(unique)
        if value is not None and math.isfinite(value):
            result[unique] = float(value)
    return result

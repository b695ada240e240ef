"""The call and the command line that a message advises, with the table's own column names in them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any


def call(
    source: str, told: Mapping[str, Any] | None = None, in_memory: bool = False, **arguments: Any
) -> str:
    """How to read ``source`` with what was told before and these arguments, in Python and on the command line.

    >>> call("x.csv", {"columns": {"item": "image"}}, columns={"score": "liking"})
    "Ratings.read('x.csv', columns={'item': 'image', 'score': 'liking'}) (hitl-fast ratings summary x.csv \
--columns item=image score=liking)"
    """
    arguments = _joined(dict(told or {}), arguments)
    first = source if in_memory else repr(source)
    python = ", ".join([first, *(f"{name}={value!r}" for name, value in arguments.items())])
    if in_memory:
        return f"Ratings.read({python})"
    words = ["hitl-fast", "ratings", "summary", source]
    for name, value in arguments.items():
        if isinstance(value, dict):
            words += [f"--{name}", *(f"{k}={v}" for k, v in value.items())]
        elif name == "question":
            words += [
                word for v in ([value] if isinstance(value, str) else value) for word in ("--question", v)
            ]
        elif isinstance(value, list):
            words += [f"--{name}", *map(str, value)]
        else:
            words += [f"--{name}", str(value)]
    return f"Ratings.read({python}) ({shlex.join(words)})"


def _joined(told: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Both, the later ones where they say different things; of roles both."""
    columns = {**told.get("columns", {}), **arguments.get("columns", {})}
    if "item" in arguments.get("columns", {}):
        told.pop("item", None)
    joined = {**told, **arguments}
    return {**joined, "columns": columns} if columns else joined

"""The call and the command line that a message advises, with the table's own column names in them."""

from __future__ import annotations

import shlex
from typing import Any


def call(source: str, **arguments: Any) -> str:
    """How to read ``source`` with these arguments, in Python and on the command line.

    >>> call("x.csv", columns={"score": "liking"})
    "Ratings.read('x.csv', columns={'score': 'liking'}) (hitl-fast ratings summary x.csv --columns score=liking)"
    """
    python = ", ".join([repr(source), *(f"{name}={value!r}" for name, value in arguments.items())])
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

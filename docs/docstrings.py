"""Sphinx extension: show docstrings as they are written.

Formulas and tables in our docstrings are laid out as plain text, which is no valid reStructuredText. The first
paragraph becomes a paragraph, everything after it (arguments, errors, source, examples) one preformatted block.
"""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx


def literal(app: Sphinx, what: str, name: str, thing: object, options: Any, lines: list[str]) -> None:
    """Keep the first paragraph as text, and the rest as one preformatted block."""
    text = [line.rstrip() for line in lines]
    end = text.index("") if "" in text else len(text)
    rest = text[end:]
    while rest and not rest[0]:
        rest.pop(0)
    while rest and not rest[-1]:
        rest.pop()
    block = ["", ".. code-block:: text", "", *(f"   {line}" for line in rest), ""] if rest else []
    lines[:] = [" ".join(text[:end]).replace("*", r"\*").replace("|", r"\|"), *block]


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", literal, priority=100)
    return {"parallel_read_safe": True}

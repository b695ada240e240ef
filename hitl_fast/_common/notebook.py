"""Tables for notebooks: what ``_repr_html_`` of reports returns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

__all__ = ["html_table"]

CELL = "text-align:left;padding:2px 8px"


def html_table(title: str, rows: Iterable[Sequence[object]], header: Sequence[object] = ()) -> str:
    """A compact HTML table with a title. Every cell is escaped: names come from models and files.

    It sets no colours, so that it follows the notebook's light or dark theme; None is an empty cell, and floats have
    four significant digits.

    >>> html_table("a < b", [("x", 0.123456), ("y", None)]).count("<tr>")
    2
    """
    head = "".join(f'<th style="{CELL}">{_text(cell)}</th>' for cell in header)
    lines = [f"<tr>{head}</tr>"] if head else []
    lines += [
        "<tr>" + "".join(f'<td style="{CELL}">{_text(cell)}</td>' for cell in row) + "</tr>" for row in rows
    ]
    caption = f'<caption style="{CELL};font-weight:bold">{escape(title)}</caption>'
    return f"<table>{caption}<tbody>{''.join(lines)}</tbody></table>"


def _text(cell: object) -> str:
    if cell is None:
        return ""
    return escape(f"{cell:.4g}" if isinstance(cell, float) else str(cell))

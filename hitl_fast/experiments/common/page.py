"""Results as one HTML file: no script, no network access, light and dark, for phones and wide screens."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from hitl_fast._common.errors import InputError, require
from hitl_fast._common.files import write_text

from .inline_svg import inline_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATE = "page.html.jinja"


class Page:
    """One HTML file, made from top to bottom by its methods and rendered by Jinja2, which escapes all text.

    >>> page = Page("Does it work?")
    >>> page.question("Does a warm cache save time?")
    >>> page.answer("Yes: 12 % less, on this machine.")
    >>> page.section("Times")
    >>> page.table(["cache", "seconds"], [["cold", 1.2345], ["warm", 1.0864]], caption="Median of 10 runs.")
    >>> page.write("cache.html")
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self._parts: list[dict[str, Any]] = []
        self._sections: list[str] = []
        self._figures = 0

    def question(self, text: str) -> None:
        """The question that the page answers."""
        self._add("question", text=text)

    def answer(self, sentence: str) -> None:
        """The answer in one sentence."""
        self._add("answer", text=sentence)

    def section(self, title: str) -> None:
        if not self._sections:
            self._add("contents")
        self._sections.append(title)
        self._add("section", text=title, number=len(self._sections))

    def text(self, *paragraphs: str) -> None:
        """A paragraph for each argument; an empty line within one begins another."""
        for text in paragraphs:
            for paragraph in re.split(r"\n\s*\n", text.strip()):
                self._add("paragraph", text=paragraph)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]], *, caption: str) -> None:
        """A table whose first column names its rows.

        Args:
            columns: the column heads.
            rows: a cell for each column. Text as it is, floats to four significant digits, integers with commas, yes or
                no, a dash for None and NaN, anything else by ``str``.
            caption: what the table shows, with units.

        Raises:
            ValueError: a row has another number of cells than there are columns.
        """
        cells = [[plain(value) for value in row] for row in rows]
        for i, row in enumerate(cells):
            if len(row) != len(columns):
                raise InputError(
                    f"row {i} has {len(row)} cells, not one for each of {len(columns)} columns: {row!r}"
                )
        heads = [
            {"name": name, "numeric": any(is_number(row[j]) for row in cells)}
            for j, name in enumerate(columns)
        ]
        shown = [[cell_text(value) for value in row] for row in cells]
        self._add("table", columns=heads, rows=shown, caption=caption)

    def figure(self, figure: Figure, caption: str, *, alt: str | None = None) -> None:
        """A matplotlib figure as inline SVG that takes the page's colours.

        Black becomes the page's text colour and white its background; other colours stay, and should be legible on
        both. What must stay black, such as a number on a bright cell, is "#010101".

        Args:
            alt: text alternative for screen readers; default: the caption.
        """
        markup = require("markupsafe", "demo", "a results page")
        self._figures += 1
        drawn = inline_svg(figure, f"figure-{self._figures}-", caption if alt is None else alt)
        self._add("figure", svg=markup.Markup(drawn), caption=caption)

    def provenance(self, header: Mapping[str, Any]) -> None:
        """Where the numbers come from: machine, versions, settings with seeds, date, and the command that repeats it.

        Args:
            header: names to text, numbers, or dicts of these. "command" is shown as what to type.
        """
        self.section("Where these numbers come from")
        entries = [(name, header_text(value)) for name, value in header.items() if name != "command"]
        self._add("provenance", entries=entries, command=header.get("command"))

    def html(self) -> str:
        """The page as text.

        Raises:
            ImportError: Jinja2 is missing (``pip install 'hitl-fast[demo]'``).
        """
        jinja2 = require("jinja2", "demo", "a results page")
        environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
        markup = require("markupsafe", "demo", "a results page").Markup
        environment.globals["number"] = lambda numeric: markup(' class="number"' if numeric else "")
        template = environment.from_string(files(__package__).joinpath(TEMPLATE).read_text(encoding="utf-8"))
        return str(template.render(title=self.title, parts=self._parts, sections=self._sections)) + "\n"

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the file atomically.

        Raises:
            OSError: the folder is missing or not writable.
        """
        write_text(path, self.html())

    def _add(self, kind: str, **values: Any) -> None:
        self._parts.append({"kind": kind, **values})


def heading(title: str) -> str:
    """The text near the beginning of a file that identifies a page by its title."""
    return f"<title>{escape(title, quote=False)}</title>"


def plain(value: Any) -> object:
    """A NumPy scalar as Python's own; anything else as it is."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value


def is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def cell_text(value: object) -> str:
    """A table cell as text.

    >>> [cell_text(value) for value in (0.123456, 12345, True, None, float("inf"), "a & b")]
    ['0.1235', '12,345', 'yes', '–', '∞', 'a & b']
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if math.isinf(value):
            return "∞" if value > 0 else "−∞"
        return f"{value:,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"
    return str(value)


def header_text(value: object) -> str:
    """A value of a header in one line.

    >>> header_text({"torch": "2.13", "seeds": [0, 1]})
    'torch 2.13; seeds 0, 1'
    """
    if isinstance(value, Mapping):
        return "; ".join(f"{name} {header_text(held)}" for name, held in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(header_text(held) for held in value)
    return str(value)

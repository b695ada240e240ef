"""Results as one HTML file: no script, nothing from a network, light and dark, for phones and desks alike."""

from __future__ import annotations

import io
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from hitl_fast._common.errors import InputError
from hitl_fast._common.files import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
POINTS_TO_PIXELS = 96 / 72
# What matplotlib draws black, white and grey (grids, the frames of legends) as what it is on the page.
COLOURS = {
    "#000000": "currentColor",
    "#ffffff": "var(--paper)",
    "#b0b0b0": "var(--line)",
    "#cccccc": "var(--line)",
}
# Narrower than this, a figure's text is too small to read, and the figure scrolls instead.
READABLE_PIXELS = 480

# The policy lets a browser load nothing at all: not a script, not a font, not a picture from elsewhere.
HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
{heading}
<style>{style}</style>
</head>
<body>
<main>
"""
TAIL = "</main>\n</body>\n</html>\n"

STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1c1e21; --soft: #565d66; --line: #d5d9de;
  --shade: #f3f5f7; --accent: #0b57a4; }
@media (prefers-color-scheme: dark) { :root { --paper: #15171a; --ink: #e8eaed; --soft: #a9b0b8; --line: #3a3f46;
  --shade: #1f2226; --accent: #8ab8f0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 1rem/1.55 system-ui, sans-serif;
  overflow-wrap: anywhere; }
main { max-width: 60rem; margin: 0 auto; padding: 1rem 1rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; } h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; }
p { max-width: 46rem; } a { color: var(--accent); }
.asked { color: var(--soft); font-size: 1.05rem; }
.answer { font-size: 1.15rem; border-left: .3rem solid var(--accent); background: var(--shade); padding: .8rem 1rem; }
nav ul { padding: 0; display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; list-style: none; }
.box { overflow-x: auto; } .box:focus-visible { outline: 2px solid var(--accent); }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption, figcaption { text-align: left; color: var(--soft); font-size: .9rem; padding: .4rem 0; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top;
  overflow-wrap: normal; }
thead th { border-bottom: 2px solid var(--soft); white-space: nowrap; } tbody th { font-weight: 500; }
.number { text-align: right; white-space: nowrap; }
figure { margin: 1.5rem 0; } figure svg { display: block; width: 100%; height: auto; }
svg * { stroke-linejoin: round; stroke-linecap: butt; } svg text { fill: currentColor; }
pre { overflow-x: auto; background: var(--shade); padding: .8rem 1rem; overflow-wrap: normal; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; font-size: .9rem; }
dt { color: var(--soft); } dd { margin: 0; }
@media (max-width: 40rem) { dl { display: block; } dd { margin: 0 0 .5rem; } }
@media print { .box { overflow-x: visible; } }
"""


class Page:
    """One HTML file, made from top to bottom by its methods. All text is escaped.

    >>> page = Page("Does it work?")
    >>> page.asked("Does a warm cache save time?")
    >>> page.answer("Yes: 12 % less, on this machine.")
    >>> page.section("Times")
    >>> page.table(["cache", "seconds"], [["cold", 1.2345], ["warm", 1.0864]], caption="Median of 10 runs.")
    >>> page.write("cache.html")
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self._parts: list[str] = []
        self._sections: list[str] = []
        self._figures = 0
        self._contents = 0  # where the list of sections goes: before the first one

    def asked(self, text: str) -> None:
        """What the page is an answer to."""
        self._parts.append(f'<p class="asked">{escape(text)}</p>')

    def answer(self, sentence: str) -> None:
        """The answer in one sentence."""
        self._parts.append(f'<p class="answer"><strong>{escape(sentence)}</strong></p>')

    def section(self, title: str) -> None:
        if not self._sections:
            self._contents = len(self._parts)
        self._sections.append(title)
        self._parts.append(f'<h2 id="section-{len(self._sections)}">{escape(title)}</h2>')

    def text(self, *paragraphs: str) -> None:
        """A paragraph for each; an empty line within one begins another."""
        for text in paragraphs:
            for paragraph in re.split(r"\n\s*\n", text.strip()):
                self._parts.append(f"<p>{escape(paragraph)}</p>")

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]], *, caption: str) -> None:
        """A table whose first column names its rows.

        Args:
            columns: the heads.
            rows: a cell for each column. Text as it is, floats to four significant digits, integers with commas, yes or
                no, a dash for None and NaN, anything else by ``str``.
            caption: what the table tells, with units.

        Raises:
            ValueError: a row has another number of cells than there are columns.
        """
        cells = [[plain(value) for value in row] for row in rows]
        for i, row in enumerate(cells):
            if len(row) != len(columns):
                raise InputError(
                    f"row {i} has {len(row)} cells, not one for each of {len(columns)} columns: {row!r}"
                )
        numeric = [any(is_number(row[j]) for row in cells) for j in range(len(columns))]
        kinds = [' class="number"' if number else "" for number in numeric]
        heads = "".join(
            f'<th scope="col"{kind}>{escape(name)}</th>' for name, kind in zip(columns, kinds, strict=True)
        )
        body = []
        for row in cells:
            shown = [escape(cell_text(value)) for value in row]
            line = [f'<th scope="row"{kinds[0]}>{shown[0]}</th>'] if shown else []
            line += [f"<td{kind}>{value}</td>" for value, kind in zip(shown[1:], kinds[1:], strict=True)]
            body.append(f"<tr>{''.join(line)}</tr>")
        label = escape(caption)
        self._parts.append(
            f'<div class="box" role="region" aria-label="{label}" tabindex="0"><table><caption>{label}</caption>\n'
            f"<thead><tr>{heads}</tr></thead>\n<tbody>\n" + "\n".join(body) + "\n</tbody></table></div>"
        )

    def figure(self, figure: Figure, caption: str, *, alt: str | None = None) -> None:
        """A matplotlib figure as inline SVG that takes the page's colours.

        Black is drawn in the colour of the page's text and white in that of its paper, whichever they are; other
        colours stay, and should be legible on both. What must stay black, as a number on a bright cell, is "#010101".

        Args:
            alt: what the figure shows, for those who cannot see it; default: the caption.
        """
        self._figures += 1
        drawn = inline_svg(figure, f"figure-{self._figures}-", caption if alt is None else alt)
        self._parts.append(
            f'<figure><div class="box" tabindex="0" role="region" aria-label="{escape(caption)}">{drawn}</div>\n'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
        )

    def provenance(self, header: Mapping[str, Any]) -> None:
        """Where the numbers come from: machine, versions, settings with seeds, date, and the command that repeats it.

        Args:
            header: names to text, numbers, or dicts of these. "command" is shown as what to type.
        """
        self.section("Where these numbers come from")
        told = [
            f"<dt>{escape(str(name))}</dt><dd>{escape(told_text(value))}</dd>"
            for name, value in header.items()
            if name != "command"
        ]
        self._parts.append(f"<dl>\n{chr(10).join(told)}\n</dl>")
        if "command" in header:
            command = escape(str(header["command"]))
            self._parts.append(f'<p>To reproduce:</p>\n<pre tabindex="0"><code>{command}</code></pre>')

    def html(self) -> str:
        links = [
            f'<li><a href="#section-{i}">{escape(title)}</a></li>'
            for i, title in enumerate(self._sections, 1)
        ]
        contents = [f'<nav aria-label="Contents"><ul>{"".join(links)}</ul></nav>'] if len(links) > 2 else []
        parts = [f"<h1>{escape(self.title)}</h1>", *self._parts[: self._contents], *contents]
        parts += self._parts[self._contents :]
        return HEAD.format(heading=heading(self.title), style=STYLE) + "\n".join(parts) + "\n" + TAIL

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the file, whole or not at all.

        Raises:
            OSError: the folder is missing or not writable.
        """
        write_text(path, self.html())


def heading(title: str) -> str:
    """What tells a page by its title, near the beginning of its file."""
    return f"<title>{escape(title)}</title>"


def plain(value: Any) -> object:
    """A NumPy scalar as Python's own; anything else as it is."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value


def is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def cell_text(value: object) -> str:
    """A cell as it is shown.

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


def told_text(value: object) -> str:
    """A value of a header in one line: ``{"torch": "2.13", "seeds": [0, 1]}`` is "torch 2.13; seeds 0, 1"."""
    if isinstance(value, Mapping):
        return "; ".join(f"{name} {told_text(held)}" for name, held in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(told_text(held) for held in value)
    return str(value)


def inline_svg(figure: Figure, prefix: str, label: str) -> str:
    """The figure's ``<svg>`` element, the same for the same figure, with ids of its own and colours of the page."""
    import matplotlib

    drawn = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "hitl_fast", "svg.fonttype": "none"}):
        figure.savefig(
            drawn,
            format="svg",
            transparent=True,
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    root = ElementTree.fromstring(drawn.getvalue())
    for parent in root.iter():
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style"):
                parent.remove(child)
    for element in root.iter():
        for name, value in list(element.attrib.items()):
            element.set(name, _of_the_page(name, value, prefix))
    width = float(root.attrib.pop("width").removesuffix("pt")) * POINTS_TO_PIXELS
    root.attrib.pop("height")
    root.set("style", f"max-width: {width:.0f}px; min-width: {min(width, READABLE_PIXELS):.0f}px")
    root.set("role", "img")
    root.set("aria-label", label)
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    return ElementTree.tostring(root, encoding="unicode")


def _of_the_page(name: str, value: str, prefix: str) -> str:
    if name == "id":
        return prefix + value
    if name.endswith("href") and value.startswith("#"):
        return f"#{prefix}{value[1:]}"
    value = re.sub(r"url\(#", f"url(#{prefix}", value)
    if name in ("style", "fill", "stroke"):
        for drawn, ours in COLOURS.items():
            value = value.replace(drawn, ours)
    return value

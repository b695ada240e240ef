"""A matplotlib figure as an SVG element that fits into a page: own ids, the page's colours, no stylesheet."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
POINTS_TO_PIXELS = 96 / 72
# Colours that matplotlib uses for text, background, grids and frames, and the page's variables for them.
COLOURS = {
    "#000000": "currentColor",
    "#ffffff": "var(--paper)",
    "#b0b0b0": "var(--line)",
    "#cccccc": "var(--line)",
}
# Below this width a figure's text is too small to read, so the figure scrolls instead of shrinking.
READABLE_PIXELS = 480


def inline_svg(figure: Figure, prefix: str, label: str) -> str:
    """The figure's ``<svg>`` element: deterministic, with prefixed ids and the page's colours.

    Args:
        figure: drawn as it is; its size in inches decides the largest width.
        prefix: put before every id, so that several figures on one page do not share clips and markers.
        label: text alternative for screen readers.
    """
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
            element.set(name, _page_attribute(name, value, prefix))
    width = float(root.attrib.pop("width").removesuffix("pt")) * POINTS_TO_PIXELS
    root.attrib.pop("height")
    root.set("style", f"max-width: {width:.0f}px; min-width: {min(width, READABLE_PIXELS):.0f}px")
    root.set("role", "img")
    root.set("aria-label", label)
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    return ElementTree.tostring(root, encoding="unicode")


def _page_attribute(name: str, value: str, prefix: str) -> str:
    if name == "id":
        return prefix + value
    if name.endswith("href") and value.startswith("#"):
        return f"#{prefix}{value[1:]}"
    value = re.sub(r"url\(#", f"url(#{prefix}", value)
    if name in ("style", "fill", "stroke"):
        for drawn, variable in COLOURS.items():
            value = value.replace(drawn, variable)
    return value

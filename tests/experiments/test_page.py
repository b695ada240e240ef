"""The page: what its parts become, and what a browser makes of it."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import DESK, PHONE, looked_at
from matplotlib.figure import Figure

from hitl_fast.experiments.common.inline_svg import inline_svg
from hitl_fast.experiments.common.page import Page, cell_text, header_text


def plotted(title: str = "effort") -> Figure:
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([1, 2, 3], [1, 10, 100], marker="o", label="measured & predicted")
    left.set(xlabel="score", ylabel="epochs", title=title, yscale="log")
    left.grid(True)
    left.legend()
    right.imshow(np.arange(6).reshape(2, 3))
    right.text(1, 0, "3", color="#010101")
    return figure


def full_page() -> Page:
    page = Page("Does <it> work?")
    page.question("Does <b>guidance</b> save energy?")
    page.answer("No: 1 % & less, interval -2 to 4 %.")
    page.section("Plots")
    page.text("One paragraph.\n\nAnother with a word that is " + "very" * 60 + " long.", "A third.")
    page.figure(plotted(), "Effort against score.", alt="Effort rises with the score.")
    page.figure(plotted("again"), "The same again.")
    page.section("Tables")
    page.table(
        [f"column {i}" for i in range(14)],
        [[f"row {r}", *(r * 1.23456**c for c in range(13))] for r in range(3)],
        caption="Wide, on purpose.",
    )
    page.provenance(
        {
            "machine": {"cpu": "two cores", "memory": "8 GB"},
            "seeds": [0, 1],
            "command": "hitl-fast experiment <x>",
        }
    )
    return page


class Outline(HTMLParser):
    """Element names that stay open, ids, and every attribute that could reach a network."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.names: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        if tag not in ("meta", "link"):
            self.open.append(tag)
        held = dict(attributes)
        if held.get("id"):
            self.ids.append(str(held["id"]))
        self.links += [str(held[name]) for name in ("src", "href", "xlink:href") if held.get(name)]

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in ("meta", "link"):
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def outline(text: str) -> Outline:
    found = Outline()
    found.feed(text)
    assert found.open == []
    return found


def test_is_one_well_formed_file_without_script_or_network() -> None:
    found = outline(full_page().html())
    assert len(found.ids) == len(set(found.ids))
    assert "script" not in found.names
    assert found.names.count("h1") == 1
    assert all(link.startswith(("#", "data:")) for link in found.links)
    assert all(link[1:] in found.ids for link in found.links if link.startswith("#"))


def test_references_inside_a_figure_stay_in_it() -> None:
    text = full_page().html()
    ids = set(outline(text).ids)
    used = set(re.findall(r"url\(#([^)]+)\)", text))
    assert used
    assert used <= ids
    for number in (1, 2):
        part = text.split("<figure>")[number]
        assert all(name.startswith(f"figure-{number}-") for name in re.findall(r"url\(#([^)]+)\)", part))


def test_text_is_escaped() -> None:
    text = full_page().html()
    assert "Does &lt;it&gt; work?" in text
    assert "<b>guidance" not in text
    assert "hitl-fast experiment &lt;x&gt;" in text
    assert "measured &amp; predicted" in text


def test_same_calls_give_the_same_bytes() -> None:
    assert full_page().html() == full_page().html()


def test_figure_takes_the_colours_of_the_page() -> None:
    drawn = inline_svg(plotted(), "a-", 'label with "quotes"')
    assert "#000000" not in drawn
    assert "#ffffff" not in drawn
    assert "currentColor" in drawn
    assert "#010101" in drawn
    assert "label with &quot;quotes&quot;" in drawn
    assert "metadata" not in drawn


def test_table_shows_what_is_in_it() -> None:
    page = Page("t")
    page.table(
        ["name", "value", "wide"],
        [["a", np.float32(0.5), 1234567.0], ["b", np.int64(12345), float("nan")], ["c", None, np.True_]],
        caption="<caption>",
    )
    text = page.html()
    for cell in (">0.5<", ">1,234,567<", ">12,345<", ">–<", ">yes<", "&lt;caption&gt;"):
        assert cell in text
    with pytest.raises(ValueError, match="row 1 has 1 cells, not one for each of 2 columns"):
        page.table(["a", "b"], [[1, 2], [3]], caption="")
    assert cell_text(-np.inf) == "−∞"


def test_provenance_shows_nested_values() -> None:
    assert header_text({"torch": "2.13", "seeds": [0, 1]}) == "torch 2.13; seeds 0, 1"
    assert "<dt>machine</dt><dd>cpu two cores; memory 8 GB</dd>" in full_page().html()


def test_written_whole_or_not_at_all(tmp_path: Path) -> None:
    page = full_page()
    page.write(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == page.html()
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    with pytest.raises(FileNotFoundError):
        page.write(tmp_path / "none" / "page.html")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [PHONE, DESK], ids=["phone", "desk"])
def test_renders_in_a_browser(browser: Any, tmp_path: Path, scheme: str, width: int, height: int) -> None:
    full_page().write(tmp_path / "page.html")
    seen = looked_at(browser, tmp_path / "page.html", scheme, width, height)
    assert browser.title == "Does <it> work?"
    # Figures scale down as far as their text stays readable, and what is still too wide scrolls in a box of its own.
    assert seen["figures"] == [480 if width < 600 else 672] * 2
    scrolled = [inner > outer for inner, outer in seen["boxes"]]
    assert scrolled == ([True, True, True] if width < 600 else [False, False, True])

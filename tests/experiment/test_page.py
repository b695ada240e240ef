"""The page: what its parts become, and what a browser makes of it."""

import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from hitl_fast.experiment.page import Page, cell_text, inline_svg, told_text

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
PHONE, DESK = (360, 740), (1280, 900)


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
    page.asked("Does <b>guidance</b> save energy?")
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


def test_provenance_tells_nested_values() -> None:
    assert told_text({"torch": "2.13", "seeds": [0, 1]}) == "torch 2.13; seeds 0, 1"
    assert "<dt>machine</dt><dd>cpu two cores; memory 8 GB</dd>" in full_page().html()


def test_written_whole_or_not_at_all(tmp_path: Path) -> None:
    page = full_page()
    page.write(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == page.html()
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    with pytest.raises(FileNotFoundError):
        page.write(tmp_path / "none" / "page.html")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if BROWSER is None or DRIVER is None:
        pytest.skip("no Chromium with chromedriver on this machine: apt-get install chromium chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in (
        "--headless=new",
        "--no-sandbox",  # it may run as root
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--no-first-run",
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


LOOK = """
const luminance = colour => {
  const rgb = colour.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255);
  const [r, g, b] = rgb.map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const colour = (query, name) => luminance(getComputedStyle(document.querySelector(query))[name]);
const paper = colour("body", "backgroundColor");
const contrast = ink => (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
const root = document.documentElement;
return {
  paper: paper,
  text: contrast(colour("body", "color")),
  caption: contrast(colour("figcaption", "color")),
  label: contrast(colour("figure svg text", "fill")),
  axis: contrast(colour("figure svg path[style*=currentColor]", "stroke")),
  overflow: root.scrollWidth - root.clientWidth,
  width: root.clientWidth,
  figures: [...document.querySelectorAll("figure svg")].map(f => f.getBoundingClientRect().width),
  boxes: [...document.querySelectorAll(".box")].map(b => [b.scrollWidth, b.clientWidth]),
};
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [PHONE, DESK], ids=["phone", "desk"])
def test_renders_in_a_browser(browser: Any, tmp_path: Path, scheme: str, width: int, height: int) -> None:
    full_page().write(tmp_path / "page.html")
    for command, settings in (
        (
            "setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        ),
        ("setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}),
    ):
        browser.execute_cdp_cmd(f"Emulation.{command}", settings)
    for name in ("browser", "performance"):
        browser.get_log(name)  # what came before is another page's
    address = (tmp_path / "page.html").as_uri()
    browser.get(address)
    seen = browser.execute_script(LOOK)
    assert browser.title == "Does <it> work?"
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert address in requests
    assert all(url == address or url.startswith("data:") for url in requests)
    assert seen["width"] > width - 20  # a scroll bar takes some
    assert seen["overflow"] == 0
    assert (seen["paper"] > 0.5) == (scheme == "light")
    # The web's accessibility guidelines ask for 4.5 of text and 3 of lines.
    assert min(seen["text"], seen["caption"], seen["label"]) >= 4.5
    assert seen["axis"] >= 3
    # Figures scale down as far as their text stays readable, and what is still too wide scrolls in a box of its own.
    assert seen["figures"] == [480 if width < 600 else 672] * 2
    scrolled = [inner > outer for inner, outer in seen["boxes"]]
    assert scrolled == ([True, True, True] if width < 600 else [False, False, True])

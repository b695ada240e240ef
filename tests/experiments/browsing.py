"""What a browser makes of a page: no errors, no network, legible in both schemes, no wider than the screen."""

import json
from pathlib import Path
from typing import Any

PHONE, DESK = (360, 740), (1280, 900)

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


def looked_at(browser: Any, path: Path, scheme: str, width: int, height: int) -> dict[str, Any]:
    """Open the page, check what holds for every page, and return what was measured."""
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
    browser.get(path.as_uri())
    seen: dict[str, Any] = browser.execute_script(LOOK)
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert path.as_uri() in requests
    assert all(url == path.as_uri() or url.startswith("data:") for url in requests)
    assert seen["width"] > width - 20  # a scroll bar takes some
    assert seen["overflow"] == 0
    assert (seen["paper"] > 0.5) == (scheme == "light")
    # The web's accessibility guidelines ask for 4.5 of text and 3 of lines.
    assert min(seen["text"], seen["caption"], seen["label"]) >= 4.5
    assert seen["axis"] >= 3
    return seen

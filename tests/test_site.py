"""The documentation: built without warnings, with links that lead somewhere, code that runs, and every public name."""

import re
import subprocess
import sys
import warnings
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

import pytest

import hitl_fast as hf
from hitl_fast import cli

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
WITH_CODE = [path for path in PAGES if "```python" in path.read_text()]
FRAMEWORKS = ("lightning", "trainer", "trackers")  # pages whose code runs one
pytestmark = pytest.mark.jit  # once is enough


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as ``make docs`` builds it: a warning is an error."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", str(DOCS), str(out)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return out


class Links(HTMLParser):
    """Targets of links and images, and the anchors of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        held = dict(attrs)
        self.targets += [held[name] or "" for name in ("href", "src") if name in held and tag in ("a", "img")]
        self.anchors |= {held[name] or "" for name in ("id", "name") if name in held}


def read(path: Path) -> Links:
    links = Links()
    links.feed(path.read_text())
    return links


def test_every_link_of_the_site_leads_somewhere(site: Path) -> None:
    pages = {path: read(path) for path in site.rglob("*.html") if "_static" not in path.parts}
    broken = []
    for path, links in pages.items():
        if path.name == "results.html" and path.parent != site:
            continue  # pages of the studies, tested by themselves
        for target in links.targets:
            if re.match(r"[a-z]+:", target) or target == "":
                continue
            place, anchor = urldefrag(unquote(target))
            found = (path.parent / place).resolve() if place else path
            known = pages.get(found)
            if not found.exists() or (anchor and known is not None and anchor not in known.anchors):
                broken.append(f"{path.relative_to(site)}: {target}")
    assert not broken


@pytest.mark.parametrize("path", WITH_CODE, ids=lambda path: str(path.relative_to(DOCS)))
def test_code_of_a_page_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE)
    assert blocks
    names: dict[str, object] = {"__name__": "__page__"}
    with warnings.catch_warnings():
        if path.stem in FRAMEWORKS:
            warnings.simplefilter("ignore")  # what these frameworks warn of is their own affair
        for block in blocks:
            exec(compile(block, str(path), "exec"), names)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_scrolls_sideways_on_a_phone(site: Path, browser: Any, scheme: str) -> None:
    size = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    pages = [
        path
        for path in sorted(site.rglob("*.html"))
        if not {"_static", "guidance", "few_answers", "calibration"} & set(path.parts)
    ]
    assert len(pages) > 12
    wide = {}
    for path in pages:
        browser.get(path.as_uri())
        width, shown, paper = browser.execute_script(
            "const r = document.documentElement; return [r.scrollWidth, r.clientWidth, "
            "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)]"
        )
        assert (sum(paper) > 384) == (scheme == "light")
        if width > shown:
            wide[path.name] = width
    assert not wide


def test_every_public_name_and_command_is_documented() -> None:
    api, commands = (DOCS / "api.md").read_text(), (DOCS / "cli.md").read_text()
    absent = [n for n in hf.__all__ if n != "__version__" and not re.search(rf"hitl_fast\.{n}\b", api)]
    assert not absent, f"add to docs/api.md: {absent}"
    absent = [name for name in cli.COMMANDS if f"hitl-fast {name}" not in commands]
    assert not absent, f"add to docs/cli.md: {absent}"


def test_the_picture_of_the_architecture_is_that_of_the_code() -> None:
    run = subprocess.run(
        [sys.executable, DOCS / "architecture.py", "--check"], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr

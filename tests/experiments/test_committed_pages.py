"""The committed pages of results, in a browser."""

from pathlib import Path
from typing import Any

import pytest
from browsing import DESK, PHONE, looked_at

PAGES = sorted((Path(__file__).parents[2] / "docs" / "results").rglob("*.html"))


def test_both_experiments_have_a_page() -> None:
    assert {path.parent.name for path in PAGES} >= {"calibration", "guidance"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.parent.name)
def test_page_renders(browser: Any, path: Path, scheme: str, width: int, height: int) -> None:
    looked_at(browser, path, scheme, width, height)

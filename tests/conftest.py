"""Which pass runs which tests (see the three passes in the Makefile), and a browser for pages."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from absent import skip_without

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
# Files of few tests that take minutes each: they begin, so that no worker is left with one when the others are done.
LONGEST = (
    "test_readme.py", "test_examples.py", "test_demo.py", "test_guidance.py", "test_ray.py", "test_committed_pages.py",
)  # fmt: skip
INTERPRETER = os.environ.get("TRITON_INTERPRET") == "1"
# The interpreter takes the place of the compiler.
collect_ignore = ["test_gpu_kernels_compile.py"] if INTERPRETER else []


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """`interpreter` tests belong to the pass that sets TRITON_INTERPRET; `gpu` tests need a device."""
    items.sort(key=lambda item: item.path.name not in LONGEST)
    # The interpreter patches Triton when it is imported, so one process cannot serve both passes.
    other_pass = [item for item in items if item.get_closest_marker("interpreter") and not INTERPRETER]
    if other_pass:
        config.hook.pytest_deselected(items=other_pass)
        items[:] = [item for item in items if item not in set(other_pass)]
    if any(item.get_closest_marker("gpu") for item in items) and not _cuda():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no CUDA device on this machine"))


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.fixture(scope="session")
def open_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Any]]:
    """Opens a browser with a profile of its own; all are closed at the end."""
    if BROWSER is None or DRIVER is None:
        skip_without("Chromium with chromedriver", "chromium chromium-driver")
    with ExitStack() as stack:

        def opened() -> Any:
            driver = _started(tmp_path_factory.mktemp("chromium"))
            stack.callback(driver.quit)
            return driver

        yield opened


@pytest.fixture(scope="session")
def browser(open_browser: Callable[[], Any]) -> Any:
    return open_browser()


def _started(profile: Path) -> Any:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    for argument in (
        "--headless=new",
        "--no-sandbox",  # it may run as root
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--no-first-run",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options, webdriver.ChromeService(DRIVER))

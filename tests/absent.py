"""What apt brings to the tests: without it a test is skipped, except where everything has been installed."""

import os

import pytest


def skip_without(what: str, packages: str) -> None:
    """Skip, saying how to install it. `.ci/run` sets HITL_FAST_TEST_ALL once apt has installed it: then fail."""
    reason = f"no {what} on this machine: apt-get install {packages}"
    if os.environ.get("HITL_FAST_TEST_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)

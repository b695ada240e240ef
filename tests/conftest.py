"""Which pass runs which tests: see the three passes in the Makefile."""

import os

import pytest

INTERPRETER = os.environ.get("TRITON_INTERPRET") == "1"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """`interpreter` tests belong to the pass that sets TRITON_INTERPRET; `gpu` tests need a device."""
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

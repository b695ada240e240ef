"""Deprecated names work for two minor versions, warn at the caller's line, and are gone when their time is over."""

import importlib

import pytest
from test_imports import modules

from hitl_fast import __version__
from hitl_fast._common.deprecation import deprecated


@deprecated(since="0.9", instead="new_name()")
def old_name(x: int, *, scale: int = 1) -> int:
    """Multiply."""
    return x * scale


def test_the_warning_names_removal_replacement_and_the_callers_line() -> None:
    with pytest.warns(FutureWarning) as caught:
        assert old_name(3, scale=2) == 6
    message = str(caught[0].message)
    assert all(part in message for part in ("old_name", "0.9", "0.11", "new_name()"))
    assert caught[0].filename == __file__
    assert old_name.__doc__ == "Multiply."


@pytest.mark.jit
def test_nothing_is_kept_longer_than_promised() -> None:
    version = tuple(map(int, __version__.split(".")[:2]))
    overdue = []
    for name, path in modules():
        if "deprecated(" in path.read_text() and not name.endswith("_common.deprecation"):
            for value in vars(importlib.import_module(name)).values():
                removed = getattr(value, "__deprecated__", ("", ""))[1]
                if removed and tuple(map(int, removed.split("."))) <= version:
                    overdue.append(f"{name}.{value.__name__}")
    assert not overdue, f"remove them: {overdue}"

"""Every example in a docstring of the two packages runs and prints what it shows."""

import doctest
import importlib
from pathlib import Path

import pytest
from test_imports import modules

FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
WITH_EXAMPLES = [name for name, path in modules() if ">>> " in path.read_text()]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # an example may write a file
    result = doctest.testmod(importlib.import_module(name), optionflags=FLAGS)
    assert result.attempted > 0
    assert result.failed == 0


def test_an_example_that_prints_something_else_fails() -> None:
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner(verbose=False, optionflags=FLAGS)

    def wrong() -> None:
        """>>> 1 + 1
        3
        """

    for found in finder.find(wrong, "wrong", globs={}):
        runner.run(found, out=lambda text: None)
    assert runner.summarize(verbose=False).failed == 1

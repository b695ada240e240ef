"""Names, arguments, JSON keys, columns and commands that callers outside this repository use; additions are allowed.

``data/public_names.json`` holds them as they were in version 0.1.0 before its layout changed.
"""

import dataclasses
import importlib
import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hitl_fast as hf
from hitl_fast.cli import COMMANDS

PINNED: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "public_names.json").read_text())


@pytest.mark.parametrize("name", PINNED["names"])
def test_a_name_keeps_its_arguments_and_attributes(name: str) -> None:
    public, pinned = getattr(hf, name), PINNED["names"][name]
    found = list(inspect.signature(public).parameters)
    kept = [argument for argument in found if argument in pinned["arguments"]]
    assert kept == pinned["arguments"]  # all of them, in their order: they may be given by position
    fields = (
        {field.name for field in dataclasses.fields(public)} if dataclasses.is_dataclass(public) else set()
    )
    assert set(pinned["attributes"]) <= set(dir(public)) | fields


def test_a_report_keeps_its_keys() -> None:
    keys = [field.name for field in dataclasses.fields(hf.PreIndexReport)]
    assert set(PINNED["report_keys"]) <= set(keys)


def test_ratings_keep_their_columns() -> None:
    ratings = hf.Ratings.from_arrays(
        np.array([0, 0, 1]), np.array(["a", "b", "a"]), np.array([1.0, 2.0, 3.0])
    )
    assert list(ratings.frame.columns) == PINNED["frame_columns"]


def test_commands_and_operations_keep_their_names() -> None:
    assert set(PINNED["commands"]) <= set(COMMANDS)
    for name in ("shift_distances", "lloyd", "rand_index"):
        assert callable(getattr(importlib.import_module(f"hitl_kernels.{name}"), name))

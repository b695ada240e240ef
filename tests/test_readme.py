"""What the README says: its numbers are those of bench/results/ and docs/results/, its names exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import hitl_fast as hf
from hitl_fast import cli

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()


def test_numbers_are_those_of_the_newest_rows() -> None:
    run = subprocess.run(
        [sys.executable, ROOT / "bench" / "table.py", "--check"], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.jit
def test_answers_are_those_of_the_committed_results() -> None:
    run = subprocess.run(
        [sys.executable, ROOT / "docs" / "results" / "answers.py", "--check"], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_names_exist() -> None:
    names = set(re.findall(r"\bhf\.(\w+)", TEXT))
    assert names
    assert names <= set(hf.__all__)
    commands = set(re.findall(r"^hitl-fast (\w+)", TEXT, re.MULTILINE))
    assert commands
    assert commands <= set(cli.COMMANDS)


def test_every_command_is_named() -> None:
    missing = {name for name in cli.COMMANDS if f"hitl-fast {name}" not in TEXT}
    assert missing <= {"demo"}  # the README runs it as `make demo`


def test_links_lead_somewhere() -> None:
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", TEXT) if not target.startswith("http")]
    assert targets
    assert all((ROOT / target).exists() for target in targets)

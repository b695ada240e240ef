"""What the README says: its numbers are those of the committed results, its code runs, its names and links exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import hitl_fast as hf
from hitl_fast import cli

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()


@pytest.mark.parametrize(
    "script", ["bench/table.py", pytest.param("docs/results/answers.py", marks=pytest.mark.jit)]
)
def test_generated_sections_are_those_of_the_committed_results(script: str) -> None:
    run = subprocess.run([sys.executable, ROOT / script, "--check"], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_it_is_short() -> None:
    assert len(TEXT.splitlines()) < 180


@pytest.mark.jit
def test_its_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a model, loaders and ratings as the text describes them."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    monkeypatch.chdir(tmp_path)
    Path("ratings.csv").write_text(
        "item,rater,score\n" + "".join(f"{i},r{i % 3},{1 + i % 5}\n" for i in range(60))
    )
    x, y = torch.randn(60, 4), torch.arange(60) % 3
    passes = []
    names = {
        "model": torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3)),
        "clean_loader": [(x, y)], "shifted_loader": [(x + 0.5, y)], "item_ids": range(60),
        "dataset": TensorDataset(x, y), "DataLoader": DataLoader,
        "train_one_epoch": lambda loader: passes.append(sum(len(labels) for _, labels in loader)),
    }  # fmt: skip
    blocks = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert passes == [60]


def test_names_exist() -> None:
    names = set(re.findall(r"\bhf\.(\w+)", TEXT))
    assert names
    assert names <= set(hf.__all__)
    commands = set(re.findall(r"^hitl-fast ([\w-]+)", TEXT, re.MULTILINE))
    assert commands
    assert commands <= set(cli.COMMANDS)


def test_every_command_is_named() -> None:
    missing = {name for name in cli.COMMANDS if f"hitl-fast {name}" not in TEXT}
    assert not missing


def test_links_lead_somewhere() -> None:
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", TEXT) if not target.startswith("http")]
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []

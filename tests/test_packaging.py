"""Distributions hold what they should: tracked files in the sdist, the two packages in the wheel."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CLUTTER = (
    "build/lib/hitl_fast/old.py", "venv/lib/tests/test_other.py", "notes.txt", "scratch/docs/page.html",
    "other/README.md", "hitl-fast-demo/shifts.json", "hitl_fast/__pycache__/cli.cpython-311.pyc", ".coverage.host.1",
    "docs/_build/index.html", "data.npz", "hitl_fast/scratch [1].py", "tests/test_new.py",
    "kernels/hitl_kernels/new/cpu.py",
)  # fmt: skip


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tracked files with the clutter of daily work around them."""
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True
    ).stdout.decode()
    copy = tmp_path_factory.mktemp("tree")
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    for command in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", *command], cwd=copy, check=True)
    for name in CLUTTER:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text("not ours")
    return copy


def build(kind: str, tree: Path, out: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(out)]
    subprocess.run(command, cwd=tree, check=True, capture_output=True)
    (made,) = out.iterdir()
    return made


@pytest.mark.jit
def test_an_sdist_of_a_dirty_tree_holds_tracked_files_alone(tree: Path, tmp_path: Path) -> None:
    tracked = set(
        subprocess.run(["git", "ls-files"], cwd=tree, capture_output=True, text=True).stdout.split("\n")
    )
    with tarfile.open(build("sdist", tree, tmp_path)) as archive:
        held = {"/".join(name.split("/")[1:]) for name in archive.getnames()}
    assert held - tracked == {"PKG-INFO"}
    assert tracked - held == {""}


@pytest.mark.jit
def test_a_wheel_holds_the_two_packages(tree: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(build("wheel", tree, tmp_path)) as archive:
        names = archive.namelist()
        metadata = archive.read(next(name for name in names if name.endswith("METADATA"))).decode()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"hitl_fast", "hitl_kernels"}
    assert {"hitl_fast/py.typed", "hitl_kernels/py.typed", "hitl_fast/__init__.pyi"} <= set(names)
    assert not any("__pycache__" in name or name.endswith(".nbi") for name in names)
    assert "hitl_fast/scratch [1].py" not in names
    triton = [line for line in metadata.splitlines() if line.startswith("Requires-Dist: triton")]
    assert triton
    assert all("extra ==" in line for line in triton)  # a CPU user does not download it
    extras = {line.split(": ")[1] for line in metadata.splitlines() if line.startswith("Provides-Extra")}
    assert {"gpu", "plots", "ratings", "cost", "experiment", "completion", "docs", "dev"} <= extras

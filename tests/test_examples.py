"""Every file of examples/ runs, prints what its docstring promises, and fits on a page."""

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.jit  # whole programs: the compiled pass is enough
ROOT = Path(__file__).parent.parent
EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("[a-z]*.py"))

# What the last lines of each must hold; an example without an entry fails.
SAYS = {
    "ask_54_questions": r"54 answers: 0\.\d+",
    "compare_energy_with_people": r"steps with ratings: .*\n.+",
    "decide_retrain_or_keep": r"advice: (retrain|keep|use other), because",
    "keras_weights": r"accuracy with ratings: 0\.\d+",
    "lightning_sampler": r"accuracy of odd digits: .*\n.*\n320 steps",
    "live_loop": r"epoch 9: weight of wrong labels 0\.[0-4]\d, of right ones 0\.[6-9]\d, .*\n  ratings +120 of 120 ",
    "own_energy_source": r"training: \d+\.\d J at the plug",
    "preindex_ray": r"index (0\.\d+) of 300 samples, mode: .*2 Ray actors\nin one process: index \1,",
    "rank_shifts": r"noise 0\.5 +\d",
    "ratings_into_a_loop": r"accuracy with ratings: ",
    "sft_with_human_weights": r"held-out loss \d\.\d+ without ratings, \d\.\d+ with ratings",
    "skorch_weights": r"accuracy with weights: ",
    "torchrun_preindex": r"index 0\.\d+ of 400 samples",
    "track_in_mlflow": r"metrics in .*: accuracy 0\.\d+",
    "track_in_tensorboard": r"tensorboard --logdir",
    "unpaired_production_data": r"noise 0\.5 +0\.\d+ +0\.\d+, +0\.\d+ +0\.\d+ \[0\.\d+, 0\.\d+\]",
}

ARGUMENTS = {"sft_with_human_weights": ["2"]}  # seeds
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(map(str, [ROOT, ROOT / "kernels", ROOT / "tests" / "without_amdsmi"])),
    "RAY_AUTH_MODE": "disabled",  # else Ray leaves a token in the home folder
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
}
Status = Callable[..., str]
Output = Callable[[str, Path], str]


@pytest.fixture(scope="module")
def status() -> Iterator[Status]:
    """Runs a program in a folder and returns its exit status; see ``run_programs``."""
    command = [sys.executable, str(ROOT / "tests" / "run_programs.py")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as runner:

        def run(program: Path, folder: Path, **asked: Any) -> str:
            assert runner.stdin is not None
            assert runner.stdout is not None
            asked = {"program": str(program), "arguments": [], "folder": str(folder), **asked}
            print(json.dumps(asked), file=runner.stdin, flush=True)
            return runner.stdout.readline().strip()

        yield run


@pytest.fixture
def output(status: Status) -> Output:
    """Runs an example and returns what it prints."""

    def run(name: str, folder: Path) -> str:
        found = status(ROOT / "examples" / f"{name}.py", folder, arguments=ARGUMENTS.get(name, []))
        assert found == "0", (found, (folder / "stderr.txt").read_text()[-3000:])
        return (folder / "stdout.txt").read_text()

    return run


def test_a_program_that_hangs_ends_with_its_own_failure(status: Status, tmp_path: Path) -> None:
    (tmp_path / "hangs.py").write_text("import threading\nthreading.Event().wait()\n")
    (tmp_path / "ends.py").write_text("print(1)\n")
    assert status(tmp_path / "hangs.py", tmp_path, seconds=1) == str(-signal.SIGALRM)
    assert status(tmp_path / "ends.py", tmp_path) == "0"


@pytest.mark.parametrize("end", ["threading.Event().wait()", "sys.exit(3)"])
def test_what_a_program_has_started_ends_with_it(status: Status, tmp_path: Path, end: str) -> None:
    (tmp_path / "child.py").write_text("import time\nopen('begun', 'x').close()\ntime.sleep(200)\n")
    (tmp_path / "leaves.py").write_text(
        "import os, subprocess, sys, threading, time\n"
        "child = subprocess.Popen([sys.executable, 'child.py'])\n"
        f"open('number', 'w').write(str(child.pid))\n"
        f"while not os.path.exists('begun'): time.sleep(0.01)\n{end}\n"
    )
    ended = status(tmp_path / "leaves.py", tmp_path, seconds=5)
    assert ended == (str(-signal.SIGALRM) if "wait" in end else "3")
    with contextlib.suppress(ProcessLookupError):  # it has ended and was waited for
        child = os.pidfd_open(int((tmp_path / "number").read_text()))
        try:
            assert select.select([child], [], [], 60)[0]  # readable once it has ended
        finally:
            os.close(child)


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(output: Output, name: str, tmp_path: Path) -> None:
    text = (ROOT / "examples" / f"{name}.py").read_text()
    assert len(text.splitlines()) <= 80
    assert f"python examples/{name}.py" in text
    said = output(name, tmp_path)
    assert re.search(SAYS[name], said), said[-2000:]
    if name == "sft_with_human_weights":
        losses = re.findall(r"held-out loss ([\d.]+) without ratings, ([\d.]+) with", said)
        assert len(losses) == 2
        assert all(float(rated) < float(without) for without, rated in losses), losses


def test_torchrun_gives_the_report_of_one_process(output: Output, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    program = str(ROOT / "examples" / "torchrun_preindex.py")
    with subprocess.Popen(
        [*command, program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=ENVIRONMENT,
        start_new_session=True,
    ) as run:  # fmt: skip
        try:
            out, errors = run.communicate(timeout=280)
        finally:
            with contextlib.suppress(ProcessLookupError):  # else its ranks outlive it
                os.killpg(run.pid, signal.SIGKILL)
    assert run.returncode == 0, errors[-3000:]
    (index,) = re.findall(r"index (0\.\d+) of 400 samples, mode: .*2 ranks", out)
    assert f"index {index} of 400 samples" in output("torchrun_preindex", tmp_path)

"""Every file of examples/ runs, prints what its docstring promises, and fits on a page."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.jit  # whole programs: the compiled pass is enough
ROOT = Path(__file__).parent.parent
EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("[a-z]*.py"))

# What the last lines of each must hold; an example without an entry fails.
SAYS = {
    "ask_54_questions": r"54 answers: 0\.\d+",
    "compare_energy_with_people": r"steps with ratings: .*\n.+",
    "decide_retrain_or_keep": r"advice: (retrain|keep|use other), because",
    "lightning_sampler": r"accuracy of odd digits: .*\n.*\n320 steps",
    "live_loop": r"epoch 9: weight of wrong labels 0\.[0-4]\d, of right ones 0\.[6-9]\d, .*\n  ratings +120 of 120 ",
    "rank_shifts": r"noise 0\.5 +\d",
    "ratings_into_a_loop": r"accuracy with ratings: ",
    "sft_with_human_weights": r"held-out loss \d\.\d+ without ratings, \d\.\d+ with ratings",
    "skorch_weights": r"accuracy with weights: ",
    "track_in_tensorboard": r"tensorboard --logdir",
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name: str, tmp_path: Path) -> None:
    path = ROOT / "examples" / f"{name}.py"
    text = path.read_text()
    assert len(text.splitlines()) <= 80
    assert f"python examples/{name}.py" in text
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels")]),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    run = subprocess.run(
        [sys.executable, "-W", "ignore", str(path)],
        capture_output=True, text=True, timeout=280, check=False, cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    assert re.search(SAYS[name], run.stdout), run.stdout[-2000:]

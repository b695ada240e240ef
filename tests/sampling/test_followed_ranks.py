"""Followed weights on two processes: both draw from what the first was told, as one process would."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from followed_ranks import EPOCHS, ITEMS, weights_of

from hitl_fast import PriorityBatchSampler, PrioritySampler

pytestmark = pytest.mark.jit
HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def test_two_processes_draw_what_one_would(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'kernels'}",
        "OMP_NUM_THREADS": "1",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, str(HERE / "followed_ranks.py"), str(tmp_path), str(rank)],
            stderr=subprocess.PIPE, text=True, env=environment,
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        problems = [process.communicate(timeout=550)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], problems
    ranks = [json.loads((tmp_path / f"draws-{rank}.json").read_text()) for rank in range(2)]

    def first(epoch: int) -> object:
        return weights_of(epoch, 0)

    alone = PrioritySampler(np.ones(ITEMS), seed=3)
    alone.follow(first)
    for epoch, drawn in enumerate(list(alone) for _ in range(EPOCHS)):
        assert [ranks[0]["items"][epoch], ranks[1]["items"][epoch]] == [drawn[0::2], drawn[1::2]]
    together = PriorityBatchSampler(np.ones(ITEMS), 7, seed=3)
    together.follow(first)
    for epoch, batches in enumerate(list(together) for _ in range(EPOCHS)):
        drawn = [i for batch in batches for i in batch.tolist()]
        both = sorted(ranks[0]["batches"][epoch] + ranks[1]["batches"][epoch])
        assert both == sorted(drawn)
    assert ranks[0]["refused"] == ["the database is gone"]
    assert "the database is gone" in ranks[1]["refused"][0]

"""One of two processes with gloo whose samplers follow a source that each would answer otherwise.

Usage: followed_ranks.py FOLDER RANK; writes draws-RANK.json there: draws of each epoch and the refusal.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hitl_fast import PriorityBatchSampler, PrioritySampler

ITEMS, EPOCHS = 40, 4


def weights_of(epoch: int, rank: int) -> Any:
    """All weights, some of them, and none, as the epoch goes; another rank would have others."""
    if epoch == 2:
        return np.array([rank, 7]), np.array([9.0, 0.0])
    return None if epoch == 3 else np.random.default_rng([epoch, rank]).random(ITEMS) + 0.05


def main(folder: Path, rank: int) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    one = PrioritySampler(np.ones(ITEMS), seed=3)
    one.follow(lambda epoch: weights_of(epoch, rank))
    batches = PriorityBatchSampler(np.ones(ITEMS), 7, seed=3)
    batches.follow(lambda epoch: weights_of(epoch, rank))
    found = {
        "items": [list(one) for _ in range(EPOCHS)],
        "batches": [[i for batch in batches for i in batch.tolist()] for _ in range(EPOCHS)],
    }

    def broken(epoch: int) -> Any:
        raise OSError("the database is gone")

    one.follow(broken if rank == 0 else lambda epoch: None)
    try:
        list(one)
    except (OSError, ValueError) as problem:
        found["refused"] = [str(problem)]  # type: ignore[list-item]
    (folder / f"draws-{rank}.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

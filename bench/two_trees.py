"""Whether this tree is as fast as another one: `python bench/two_trees.py FOLDER`, a checkout of an earlier commit.

One process for each tree, alive throughout; they take turns, operation by operation. Rows of the ratio (the other
tree's time over this one's) go to bench/results/two_trees.csv. Problems are this tree's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
ROUNDS = 12


def operations() -> dict[str, Callable[[], Any]]:
    """What both trees have, by name: calls to time."""
    import numpy as np
    import problems
    import torch
    from hitl_kernels.alias_table import alias_table, draw
    from hitl_kernels.exponential_keys import exponential_keys, smallest
    from hitl_kernels.lloyd import lloyd
    from hitl_kernels.philox import Purpose, Stream
    from hitl_kernels.rand_index import rand_index
    from hitl_kernels.rater_model import rater_model
    from hitl_kernels.shift_distances import shift_distances
    from torch import nn

    import hitl_fast as hf

    found: dict[str, Callable[[], Any]] = {}
    clean, shifted = problems.shifted_rows(*problems.SHIFT[:2])
    found["shift_distances, 4,096 x 256, 3 bins"] = lambda: shift_distances(clean, shifted, problems.SHIFT[2])
    for n, d, k, steps in ((50_000, 512, 100, 2), (300_000, 64, 10, 5)):
        rows = problems.cluster_rows(n, d, k, "noise")
        found[f"lloyd, {n:,} x {d}, {k} clusters"] = lambda x=rows, k=k, s=steps: lloyd(
            x, x[:k].copy(), max_iter=s, tol=0.0
        )
    for classes in (10, 100):
        pair = problems.partitions(problems.RAND_INDEX_SAMPLES, classes, False)
        found[f"rand_index, 10^6, {classes} classes"] = lambda pair=pair: rand_index(*pair)
    weights = problems.sample_weights(10**6)
    keys, stream = Stream(1, 0, Purpose.ORDER), Stream(1, 0, Purpose.DRAW)
    found["alias table, 10^6 built and drawn"] = lambda: draw(alias_table(weights), stream, 0, 10**6)
    found["without replacement, half of 10^6"] = lambda: smallest(exponential_keys(weights, keys), 500_000)
    sampler = hf.PrioritySampler(weights)
    found["PrioritySampler, an epoch of 10^6"] = lambda: sum(1 for _ in sampler)
    tree = hf.PriorityTree(weights)
    updates = problems.weight_updates(10**6, problems.TREE_BATCH)
    found["PriorityTree, 64 x 256 updates"] = lambda: [tree.update(*update) for update in updates]
    found["PriorityTree, 64 x 256 draws"] = lambda: [tree.sample(256, seed=1, step=i) for i in range(64)]
    _, items, raters, scores = problems.rating_columns(*problems.RATINGS)
    found["rater_model, 10^6 ratings"] = lambda: rater_model(items, raters, scores)
    for shape in problems.CROSS_ENTROPY:
        found[f"weighted_cross_entropy, {shape[0]:,} x {shape[1]:,}"] = step(
            hf.weighted_cross_entropy, *problems.classification(*shape)
        )
    hidden, table, bias, words, weight = problems.language_head(512, 256, 50_257)
    found["weighted_linear_cross_entropy, 512 x 50,257"] = step(
        hf.weighted_linear_cross_entropy, hidden, table, words, weight, bias
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 16, 3),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * 16, 10),
        )
    images = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 512, 1, 8, 8), dtype=np.float32))
    labels = (torch.arange(512) % 10).split(64)
    sides = [list(zip(side.split(64), labels, strict=True)) for side in images]
    found["preindex without the added scores, 512 pairs"] = lambda: hf.preindex(
        model, *sides, progress=False, **_as_before(hf)
    )
    return found


def step(loss: Callable[..., Any], *tensors: Any) -> Callable[[], None]:
    """A loss and its gradients."""

    def call() -> None:
        for tensor in tensors:
            tensor.grad = None
        loss(*tensors).backward()

    return call


def _as_before(hf: Any) -> dict[str, Any]:
    """Options that leave out what the older tree has not, and put in what it has."""
    import inspect

    known = inspect.signature(
        hf.preindex if inspect.isfunction(hf.preindex) else hf.preindex.__call__
    ).parameters
    return {"effort_samples": 0, "kmeans": True} if "kmeans" in known else {}


def work() -> None:
    """A worker: for each name on standard input, the seconds of one call."""
    found = operations()
    print(json.dumps(list(found)), flush=True)
    for line in sys.stdin:
        call = found[json.loads(line)]
        begin = time.perf_counter()
        call()
        print(time.perf_counter() - begin, flush=True)


def started(tree: Path) -> subprocess.Popen[str]:
    path = os.pathsep.join(map(str, (tree, tree / "kernels", ROOT / "bench")))
    code = "import two_trees; two_trees.work()"
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"},
    )  # fmt: skip


def answer(worker: subprocess.Popen[str], name: str) -> float:
    assert worker.stdin is not None
    assert worker.stdout is not None
    print(json.dumps(name), file=worker.stdin, flush=True)
    return float(worker.stdout.readline())


def main() -> None:
    import numpy as np
    from race import record

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a checkout of another commit")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    other = arguments.folder.resolve()
    commit = subprocess.run(
        ["git", "-C", str(other), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    workers = [started(ROOT), started(other)]
    names = [json.loads(worker.stdout.readline()) for worker in workers if worker.stdout is not None]
    assert names[0] == names[1]
    for name in names[0]:
        for worker in workers:
            answer(worker, name)  # compiles
        times = np.empty((arguments.rounds, 2))
        for number in range(arguments.rounds):
            for side in (0, 1) if number % 2 == 0 else (1, 0):
                times[number, side] = answer(workers[side], name)
        record("two_trees", f"{commit} / here", "ratio", times[:, 1] / times[:, 0], unit="x", shape=name)
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.close()
        worker.wait()


if __name__ == "__main__":
    main()

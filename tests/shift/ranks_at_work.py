"""Run by ``test_distributed``: groups of 1, 2 and 3 forked ranks, which write what every case gave to files.

Usage: ranks_at_work.py FOLDER
"""

import functools
import json
import os
import signal
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import hitl_fast as hf
from hitl_fast.shift import ranks

N, BATCH, CLASSES = 180, 16, 5
Loaders = tuple[Any, Any]


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 24), nn.ReLU(), nn.Linear(24, CLASSES)
    )


def data(kind: str = "") -> tuple[Tensor, Tensor, Tensor]:
    """Clean and shifted images, and their labels."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(CLASSES, (N,), generator=generator)
    if kind == "sorted":
        labels = labels.sort().values
    clean = torch.randn((N, 1, 8, 8), generator=generator) + labels.view(-1, 1, 1, 1) / 2
    shifted = clean + torch.randn((N, 1, 8, 8), generator=generator)
    if kind == "nan":
        shifted[171, 0, 3, 3] = torch.nan
    return clean, shifted, labels


def loaders(kind: str = "", size: int = BATCH, **given: Any) -> Loaders:
    clean, shifted, labels = data(kind)
    rest = slice(None, given.pop("samples", None))
    made = [DataLoader(TensorDataset(x[rest], labels[rest]), size, **given) for x in (clean, shifted)]
    return made[0], made[1]


def estimate(pair: Loaders, **given: Any) -> hf.PreIndexReport:
    return hf.preindex(model(), *pair, **{"progress": False, "effort_samples": 64, **given})


def summary(report: hf.PreIndexReport) -> dict[str, Any]:
    """What must be exactly equal, and what may differ in the order of float64 sums."""
    layers = report.layers
    return {
        "exact": {
            "samples": report.samples, "classes": report.classes, "accuracy": report.accuracy,
            "left_out": report.left_out, "embedding": report.embedding, "skipped": report.skipped,
            "probe_error": report.probe_error, "input_rms": report.input_rms, "notes": report.notes,
            "no confidence": report.confidence_drop is None,
            "ari": {name: c and [c.ari, c.iterations] for name, c in report.clusters.items()},
            "effort": [report.effort_score, report.path_excess, report.probe_increase, report.effort_samples],
            "layers": {name: [one.rows, one.left_out, one.units, one.histogram] for name, one in layers.items()},
        },
        "close": [report.index, report.cka, report.resque_angle, report.confidence_drop or 0.0,
                  *(c.inertia for c in report.clusters.values() if c),
                  *(v for d in report.distances.values() for v in d.values())],
    }  # fmt: skip


def shard(pair: Loaders, **given: Any) -> Loaders:
    clean, shifted = (hf.sharded(loader, **given) for loader in pair)
    return clean, shifted


def lists(pair: Loaders) -> Loaders:
    return list(pair[0]), list(pair[1])


def streams(pair: Loaders) -> Loaders:
    """Iterables without a length."""

    class Stream:
        def __init__(self, loader: Any) -> None:
            self.loader = loader

        def __iter__(self) -> Iterator[Any]:
            yield from self.loader

    return Stream(pair[0]), Stream(pair[1])


def own_parts(rank: int, size: int) -> Loaders:
    """Batches of each rank's own samples, as a WebDataset's node splitter gives them."""
    clean, shifted, labels = data()
    part = slice(rank * N // size, (rank + 1) * N // size)
    made = [DataLoader(TensorDataset(x[part], labels[part]), BATCH) for x in (clean, shifted)]
    return made[0], made[1]


def dealt(samples: int) -> Loaders:
    """Through the sampler of torch, which deals samples."""
    clean, shifted, labels = (x[:samples] for x in data())
    sets = [TensorDataset(x, labels) for x in (clean, shifted)]
    made = [DataLoader(each, BATCH, sampler=DistributedSampler(each, shuffle=False)) for each in sets]
    return made[0], made[1]


def wrong_label(rank: int, size: int) -> Loaders:
    clean, shifted, labels = data()
    other = labels.clone()
    other[N - 1] = (other[N - 1] + 1) % CLASSES
    made = [DataLoader(TensorDataset(x, y), BATCH) for x, y in ((clean, labels), (shifted, other))]
    return shard((made[0], made[1]))


def other_weights(rank: int) -> int:
    network = model()
    if rank:
        with torch.no_grad():
            network[3].weight[0, 0] += 1  # type: ignore[index, operator, union-attr]
    return hf.preindex(network, *shard(loaders()), group="world", progress=False).samples


class Strange(nn.Module):
    """Fails on one rank, with an error of its own."""

    def __init__(self, fails: bool) -> None:
        super().__init__()
        self.inner, self.fails = model(), fails

    def forward(self, x: Tensor) -> Any:
        if self.fails:
            raise KeyError("disk")
        return self.inner(x)


def reduced(rank: int, size: int, **given: Any) -> dict[str, Any]:
    accumulator = hf.PreIndexAccumulator(**given)
    whole = np.random.default_rng(0).standard_normal((12, 9), np.float32)
    part = whole[rank * 12 // size : (rank + 1) * 12 // size]
    accumulator.update("a", part, part**2)
    if rank == size - 1:
        accumulator.update("last", part, part + 1)
    accumulator.all_reduce()
    return accumulator.state()


def cases(rank: int, size: int) -> dict[str, Callable[[], Any]]:
    def full(pair: Loaders, **given: Any) -> dict[str, Any]:
        return summary(estimate(pair, group="world", **given))

    last = rank == size - 1
    return {
        "contiguous": lambda: full(shard(loaders())),
        "strided": lambda: full(shard(loaders(), order="strided")),
        "workers": lambda: full(shard(loaders(num_workers=1))),
        "list": lambda: full(shard(lists(loaders()))),
        "stream": lambda: full(shard(streams(loaders()))),
        "sorted": lambda: full(shard(loaders("sorted"))),
        "sorted strided": lambda: full(shard(loaders("sorted"), order="strided")),
        "nan": lambda: full(shard(loaders("nan"))),
        "nan strided": lambda: full(shard(loaders("nan"), order="strided")),
        "empty": lambda: full(shard(loaders(samples=40, size=20))),
        "empty contiguous": lambda: full(shard(lists(loaders(samples=40, size=40)))),
        "file": lambda: full(shard(loaders()), max_memory=0),
        "half": lambda: full(shard(loaders()), embedding_dtype="float16", embedding_samples=90, kmeans=True),
        "reference": lambda: full(shard(loaders()), arithmetic="reference"),
        "own parts": lambda: full(own_parts(rank, size)),
        "dealt": lambda: full(dealt(N)),
        "padded": lambda: full(dealt(N - 1)),
        "label": lambda: full(wrong_label(rank, size)),
        "options": lambda: full(shard(loaders()), bins=(8, 32) if last else (16, 32)),
        "bad option": lambda: full(shard(loaders()), measure="lengths" if last else "jensen_shannon"),
        "embedding": lambda: full(shard(loaders()), embedding="3" if last else None),
        "weights": lambda: other_weights(rank),
        "copies": lambda: full(loaders()),
        "orders": lambda: full(shard(loaders(), order="strided" if last else "contiguous")),
        "lengths": lambda: full(shard(lists(loaders(samples=N - 2 * BATCH if last else N)))),
        "gap": lambda: full(shard(loaders(), rank=0, world_size=size + 1)),
        "strange": lambda: (
            hf.preindex(Strange(last), *shard(loaders()), group="world", progress=False).samples
        ),
        "nothing": lambda: full(shard(([], []))),
        "reduced": lambda: reduced(rank, size),
        "reduced options": lambda: reduced(rank, size, bins=(4,) if last else (8,)),
    }


def outcome(case: Callable[[], Any]) -> dict[str, Any]:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        try:
            found: dict[str, Any] = {"value": case()}
        except Exception as problem:
            found = {"error": str(problem), "kinds": [kind.__name__ for kind in type(problem).__mro__]}
    return {**found, "warnings": [str(one.message) for one in seen if "NaN" in str(one.message)]}


class Killed(nn.Module):
    """Ends the process of one rank without a word, on its third pass."""

    def __init__(self, ends: bool) -> None:
        super().__init__()
        self.inner, self.ends, self.passes = model(), ends, 0

    def forward(self, x: Tensor) -> Any:
        self.passes += 1
        if self.ends and self.passes > 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.inner(x)


def expected() -> dict[str, Any]:
    """The same in one process."""
    every: dict[str, Callable[[], Any]] = {
        "plain": lambda: summary(estimate(loaders())),
        "sorted": lambda: summary(estimate(loaders("sorted"))),
        "nan": lambda: summary(estimate(loaders("nan"))),
        "empty": lambda: summary(estimate(loaders(samples=40, size=20))),
        "empty contiguous": lambda: summary(estimate(loaders(samples=40, size=40))),
        "half": lambda: summary(
            estimate(loaders(), embedding_dtype="float16", embedding_samples=90, kmeans=True)
        ),
        "reference": lambda: summary(estimate(loaders(), arithmetic="reference")),
    }
    return {name: outcome(case) for name, case in every.items()}


def as_rank(folder: str, rank: int, size: int, fatal: bool, listening: socket.socket) -> None:
    ranks.BEAT = 0.1
    port, first = listening.getsockname()[1], rank == 0
    socket_of_first = os.dup(listening.fileno()) if first else None
    held = torch.distributed.TCPStore("127.0.0.1", port, size, first, master_listen_fd=socket_of_first)
    listening.close()
    torch.distributed.init_process_group("gloo", store=held, rank=rank, world_size=size)
    if fatal:
        ranks.SILENCE = 10.0  # more than a busy machine keeps a process waiting
        killed = Killed(rank == size - 1)
        every = {
            "killed": lambda: hf.preindex(killed, *shard(loaders(size=4)), group="world", progress=False)
        }
    else:
        every = cases(rank, size)
    found = {name: outcome(case) for name, case in every.items()}
    with open(f"{folder}/{'killed' if fatal else size}.{rank}.json", "w") as file:
        json.dump(found, file)
    if fatal and rank == 0:  # this process holds the store
        for _ in range(3000):
            if os.path.exists(f"{folder}/killed.1.json"):
                break
            time.sleep(0.1)


def forked(action: Callable[[], None]) -> int:
    """Run in a child that shares what is imported."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        action()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)  # without waiting for connections to ranks that have been killed


def group(folder: str, size: int, fatal: bool = False) -> list[int]:
    with socket.create_server(
        ("127.0.0.1", 0)
    ) as listening:  # of the first rank's store: nobody takes the port
        return [
            forked(functools.partial(as_rank, folder, rank, size, fatal, listening)) for rank in range(size)
        ]


def codes_of(children: list[int]) -> list[int]:
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def main(folder: str) -> None:
    torch.set_num_threads(1)
    with open(f"{folder}/expected.json", "w") as file:
        json.dump(expected(), file)
    fatal = group(folder, 3, fatal=True)  # it waits for a sign of life meanwhile
    for size in (1, 2, 3):
        assert codes_of(group(folder, size)) == [0] * size
    assert codes_of(fatal) == [0, 0, -signal.SIGKILL]


if __name__ == "__main__":
    main(sys.argv[1])

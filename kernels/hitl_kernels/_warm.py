"""Compile what calls usually need, ahead of the first call: each operation on small data, on one thread and on two."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch

from . import policy


def warm() -> Iterator[tuple[str, float]]:
    """Each operation's name and the seconds that it took to compile, or to load from the cache."""
    for name, call in OPERATIONS.items():
        if importlib.util.find_spec(f"hitl_kernels.{name}") is None:
            continue
        start = time.perf_counter()
        for threads in (1, 2):
            with policy.forced_threads(threads):
                call(np.random.default_rng(0))
        yield name, time.perf_counter() - start


def _alias_table(generator: np.random.Generator) -> None:
    from .alias_table import alias_table, draw
    from .philox import Purpose, Stream

    draw(alias_table(generator.random(50)), Stream(0, 0, Purpose.DRAW), 0, 60)


def _bradley_terry(generator: np.random.Generator) -> None:
    from .bradley_terry import bradley_terry

    first, step, raters = generator.integers(4, size=(3, 60))
    bradley_terry(
        first, (first + 1 + step % 3) % 4, generator.choice([0.0, 0.5, 1.0], 60), raters, max_steps=2
    )


def _dawid_skene(generator: np.random.Generator) -> None:
    from .dawid_skene import dawid_skene

    dawid_skene(*generator.integers(3, size=(3, 60)), max_steps=2)


def _exponential_keys(generator: np.random.Generator) -> None:
    from .exponential_keys import cpu, exponential_keys, smallest
    from .philox import Purpose, Stream

    keys = exponential_keys(generator.random(cpu.SORT_FROM), Stream(0, 0, Purpose.ORDER))
    assert isinstance(keys, np.ndarray)
    smallest(keys, 100)


def _lloyd(generator: np.random.Generator) -> None:
    from .lloyd import candidates, kmeans

    for width in (16, candidates.WIDE):
        kmeans(generator.random((200, width), dtype=np.float32), 3, n_init=2, max_iter=2)


def _philox(generator: np.random.Generator) -> None:
    from .philox import Purpose, Stream, uniforms

    uniforms(Stream(0, 0, Purpose.DRAW), 0, 10)


def _priority_tree(generator: np.random.Generator) -> None:
    from .philox import Purpose, Stream
    from .priority_tree import cpu

    tree = cpu.Tree(generator.random(100))
    tree.update(np.arange(3), np.ones(3))
    stream = Stream(0, 0, Purpose.TREE)
    tree.draw(stream, 0, 10, 1)
    tree.sample(stream, 10)


def _rand_index(generator: np.random.Generator) -> None:
    from .rand_index import rand_index

    for dtype in (np.int32, np.int64):
        labels, clusters = generator.integers(5, size=(2, 100))
        rand_index(labels, clusters.astype(dtype))
    rand_index(generator.integers(2**60, size=100), labels)


def _rater_model(generator: np.random.Generator) -> None:
    from .rater_model import rater_model

    items, raters = generator.integers(4, size=(2, 60))
    rater_model(items, raters, generator.random(60), max_steps=2)


def _segment_sums(generator: np.random.Generator) -> None:
    from .segment_sums import segment_sums

    segment_sums(generator.random((60, 8), dtype=np.float32), generator.integers(3, size=60), 3)


def _shift_distances(generator: np.random.Generator) -> None:
    from .shift_distances import add_in_order, row_histograms, shift_distances

    for arithmetic in ("corrected", "reference"):
        rows = torch.from_numpy(generator.random((40, 30), dtype=np.float32))
        found = shift_distances(rows, rows + rows**2, arithmetic=arithmetic, per_row=True)
        add_in_order(torch.zeros(found.distances.shape[1:], dtype=torch.float64), found.distances)
        row_histograms(rows, arithmetic=arithmetic)


def _systematic(generator: np.random.Generator) -> None:
    from .systematic import systematic

    systematic(generator.random(20), 30, seed=0, epoch=0)


def _weighted_cross_entropy(generator: np.random.Generator) -> None:
    from .weighted_cross_entropy import weighted_cross_entropy

    for classes in (10, 1000):
        logits = torch.from_numpy(generator.random((40, classes), dtype=np.float32))
        for weight in (None, torch.ones(40)):
            weighted_cross_entropy(logits, torch.arange(40) % classes, weight)
    weighted_cross_entropy(logits, torch.softmax(logits, 1), weight)


OPERATIONS: dict[str, Callable[[np.random.Generator], None]] = {
    "alias_table": _alias_table,
    "bradley_terry": _bradley_terry,
    "dawid_skene": _dawid_skene,
    "exponential_keys": _exponential_keys,
    "lloyd": _lloyd,
    "philox": _philox,
    "priority_tree": _priority_tree,
    "rand_index": _rand_index,
    "rater_model": _rater_model,
    "segment_sums": _segment_sums,
    "shift_distances": _shift_distances,
    "systematic": _systematic,
    "weighted_cross_entropy": _weighted_cross_entropy,
}

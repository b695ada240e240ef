"""A tree of sums: every node holds the sum of its eight children, the leaves hold the weights."""

import numpy as np

WIDTH = 8


def levels(weights: np.ndarray) -> list[np.ndarray]:
    """Sums from the leaves, padded with zeros, up to the root: [items] -> [[leaves], ..., [1]]."""
    found = [_padded(weights)]
    while len(found[-1]) > 1:
        children = found[-1].reshape(-1, WIDTH)
        pairs = children[:, 0::2] + children[:, 1::2]  # this order of additions is part of the definition
        quads = pairs[:, 0::2] + pairs[:, 1::2]
        sums = quads[:, 0] + quads[:, 1]
        found.append(sums if len(sums) == 1 else _padded(sums))
    return found


def find(tree: list[np.ndarray], targets: np.ndarray) -> np.ndarray:
    """The item below each target in [0, total): targets float64 [draws] -> int64 [draws].

    From the root down, a target passes each child that it is not below and takes the child's weight off
    itself. Where rounding leaves it beyond the last child, it falls to the last one of positive weight.
    """
    found = np.empty(len(targets), np.int64)
    for draw, target in enumerate(targets):
        node = 0
        for level in tree[-2::-1]:
            children = level[WIDTH * node : WIDTH * node + WIDTH]
            passed = np.float64(0.0)
            child = int(np.flatnonzero(children)[-1])
            for i in range(child):
                if target < passed + children[i]:
                    child = i
                    break
                passed += children[i]
            target = target - passed
            node = WIDTH * node + child
        found[draw] = node
    return found


def _padded(values: np.ndarray) -> np.ndarray:
    return np.concatenate([values, np.zeros(-len(values) % WIDTH)])

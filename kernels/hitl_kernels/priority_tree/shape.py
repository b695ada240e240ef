"""What the tree is on every device: its levels in memory, its scale, and what it refuses."""

import numpy as np

WIDTH = 8
# Sums are of weights times a power of two that brings the largest near 1: neither 1e308 twice nor denormals
# leave float64. A total outside these bounds, after updates, asks for a new scale.
FAINT, LOUD = 2.0**-900, 2.0**900

GOOD, BAD_INDEX, BAD_WEIGHT, ALL_ZERO = range(4)


def layout(items: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Nodes of each level above the leaves, root first; where each begins in one array; the array's size."""
    sizes = [-(-items // WIDTH)]
    while sizes[-1] > 1:
        sizes.append(-(-sizes[-1] // WIDTH))
    counts = np.array(sizes[::-1], np.int64)
    rooms = -(-counts // WIDTH) * WIDTH
    return counts, np.cumsum(rooms) - rooms, int(rooms.sum())


def refusal(problem: int, position: int, index: int, weight: float, items: int) -> ValueError:
    if problem == BAD_INDEX:
        text = f"indices[{position}] is {index}, expected 0 to {items - 1}"
    elif problem == BAD_WEIGHT:
        text = f"weights[{position}] is {weight}, expected a finite number of at least 0"
    else:
        text = "weights would leave every item at 0: nothing could be drawn"
    return ValueError(f"{text}; the update is refused as a whole")

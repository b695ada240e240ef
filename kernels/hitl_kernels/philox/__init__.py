"""Counter-based random numbers: number i of a stream is a function of i, whoever asks for it and when."""

from __future__ import annotations

import numpy as np
import torch

from .._dispatch import implementation_on
from .stream import Purpose, Stream

__all__ = ["Purpose", "Stream", "uniforms"]


def uniforms(
    stream: Stream, start: int, count: int, stride: int = 1, device: torch.device | str = "cpu"
) -> np.ndarray | torch.Tensor:
    """Two numbers in [0, 1) for each of the draws start, start + stride, ...: Philox 4x32-10.

    The four words of a draw's block make two multiples of 2**-53, the higher word first.

    Args:
        stream: seed, epoch and purpose; they are the key and the upper half of the counter.
        start: first draw number, at least 0 and with all others below 2**63.
        count: how many draws.
        stride: from one draw number to the next.
        device: where; the numbers are the same on each.

    Returns:
        float64 [2, count]: an array for "cpu", else a tensor there.

    Source: Salmon, Moraes, Dror and Shaw, Parallel random numbers: as easy as 1, 2, 3, 2011.

    >>> several = uniforms(Stream(seed=7, epoch=0, purpose=Purpose.DRAW), start=0, count=5)
    >>> alone = uniforms(Stream(seed=7, epoch=0, purpose=Purpose.DRAW), start=4, count=1)
    >>> bool((several[:, 4:] == alone).all())
    True
    """
    if start < 0 or count < 0 or stride < 1 or start + count * stride >= 2**63:
        raise ValueError(f"draws {start}, + {stride}, {count} of them: expected within 0 to 2**63 - 1")
    where = torch.device(device)
    numbers: np.ndarray | torch.Tensor
    numbers = implementation_on(__name__, where).uniforms(stream, start, count, stride, where)
    return numbers

"""From a layer's tensor, samples first, to one row for each sample."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from hitl_kernels.shift_distances import pooled_rows
from torch import Tensor


@dataclass(frozen=True)
class Reading:
    """How tensors become rows: the options ``arithmetic`` and ``pooling``."""

    corrected: bool
    pooled: bool


def layer_rows(samples: Tensor, units: int, reading: Reading, mask: Tensor | None) -> Tensor | None:
    """(n, units): means over positions, those left out that the mask does not keep; or every value a unit.

    Args:
        samples: (n, ...).
        units: the dimension of the units, counted from the end.
        reading: the published one pools maps alone and keeps padding.
        mask: (n, T) bool, True for what counts.

    Returns:
        None where the positions are not those of the mask, so that padding cannot be left out.
    """
    if samples.ndim <= 2 or not reading.pooled:
        return samples.flatten(1)
    if not reading.corrected:
        return pooled_rows(samples, arithmetic="reference") if samples.ndim == 4 else samples.flatten(1)
    maps = samples.movedim(units, 1)
    return pooled_rows(maps) if mask is None else masked_mean(maps, mask)


def pooled_values(samples: Tensor, units: int, mask: Tensor | None) -> Tensor | None:
    """(n, units) float32: means over positions, whatever the options say."""
    if samples.ndim <= 2:
        return samples.flatten(1).to(torch.float32, copy=True)
    maps = samples.movedim(units, 1)
    return maps.flatten(2).float().mean(2) if mask is None else masked_mean(maps.float(), mask)


def masked_mean(maps: Tensor, mask: Tensor) -> Tensor | None:
    """(n, units): the mean over positions that the mask keeps.

    >>> masked_mean(torch.tensor([[[1.0, 3.0, 9.0]]]), torch.tensor([[True, True, False]]))
    tensor([[2.]])
    """
    places = [d for d in range(2, maps.ndim) if maps.shape[d] == mask.shape[1]]
    if not places:
        return None
    values = maps.movedim(places[0], 2).flatten(3) if maps.ndim > 3 else maps
    if values.dtype in (torch.float16, torch.bfloat16):
        values = values.float()
    if values.ndim == 4:
        values = values.mean(3)
    kept = mask.to(values.device).unsqueeze(1)
    return values.masked_fill(~kept, 0).sum(2) / kept.sum(2)

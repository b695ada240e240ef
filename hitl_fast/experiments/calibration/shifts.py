"""Twelve shifts of the digits, each at three strengths."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ..common import digits
from ..common.digits import SIDE, Digits

Shift = Callable[[Tensor, float, int], Tensor]


def inversion(images: Tensor, strength: float, seed: int = 0) -> Tensor:
    """Interpolate by that share towards the inverted image; above a half, the digit is darker than its background."""
    return images + strength * (1 - 2 * images)


def translation(images: Tensor, strength: float, seed: int = 0) -> Tensor:
    """Moved by that many pixels, each image to a side of its own; black comes in."""
    directions = torch.randint(0, 4, (len(images),), generator=torch.Generator().manual_seed(seed))
    angle = directions * (math.pi / 2)
    move = torch.stack([angle.cos(), angle.sin()], 1).round() * (2 * strength / SIDE)
    theta = torch.cat([torch.eye(2).expand(len(images), 2, 2), move[:, :, None]], 2)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def salt_pepper(images: Tensor, strength: float, seed: int = 0) -> Tensor:
    """That share of the pixels black or white by chance."""
    drawn = torch.rand(images.shape, generator=torch.Generator().manual_seed(seed))
    return images.masked_fill(drawn < strength / 2, 0.0).masked_fill(drawn > 1 - strength / 2, 1.0)


def dilation(images: Tensor, strength: float, seed: int = 0) -> Tensor:
    """Strokes thicker: that share of the way to the largest value within a square of side 3; above 1, and again."""
    whole, part = int(strength), strength - int(strength)
    for _ in range(whole):
        images = _widest(images)
    return images + part * (_widest(images) - images)


def erosion(images: Tensor, strength: float, seed: int = 0) -> Tensor:
    """Strokes thinner: dilation of the background, by the same amounts."""
    return 1 - dilation(1 - images, strength, seed)


def pixelation(images: Tensor, strength: float, seed: int = 0) -> Tensor:
    """Means over tiles with that many pixels a side; the last tile of a row or column may be smaller."""
    side = math.ceil(SIDE / strength)
    small = F.adaptive_avg_pool2d(images, side)
    return F.interpolate(small, size=(SIDE, SIDE), mode="nearest")


def patches(images: Tensor, strength: float, seed: int = 0) -> Tensor:
    """That share of the 16 tiles of 7 x 7 pixels in other places, the same places in every image: nothing is lost."""
    moved = round(strength * 16)
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(16, generator=generator)[:moved]
    order = torch.arange(16)
    order[chosen] = chosen.roll(1)
    tiles = F.unfold(images, 7, stride=7)  # [n, 49, 16]
    return F.fold(tiles[:, :, order], SIDE, 7, stride=7)


# name: (function, three strengths)
SHIFTS: dict[str, tuple[Shift, tuple[float, float, float]]] = {
    "noise": (digits.noise, (0.1, 0.2, 0.35)),
    "blur": (digits.blur, (1.0, 1.5, 2.0)),
    "contrast": (digits.contrast, (0.4, 0.6, 0.8)),
    "rotation": (digits.rotation, (20.0, 40.0, 60.0)),
    "occlusion": (digits.occlusion, (0.1, 0.2, 0.3)),
    "inversion": (inversion, (0.7, 0.85, 1.0)),
    "translation": (translation, (1.0, 2.0, 4.0)),
    "salt_pepper": (salt_pepper, (0.05, 0.1, 0.2)),
    "erosion": (erosion, (0.4, 0.7, 0.9)),
    "dilation": (dilation, (0.5, 1.0, 1.5)),
    "pixelation": (pixelation, (2.0, 3.0, 4.0)),
    "patches": (patches, (0.2, 0.5, 1.0)),
}


def shifted(data: Digits, shift: str, strength: int, seed: int) -> Digits:
    """The digits after a shift by name, at its strength 0, 1 or 2; what is drawn comes from the seed."""
    function, strengths = SHIFTS[shift]
    return Digits(function(data.images, strengths[strength], seed), data.labels)


def _widest(images: Tensor) -> Tensor:
    return F.max_pool2d(images, 3, stride=1, padding=1)

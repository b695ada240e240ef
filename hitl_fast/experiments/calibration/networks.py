"""Three architectures that read 28 x 28 digits: a CNN, a vision transformer and an MLP of a similar cost."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..common.digits import CLASSES, SIDE, SmallCNN


class Block(nn.Module):
    """Pre-norm attention and MLP with every projection an ``nn.Linear`` of its own, so that each can be watched."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.fc1 = nn.Linear(width, 2 * width)
        self.fc2 = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(n, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each [n, heads, tokens, width of a head]
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, tokens, width)
        x = x + self.proj(attended)
        out: Tensor = x + self.fc2(F.gelu(self.fc1(self.norm2(x))))
        return out


class SmallViT(nn.Module):
    """Images (n, 1, 28, 28) in 16 patches of 7 x 7 pixels to logits (n, 10): two blocks, mean over tokens."""

    def __init__(self, width: int = 64, depth: int = 2, heads: int = 4, patch: int = 7) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, width, patch, patch)
        self.position = nn.Parameter(torch.randn(1, (SIDE // patch) ** 2, width) * 0.02)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2) + self.position  # [n, tokens, width]
        logits: Tensor = self.head(self.norm(self.blocks(x)).mean(1))
        return logits


class SmallMLP(nn.Module):
    """Images (n, 1, 28, 28) to logits (n, 10): two hidden layers."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(SIDE * SIDE, 256)
        self.fc2 = nn.Linear(256, 128)
        self.fc3 = nn.Linear(128, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc3(self.fc2(self.fc1(x.flatten(1)).relu()).relu())
        return logits


ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {"cnn": SmallCNN, "vit": SmallViT, "mlp": SmallMLP}

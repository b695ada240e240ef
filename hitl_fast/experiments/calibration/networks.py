"""Small networks for each data set: convolutional, attention, recurrent and fully connected."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..common.digits import CLASSES, SIDE, SmallCNN


class Block(nn.Module):
    """Pre-norm attention and MLP with every projection an ``nn.Linear`` of its own, so that hooks see each."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.fc1 = nn.Linear(width, 2 * width)
        self.fc2 = nn.Linear(2 * width, width)

    def forward(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        """(n, tokens, width) to the same; ``present`` (n, tokens) marks the tokens that others may attend to."""
        n, tokens, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(n, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each [n, heads, tokens, width of a head]
        mask = None if present is None else present[:, None, None, :]
        attended = F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).reshape(n, tokens, width)
        x = x + self.proj(attended)
        out: Tensor = x + self.fc2(F.gelu(self.fc1(self.norm2(x))))
        return out


class SmallViT(nn.Module):
    """Images (n, 1, side, side) in 16 square patches to logits (n, 10): two blocks, mean over tokens."""

    def __init__(self, width: int = 64, depth: int = 2, heads: int = 4, side: int = SIDE) -> None:
        super().__init__()
        patch = side // 4
        self.patch = nn.Conv2d(1, width, patch, patch)
        self.position = nn.Parameter(torch.randn(1, (side // patch) ** 2, width) * 0.02)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2) + self.position  # [n, tokens, width]
        logits: Tensor = self.head(self.norm(self.blocks(x)).mean(1))
        return logits


class SmallMLP(nn.Module):
    """Images (n, 1, side, side) to logits (n, 10): two hidden layers."""

    def __init__(self, side: int = SIDE) -> None:
        super().__init__()
        self.fc1 = nn.Linear(side * side, 256)
        self.fc2 = nn.Linear(256, 128)
        self.fc3 = nn.Linear(128, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc3(self.fc2(self.fc1(x.flatten(1)).relu()).relu())
        return logits


class RowGRU(nn.Module):
    """Images (n, 1, side, side), read row by row, to logits (n, 10)."""

    def __init__(self, side: int = SIDE, width: int = 96) -> None:
        super().__init__()
        self.gru = nn.GRU(side, width, batch_first=True)
        self.fc = nn.Linear(width, width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        states = self.gru(x[:, 0])[0]  # [n, side, width]
        logits: Tensor = self.head(self.fc(states.mean(1)).relu())
        return logits


class TinyCNN(nn.Module):
    """Images (n, 1, 8, 8) to logits (n, 10): two convolutions and two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, 1, 1)
        self.conv2 = nn.Conv2d(16, 32, 3, 2, 1)
        self.fc1 = nn.Linear(32 * 4, 64)
        self.fc2 = nn.Linear(64, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(self.conv2(self.conv1(x).relu()).relu(), 2)
        logits: Tensor = self.fc2(self.fc1(x.flatten(1)).relu())
        return logits


class TextNetwork(nn.Module):
    """Word numbers (n, length) to logits: an embedding, a body over words, the mean over words, a head.

    Args:
        words: size of the vocabulary, padding included.
        classes: number of logits.
        width: of the embedding.
    """

    def __init__(self, words: int, classes: int, width: int = 64) -> None:
        super().__init__()
        self.embed = nn.Embedding(words, width, padding_idx=0)
        self.head = nn.Linear(width, classes)

    def body(self, x: Tensor, present: Tensor) -> Tensor:
        """(n, length, width) to the same; the identity here."""
        return x

    def forward(self, texts: Tensor) -> Tensor:
        present = texts != 0
        weights = present.to(self.embed.weight.dtype)[..., None]  # [n, length, 1]
        states = self.body(self.embed(texts), present)
        logits: Tensor = self.head((states * weights).sum(1) / weights.sum(1).clamp(min=1))
        return logits


class TextMLP(TextNetwork):
    """Two linear layers on each word."""

    def __init__(self, words: int, classes: int, width: int = 64) -> None:
        super().__init__(words, classes, width)
        self.fc1, self.fc2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def body(self, x: Tensor, present: Tensor) -> Tensor:
        out: Tensor = self.fc2(self.fc1(x).relu())
        return out


class TextCNN(TextNetwork):
    """Two convolutions over three words."""

    def __init__(self, words: int, classes: int, width: int = 64) -> None:
        super().__init__(words, classes, width)
        self.conv1 = nn.Conv1d(width, 2 * width, 3, padding=1)
        self.conv2 = nn.Conv1d(2 * width, width, 3, padding=1)

    def body(self, x: Tensor, present: Tensor) -> Tensor:
        out: Tensor = self.conv2(self.conv1(x.transpose(1, 2)).relu()).transpose(1, 2)
        return out


class TextGRU(TextNetwork):
    """A recurrent layer from the first word on; padding comes last and does not reach the words before it."""

    def __init__(self, words: int, classes: int, width: int = 64) -> None:
        super().__init__(words, classes, width)
        self.gru = nn.GRU(width, width, batch_first=True)
        self.fc = nn.Linear(width, width)

    def body(self, x: Tensor, present: Tensor) -> Tensor:
        out: Tensor = self.fc(self.gru(x)[0]).relu()
        return out


class TextTransformer(TextNetwork):
    """Learned positions and two attention blocks."""

    def __init__(self, words: int, classes: int, width: int = 64, length: int = 24) -> None:
        super().__init__(words, classes, width)
        self.position = nn.Parameter(torch.randn(1, length, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, 4) for _ in range(2))

    def body(self, x: Tensor, present: Tensor) -> Tensor:
        x = x + self.position
        for block in self.blocks:
            x = block(x, present)
        return x


ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {"cnn": SmallCNN, "vit": SmallViT, "mlp": SmallMLP}

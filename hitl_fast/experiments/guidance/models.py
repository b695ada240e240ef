"""Two small models, each cut where people's importance of features applies."""

from __future__ import annotations

from torch import Tensor, nn

from ..common import digits
from ..common.text import PAD


class ImageModel(digits.SmallCNN):
    """`SmallCNN`; what people rate is its input."""

    def embed(self, x: Tensor) -> Tensor:
        return x

    def classify(self, embedded: Tensor, x: Tensor) -> Tensor:
        return super().forward(embedded)

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.embed(x), x)


class TextModel(nn.Module):
    """Word numbers (n, length) to logits: the mean of word vectors and two layers; people rate words."""

    def __init__(self, words: int, classes: int, width: int = 64) -> None:
        super().__init__()
        self.table = nn.Embedding(words, width, padding_idx=PAD)
        self.hidden = nn.Linear(width, width)
        self.out = nn.Linear(width, classes)

    def embed(self, x: Tensor) -> Tensor:
        """Word vectors (n, length, width)."""
        vectors: Tensor = self.table(x)
        return vectors

    def classify(self, embedded: Tensor, x: Tensor) -> Tensor:
        count = (x != PAD).sum(1, keepdim=True).clamp(min=1)
        logits: Tensor = self.out(self.hidden(embedded.sum(1) / count).relu())
        return logits

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.embed(x), x)

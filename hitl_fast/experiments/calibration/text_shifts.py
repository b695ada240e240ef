"""Ten shifts of texts given as word numbers, each at three strengths.

A text is a row of (n, length) int64: word numbers by falling frequency from ``FIRST_WORD`` on, ``UNKNOWN`` for words
outside the vocabulary, ``PAD`` behind the end. Every text keeps at least one word.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

PAD, UNKNOWN, FIRST_WORD = 0, 1, 2

Shift = Callable[[Tensor, float, int], Tensor]


def unknown(texts: Tensor, strength: float, seed: int = 0) -> Tensor:
    """That share of the words becomes unknown."""
    return texts.masked_fill(_chosen(texts, strength, seed), UNKNOWN)


def deletion(texts: Tensor, strength: float, seed: int = 0) -> Tensor:
    """That share of the words is deleted, and the rest closes up."""
    return _packed(texts, (texts != PAD) & ~_chosen(texts, strength, seed))


def truncation(texts: Tensor, strength: float, seed: int = 0) -> Tensor:
    """That share of each text is cut off at its end."""
    lengths = (texts != PAD).sum(1, keepdim=True)
    kept = (lengths * (1 - strength)).ceil().clamp(min=1)
    return texts.masked_fill(torch.arange(texts.shape[1]) >= kept, PAD)


def shuffle(texts: Tensor, strength: float, seed: int = 0) -> Tensor:
    """Words are displaced: sorted by their place plus noise of that many places."""
    noise = torch.randn(texts.shape, generator=torch.Generator().manual_seed(seed)) * strength
    place = torch.arange(texts.shape[1]) + noise
    place = place.masked_fill(texts == PAD, torch.inf)
    return texts.gather(1, place.argsort(dim=1, stable=True))


def reversal(texts: Tensor, strength: float, seed: int = 0) -> Tensor:
    """That share of the texts is read from the end."""
    lengths = (texts != PAD).sum(1, keepdim=True)
    at = torch.arange(texts.shape[1]).expand_as(texts)
    backwards = texts.gather(1, torch.where(at < lengths, lengths - 1 - at, at))
    drawn = torch.rand((len(texts), 1), generator=torch.Generator().manual_seed(seed))
    return torch.where(drawn < strength, backwards, texts)


def substitution(texts: Tensor, strength: float, seed: int = 0) -> Tensor:
    """That share of the words becomes words drawn from the whole set."""
    generator = torch.Generator().manual_seed(seed + 1)
    words = texts[texts >= FIRST_WORD]
    drawn = words[torch.randint(len(words), texts.shape, generator=generator)]
    return torch.where(_chosen(texts, strength, seed), drawn, texts)


def dialect(texts: Tensor, strength: float, seed: int = 0) -> Tensor:
    """That share of the vocabulary trades places: always the same word for the same word."""
    size = int(texts.max()) + 1
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(size - FIRST_WORD, generator=generator) + FIRST_WORD
    traded = order[: round(strength * len(order))]
    table = torch.arange(size)
    table[traded] = traded.roll(1)
    return table[texts]


def simplification(texts: Tensor, strength: float, seed: int = 0) -> Tensor:
    """Words outside the given number of most frequent ones become unknown; a smaller number is a stronger shift."""
    return texts.masked_fill(texts >= FIRST_WORD + int(strength), UNKNOWN)


def distractor(texts: Tensor, strength: float, seed: int = 0) -> Tensor:
    """The first words, up to that number, of another text stand in front; the end of long texts is lost."""
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(seed))
    wide = torch.cat([texts[order][:, : int(strength)], texts], 1)
    return _packed(wide, wide != PAD)[:, : texts.shape[1]]


def repetition(texts: Tensor, strength: float, seed: int = 0) -> Tensor:
    """That share of the words stands twice; the end of long texts is lost."""
    doubled = torch.stack([texts, texts.masked_fill(~_chosen(texts, strength, seed), PAD)], 2).flatten(1)
    return _packed(doubled, doubled != PAD)[:, : texts.shape[1]]


SHIFTS: dict[str, tuple[Shift, tuple[float, float, float]]] = {
    "unknown": (unknown, (0.2, 0.4, 0.6)),
    "deletion": (deletion, (0.2, 0.4, 0.6)),
    "truncation": (truncation, (0.3, 0.5, 0.7)),
    "shuffle": (shuffle, (1.0, 3.0, 10.0)),
    "reversal": (reversal, (0.3, 0.6, 1.0)),
    "substitution": (substitution, (0.15, 0.3, 0.5)),
    "dialect": (dialect, (0.2, 0.5, 1.0)),
    "simplification": (simplification, (1000, 300, 100)),
    "distractor": (distractor, (4, 8, 16)),
    "repetition": (repetition, (0.3, 0.6, 1.0)),
}


def _chosen(texts: Tensor, share: float, seed: int) -> Tensor:
    """That share of the words, drawn; never the first word of a text."""
    drawn = torch.rand(texts.shape, generator=torch.Generator().manual_seed(seed))
    drawn[:, 0] = 1.0
    return (drawn < share) & (texts != PAD)


def _packed(texts: Tensor, kept: Tensor) -> Tensor:
    """The kept words moved to the front, in order, padded behind."""
    order = (~kept).to(torch.int8).argsort(dim=1, stable=True)
    return texts.masked_fill(~kept, PAD).gather(1, order)

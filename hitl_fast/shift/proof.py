"""Proof of where samples stand in everything that a pass produces, by comparison with samples that went alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .arrangement import ALONE, Arrangement, arrangements, difference, magnitude, tolerance

Key = tuple[str, str, int]  # what it is, of which module, in which of its calls
LOGITS: Key = ("logits", "", 0)


@dataclass(frozen=True)
class Lone:
    """What a pass of a single sample, so many times over, has produced."""

    index: int  # of the sample in its batch
    copies: int
    values: Mapping[Key, Tensor]


class Proof:
    """Arrangements of the tensors of all passes of one kind (inputs of the same shapes).

    Args:
        n: samples in the pass that is to be compared.
        lone: single samples of it.
        earlier: a proof of another kind, for a batch of one sample that is not compared again.
    """

    def __init__(self, n: int, lone: Sequence[Lone], earlier: Proof | None = None) -> None:
        self.n, self.lone, self.earlier = n, lone, earlier
        self.settled = not lone
        self.found: dict[Key, Arrangement] = {}
        self.reasons: dict[Key, str] = {}
        self._unequal: dict[Key, Arrangement | None] = {}

    def arranged(self, key: Key, values: Tensor, n: int) -> Tensor | None:
        """The tensor with samples first; None: see ``reasons``."""
        values = values.detach()
        if key in self.reasons:
            return None
        if self.settled and not self.lone:
            return self._single(key, values)
        if not self.settled and key not in self.found:
            self._judge(key, values)
        found = self.found.get(key) or self._unequal.get(key)
        if found is None:
            if key not in self._unequal:
                self.reasons.setdefault(key, "it does not run in every batch (experts, early exit)")
            return None
        if not found.fits(values, n):
            self.reasons[key] = f"its shape {tuple(values.shape)} is not what {n} samples had before"
            return None
        return found.apply(values, n)

    def settle(self) -> bool:
        """Decide on the tensors that were not equal; whether the logits of a sample depend on its batch.

        Where they do, the arithmetic of the model sees the batch, and a tensor's shape has to do where it leaves one
        arrangement only. Where they do not, a tensor that differs is not of samples.
        """
        self.settled = True
        sees_batch = LOGITS not in self.found
        for key, only in self._unequal.items():
            if sees_batch and only is not None:
                self.found[key] = only
            else:
                self.reasons[key] = (
                    "its values for a sample alone are not those in a batch, and its shape does not tell why"
                    if sees_batch
                    else "its values for a sample alone are not those in a batch, though the logits are"
                )
        self._unequal.clear()
        self.lone = [Lone(one.index, one.copies, {}) for one in self.lone]
        return sees_batch

    def _single(self, key: Key, values: Tensor) -> Tensor | None:
        """The only sample of a batch: by what larger batches or copies have shown, else the whole tensor."""
        if self.earlier is not None:
            if key in self.earlier.reasons:
                self.reasons[key] = self.earlier.reasons[key]
                return None
            known = self.earlier.found.get(key)
            if known is not None and known.each == 1 and known.fits(values, 1):
                return known.apply(values, 1)
        return ALONE.apply(values, 1)

    def _judge(self, key: Key, values: Tensor) -> None:
        shape = tuple(values.shape)
        missing = [one for one in self.lone if key not in one.values]
        if missing:
            self.reasons[key] = "it does not run for every sample (experts, early exit)"
            return
        first = self.lone[0]
        alone = tuple(first.values[key].shape)
        possible = arrangements(shape, self.n, alone, first.copies)
        if shape == alone:
            self.reasons[key] = f"its output of shape {shape} does not grow with the number of samples"
        elif not possible:
            self.reasons[key] = (
                f"its output has the shape {shape} for {self.n} samples and {alone} for {first.copies}:"
                " no dimension holds the samples"
            )
        else:
            self._compare(key, values, possible)

    def _compare(self, key: Key, values: Tensor, possible: list[Arrangement]) -> None:
        scale = magnitude(values)
        allowed = tolerance(values, self._coarsest(values)) * scale
        equal = []
        for arrangement in possible:
            batch = arrangement.apply(values, self.n)
            if all(
                one.values[key].shape == self.lone[0].values[key].shape
                and difference(batch[one.index], arrangement.apply(one.values[key], one.copies)[0]) <= allowed
                for one in self.lone
            ):
                equal.append(arrangement)
        apart = [
            e for e in equal[1:] if difference(*(a.apply(values, self.n) for a in (equal[0], e))) > allowed
        ]
        if equal and not apart:
            self.found[key] = equal[0]
        elif equal:
            self.reasons[key] = f"two arrangements of its output of shape {tuple(values.shape)} fit"
        else:
            self._unequal[key] = possible[0] if len(possible) == 1 else None

    def _coarsest(self, values: Tensor) -> torch.dtype:
        """The least exact floating point type among all that the samples produced."""
        kinds = {values.dtype, *(v.dtype for one in self.lone for v in one.values.values())}
        return max(
            (kind for kind in kinds if kind.is_floating_point),
            key=lambda kind: torch.finfo(kind).eps,
            default=torch.float32,
        )

"""Taking single samples out of a batch of inputs, and joining two batches."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from hitl_fast._common.errors import InputError

from .inputs import Inputs

# Ways of taking samples that are tried at most: many inputs have very many.
WAYS = 27


@dataclass(frozen=True)
class Taking:
    """In which dimension each input holds the samples; None: the input is shared by all of them."""

    axes: tuple[int | None, ...]

    def take(self, inputs: Inputs, n: int, index: int, copies: int) -> Inputs:
        """A copy of one of n samples, so many times."""
        self.check(inputs, n)
        axes = iter(self.axes)

        def one(value: object) -> object:
            axis = next(axes)
            if not isinstance(value, Tensor):
                return value
            if axis is None:
                return value.clone()
            return value.narrow(axis, index, 1).repeat_interleave(copies, axis)

        return inputs.map(one)

    def check(self, inputs: Inputs, n: int) -> None:
        """Refuse inputs that are not as those from which this was learnt."""
        values = inputs.values()
        if len(values) != len(self.axes):
            raise InputError(f"a batch has {len(values)} inputs, but those before had {len(self.axes)}")
        for place, (value, axis) in enumerate(zip(values, self.axes, strict=True)):
            if axis is not None and (
                not isinstance(value, Tensor) or value.ndim <= axis or value.shape[axis] != n
            ):
                found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise InputError(
                    f"input {place} of a batch of {n} samples is {found}, but those before had samples in"
                    f" dimension {axis}"
                )

    def join(self, clean: Inputs, shifted: Inputs) -> Inputs | None:
        """One batch of the clean samples and then the shifted ones; None if some input is not of samples."""
        both = []
        for a, b, axis in zip(clean.values(), shifted.values(), self.axes, strict=True):
            if axis is None or not (isinstance(a, Tensor) and isinstance(b, Tensor)):
                return None
            if a.shape != b.shape or a.dtype != b.dtype:
                return None
            both.append(torch.cat([a, b], axis))
        joined = iter(both)
        return clean.map(lambda _: next(joined))

    def swapped(self, inputs: Inputs, n: int) -> Taking:
        """With the first two dimensions exchanged where both have n entries."""
        return Taking(
            tuple(
                1 - axis
                if axis is not None and isinstance(value, Tensor) and tuple(value.shape[:2]) == (n, n)
                else axis
                for value, axis in zip(inputs.values(), self.axes, strict=True)
            )
        )

    def kind(self, inputs: Inputs) -> tuple[object, ...]:
        """What shapes a batch has, apart from the number of samples."""
        return tuple(
            (*(size for d, size in enumerate(value.shape) if d != axis), value.dtype)
            if isinstance(value, Tensor)
            else type(value)
            for value, axis in zip(inputs.values(), self.axes, strict=True)
        )


def takings(inputs: Inputs, n: int) -> Iterator[Taking]:
    """Every way in which the shapes allow samples to be taken, samples first before others."""
    choices: list[list[int | None]] = []
    for value in inputs.values():
        shape = tuple(value.shape[:2]) if isinstance(value, Tensor) else ()
        choices.append([*(axis for axis, size in enumerate(shape) if size == n), None])
    for axes in itertools.islice(itertools.product(*choices), WAYS):
        if any(axis is not None for axis in axes):
            yield Taking(axes)

"""What the model raised, with what it was given: which side, which batch, which shapes."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from hitl_fast._common.errors import InputError, UserError

from .inputs import Inputs

# The first of these that the model's error is stays catchable as such.
KINDS = (
    NotImplementedError, RuntimeError, TypeError, IndexError, KeyError, AttributeError, AssertionError,
    ZeroDivisionError, ArithmeticError,
)  # fmt: skip
NAMES = {
    "clean": "clean",
    "shifted": "shifted",
    "same": "clean and shifted (equal batches)",
    "both": "clean and shifted as one batch",
}


class ModelError(InputError):
    """What the model raised, named; also of the model's kind of error, which is the cause."""


def refusal(
    problem: Exception, side: str, batch: int | None, position: int, inputs: Inputs, before: str
) -> ModelError:
    """The error to raise from what the model raised.

    Args:
        problem: the model's.
        side: of the batch.
        batch: its number, from 0; None: not known.
        position: of its first sample.
        inputs: what the batch holds.
        before: the shapes of a batch that the model took; "" where there was none.
    """
    taken = f"; it took {before} before" if before and before != shapes(inputs) else ""
    which = "a batch" if batch is None else f"batch {batch}"
    return _kind(problem)(
        f"the model cannot be run on {which} of {side} (from sample {position}): it was given {shapes(inputs)}"
        f"{taken}, and raised {type(problem).__name__}: {problem}"
    )


def is_of_model(problem: Exception) -> bool:
    """Whether it tells of inputs: not of ours, and not of a device without memory."""
    full = isinstance(problem, torch.OutOfMemoryError) or "can't allocate memory" in str(problem)
    return not isinstance(problem, UserError) and not full


def shapes(inputs: Inputs) -> str:
    """Shapes and types of what a model is called with.

    >>> shapes(Inputs((torch.zeros(2, 3),), {"mask": torch.ones(2, dtype=torch.bool)}))
    '(2, 3) float32, mask=(2,) bool'
    """
    named = [("", value) for value in inputs.args] + [(f"{k}=", v) for k, v in inputs.kwargs.items()]
    return ", ".join(name + _shape(value) for name, value in named) or "nothing"


def _shape(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    leaves = [v for v in Inputs((value,), {}).values() if isinstance(v, Tensor)]
    inside = f" of {', '.join(map(_shape, leaves[:4]))}" if leaves else ""
    return f"a {type(value).__name__}{inside}"


def _kind(problem: Exception) -> type[ModelError]:
    kind = next((kind for kind in KINDS if isinstance(problem, kind)), None)
    return ModelError if kind is None else _as_well(kind)


@functools.cache
def _as_well(kind: type[Exception]) -> type[ModelError]:
    return type("ModelError", (ModelError, kind), {"__module__": __name__, "__str__": Exception.__str__})

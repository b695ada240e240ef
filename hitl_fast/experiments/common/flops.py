"""Hardware-independent cost of a training step: floating-point operations (FLOPs)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from hitl_fast._common.errors import InputError

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]


class _WholeModel:
    """Stands in for torch's tracker of modules, whose hooks fail on gradients for inputs that are leaves."""

    parents = frozenset({"Global"})

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...


def _counter() -> FlopCounterMode:
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = _WholeModel()  # type: ignore[assignment]
    return counter


def cross_entropy(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Mean cross entropy of the model's logits."""
    return F.cross_entropy(model(inputs), targets)


def training_flops(
    model: nn.Module, inputs: Tensor, targets: Tensor, loss: Loss = cross_entropy
) -> tuple[float, float]:
    """Floating-point operations of one sample forward and backward, as torch counts them.

    Matrix products and convolutions count two operations per multiply-add; elementwise operations do not count.
    The model's gradients, buffers and mode are left unchanged.

    Args:
        model: on the device of the inputs.
        inputs: (n, ...) a batch of the size that is trained with.
        targets: (n,) or what ``loss`` takes.
        loss: takes model, inputs and targets, returns a scalar.

    Raises:
        ValueError: an empty batch.

    >>> training_flops(nn.Linear(4, 3), Tensor(2, 4), Tensor([0, 1]).long())
    (24.0, 24.0)
    """
    if len(inputs) == 0:
        raise InputError("inputs must hold one sample or more")
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    model.zero_grad()
    try:
        with _counter() as forward:
            value = loss(model, inputs, targets)
        with _counter() as backward:
            value.backward()  # type: ignore[no-untyped-call]
    finally:
        for parameter, gradient in gradients:
            parameter.grad = gradient
        for buffer, before in buffers:
            buffer.copy_(before)  # running statistics of batch normalisation
    return forward.get_total_flops() / len(inputs), backward.get_total_flops() / len(inputs)

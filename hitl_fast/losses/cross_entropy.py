"""Weighted cross entropy as a PyTorch operator that can be traced and differentiated once."""

from __future__ import annotations

from typing import Any

import torch
from hitl_kernels.weighted_cross_entropy import accumulator, validate
from hitl_kernels.weighted_cross_entropy import weighted_cross_entropy as kernel
from torch import nn

from hitl_fast._common.errors import InputError, InputTypeError

from .arguments import (
    Array,
    CrossEntropyModule,
    Denominator,
    denominator_tensor,
    first_derivative,
    of_weight_and_denominator,
    optional,
    refuse_options,
    remember,
    scaled,
    tensor,
)
from .layout import (
    Problem,
    class_dimension,
    class_weight_total,
    may_look,
    validate_class_weight,
    with_class_weight,
)
from .soft_targets import TargetGradient, rows_that_count

NAME = "weighted_cross_entropy"


def weighted_cross_entropy(
    logits: torch.Tensor,
    target: Array,
    weight: Array | None = None,
    denominator: Denominator = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    *,
    class_dim: int | None = None,
    class_weight: Array | None = None,
    check: bool = False,
) -> torch.Tensor:
    """Cross entropy with a weight for every sample (or token), over the number of samples that count.

    With p the smoothed truth of row i (one-hot or ``target[i]``, times 1 - s, plus s / classes)::

        loss = sum_i weight[i] (- sum_c class_weight[c] p[c] log softmax(logits[i])[c]) / denominator

    Loss and gradient are made in one pass over the logits, without a second tensor of their size besides the
    gradient itself; under ``torch.no_grad()`` not even that. Weights of 1 give ``F.cross_entropy``. Weight 0 is
    the same as leaving the row out, in loss, gradient and default denominator, also where its loss is inf or NaN.

    Args:
        logits: (..., classes), or PyTorch's (N, classes, d1, ...), of float16, bfloat16, float32 or float64 and any
            strides. See ``class_dim``.
        target: class indices, of the shape of logits without the classes; or probabilities, of the shape of
            logits. Probabilities may require a gradient, as in distillation.
        weight: one a row (logits without the classes), finite, not negative; None for 1 everywhere. May require
            a gradient, which is the row's loss over the denominator, and 0 for a row that is left out.
        denominator: None for the number of rows that count (weight not 0, target not ``ignore_index``; at least
            1, so that a batch where none counts has loss 0). A number or a tensor of one for everything else:
            the whole count under gradient accumulation; under DistributedDataParallel, which averages over
            ranks, the count of all ranks over the number of ranks; ``weight.sum()`` for a weighted mean. With
            ``class_weight`` and class indices None is the sum of ``class_weight[target]`` over the rows that count.
        ignore_index: the class index of rows to leave out; not looked at with probabilities.
        label_smoothing: share of the truth that is spread evenly over the classes, in [0, 1].
        class_dim: the dimension of logits that holds the classes; None for the last one or dimension 1, whichever
            fits. Shapes tell them apart, else probabilities that sum to 1 over the classes, which waits for the
            device. Where both fit, (N, C, T) with C equal to T, it must be given.
        class_weight: (classes,) finite, as ``weight`` of ``F.cross_entropy``. Negative numbers, which PyTorch takes,
            cost a second pass; on CUDA they need ``check=True``, else the loss is NaN.
        check: look at the values on CUDA too, which waits for the device.

    Returns:
        () float32, or float64 for float64 logits. Half-precision logits are computed in float32, as under
        autocast, and get a half-precision gradient.

    Raises:
        TypeError: an argument has a wrong type or dtype.
        ValueError: shapes or devices that differ, classes that may be in either of two dimensions,
            ``label_smoothing`` outside [0, 1] (always, from what the host knows); a class index outside
            0 .. classes - 1, a weight or probability that is negative or not finite, a denominator that is not > 0
            (on the CPU always; on CUDA only with ``check=True`` or, for the denominator, if it is a number). On
            CUDA without ``check`` such a value makes the loss NaN; nothing is ever read outside the tensors.
        RuntimeError: the gradient is differentiated again (``create_graph=True``), or made by a transform of
            ``torch.func``.

    Source: Bridle, Probabilistic interpretation of feedforward classification network outputs, 1990.

    >>> logits = torch.tensor([[2.0, 0.0], [0.0, 0.0]], requires_grad=True)
    >>> loss = weighted_cross_entropy(logits, torch.tensor([0, 1]), torch.tensor([1.0, 3.0]))
    >>> loss.backward()
    >>> round(loss.item(), 4)  # (log(1 + e**-2) + 3 log 2) / 2
    1.1032
    >>> logits.grad
    tensor([[-0.0596,  0.0596],
            [ 0.7500, -0.7500]])
    """
    if not isinstance(logits, torch.Tensor):
        raise InputTypeError(f"logits must be a torch.Tensor, not {type(logits).__name__}")
    if logits.layout != torch.strided:
        raise InputTypeError(f"logits must be dense, not {logits.layout}: pass logits.to_dense()")
    refuse_options(ignore_index, label_smoothing)
    truth, share = tensor(target, "target"), optional(weight, "weight")
    given = Problem(logits, truth, share, denominator_tensor(denominator, logits.device), label_smoothing)
    of_classes = optional(class_weight, "class_weight")
    given = _classes_last(given, class_dim, of_classes)
    if of_classes is not None:
        validate_class_weight(of_classes, given, check)
        if may_look(of_classes, check) and (of_classes < 0).any():
            return _signed(given, of_classes, ignore_index, check)
        given = with_class_weight(given, of_classes, ignore_index, check)
    logits, truth, share, divisor, label_smoothing = given
    # In float16 a gradient cannot wait for the loss scale of mixed precision: it would underflow. It is made in
    # the backward pass instead, from the logits.
    now = torch.is_grad_enabled() and logits.requires_grad and logits.dtype != torch.float16
    # The dispatcher costs more time than 8,192 rows of ten classes; only tracing needs it.
    plain = type(logits) in (torch.Tensor, nn.Parameter) and not logits.is_meta
    traced = torch.compiler.is_compiling() or not plain
    learns = truth.requires_grad and torch.is_grad_enabled()
    if learns and divisor is None:
        divisor = rows_that_count(logits, share)
    arguments = (logits, truth.detach(), share, divisor, ignore_index, label_smoothing, now, check)
    loss: torch.Tensor = _operator(*arguments)[0] if traced else _Eager.apply(*arguments)  # type: ignore[no-untyped-call]
    if learns:
        loss = TargetGradient.apply(loss, truth, logits.detach(), share, divisor, label_smoothing)  # type: ignore[no-untyped-call]
    return loss


def _classes_last(given: Problem, class_dim: int | None, class_weight: torch.Tensor | None) -> Problem:
    logits, truth = given.logits, given.target
    dim = class_dimension(logits, truth, given.weight, class_weight, class_dim)
    if logits.dim() == 0 or dim == logits.dim() - 1:
        return given
    if truth.is_floating_point() and truth.shape == logits.shape:
        truth = truth.movedim(dim, -1)
    return given._replace(logits=logits.movedim(dim, -1), target=truth)


def _signed(given: Problem, class_weight: torch.Tensor, ignore_index: int, check: bool) -> torch.Tensor:
    """The loss with weights per class of both signs, which PyTorch allows: the positive part less the negative one."""
    divisor = given.denominator
    if divisor is None:
        divisor = class_weight_total(given, class_weight, ignore_index)
        if not divisor:
            raise InputError("class_weight[target] sums to 0 over the rows that count: pass a denominator")
    parts = [
        weighted_cross_entropy(
            given.logits,
            given.target,
            given.weight,
            1.0,
            ignore_index,
            given.label_smoothing,
            class_dim=-1,
            class_weight=part,
            check=check,
        )
        for part in (class_weight.clamp(min=0), (-class_weight).clamp(min=0))
    ]
    return ((parts[0] - parts[1]) / divisor).to(parts[0].dtype)


def _forward(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    denominator: torch.Tensor | None,
    ignore_index: int,
    label_smoothing: float,
    gradient: bool,
    check: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    loss, losses, slope, divisor = kernel(
        logits,
        target,
        weight,
        denominator,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        gradient=gradient,
        check=check,
    )
    return loss, losses, logits.new_empty(0) if slope is None else slope, divisor


_operator = torch.library.custom_op(
    "hitl_fast::weighted_cross_entropy",
    _forward,
    mutates_args=(),
    schema="(Tensor logits, Tensor target, Tensor? weight, Tensor? denominator, int ignore_index,"
    " float label_smoothing, bool gradient, bool check) -> (Tensor, Tensor, Tensor, Tensor)",
)


@_operator.register_fake
def _shapes(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    denominator: torch.Tensor | None,
    ignore_index: int,
    label_smoothing: float,
    gradient: bool,
    check: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    validate(logits, target, weight, denominator, label_smoothing)
    dtype = accumulator(logits.dtype)
    return (
        logits.new_empty((), dtype=dtype),
        logits.new_empty(logits.shape[:-1], dtype=dtype),
        logits.new_empty(logits.shape if gradient else 0),
        logits.new_empty((), dtype=torch.float64),
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    logits, target, weight, denominator, ctx.ignore_index, ctx.label_smoothing, ctx.ready, _ = inputs
    loss, losses, slope, divisor = output
    kept = remember(ctx, loss, weight, denominator, ctx.needs_input_grad[3])
    # Only references: the logits are kept where their gradient is made later, else the gradient is.
    later = (logits, target, weight) if not ctx.ready else (None, None, None)
    ctx.save_for_backward(kept, losses, slope, divisor, *later)


def _backward(ctx: Any, outer: torch.Tensor | None, *others: None) -> tuple[Any, ...]:
    loss, losses, slope, divisor, logits, target, weight = ctx.saved_tensors
    wanted = ctx.needs_input_grad
    grads: list[torch.Tensor | None] = [None] * 8
    if outer is None:
        return tuple(grads)
    if wanted[0]:
        if ctx.ready:
            grads[0] = scaled(slope, outer)
        else:
            grads[0] = _gradient(
                logits, target, weight, divisor, outer, ctx.ignore_index, ctx.label_smoothing
            )
    grads[2], grads[3] = of_weight_and_denominator(ctx, outer, loss, losses, divisor, wanted[2:4])
    return tuple(None if grad is None else first_derivative(grad, NAME) for grad in grads)


def _setup_operator(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    _setup(ctx, inputs, output)
    ctx.set_materialize_grads(False)  # a zero gradient for `slope` would be as large as the logits
    ctx.mark_non_differentiable(*output[1:])


_operator.register_autograd(_backward, setup_context=_setup_operator)


class _Eager(torch.autograd.Function):
    """The operator without its dispatcher."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> torch.Tensor:
        output = _forward(*inputs)
        _setup(ctx, inputs, output)
        return output[0]

    backward = staticmethod(_backward)


@torch.library.custom_op(
    "hitl_fast::weighted_cross_entropy_gradient",
    mutates_args=(),
    schema="(Tensor logits, Tensor target, Tensor? weight, Tensor denominator, Tensor scale, int ignore_index,"
    " float label_smoothing) -> Tensor",
)
def _gradient(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    denominator: torch.Tensor,
    scale: torch.Tensor,
    ignore_index: int,
    label_smoothing: float,
) -> torch.Tensor:
    slope = kernel(
        logits,
        target,
        weight,
        denominator,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        scale=scale,
    ).gradient
    assert slope is not None
    return slope


@_gradient.register_fake
def _gradient_shape(logits: torch.Tensor, *others: Any) -> torch.Tensor:
    return logits.new_empty(logits.shape)


class WeightedCrossEntropyLoss(CrossEntropyModule):
    """`weighted_cross_entropy` as a module; ``class_weight`` is a buffer.

    >>> criterion = WeightedCrossEntropyLoss(label_smoothing=0.1)
    >>> loss = criterion(torch.zeros(2, 4), torch.tensor([0, 3]), torch.tensor([1.0, 0.5]))
    """

    class_weight: torch.Tensor | None

    def __init__(
        self,
        ignore_index: int = -100,
        label_smoothing: float = 0.0,
        *,
        class_dim: int | None = None,
        class_weight: Array | None = None,
        check: bool = False,
    ) -> None:
        super().__init__(ignore_index, label_smoothing, check=check)
        self.class_dim = class_dim
        self.register_buffer("class_weight", optional(class_weight, "class_weight"))

    def forward(
        self,
        logits: torch.Tensor,
        target: Array,
        weight: Array | None = None,
        denominator: Denominator = None,
    ) -> torch.Tensor:
        return weighted_cross_entropy(
            logits,
            target,
            weight,
            denominator,
            self.ignore_index,
            self.label_smoothing,
            class_dim=self.class_dim,
            class_weight=self.class_weight,
            check=self.check,
        )

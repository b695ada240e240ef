"""Which dimension of the logits holds the classes, and weights per class beside weights per sample."""

from __future__ import annotations

import numbers
from typing import NamedTuple

import torch
from hitl_kernels.weighted_cross_entropy import validate

from hitl_fast._common.errors import InputError, InputTypeError

TOLERANCE = {torch.float16: 1e-2, torch.bfloat16: 5e-2}  # of sums of rounded probabilities; 1e-3 otherwise


class Problem(NamedTuple):
    """Logits and target with classes last, and one weight a row."""

    logits: torch.Tensor
    target: torch.Tensor
    weight: torch.Tensor | None
    denominator: torch.Tensor | None
    label_smoothing: float


def class_dimension(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    class_weight: torch.Tensor | None,
    class_dim: int | None,
) -> int:
    """The dimension of ``logits`` that holds the classes: as given, or the only one that fits.

    Last, or PyTorch's dimension 1 of (N, C, d1, ...). Shapes of target and weights tell them apart; where they do
    not, probabilities do, which sum to 1 over the classes.

    Raises:
        TypeError, ValueError: both dimensions fit, neither does, or ``class_dim`` is no dimension of logits.
    """
    dims = logits.dim()
    if class_dim is not None:
        if not isinstance(class_dim, numbers.Integral) or isinstance(class_dim, bool):
            raise InputTypeError(f"class_dim must be an int or None, not {type(class_dim).__name__}")
        if not -dims <= class_dim < dims:
            raise InputError(f"class_dim is {class_dim}, but logits have {dims} dimensions")
        return int(class_dim) % dims
    if dims < 3:
        return max(dims - 1, 0)
    fitting = [dim for dim in (dims - 1, 1) if _fits(dim, logits, target, weight, class_weight)]
    if len(fitting) == 2 and target.is_floating_point():
        # The loss over one class is 0 whatever the logits are.
        fitting = [dim for dim in fitting if logits.shape[dim] != 1] or fitting
    if len(fitting) == 1:
        return fitting[0]
    shapes = f"logits {tuple(logits.shape)} and target {tuple(target.shape)}"
    if not fitting:
        return _nothing_fits(logits, target, weight, class_weight)
    if target.is_floating_point() and logits.numel():
        return _by_sums(target, shapes)
    if not logits.numel():
        return fitting[0]
    raise InputError(
        f"classes may be in dimension 1 or {dims - 1} of {shapes}, both fit: pass class_dim=1 for PyTorch's layout"
        " (N, C, d1, ...) or class_dim=-1 for classes last"
    )


def _rows(shape: torch.Size, dim: int) -> tuple[int, ...]:
    return (*shape[:dim], *shape[dim + 1 :])


def _fits(
    dim: int,
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    class_weight: torch.Tensor | None,
) -> bool:
    rows = _rows(logits.shape, dim)
    wanted = tuple(logits.shape) if target.is_floating_point() else rows
    return (
        tuple(target.shape) == wanted
        and (weight is None or tuple(weight.shape) == rows)
        and (class_weight is None or tuple(class_weight.shape) == (logits.shape[dim],))
    )


def _nothing_fits(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    class_weight: torch.Tensor | None,
) -> int:
    """The dimension that the target fits, whose check names what else is wrong; or an error about the target."""
    for dim in (logits.dim() - 1, 1):
        if _fits(dim, logits, target, None, None):
            if weight is None or class_weight is None or _fits(dim, logits, target, weight, None):
                return dim
            continue
    last, first = _rows(logits.shape, logits.dim() - 1), _rows(logits.shape, 1)
    if target.is_floating_point():
        return logits.dim() - 1  # its check names the shape of probabilities
    raise InputError(
        f"target must have shape {last} (classes last) or {first} (classes in dimension 1) for logits of shape"
        f" {tuple(logits.shape)}, not {tuple(target.shape)}"
    )


def _by_sums(target: torch.Tensor, shapes: str) -> int:
    if torch.compiler.is_compiling() or target.is_meta or type(target) is not torch.Tensor:
        raise InputError(
            f"classes may be in dimension 1 or {target.dim() - 1} of {shapes}: traced code cannot look at the"
            " probabilities, pass class_dim"
        )
    tolerance = TOLERANCE.get(target.dtype, 1e-3)
    probabilities = target.detach().to(torch.float64 if target.dtype == torch.float64 else torch.float32)
    summing = [
        dim for dim in (target.dim() - 1, 1) if bool(((probabilities.sum(dim) - 1).abs() <= tolerance).all())
    ]
    if len(summing) == 1:
        return summing[0]
    found = "both sum" if summing else "neither sums"
    raise InputError(
        f"classes may be in dimension 1 or {target.dim() - 1} of {shapes}, and the probabilities of {found} to 1:"
        " pass class_dim=1 for PyTorch's layout (N, C, d1, ...) or class_dim=-1 for classes last"
    )


def with_class_weight(
    problem: Problem, class_weight: torch.Tensor, ignore_index: int, check: bool
) -> Problem:
    """The same loss without a weight per class: in the weights of rows, or in the probabilities.

    With class indices y and no smoothing, row i has the weight ``weight[i] * class_weight[y[i]]``. Otherwise
    probability c of a row is multiplied by ``class_weight[c]``. The default denominator is PyTorch's: the sum of
    ``class_weight[y[i]]`` over rows that count, or the number of rows with probabilities.
    """
    logits, target, weight, denominator, smoothing = problem
    dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
    factor = class_weight.to(dtype)
    if target.is_floating_point():
        return Problem(logits, _smoothed(target.to(dtype), smoothing) * factor, weight, denominator, 0.0)
    if denominator is None:
        total = class_weight_total(problem, class_weight, ignore_index)
        denominator = torch.where(total == 0, 1.0, total)
    index = _index(target, logits)
    if smoothing == 0:
        row = factor[index] if weight is None else weight.to(dtype) * factor[index]
        return Problem(logits, target, row, denominator, 0.0)
    _refuse_classes(target, logits.shape[-1], ignore_index, check)
    one_hot = torch.zeros(logits.shape, dtype=dtype, device=logits.device).scatter_(-1, index[..., None], 1.0)
    row = one_hot.new_ones(target.shape) if weight is None else weight.to(dtype)
    row = row.masked_fill(target == ignore_index, 0.0)
    return Problem(logits, _smoothed(one_hot, smoothing) * factor, row, denominator, 0.0)


def class_weight_total(problem: Problem, class_weight: torch.Tensor, ignore_index: int) -> torch.Tensor:
    """PyTorch's denominator: the weights of the targets that count, or how many rows do; () float64."""
    logits, target, weight, _, _ = problem
    counts = (
        target != ignore_index if not target.is_floating_point() else logits.new_ones(logits.shape[:-1]) > 0
    )
    if weight is not None:
        counts = counts & (weight != 0)
    if target.is_floating_point():
        return counts.sum().clamp(min=1).to(torch.float64)
    of_target = class_weight.to(torch.float64)[_index(target, logits)]
    return torch.where(counts, of_target, 0.0).sum()


def _index(target: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Class indices to read with; one out of range is refused later, by its position."""
    return target.to(torch.int64).clamp(0, logits.shape[-1] - 1)


def _smoothed(probabilities: torch.Tensor, smoothing: float) -> torch.Tensor:
    return (1 - smoothing) * probabilities + smoothing / probabilities.shape[-1]


def validate_class_weight(class_weight: torch.Tensor, problem: Problem, check: bool) -> None:
    """Refuse weights per class of a wrong dtype, shape or device, and values that are not finite."""
    logits = problem.logits
    validate(logits, problem.target, problem.weight, problem.denominator, problem.label_smoothing)
    classes = logits.shape[-1]
    if not class_weight.is_floating_point():
        raise InputTypeError(f"class_weight must hold floating-point numbers, not {class_weight.dtype}")
    if tuple(class_weight.shape) != (classes,):
        raise InputError(
            f"class_weight must have one number a class, shape ({classes},), not {tuple(class_weight.shape)}"
        )
    if class_weight.device != logits.device:
        raise InputError(
            f"class_weight is on {class_weight.device}, logits on {logits.device}: move it there"
        )
    if class_weight.requires_grad:
        raise InputError("class_weight requires a gradient, which this loss does not make: pass it detached")
    if may_look(class_weight, check) and not class_weight.isfinite().all():
        first = int((~class_weight.isfinite()).nonzero()[0])
        raise InputError(f"class_weight[{first}] is {class_weight[first].item()}: it must be finite")


def _refuse_classes(target: torch.Tensor, classes: int, ignore_index: int, check: bool) -> None:
    if not may_look(target, check):
        return
    wrong = (target != ignore_index) & ((target < 0) | (target >= classes))
    if wrong.any():
        first = wrong.nonzero()[0].tolist()
        raise InputError(
            f"target{first if first else ''} is {target[tuple(first)].item()}: a class index must lie in"
            f" 0..{classes - 1}, or be ignore_index={ignore_index} to leave the row out"
        )


def may_look(values: torch.Tensor, check: bool) -> bool:
    """Whether values can be read without forcing a device synchronisation."""
    if torch.compiler.is_compiling() or values.is_meta or type(values) not in (torch.Tensor, torch.nn.Buffer):
        return False
    return check or values.device.type == "cpu"

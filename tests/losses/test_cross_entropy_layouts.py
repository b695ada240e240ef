"""Both layouts of the classes, weights per class, and gradients of probabilities, against PyTorch."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from hitl_fast import WeightedCrossEntropyLoss, weighted_cross_entropy

# dtype -> (atol, rtol) of loss and gradients. Half precision: PyTorch sums in the dtype, this loss in float32.
TOLERANCES = {
    torch.float64: (1e-12, 1e-10),
    torch.float32: (2e-6, 1e-5),
    torch.bfloat16: (5e-2, 5e-2),
    torch.float16: (1e-2, 1e-2),
}


def samples(dtype: torch.dtype) -> list:
    from torch.testing._internal.common_methods_invocations import op_db

    (operator,) = [op for op in op_db if op.name == "nn.functional.cross_entropy"]
    return list(operator.sample_inputs("cpu", dtype, requires_grad=True))


def rows_of(logits: torch.Tensor, dim: int) -> tuple[int, ...]:
    return (*logits.shape[:dim], *logits.shape[dim + 1 :])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_every_sample_of_opinfo(dtype: torch.dtype, weighted: bool) -> None:
    """PyTorch's own inputs: class indices and probabilities, 2 to 5 dimensions, class weights of both signs."""
    found = samples(dtype)
    assert len(found) == 21
    generator = torch.Generator().manual_seed(0)
    atol, rtol = TOLERANCES[dtype]
    for sample in found:
        logits, target = sample.input, sample.args[0]
        options = dict(sample.kwargs)
        mean = options.pop("reduction", "mean") == "mean"
        each = F.cross_entropy(logits.double(), as_double(target), reduction="none", **doubled(options))
        weight = torch.rand(each.shape, generator=generator, dtype=dtype) + 0.5 if weighted else None
        scale = F.cross_entropy(logits.double(), as_double(target), reduction="sum", **doubled(options))
        over = (
            (scale / F.cross_entropy(logits.double(), as_double(target), **doubled(options))).item()
            if mean
            else 1.0
        )
        expected = (each if weight is None else each * weight.double()).sum() / over
        class_weight = options.pop("weight", None)
        loss = weighted_cross_entropy(
            logits, target, weight, None if mean else 1.0, **options, class_dim=1, class_weight=class_weight
        )
        torch.testing.assert_close(loss.double(), expected, atol=atol * (1 + abs(expected.item())), rtol=rtol)
        inputs = [logits, target] if target.requires_grad else [logits]
        ours, theirs = torch.autograd.grad(loss, inputs), torch.autograd.grad(expected, inputs)
        for mine, reference in zip(ours, theirs, strict=True):
            assert mine.dtype == dtype
            torch.testing.assert_close(
                mine, reference, atol=atol * (1 + reference.abs().max().item()), rtol=rtol
            )


def as_double(target: torch.Tensor) -> torch.Tensor:
    return target.double() if target.is_floating_point() else target


def doubled(options: dict) -> dict:
    return {
        name: value.double() if isinstance(value, torch.Tensor) else value for name, value in options.items()
    }


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    batch=st.integers(1, 4),
    classes=st.integers(2, 5),
    first=st.booleans(),
    soft=st.booleans(),
    class_weighted=st.booleans(),
    smoothing=st.sampled_from([0.0, 0.2]),
    seed=st.integers(0, 1000),
)
def test_any_layout_equals_pytorch_or_is_refused(
    sizes: list[int],
    batch: int,
    classes: int,
    first: bool,
    soft: bool,
    class_weighted: bool,
    smoothing: float,
    seed: int,
) -> None:
    """Without class_dim: PyTorch's loss in the layout that was meant, or an error that names class_dim."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, classes, *sizes, generator=generator, dtype=torch.float64)
    shape = (batch, *sizes)
    if soft:
        target = torch.rand(logits.shape, generator=generator, dtype=torch.float64).softmax(1)
    else:
        target = torch.randint(classes, shape, generator=generator)
    weight = torch.rand(shape, generator=generator, dtype=torch.float64)
    class_weight = torch.rand(classes, generator=generator, dtype=torch.float64) if class_weighted else None
    each = F.cross_entropy(logits, target, weight=class_weight, reduction="none", label_smoothing=smoothing)
    expected = (each * weight).sum() / 3.0
    if not first:
        logits = logits.movedim(1, -1).contiguous()
        target = target.movedim(1, -1).contiguous() if soft else target
    options = {"label_smoothing": smoothing, "class_weight": class_weight}
    told = weighted_cross_entropy(logits, target, weight, 3.0, **options, class_dim=1 if first else -1)
    torch.testing.assert_close(told, expected)
    for some, value in ((weight, expected), (None, each.sum() / 3.0)):
        found = or_refused(lambda some=some: weighted_cross_entropy(logits, target, some, 3.0, **options))
        if isinstance(found, torch.Tensor):
            torch.testing.assert_close(found, value)
        else:
            assert "class_dim" in found


def or_refused(compute: Callable[[], torch.Tensor]) -> torch.Tensor | str:
    try:
        return compute()
    except ValueError as problem:
        return str(problem)


def test_the_layout_is_refused_where_both_fit() -> None:
    logits, target = torch.randn(4, 5, 5), torch.randint(5, (4, 5))
    with pytest.raises(ValueError, match=r"class_dim=1.*class_dim=-1"):
        weighted_cross_entropy(logits, target)
    first = weighted_cross_entropy(logits, target, class_dim=1)
    torch.testing.assert_close(first, F.cross_entropy(logits, target))
    last = weighted_cross_entropy(logits, target, class_dim=2)
    torch.testing.assert_close(last, F.cross_entropy(logits.movedim(2, 1), target))
    doubly = torch.full((2, 3, 3), 1 / 3)
    with pytest.raises(ValueError, match="both sum to 1.*class_dim"):
        weighted_cross_entropy(torch.randn(2, 3, 3), doubly)
    with pytest.raises(ValueError, match="neither sums to 1.*class_dim"):
        weighted_cross_entropy(torch.randn(2, 3, 4), torch.full((2, 3, 4), 0.9))
    with pytest.raises(ValueError, match=r"\(4, 6\).*\(4, 5\).*\(4, 7\)"):
        weighted_cross_entropy(torch.randn(4, 6, 5), torch.zeros(4, 7, dtype=torch.int64))
    with pytest.raises(ValueError, match="class_dim is 3"):
        weighted_cross_entropy(logits, target, class_dim=3)
    with pytest.raises(TypeError, match="class_dim"):
        weighted_cross_entropy(logits, target, class_dim=1.0)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("soft", [False, True])
def test_class_weight_default_denominator_is_pytorchs(soft: bool, smoothing: float) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(7, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    class_weight = torch.tensor([0.5, 0.0, 2.0, 1.5], dtype=torch.float64)
    target = torch.randint(4, (7,), generator=generator)
    target[2] = -100
    if soft:
        target = torch.randn(7, 4, generator=generator, dtype=torch.float64).softmax(1)
    expected = F.cross_entropy(logits, target, weight=class_weight, label_smoothing=smoothing)
    for weight in (None, torch.ones(7, dtype=torch.float64)):
        loss = weighted_cross_entropy(
            logits, target, weight, class_weight=class_weight, label_smoothing=smoothing
        )
        torch.testing.assert_close(loss, expected)
        (ours,), (theirs,) = (
            torch.autograd.grad(loss, logits),
            torch.autograd.grad(expected, logits, retain_graph=True),
        )
        torch.testing.assert_close(ours, theirs)
    module = WeightedCrossEntropyLoss(label_smoothing=smoothing, class_weight=class_weight)
    torch.testing.assert_close(module(logits, target), expected)
    assert "class_weight" in module.state_dict()


def test_weight_zero_leaves_a_row_out_of_the_class_weights() -> None:
    logits, target = torch.randn(3, 4, dtype=torch.float64), torch.tensor([0, 1, 2])
    class_weight = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    weight = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    loss = weighted_cross_entropy(logits, target, weight, class_weight=class_weight)
    torch.testing.assert_close(loss, F.cross_entropy(logits[:2], target[:2], weight=class_weight))
    none = weighted_cross_entropy(logits, torch.full((3,), -100), class_weight=class_weight)
    assert none.item() == 0.0


@pytest.mark.parametrize(
    ("class_weight", "error", "names"),
    [
        (torch.ones(3), ValueError, r"class_weight.*\(4,\).*\(3,\)"),
        (torch.ones(4, dtype=torch.int64), TypeError, "class_weight.*int64"),
        (torch.tensor([1.0, np.nan, 1.0, 1.0]), ValueError, r"class_weight\[1\] is nan"),
        (torch.ones(4, requires_grad=True), ValueError, "class_weight.*gradient"),
    ],
)
def test_class_weights_that_are_refused(class_weight: torch.Tensor, error: type, names: str) -> None:
    with pytest.raises(error, match=names):
        weighted_cross_entropy(torch.zeros(2, 4), torch.tensor([0, 1]), class_weight=class_weight)


def test_class_weights_that_cancel_are_refused() -> None:
    with pytest.raises(ValueError, match="sums to 0.*denominator"):
        weighted_cross_entropy(
            torch.zeros(2, 2), torch.tensor([0, 1]), class_weight=torch.tensor([1.0, -1.0])
        )


def test_a_class_that_does_not_exist_is_refused_beside_class_weights() -> None:
    for smoothing in (0.0, 0.1):
        with pytest.raises(ValueError, match=r"target\[1\] is 4.*0\.\.3"):
            weighted_cross_entropy(
                torch.zeros(2, 4), torch.tensor([0, 4]), class_weight=torch.ones(4), label_smoothing=smoothing
            )


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_gradients_of_probabilities(smoothing: float) -> None:
    """Distillation: the teacher's distribution gets a gradient too, also of a weight and a denominator that learn."""
    generator = torch.Generator().manual_seed(2)

    def loss(logits: torch.Tensor, scores: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        return weighted_cross_entropy(logits, scores.softmax(-1), *rest, label_smoothing=smoothing)

    inputs = [
        torch.randn(2, 3, 4, generator=generator, dtype=torch.float64, requires_grad=True),
        torch.randn(2, 3, 4, generator=generator, dtype=torch.float64, requires_grad=True),
        torch.rand(2, 3, generator=generator, dtype=torch.float64).requires_grad_(),
        torch.tensor(5.0, dtype=torch.float64, requires_grad=True),
    ]
    assert torch.autograd.gradcheck(loss, inputs)


def test_gradients_of_probabilities_leave_out_rows_of_weight_zero() -> None:
    logits = torch.tensor([[np.inf, 0.0], [1.0, 0.0]], requires_grad=True)
    target = torch.tensor([[0.5, 0.5], [0.5, 0.5]], requires_grad=True)
    weighted_cross_entropy(logits, target, torch.tensor([0.0, 1.0])).backward()
    assert target.grad is not None
    assert target.grad[0].tolist() == [0.0, 0.0]
    torch.testing.assert_close(target.grad[1], -torch.tensor([1.0, 0.0]).log_softmax(0))
    again = weighted_cross_entropy(torch.zeros(1, 2), target[1:], None)
    (slope,) = torch.autograd.grad(again, target, create_graph=True)
    with pytest.raises(RuntimeError, match="second derivative"):
        slope.sum().backward()


@pytest.mark.jit
def test_compiled_soft_targets_name_class_dim() -> None:
    logits, target = torch.randn(2, 3, 4), torch.randn(2, 3, 4).softmax(1)
    expected = F.cross_entropy(logits, target)
    compiled = torch.compile(weighted_cross_entropy, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(logits, target, class_dim=1), expected)
    with pytest.raises(Exception, match="class_dim"):
        compiled(logits, target)

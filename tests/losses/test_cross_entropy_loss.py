"""weighted_cross_entropy as a PyTorch loss: its gradients, how it is traced, and who else may run it."""

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hitl_fast.losses import WeightedCrossEntropyLoss, weighted_cross_entropy
from hitl_fast.losses.cross_entropy import _gradient, _operator

# dtype of the logits: (relative, absolute) against the same in float64.
TOLERANCE = {
    torch.float64: (1e-12, 1e-12),
    torch.float32: (1e-5, 1e-7),
    torch.bfloat16: (2**-7, 2**-9),
    torch.float16: (2**-9, 2**-12),
}


def problem(dtype: torch.dtype, rows: int = 6, classes: int = 5) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(rows, classes, generator=generator).to(dtype).requires_grad_()
    target = torch.randint(classes, (rows,), generator=generator)
    weight = torch.rand(rows, generator=generator).to(torch.promote_types(dtype, torch.float32))
    return logits, target, weight.requires_grad_()


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("outer", [1.0, -2.5])
def test_gradients_equal_those_of_torch(dtype: torch.dtype, smoothing: float, outer: float) -> None:
    logits, target, weight = problem(dtype)
    denominator = torch.tensor(3.0, dtype=weight.dtype, requires_grad=True)
    ours = weighted_cross_entropy(logits, target, weight, denominator, label_smoothing=smoothing)
    (outer * ours).backward()
    exact = [value.detach().double().requires_grad_() for value in (logits, weight, denominator)]
    losses = F.cross_entropy(exact[0], target, reduction="none", label_smoothing=smoothing)
    theirs = (losses * exact[1]).sum() / exact[2]
    (outer * theirs).backward()
    relative, absolute = TOLERANCE[dtype]
    assert ours.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    for value, right in zip((logits, weight, denominator), exact, strict=True):
        assert value.grad.dtype == value.dtype
        torch.testing.assert_close(value.grad.double(), right.grad, rtol=relative, atol=absolute)


@pytest.mark.parametrize("probabilities", [False, True])
def test_gradcheck(probabilities: bool) -> None:
    logits, target, weight = problem(torch.float64)
    truth = torch.rand(6, 5, dtype=torch.float64).softmax(1) if probabilities else target
    denominator = torch.tensor(4.0, dtype=torch.float64, requires_grad=True)

    def loss(x: torch.Tensor, w: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
        return weighted_cross_entropy(x, truth, w, d, label_smoothing=0.1)

    assert torch.autograd.gradcheck(loss, (logits, weight, denominator))
    assert torch.autograd.gradcheck(lambda x: weighted_cross_entropy(x, truth), (logits,))


def test_weights_of_one_are_the_mean_of_torch() -> None:
    logits, target, _ = problem(torch.float32)
    target[2] = -100
    expected = F.cross_entropy(logits, target, label_smoothing=0.1)
    for weight in (None, torch.ones(6)):
        ours = weighted_cross_entropy(logits, target, weight, label_smoothing=0.1)
        torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(
        weighted_cross_entropy(logits, target.where(target != -100, 4), ignore_index=4),
        F.cross_entropy(logits, target.where(target != -100, 4), ignore_index=4),
    )
    soft = torch.rand(6, 5)
    torch.testing.assert_close(weighted_cross_entropy(logits, soft), F.cross_entropy(logits, soft))


def test_weight_zero_is_the_batch_without_the_row() -> None:
    logits, target, weight = problem(torch.float32)
    with torch.no_grad():
        weight[1] = weight[4] = 0
        logits[1] = math.nan
        logits[4, 0] = math.inf
    keep = torch.tensor([0, 2, 3, 5])
    part = logits.detach()[keep].requires_grad_()
    whole, rest = weighted_cross_entropy(logits, target, weight), weighted_cross_entropy(
        part, target[keep], weight[keep]
    )  # fmt: skip
    assert torch.equal(whole, rest)
    whole.backward()
    rest.backward()
    assert torch.equal(logits.grad[keep], part.grad)
    assert logits.grad[[1, 4]].count_nonzero() == 0
    assert weight.grad[[1, 4]].count_nonzero() == 0


def test_accumulated_micro_batches_are_the_whole_batch() -> None:
    logits, target, weight = problem(torch.float32)
    weighted_cross_entropy(logits, target, weight).backward()
    whole, logits.grad = logits.grad, None
    for part in (slice(0, 1), slice(1, 4), slice(4, 6)):
        weighted_cross_entropy(logits[part], target[part], weight[part], denominator=6).backward()
    torch.testing.assert_close(logits.grad, whole)


def test_a_weighted_mean_is_differentiated_through_its_denominator() -> None:
    logits, target, weight = problem(torch.float64)
    weighted_cross_entropy(logits, target, weight, weight.sum()).backward()
    ours, weight.grad = weight.grad, None
    losses = F.cross_entropy(logits.detach(), target, reduction="none")
    ((losses * weight).sum() / weight.sum()).backward()
    torch.testing.assert_close(ours, weight.grad)


@pytest.mark.parametrize("outer", [1.0, 3.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_second_backward_gives_the_same_again(outer: float, dtype: torch.dtype) -> None:
    logits, target, _ = problem(dtype)
    leaf = logits * 1
    loss = outer * weighted_cross_entropy(leaf, target)
    (first,) = torch.autograd.grad(loss, leaf, retain_graph=True)
    kept = first.clone()
    first.zero_()  # what a caller does with a gradient must not reach the next one
    loss.backward(retain_graph=True)
    assert torch.equal(logits.grad, kept)
    loss.backward()
    torch.testing.assert_close(logits.grad, 2 * kept)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_one_tensor_used_twice_gets_both_gradients() -> None:
    logits, target, _ = problem(torch.float32)
    loss = weighted_cross_entropy(logits, target) + weighted_cross_entropy(logits, (target + 1) % 5)
    loss.backward()
    ours, logits.grad = logits.grad, None
    (F.cross_entropy(logits, target) + F.cross_entropy(logits, (target + 1) % 5)).backward()
    torch.testing.assert_close(ours, logits.grad)


@pytest.mark.parametrize("compiled", [False, True])
def test_the_loss_may_be_changed_in_place(compiled: bool) -> None:
    logits, target, weight = problem(torch.float32)
    denominator = torch.tensor(3.0, requires_grad=True)

    def step(x: torch.Tensor, w: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
        loss = weighted_cross_entropy(x, target, w, d)
        loss /= 4
        loss += x.square().mean()
        return loss

    leaves = logits, weight, denominator
    right = weighted_cross_entropy(logits, target, weight, denominator) / 4 + logits.square().mean()
    expected = torch.autograd.grad(right, leaves)
    run = torch.compile(step, fullgraph=True, backend="aot_eager") if compiled else step
    for ours, theirs in zip(torch.autograd.grad(run(*leaves), leaves), expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_model_without_data_has_shapes() -> None:
    logits, target, weight = (value.detach().to("meta") for value in problem(torch.float32))
    logits.requires_grad_()
    loss = weighted_cross_entropy(logits, target, weight)
    assert (loss.shape, loss.device.type) == ((), "meta")
    loss.backward()
    assert logits.grad.shape == logits.shape


def test_a_second_derivative_is_refused_by_name() -> None:
    logits, target, weight = problem(torch.float32)
    loss = weighted_cross_entropy(logits, target, weight)
    for value in torch.autograd.grad(loss, (logits, weight), create_graph=True):
        with pytest.raises(RuntimeError, match="weighted_cross_entropy has no second derivative"):
            value.sum().backward()


def test_under_no_grad_there_is_no_gradient() -> None:
    logits, target, weight = problem(torch.float32)
    with torch.no_grad():
        loss = weighted_cross_entropy(logits, target, weight)
    assert not loss.requires_grad
    assert _operator(logits.detach(), target, None, None, -100, 0.0, False, False)[2].numel() == 0
    # With a gradient only for the weights none is made for the logits.
    weighted_cross_entropy(logits.detach(), target, weight).backward()
    losses = F.cross_entropy(logits.detach(), target, reduction="none")
    torch.testing.assert_close(weight.grad, losses / 6)


def test_the_gradient_reaches_a_leaf_without_a_copy() -> None:
    logits, target, _ = problem(torch.float32)
    seen: list[int] = []
    loss = weighted_cross_entropy(logits, target)
    logits.register_hook(lambda grad: seen.append(grad.data_ptr()))
    loss.backward()
    assert seen == [logits.grad.data_ptr()]


def test_a_loss_scale_keeps_float16_gradients_from_underflow() -> None:
    rows, scale = 512, 2.0**16
    logits = torch.zeros(rows, 64, dtype=torch.float16, requires_grad=True)
    weight = torch.full((rows,), 1e-4)
    (scale * weighted_cross_entropy(logits, torch.zeros(rows, dtype=torch.long), weight)).backward()
    # 1e-4 / 64 / 512 = 3e-9 is 0 in float16; times the scale it is not.
    expected = scale * 1e-4 / rows / 64
    assert logits.grad[0, 1].item() == pytest.approx(expected, rel=2**-10)


def test_autocast_gives_float32_as_in_torch() -> None:
    model = nn.Linear(4, 5)
    inputs, target = torch.randn(6, 4), torch.arange(6) % 5
    grads = []
    for function in (weighted_cross_entropy, F.cross_entropy):
        model.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(inputs)
            loss = function(logits, target)
        assert logits.dtype == torch.bfloat16
        assert loss.dtype == torch.float32
        loss.backward()
        grads.append((loss.detach(), model.weight.grad.clone()))
    torch.testing.assert_close(grads[0][0], grads[1][0])
    torch.testing.assert_close(grads[0][1], grads[1][1], rtol=2**-6, atol=2**-8)


@pytest.mark.parametrize("gradient", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_opcheck(gradient: bool, dtype: torch.dtype) -> None:
    logits, target, weight = problem(dtype)
    soft = torch.rand(6, 5, dtype=torch.float32).to(dtype)
    for truth in (target, soft):
        torch.library.opcheck(
            _operator, (logits, truth, weight, torch.tensor(2.0), -100, 0.1, gradient, False)
        )
    torch.library.opcheck(_operator, (logits, target, None, None, -100, 0.0, gradient, True))
    settings = (logits.detach(), target, None, torch.tensor(3.0), torch.tensor(2.0), -100, 0.1)
    torch.library.opcheck(_gradient, settings)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_compiles_in_one_graph(dtype: torch.dtype) -> None:
    def step(x: torch.Tensor, t: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return 3 * weighted_cross_entropy(2 * x, t, w, label_smoothing=0.1)

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    for rows in (6, 9):
        logits, target, weight = problem(dtype, rows)
        expected = torch.autograd.grad(step(logits, target, weight), (logits, weight))
        loss = compiled(logits, target, weight)
        for ours, right in zip(torch.autograd.grad(loss, (logits, weight)), expected, strict=True):
            torch.testing.assert_close(ours, right)
    bad = target.clone()
    bad[3] = 99
    with pytest.raises(ValueError, match=r"target\[3\] is 99"):
        compiled(logits, bad, weight)


def train(rank: int, world: int, folder: str) -> None:
    """One rank of the test below: its half of the batch, the count of the whole over the number of ranks."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world
    )
    try:
        torch.manual_seed(0)
        model = nn.parallel.DistributedDataParallel(nn.Linear(4, 3))
        inputs, target, weight = batch()
        part = slice(0, 5) if rank == 0 else slice(5, 12)
        count = (weight[part] != 0).sum()
        torch.distributed.all_reduce(count)
        weighted_cross_entropy(
            model(inputs[part]), target[part], weight[part], count.double() / world
        ).backward()
        torch.save(model.module.weight.grad, Path(folder) / f"{rank}.pt")
    finally:
        torch.distributed.destroy_process_group()


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    weight = torch.rand(12, generator=generator)
    weight[:3] = 0
    return torch.randn(12, 4, generator=generator), torch.arange(12) % 3, weight


def test_two_ranks_get_the_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.multiprocessing.spawn(train, (2, str(tmp_path)), nprocs=2)
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    inputs, target, weight = batch()
    weighted_cross_entropy(model(inputs), target, weight).backward()
    for rank in range(2):
        grad = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(grad, model.weight.grad)


def test_the_module_is_the_function() -> None:
    logits, target, weight = problem(torch.float32)
    module = WeightedCrossEntropyLoss(ignore_index=2, label_smoothing=0.3)
    expected = weighted_cross_entropy(logits, target, weight, 2.0, 2, 0.3)
    assert torch.equal(module(logits, target, weight, 2.0), expected)
    assert repr(module) == "WeightedCrossEntropyLoss(ignore_index=2, label_smoothing=0.3)"


def test_arrays_are_taken_as_tensors() -> None:
    logits, target, weight = problem(torch.float32)
    arrays: tuple[Any, Any] = (target.numpy(), weight.detach().numpy())
    assert torch.equal(
        weighted_cross_entropy(logits, *arrays), weighted_cross_entropy(logits, target, weight)
    )


def test_arrays_that_pytorch_does_not_take() -> None:
    """Steps backwards, another byte order, and a file that was mapped to be read only."""
    logits, target, weight = problem(torch.float32)
    expected = weighted_cross_entropy(logits, target, weight)
    indices, weights = target.numpy(), weight.detach().numpy()
    constant = np.array(weights)
    constant.flags.writeable = False
    for other in (weights[::-1].copy()[::-1], weights.astype(">f4"), constant):
        assert torch.equal(weighted_cross_entropy(logits, target, other), expected)
    for other in (indices[::-1].copy()[::-1], indices.astype(">i8")):
        assert torch.equal(weighted_cross_entropy(logits, other, weight), expected)


@pytest.mark.parametrize(
    ("error", "message", "change"),
    [
        (TypeError, "logits must be a torch.Tensor, not list", {"logits": [[0.0]]}),
        (TypeError, "logits must be dense, not torch.sparse_coo", {"logits": torch.eye(6).to_sparse()}),
        (TypeError, "target must be a torch.Tensor or a numpy.ndarray, not int", {"target": 1}),
        (TypeError, "weight must be a torch.Tensor or a numpy.ndarray, not float", {"weight": 1.0}),
        (TypeError, "denominator must be a number, a tensor or None, not str", {"denominator": "6"}),
        (ValueError, "denominator must be finite and > 0, not 0", {"denominator": 0}),
        (ValueError, "denominator must be finite and > 0, not nan", {"denominator": np.nan}),
        (ValueError, r"target\[2\] is 5", {"target": torch.tensor([0, 0, 5, 0, 0, 9])}),
        (ValueError, r"weight\[5\] is -1", {"weight": torch.tensor([1.0, 1, 1, 1, 1, -1])}),
        (ValueError, r"target must have one class index a row, shape \(6,\)", {"target": torch.zeros(5).long()}),
        (ValueError, r"for \(N, C, ...\) pass logits.movedim\(1, -1\)", {"target": torch.zeros(5).long()}),
        (ValueError, "target is on meta", {"target": torch.zeros(6, device="meta").long()}),
        (ValueError, "label_smoothing", {"label_smoothing": 2.0}),
        (TypeError, "label_smoothing must be a number, not Tensor", {"label_smoothing": torch.tensor(0.1)}),
        (TypeError, "ignore_index must be an int, not float", {"ignore_index": 2.5}),
    ],
)  # fmt: skip
def test_refuses_what_cannot_be(error: type[Exception], message: str, change: dict[str, Any]) -> None:
    logits, target, _ = problem(torch.float32)
    with pytest.raises(error, match=message):
        weighted_cross_entropy(**{"logits": logits, "target": target, **change})


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("outer", [1.0, 2.0])
def test_a_device_agrees_and_is_not_waited_for(dtype: torch.dtype, outer: float) -> None:
    logits, target, weight = problem(dtype, 64, 1000)
    (outer * weighted_cross_entropy(logits, target, weight)).backward()
    there = logits.detach().cuda().requires_grad_()
    others = target.cuda(), weight.detach().cuda()
    weighted_cross_entropy(there, *others).backward()  # compiles
    there.grad = None
    torch.cuda.set_sync_debug_mode("error")
    try:
        (outer * weighted_cross_entropy(there, *others)).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    relative, absolute = TOLERANCE[dtype]
    torch.testing.assert_close(there.grad.cpu(), logits.grad, rtol=relative, atol=absolute)
    wrong = others[0].clone()
    wrong[3] = 1000
    assert weighted_cross_entropy(there, wrong).isnan()
    with pytest.raises(ValueError, match=r"target\[3\] is 1000"):
        weighted_cross_entropy(there, wrong, check=True)

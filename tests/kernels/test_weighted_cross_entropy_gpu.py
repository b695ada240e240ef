"""The Triton kernels of weighted cross entropy against the definition: interpreted, and on a device if there is one."""

import math

import numpy as np
import pytest
import torch
from hitl_kernels import weighted_cross_entropy as core
from hitl_kernels.weighted_cross_entropy import gpu, reference

from hitl_fast.losses import linear_in_chunks as linear

# dtype of the logits: tolerance of losses relative to 1 + |loss|, and of the gradient relative to its largest.
TOLERANCE = {
    torch.float64: (1e-12, 1e-12),
    torch.float32: (2e-6, 4e-6),
    torch.bfloat16: (2e-6, 2**-8),
    torch.float16: (2e-6, 2**-10),
}
# The interpreter is NumPy, which warns of the log 0 of a row that is left out and of inf - inf.
pytestmark = pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")
DEVICES = [
    pytest.param("cpu", marks=pytest.mark.interpreter),
    pytest.param("cuda", marks=pytest.mark.gpu),
]


def problem(
    rows: int, classes: int, dtype: torch.dtype, device: str
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(rows * 1000 + classes)
    logits = (5 * torch.randn(rows, classes, generator=generator)).to(dtype)
    weight = torch.rand(rows, generator=generator)
    weight[::4] = 0
    target = torch.randint(classes, (rows,), generator=generator)
    target[1::5] = -100
    return logits.to(device), target.to(device), weight.to(device)


def run(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    smoothing: float = 0.0,
    gradient: torch.Tensor | None = None,
) -> tuple[float, torch.Tensor]:
    shape = logits.shape[:-1]
    dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
    losses = torch.full(shape, math.nan, dtype=dtype, device=logits.device)
    divisor = gpu.denominator(target, weight, losses.numel(), None, -100)
    gpu.fill(logits, target, weight, 1 / divisor, -100, smoothing, losses, gradient)
    return gpu.mean(losses, weight, divisor).item(), losses


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("probabilities", [False, True])
@pytest.mark.parametrize(("rows", "classes"), [(1, 1), (5, 3), (7, 130), (3, 5003)])
def test_equals_the_definition(
    rows: int, classes: int, probabilities: bool, smoothing: float, dtype: torch.dtype, device: str
) -> None:
    logits, target, weight = problem(rows, classes, dtype, device)
    if probabilities:
        target = torch.rand(rows, classes, generator=torch.Generator().manual_seed(1)).to(device, dtype)
    for given in (weight, None):
        poisoned = torch.full_like(logits, math.nan)
        loss, losses = run(logits, target, given, smoothing, poisoned)
        truth = target.double().cpu().numpy() if probabilities else target.cpu().numpy()
        expected = reference.weighted_cross_entropy(
            logits.double().cpu().numpy(),
            truth,
            None if given is None else given.cpu().numpy(),
            label_smoothing=smoothing,
        )
        of_loss, of_gradient = TOLERANCE[dtype]
        if device == "cpu" and dtype == torch.bfloat16:
            of_gradient *= 2  # the interpreter cuts bits off where a device rounds to nearest
        assert loss == pytest.approx(expected[0], rel=of_loss, abs=of_loss)
        error = np.abs(losses.cpu().numpy() - expected[1]) / (1 + np.abs(expected[1]))
        assert error.max() < of_loss
        largest = (np.abs(expected[2]).max() if classes > 1 else 0.0) or 1.0
        slope = poisoned.double().cpu().numpy()
        np.testing.assert_allclose(slope / largest, expected[2] / largest, rtol=0, atol=of_gradient)
        assert torch.equal(run(logits, target, given, smoothing)[1], losses)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("classes", [6, 4100])
def test_reads_any_strides_and_writes_in_place(classes: int, device: str) -> None:
    logits, target, weight = problem(6, classes, torch.float32, device)
    expected = torch.empty_like(logits)
    run(logits, target, weight, gradient=expected)
    for form in (logits.T.contiguous().T, torch.cat([logits, logits], 1)[:, :classes]):
        slope = torch.empty_like(expected)
        run(form, target, weight, gradient=slope)
        assert torch.equal(slope, expected)
    sequences = torch.stack([logits, logits])[:, :5]
    slope = torch.empty(10, classes, device=device)
    run(sequences, target[:5].expand(2, 5), weight[:5].expand(2, 5), gradient=slope)
    flat = torch.empty_like(slope)
    run(sequences.reshape(10, -1), target[:5].repeat(2), weight[:5].repeat(2), gradient=flat)
    assert torch.equal(slope, flat)
    run(logits, target, weight, gradient=logits)
    assert torch.equal(logits, expected)


@pytest.mark.parametrize("device", DEVICES)
def test_leaves_out_rows_of_weight_zero_and_keeps_masked_classes(device: str) -> None:
    logits = torch.randn(4, 5, device=device)
    logits[0], logits[1], logits[3, 2] = math.inf, math.nan, -math.inf
    target = torch.tensor([0, -100, 1, 1], device=device)
    weight = torch.tensor([0.0, 1.0, 1.0, 0.5], device=device)
    slope = torch.empty_like(logits)
    loss, losses = run(logits, target, weight, gradient=slope)
    assert math.isfinite(loss)
    assert losses[:2].count_nonzero() == 0
    assert slope[:2].count_nonzero() == 0
    assert slope[3, 2] == 0
    soft = torch.nn.functional.one_hot(target.clamp(min=0), 5).float()
    assert run(logits[2:], soft[2:], weight[2:])[0] == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize("device", DEVICES)
def test_what_cannot_be_makes_the_loss_nan(device: str) -> None:
    logits = torch.randn(3, 5, device=device)
    good, ones = torch.tensor([0, 4, 2], device=device), torch.ones(3, device=device)
    for wrong in (5, -1, 10**12):
        target = good.clone()
        target[1] = wrong
        slope = torch.empty_like(logits)
        loss, losses = run(logits, target, ones, gradient=slope)
        assert math.isnan(loss)
        assert torch.isnan(slope[1]).all()
        assert torch.isfinite(losses[[0, 2]]).all()
    for bad in (-1.0, math.nan, math.inf):
        weight = ones.clone()
        weight[2] = bad
        assert math.isnan(run(logits, good, weight)[0])
    for bad in (-0.1, math.nan, math.inf):
        soft = torch.full((3, 5), 0.2, device=device)
        soft[0, 0] = bad
        assert math.isnan(run(logits, soft, ones)[0])


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_the_denominator_is_made_on_the_device(device: str) -> None:
    target = torch.tensor([0, -100, 2], device=device)
    soft, weight = torch.full((3, 5), 0.2, device=device), torch.tensor([0.0, 1.0, 2.0], device=device)
    for bad in (0.0, -1.0, math.nan, math.inf):
        assert math.isnan(gpu.denominator(target, None, 3, torch.tensor(bad, device=device), -100).item())
    assert gpu.denominator(target, None, 3, torch.tensor(2.5, device=device), -100) == 2.5
    assert gpu.denominator(target, None, 3, None, -100) == 2
    assert gpu.denominator(target, weight, 3, None, -100) == 1
    assert gpu.denominator(soft, weight, 3, None, -100) == 2
    assert gpu.denominator(soft, None, 3, None, -100) == 3
    assert gpu.denominator(target, 0 * weight, 3, None, -100) == 1
    two = torch.tensor(2.0, dtype=torch.float64, device=device)
    assert gpu.mean(weight, weight, two) == 2.5
    assert gpu.mean(weight, None, two) == 1.5


@pytest.mark.interpreter
def test_the_layer_and_the_loss_on_these_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, table, bias = torch.randn(7, 4), torch.randn(11, 4), torch.randn(11)
    target, weight = torch.arange(7), torch.rand(7)
    arguments = (hidden, table, target, weight, bias)
    on_cpu = linear.weighted_linear_cross_entropy(*arguments, chunk=3)
    logits = core.weighted_cross_entropy(hidden @ table.T, target, weight, scale=torch.tensor(2.0))
    monkeypatch.setattr(linear, "backend", lambda device: gpu)
    monkeypatch.setattr(core, "backend", lambda device: gpu)
    for ours, theirs in zip(linear.weighted_linear_cross_entropy(*arguments, chunk=3), on_cpu, strict=True):
        torch.testing.assert_close(ours, theirs)
    again = core.weighted_cross_entropy(hidden @ table.T, target, weight, scale=torch.tensor(2.0))
    for ours, theirs in zip(again, logits, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_scales_in_place(factor: float, device: str) -> None:
    values = torch.randn(2, 5000, device=device)
    expected = values * factor
    assert torch.equal(gpu.scale_(values, torch.tensor(factor, device=device)), expected)
    assert torch.equal(values, expected)
    assert gpu.scale_(torch.empty(0, device=device), torch.tensor(factor, device=device)).numel() == 0


@pytest.mark.parametrize("device", DEVICES)
def test_no_rows(device: str) -> None:
    nothing = torch.empty(0, 5, device=device)
    assert run(nothing, torch.empty(0, dtype=torch.long, device=device), None, gradient=nothing)[0] == 0

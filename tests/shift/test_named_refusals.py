"""Errors of the model and of the arithmetic name the user's own data: the side, the batch, the layer, the sample."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import hitl_fast as hf
from hitl_fast._common.errors import InputError, InputTypeError

Batches = list[tuple[Tensor, Tensor]]


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))


X, LABELS = torch.randn(64, 8, generator=torch.Generator().manual_seed(1)), torch.arange(64) % 3


def batches(inputs: Tensor, size: int = 16) -> Batches:
    return list(zip(inputs.split(size), LABELS[: len(inputs)].split(size), strict=True))


def with_value(value: float, sample: int = 37) -> Tensor:
    inputs = X.clone()
    inputs[sample] = value
    return inputs


@pytest.mark.parametrize("side", ["clean", "shifted"])
@pytest.mark.parametrize(
    "options",
    [{}, {"paired": False}, {"label_budget": 30}, {"embedding_samples": 12}, {"arithmetic": "reference"}],
    ids=str,
)
def test_values_whose_squares_leave_float32_are_refused_by_name(side: str, options: dict[str, Any]) -> None:
    sides = {"clean": batches(X), "shifted": batches(X + 0.1), side: batches(with_value(1e30))}
    with pytest.raises(InputError, match=rf"{side} embeddings \(input of 4\).* sample 37\b"):
        hf.preindex(model(), sides["clean"], sides["shifted"], **options)


def test_the_position_counts_samples_left_out_before_it() -> None:
    shifted = with_value(1e30)
    shifted[5] = torch.nan
    with (
        pytest.warns(UserWarning, match="first is sample 5"),
        pytest.raises(InputError, match=r"sample 37\b"),
    ):
        hf.preindex(model(), batches(X), batches(shifted))


@pytest.mark.parametrize("value", [1e30, 5e37, 1e-30])
def test_input_rms_is_that_of_float64(value: float) -> None:
    clean, shifted = X * value, X * -value if value < 1 else X * (value / 10)
    model_of_any_size = nn.Sequential(nn.Tanh(), *model())
    report = hf.preindex(model_of_any_size, batches(clean), batches(shifted))
    change = shifted.double() - clean.double()
    assert report.input_rms == pytest.approx(float(change.square().mean().sqrt()), rel=1e-6)


@pytest.mark.parametrize("side", ["clean", "shifted"])
@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("at", [0, 2])
def test_a_batch_that_the_model_cannot_take_is_named(side: str, paired: bool, at: int) -> None:
    wrong = batches(X)
    wrong[at] = (torch.zeros(16, 9), wrong[at][1])
    sides = {"clean": batches(X), "shifted": batches(X + 1), side: wrong}
    expected = rf"batch {at} of {side} \(from sample {16 * at}\).*\(16, 9\) float32"
    with pytest.raises(RuntimeError, match=expected) as caught:
        hf.preindex(model(), sides["clean"], sides["shifted"], paired=paired)
    assert isinstance(caught.value, InputError)
    assert type(caught.value.__cause__) is RuntimeError
    assert "mat1" in str(caught.value.__cause__)
    assert ("it took (16, 8) float32 before" in str(caught.value)) == (
        at > 0 or (paired and side == "shifted")
    )


def test_a_batch_of_embeddings_that_the_model_cannot_take_is_named() -> None:
    with pytest.raises(RuntimeError, match=r"batch 0 of loader .*\(16, 9\)"):
        hf.embeddings(model(), batches(torch.zeros(32, 9)))


@pytest.mark.parametrize("kind", [IndexError, KeyError, TypeError, ValueError, ZeroDivisionError])
def test_the_kind_of_the_models_error_can_still_be_caught(kind: type[Exception]) -> None:
    class Strict(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model()

        def forward(self, x: Tensor, scale: Tensor) -> Tensor:
            if (x > 1e3).any():
                raise kind("too bright")
            result: Tensor = self.inner(x) * scale
            return result

    clean, shifted = (
        [(x, torch.ones(len(x), 1), y) for x, y in batches(inputs)] for inputs in (X, with_value(1e4))
    )
    with pytest.raises(kind, match=r"batch 2 of .*shifted.*too bright") as caught:
        hf.preindex(Strict(), clean, shifted)
    assert isinstance(caught.value, InputError)
    assert str(caught.value).endswith("too bright'" if kind is KeyError else "too bright")


def test_a_defect_of_a_hook_is_not_laid_to_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a defect of ours")

    monkeypatch.setattr("hitl_fast.shift.forward.output_tensor", broken)
    with pytest.raises(RuntimeError, match="^a defect of ours$"):
        hf.preindex(model(), batches(X), batches(X + 1))


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        ((np.ones((3, 4)), np.ones((3, 5))), InputError),
        ((np.ones((3, 4)), np.ones((3, 4), np.float32)), InputTypeError),
        ((np.ones(3), np.ones(3)), InputError),
    ],
    ids=["shape", "dtype", "dimensions"],
)
def test_the_accumulator_names_the_layer(rows: tuple[Any, Any], kind: type[Exception]) -> None:
    accumulator = hf.PreIndexAccumulator()
    with pytest.raises(kind, match="layer 'fc1'"):
        accumulator.update("fc1", *rows)
    with pytest.raises(InputError, match="fc1|no row pairs"):
        accumulator.update("fc1", np.ones((3, 4)), np.ones((3, 5)))
    assert accumulator.state()["layers"] == {}


def test_a_device_without_memory_is_no_matter_of_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    whole: Callable[..., Any] = nn.Linear.forward

    def full(self: nn.Linear, x: Tensor) -> Tensor:
        if len(x) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        result: Tensor = whole(self, x)
        return result

    monkeypatch.setattr(nn.Linear, "forward", full)
    with pytest.raises(torch.OutOfMemoryError, match="^CUDA out of memory$"):
        hf.preindex(model(), batches(X), batches(X + 1))

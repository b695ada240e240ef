"""Scores that classes, labels and logits of awkward kinds would bend in silence."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import hitl_fast as hf
from hitl_fast.shift.effort_score import EffortScore, effort_score
from hitl_fast.shift.effort_unpaired import EffortSide, unpaired_effort_score

pytestmark = pytest.mark.filterwarnings("ignore:effort score")


def side(n: int, shares: tuple[float, float], seed: int) -> EffortSide:
    """Logits that are right on class 0 and wrong on 3 of 10 samples of class 1; no shift."""
    generator = np.random.default_rng(seed)
    labels = np.repeat([0, 1], [round(n * share) for share in shares])
    wrong = (labels == 1) & (generator.random(n) < 0.3)
    signed = np.where(labels == 1, 1.0, -1.0)
    logits = np.stack([-signed, signed], 1) * np.where(wrong, -1, 1)[:, None]
    inputs = np.concatenate([logits, generator.standard_normal((n, 6))], 1)
    return EffortSide([inputs], logits, labels)


def test_a_set_of_hard_classes_is_no_shift() -> None:
    score, notes = unpaired_effort_score(side(1000, (0.5, 0.5), 0), side(1000, (0.1, 0.9), 1))
    assert score.shifted_error == pytest.approx(0.27, abs=0.03)
    assert score.target_error == pytest.approx(0.29, abs=0.03)
    assert score.path_excess < 0.01
    assert any("other shares" in note and "total variation 0.40" in note for note in notes)


def test_shares_that_chance_may_have_change_nothing() -> None:
    score, notes = unpaired_effort_score(side(1000, (0.5, 0.5), 0), side(1000, (0.46, 0.54), 1))
    assert score.target_error == score.clean_error + 0.02
    assert not any("shares" in note for note in notes)


def test_copies_are_counted_on_the_side_that_has_them() -> None:
    clean, shifted = side(600, (0.5, 0.5), 0), side(40, (0.5, 0.5), 1)
    twice = np.repeat(np.arange(0, 600, 2), 2)
    score, notes = unpaired_effort_score(clean.only(twice), shifted)
    assert score.near_copies == 40
    assert any("40 of 40 clean samples are near copies" in note for note in notes)
    assert not any("40 of 40 samples" in note for note in notes)


@pytest.mark.parametrize("paired", [True, False])
def test_nan_logits_are_wrong_answers(paired: bool) -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(5, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            made: Tensor = self.head(torch.relu(self.body(x)))
            return torch.where(x[:, :1] > 0, made / 0 * 0, made)

    torch.manual_seed(0)
    x, y = torch.randn(60, 5), torch.arange(60) % 3
    x[:, 0] = torch.where(torch.arange(60) < 21, 1.0, -1.0)
    model = Broken()
    nn.init.zeros_(model.head.weight)
    model.head.bias.data = torch.tensor([0.0, 9.0, 0.0])
    report = hf.preindex(model, [(x, y)], [(x * 0.9, y)], paired=paired, progress=False)
    right = float(((y == 1) & (x[:, 0] < 0)).double().mean())
    assert report.accuracy == {"clean": right, "shifted": right}
    assert any("NaN" in note and "21" in note and "wrong" in note for note in report.notes)


def scored(labels: Any) -> EffortScore:
    generator = np.random.default_rng(0)
    X, logits = generator.standard_normal((2, 30, 4))
    return effort_score([X], [X + 1], logits, logits[:, ::-1].copy(), labels)


@pytest.mark.parametrize("kind", ["u1", "u2", "u4", "u8", "i1", ">i4", ">u8"])
def test_labels_of_any_integers(kind: str) -> None:
    labels = np.arange(30) % 3
    assert scored(labels.astype(kind)) == scored(labels)
    if kind[0] == "u":
        assert scored(torch.from_numpy(labels.astype(kind))) == scored(labels)


@pytest.mark.parametrize(
    "labels", [["a"] * 30, [None] * 30, [0.0] * 30, [True] * 30], ids=["text", "none", "float", "bool"]
)
def test_labels_that_are_no_integers_are_refused(labels: list[Any]) -> None:
    with pytest.raises(TypeError, match="labels must hold integers"):
        scored(labels)


@pytest.mark.parametrize("place", ["layer", "logits", "labels"])
def test_tensors_without_values_are_refused(place: str) -> None:
    given = {
        name: torch.zeros(shape, dtype=kind, device="meta" if name == place else "cpu")
        for name, shape, kind in (
            ("layer", (10, 3), torch.float32), ("logits", (10, 3), torch.float32), ("labels", (10,), torch.int64),
        )
    }  # fmt: skip
    with pytest.raises(ValueError, match="is on the meta device"):
        effort_score([given["layer"]], [given["layer"]], given["logits"], given["logits"], given["labels"])

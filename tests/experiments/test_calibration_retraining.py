"""What a retraining takes is counted right, and scores say nothing where nothing moved."""

import copy
import itertools

import numpy as np
import pytest
import torch
from torch import nn

from hitl_fast.experiments.calibration import forward_scores as scores
from hitl_fast.experiments.calibration.forward_scores import forward_scores
from hitl_fast.experiments.calibration.networks import SmallMLP
from hitl_fast.experiments.calibration.retraining import MARGINS, accuracy, evaluations, retrain
from hitl_fast.experiments.common.digits import Digits, seeded


def planted(n: int = 192, seed: int = 0) -> Digits:
    """Ten classes that a linear model tells apart: a bright row each, in noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 10
    images = 0.3 * torch.rand(n, 1, 28, 28, generator=generator)
    images[torch.arange(n), 0, 2 * labels + 4] += 0.7
    return Digits(images, labels)


@pytest.fixture(scope="module")
def fitted() -> nn.Module:
    model = seeded(SmallMLP, 0)
    data = planted()
    retrain(model, data, data, clean_accuracy=1.0, cap=40, seed=0)
    assert accuracy(model, data) > 0.95
    return model


def test_it_looks_often_at_first_and_at_the_cap() -> None:
    steps = evaluations(1000)
    assert steps[:18] == list(range(18))
    assert steps[-1] == 1000
    assert all(b - a <= max(1, a / 16) for a, b in itertools.pairwise(steps))
    assert evaluations(0) == [0]


def test_no_shift_takes_no_step(fitted: nn.Module) -> None:
    data = planted()
    model = copy.deepcopy(fitted)
    took = retrain(model, data, data, accuracy(fitted, data), cap=5, seed=0)
    assert (took.steps, took.censored, took.steps_to, took.parameter_change) == (0, False, (0, 0, 0), 0.0)
    assert took.gradient_norm > 0
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), fitted.parameters(), strict=True))


def test_a_target_out_of_reach_is_censored_at_the_cap(fitted: nn.Module) -> None:
    data = planted()
    took = retrain(copy.deepcopy(fitted), data, data, clean_accuracy=2.0, cap=3, seed=0)
    assert (took.steps, took.censored, took.steps_to) == (3, True, (None, None, None))
    assert took.parameter_change > 0


def test_a_shift_is_learnt_and_wider_margins_come_first(fitted: nn.Module) -> None:
    data = planted()
    moved = Digits(data.images.flip(2), data.labels)
    runs = [retrain(copy.deepcopy(fitted), moved, moved, 1.0, cap=200, seed=4) for _ in range(2)]
    assert runs[0] == runs[1]
    took = runs[0]
    assert not took.censored
    assert took.accuracy_before < 0.5 < 1 - MARGINS[0] <= took.accuracy_after
    assert took.steps == took.steps_to[0]
    assert took.steps >= took.steps_to[1] >= took.steps_to[2] > 0


def test_scores_of_no_shift(fitted: nn.Module) -> None:
    data = planted()
    found = forward_scores(fitted, data, data)
    assert all(found[name] == 0 for name in ("confidence_drop", "arm", "mahalanobis", "probe_error_increase"))
    assert found["loss"] < np.log(10)
    assert 0 < found["within_share"] < 1


def test_scores_see_a_shift(fitted: nn.Module) -> None:
    data = planted()
    clean = forward_scores(fitted, data, data)
    blank = Digits(torch.zeros_like(data.images), data.labels)
    found = forward_scores(fitted, data, blank)
    assert found["loss"] > clean["loss"]
    assert found["arm"] > 0
    assert found["mahalanobis"] > 0
    assert found["within_share"] == 1  # all embeddings are equal: no class differs
    assert found["probe_error_few"] >= 0.8


def test_wasserstein_is_the_mean_distance_of_sorted_values() -> None:
    a, b = torch.tensor([[3.0, 0.0], [1.0, 2.0]]), torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert scores._wasserstein(a, b) == 1.0


def test_mahalanobis_is_in_units_of_the_clean_spread() -> None:
    labels = torch.arange(400) % 2
    rows = torch.randn(400, 2, generator=torch.Generator().manual_seed(0)).double() * torch.tensor([1.0, 5.0])
    far = rows + torch.tensor([0.0, 5.0])
    assert scores._mahalanobis(rows, far, labels, 2) == pytest.approx(1.0, abs=0.1)


def test_few_are_the_first_of_each_class() -> None:
    classes = np.array([0, 1, 0, 1, 1, 0])
    assert scores._first_of_each(classes, 2, 2).tolist() == [0, 1, 2, 3]

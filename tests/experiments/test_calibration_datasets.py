"""Every data set of the grid: its samples, its networks and its shifts."""

import functools

import pytest
import torch

from hitl_fast.experiments.calibration import text_shifts
from hitl_fast.experiments.calibration.datasets import DATASETS, HELD_OUT, DataSet, dataset
from hitl_fast.experiments.calibration.retraining import make_optimizer
from hitl_fast.experiments.common.digits import seeded
from hitl_fast.experiments.common.samples import Samples

CASES = [(name, shift) for name in DATASETS for shift in dataset(name).shifts]


@functools.cache
def loaded(name: str) -> tuple[DataSet, Samples]:
    data = dataset(name)
    return data, data.load(0)[:200]


@pytest.mark.parametrize("name", DATASETS)
def test_samples_are_enough_and_drawn_from_the_seed(name: str) -> None:
    data = dataset(name)
    samples, other = data.load(1), data.load(2)
    assert len(samples) >= data.samples
    assert set(data.epochs) == set(data.architectures)
    assert len(data.architectures) >= 4
    assert torch.equal(samples.inputs, data.load(1).inputs)
    assert not torch.equal(samples.labels, other.labels)
    assert torch.bincount(samples.labels).min() > 0.05 * len(samples)


def test_shift_types_are_of_one_data_set_alone() -> None:
    shifts = [shift for _, shift in CASES]
    assert len(set(shifts)) == len(shifts)
    assert HELD_OUT in DATASETS


@pytest.mark.parametrize(("name", "shift"), CASES)
def test_a_stronger_shift_changes_more_and_stays_an_input(name: str, shift: str) -> None:
    data, samples = loaded(name)
    before, changes = samples.inputs.clone(), []
    for strength in range(3):
        moved = data.shifted(samples, shift, strength, seed=1)
        assert moved.inputs.shape == samples.inputs.shape
        assert moved.inputs.dtype == samples.inputs.dtype
        assert torch.equal(moved.labels, samples.labels)
        assert torch.equal(moved.inputs, data.shifted(samples, shift, strength, seed=1).inputs)
        if moved.inputs.is_floating_point():
            assert float(moved.inputs.min()) >= -1e-6
            assert float(moved.inputs.max()) <= 1 + 1e-6
        changes.append(float((moved.inputs != samples.inputs).double().mean()))
        if moved.inputs.is_floating_point():
            changes[-1] = float((moved.inputs - samples.inputs).square().mean())
    assert 0 < changes[0] < changes[1] < changes[2]
    assert torch.equal(samples.inputs, before)


@pytest.mark.parametrize(
    ("name", "architecture"), [(n, a) for n in DATASETS for a in dataset(n).architectures]
)
def test_networks_treat_each_sample_alone(name: str, architecture: str) -> None:
    data, samples = loaded(name)
    model = seeded(data.architectures[architecture], 0).eval()
    logits = model(samples.inputs[:12])
    assert logits.shape[0] == 12
    assert logits.shape[1] > int(samples.labels.max())
    torch.testing.assert_close(logits[:1], model(samples.inputs[:1]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "architecture", ["transformer", "mlp", "gru"]
)  # a convolution sees the place behind a text
def test_padding_does_not_reach_the_logits(architecture: str) -> None:
    data, _ = loaded("glosses")
    model = seeded(data.architectures[architecture], 0).eval()
    texts = torch.tensor([[5, 6, 7, 8] + [text_shifts.PAD] * 20])
    with torch.no_grad():
        before = model(texts)
        model.get_submodule("embed").weight[text_shifts.PAD] += 100.0
        torch.testing.assert_close(model(texts), before)


@pytest.mark.parametrize("shift", text_shifts.SHIFTS)
def test_texts_keep_a_word_and_their_padding_behind(shift: str) -> None:
    data, samples = loaded("glosses")
    for strength in range(3):
        texts = data.shifted(samples, shift, strength, seed=3).inputs
        present = texts != text_shifts.PAD
        assert present[:, 0].all()
        assert not (present[:, 1:] & ~present[:, :-1]).any()  # no word behind padding


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match="glosses"):
        dataset("imagenet")
    with pytest.raises(ValueError, match="'adam' or 'sgd'"):
        make_optimizer("lion", torch.nn.Linear(1, 1))

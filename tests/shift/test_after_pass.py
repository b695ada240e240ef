"""The effort score of what a pass captured: what is left out, and when there is no score."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from hitl_fast.shift.after_pass import effort_of, scores_of_embeddings
from hitl_fast.shift.effort_score import effort_score


@dataclass(frozen=True)
class Captured:
    inputs: dict[str, tuple[list[np.ndarray], list[np.ndarray]]]
    clean_logits: np.ndarray
    shifted_logits: np.ndarray
    labels: np.ndarray


def captured(n: int = 320, seed: int = 0) -> Captured:
    generator = np.random.default_rng(seed)
    labels = generator.integers(4, size=n)
    clean = [
        (np.eye(4)[labels] @ generator.standard_normal((4, w)) + generator.standard_normal((n, w)))
        for w in (7, 5, 5)
    ]
    shifted = [X + generator.standard_normal(X.shape) for X in clean]
    clean, shifted = ([X.astype(np.float32) for X in side] for side in (clean, shifted))
    weights = np.linalg.lstsq(clean[2], np.eye(4)[labels], rcond=None)[0]
    inputs = {"conv": (clean[:1], shifted[:1]), "twice": (clean[1:], shifted[1:])}
    return Captured(inputs, clean[2] @ weights, shifted[2] @ weights, labels)


def test_every_call_of_a_layer_counts() -> None:
    given = captured()
    clean = [X for calls in given.inputs.values() for X in calls[0]]
    shifted = [X for calls in given.inputs.values() for X in calls[1]]
    expected = effort_score(clean, shifted, given.clean_logits, given.shifted_logits, given.labels)
    assert effort_of(given, given.labels) == (expected, [])
    better, _ = effort_of(given, given.labels, clean_accuracy=0.99)
    assert better is not None
    assert better.target_error == pytest.approx(0.03)
    with pytest.raises(ValueError, match="clean_accuracy"):
        effort_of(given, given.labels, clean_accuracy=99)


def test_samples_that_are_not_finite_are_left_out_and_counted() -> None:
    given = captured(400)
    expected, _ = effort_of(
        Captured(
            {n: ([X[2:] for X in c], [X[2:] for X in s]) for n, (c, s) in given.inputs.items()},
            given.clean_logits[2:],
            given.shifted_logits[2:],
            given.labels[2:],
        ),
        given.labels[2:],
    )
    given.inputs["twice"][1][1][0, 3] = np.nan
    given.shifted_logits[1, 0] = np.inf
    found, notes = effort_of(given, given.labels)
    assert found == expected
    assert any("2 of 400" in note for note in notes)
    given.clean_logits[:] = np.nan
    found, notes = effort_of(given, given.labels)
    assert found is None
    assert "400 of 400" in notes[0]


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"clean_logits": np.zeros((320, 0)), "shifted_logits": np.zeros((320, 0))}, "no logits"),
        ({"labels": np.full(320, -1)}, "labels from -1"),
        ({"labels": 100 + captured().labels}, "labels from 100 to 103 do not number 4"),
        ({"inputs": {}}, "wider than 1"),
        ({"labels": np.zeros(1, int)}, "2 samples"),
    ],
)
def test_says_why_there_is_no_score(change: dict[str, Any], names: str) -> None:
    given = replace(captured(), **change)
    found, notes = effort_of(given, given.labels)
    assert found is None
    assert len(notes) == 1
    assert names in notes[0]


def test_doubts_become_notes_without_a_warning() -> None:
    given = captured(50)
    found, notes = effort_of(given, given.labels)
    assert found is not None
    assert any("50 samples" in note for note in notes)


@pytest.mark.parametrize("classes", [4, 100])
def test_says_that_the_first_samples_of_sorted_data_are_not_like_the_rest(classes: int) -> None:
    given = captured()
    generator = np.random.default_rng(0)
    mixed = (
        np.r_[given.labels, generator.integers(classes, size=5000)]
        if classes == 4
        else generator.integers(100, size=5000)
    )
    if classes == 100:
        given = replace(given, labels=mixed[:320])
    assert not [note for note in effort_of(given, mixed)[1] if "differ" in note or "classes differ" in note]
    every = np.r_[given.labels, np.repeat(np.arange(classes, 2 * classes), 2000)]
    assert [note for note in effort_of(given, every)[1] if "mix the classes" in note]


def test_a_sample_of_the_embeddings_is_clustered_and_the_other_scores_are_of_all() -> None:
    given = captured(900)
    rows = [torch.from_numpy(given.inputs["conv"][side][0]) for side in (0, 1)]
    whole = scores_of_embeddings(*rows, 3 + given.labels, restarts=0)
    part = scores_of_embeddings(*rows, 3 + given.labels, restarts=2, samples=400)
    assert (part.cka, part.probe_error, part.resque_angle) == (
        whole.cka,
        whole.probe_error,
        whole.resque_angle,
    )
    for name, cluster in part.clusters.items():
        assert cluster is not None
        assert cluster.standard_error is not None
        expected = whole.clusters[name]
        if expected is None:
            assert name.endswith("kmeans++")
        else:
            assert expected.standard_error is None
            assert abs(cluster.ari - expected.ari) < 5 * cluster.standard_error

"""The effort score against golden values and its formula written out plainly; invariances, doubts and refusals."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hitl_fast.shift import effort_layers
from hitl_fast.shift.effort_score import PENALTIES, EffortScore, effort_score

DATA = Path(__file__).parent.parent / "data"
GOLDEN = json.loads((DATA / "effort_score.json").read_text())
DECISIONS = 2  # argmax decisions that rounding may turn, of n

quiet = pytest.mark.filterwarnings("ignore:effort score")


@dataclass(frozen=True)
class Case:
    clean: list[Any]
    shifted: list[Any]
    clean_logits: Any
    shifted_logits: Any
    labels: Any
    clean_accuracy: float | None = None

    def score(self) -> EffortScore:
        return effort_score(
            self.clean,
            self.shifted,
            self.clean_logits,
            self.shifted_logits,
            self.labels,
            clean_accuracy=self.clean_accuracy,
        )

    def layers(self, change: Callable[[np.ndarray], Any]) -> "Case":
        """With every layer of both sides changed."""
        return replace(self, clean=list(map(change, self.clean)), shifted=list(map(change, self.shifted)))

    def samples(self, which: np.ndarray) -> "Case":
        logits = {name: getattr(self, name)[which] for name in ("clean_logits", "shifted_logits", "labels")}
        return replace(self.layers(lambda X: X[which]), **logits)


def golden(name: str) -> Case:
    with np.load(DATA / "effort_score.npz") as held:
        arrays = {key[len(name) + 1 :]: held[key] for key in held.files if key.startswith(f"{name}.")}
    layers = range(sum(key.startswith("clean.") for key in arrays))
    return Case(
        [arrays[f"clean.{i}"] for i in layers],
        [arrays[f"shifted.{i}"] for i in layers],
        arrays["clean_logits"],
        arrays["shifted_logits"],
        arrays["labels"],
        GOLDEN[name].get("clean_accuracy"),
    )


def made(n: int = 60, widths: tuple[int, ...] = (9, 14), classes: int = 4, seed: int = 0) -> Case:
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(n) % classes)
    clean = [
        2 + generator.standard_normal((classes, w))[labels] + generator.standard_normal((n, w))
        for w in widths
    ]
    shifted = [X + 1.5 * generator.standard_normal(X.shape) for X in clean]
    weights = generator.standard_normal((widths[-1], classes)) / 4
    clean_logits = clean[-1] @ weights + 2 * np.eye(classes)[labels]
    return Case(clean, shifted, clean_logits, shifted[-1] @ weights, labels)


def same(found: EffortScore, expected: EffortScore, decisions: int = DECISIONS) -> None:
    most = decisions / expected.samples + 1e-12
    assert abs(found.path_excess - expected.path_excess) <= most
    assert abs(found.probe_increase - expected.probe_increase) <= most


@quiet
@pytest.mark.parametrize("name", GOLDEN)
def test_golden_values(name: str) -> None:
    expected, found = GOLDEN[name], golden(name).score()
    most = DECISIONS / found.samples
    assert abs(found.path_excess - expected["path_excess"]) <= most
    assert abs(found.probe_increase - expected["probe_increase"]) <= most
    score = np.sqrt(found.path_excess) + 4 * found.probe_increase
    assert found.effort_score == pytest.approx(score, rel=1e-12)
    assert (found.near_copies > 0) == (name == "every_row_twice")


def plainly(case: Case) -> tuple[float, float]:
    """A and B, step by step."""

    def eigenpairs(layers: list[np.ndarray]) -> tuple[float, np.ndarray, np.ndarray]:
        K = np.zeros((len(case.labels),) * 2)
        for layer in layers:
            X = np.asarray(layer, np.float64) - np.mean(layer, 0, dtype=np.float64)
            K += X @ X.T * len(X) / (X**2).sum()
        w, U = np.linalg.eigh(K)
        kept = w > 1e-12 * w.max()
        return np.trace(K), w[kept], U[:, kept]

    def left_out(pairs: tuple[float, np.ndarray, np.ndarray], q: float, R: np.ndarray) -> np.ndarray:
        trace, w, U = pairs
        g, m = w / (w + q * trace), R.mean(0)
        fit = (U * g) @ (U.T @ (R - m)) + m
        h = (U**2) @ g + 1 / len(R)
        return np.asarray(R - (R - fit) / np.maximum(1 - h, 1e-9)[:, None])

    def error(scores: np.ndarray) -> float:
        return float((scores.argmax(1) != case.labels).mean())

    sides = eigenpairs(case.shifted), eigenpairs(case.clean)
    tau = 0.02 + error(case.clean_logits)
    base, move = case.shifted_logits, case.clean_logits - case.shifted_logits
    A = float(np.mean([max(0, error(base + left_out(sides[0], q, move)) - tau) for q in PENALTIES]))
    Y = np.eye(case.labels.max() + 1)[case.labels]
    guess = 1 - float(Y.mean(0).max())
    shifted, clean = (min(error(left_out(side, 1e-5, Y)), guess) for side in sides)
    return A, max(0.0, shifted - clean)


@quiet
@pytest.mark.parametrize(
    ("n", "widths", "classes"),
    [
        (40, (5,), 2),
        (97, (30, 40), 7),
        (97, (60, 37), 7),
        (97, (60, 38), 7),
        (150, (700, 2), 60),
        (211, (20, 30), 60),
    ],
)
def test_equals_its_formula(
    n: int, widths: tuple[int, ...], classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = made(n, widths, classes, seed=n)
    A, B = plainly(case)
    assert A > 0 or B > 0
    for block in (effort_layers.BLOCK, 3 * n):
        monkeypatch.setattr(effort_layers, "BLOCK", block)
        found = case.score()
        assert abs(found.path_excess - A) <= DECISIONS / n
        assert abs(found.probe_increase - B) <= DECISIONS / n


@quiet
@given(st.integers(0, 2**32 - 1), st.integers(2, 20), st.integers(20, 60))
@settings(max_examples=25, deadline=None)
def test_order_rotation_and_scale_do_not_count(seed: int, width: int, n: int) -> None:
    case = made(n, (width, 17), 3, seed)
    expected, generator = case.score(), np.random.default_rng(seed)
    same(case.samples(generator.permutation(n)).score(), expected)
    same(replace(case, clean=case.clean[::-1], shifted=case.shifted[::-1]).score(), expected)
    turns = {w: np.linalg.qr(generator.standard_normal((w, w)))[0] for w in (width, 17)}
    same(
        case.layers(lambda X: 10.0 ** generator.integers(-200, 200) * (X @ turns[X.shape[1]] - 3)).score(),
        expected,
    )


@quiet
@pytest.mark.parametrize("widths", [(6, 9), (50, 60)])
@pytest.mark.parametrize("level", [0.0, 0.1, -1e300])
def test_layers_that_say_nothing_change_nothing(widths: tuple[int, ...], level: float) -> None:
    case = made(widths=widths)
    expected, n = case.score(), len(case.labels)
    one_wide = np.random.default_rng(0).standard_normal((n, 1))
    constant = np.full((n, 30), level)
    more = replace(
        case, clean=[one_wide, *case.clean, constant], shifted=[one_wide * 2, *case.shifted, constant]
    )
    same(more.score(), expected, decisions=0)


@quiet
def test_all_layers_constant() -> None:
    case = made()
    n = len(case.labels)
    lost = replace(case, shifted=[np.ones((n, 9)), np.zeros((n, 14))]).score()
    assert lost.path_excess == pytest.approx(lost.shifted_error - lost.target_error)
    assert lost.shifted_probe_error == 0.75
    gained = replace(case, clean=[np.ones((n, 9)), np.zeros((n, 14))]).score()
    assert (gained.clean_probe_error, gained.probe_increase) == (0.75, 0)


@quiet
@given(st.integers(0, 2**32 - 1), st.floats(0, 3))
@settings(max_examples=20, deadline=None)
def test_no_shift_is_zero(seed: int, noise: float) -> None:
    case = made(seed=seed)
    logits = case.clean_logits + noise * np.random.default_rng(seed).standard_normal(case.clean_logits.shape)
    found = replace(case, shifted=case.clean, clean_logits=logits, shifted_logits=logits).score()
    assert (found.effort_score, found.path_excess, found.probe_increase) == (0, 0, 0)


@quiet
def test_labels_without_a_logit_are_wrong_and_have_a_probe() -> None:
    case = made(classes=5)
    cut = replace(case, clean_logits=case.clean_logits[:, :4], shifted_logits=case.shifted_logits[:, :4])
    A, B = plainly(cut)
    found = cut.score()
    assert found.clean_error >= 0.2
    assert abs(found.path_excess - A) <= DECISIONS / 60
    assert abs(found.probe_increase - B) <= DECISIONS / 60


@quiet
@pytest.mark.parametrize("big", [10**6, 2**62])
def test_labels_may_be_any_numbers(big: int) -> None:
    """Identifiers of classes without a logit cost no column each: these took hours or all memory."""
    cut = made(classes=5)
    cut = replace(cut, clean_logits=cut.clean_logits[:, :4], shifted_logits=cut.shifted_logits[:, :4])
    assert replace(cut, labels=np.where(cut.labels == 4, big, cut.labels)).score() == cut.score()


@quiet
def test_takes_tensors_of_any_float_and_integer_type() -> None:
    case = made()
    expected = case.layers(lambda X: X.astype(np.float32)).score()
    tensors = case.layers(lambda X: torch.from_numpy(X).float().requires_grad_())
    logits = torch.from_numpy(case.clean_logits), torch.from_numpy(case.shifted_logits)
    found = replace(
        tensors, clean_logits=logits[0], shifted_logits=logits[1], labels=torch.from_numpy(case.labels).int()
    )
    assert found.score() == expected
    assert replace(case, labels=case.labels.astype(np.uint8)).score() == case.score()
    same(case.layers(lambda X: X.astype(np.float16)).score(), expected, decisions=3)


def poisoned(X: np.ndarray, value: float) -> np.ndarray:
    X = X.copy()
    X[7, 3] = value
    return X


CASE = made()
NAN, INF = poisoned(CASE.shifted[1], np.nan), torch.from_numpy(poisoned(CASE.clean[0], np.inf))


@pytest.mark.parametrize(
    ("case", "error", "names"),
    [
        (replace(CASE, shifted=[CASE.shifted[0], NAN]), ValueError, r"shifted_inputs\[1\]\[7, 3\] is nan"),
        (replace(CASE, clean=[INF, CASE.clean[1]]), ValueError, r"clean_inputs\[0\]\[7, 3\] is inf"),
        (replace(CASE, clean_logits=poisoned(CASE.clean_logits, -np.inf)), ValueError, r"clean_logits\[7, 3\] is -inf"),
        (replace(CASE, shifted_logits=CASE.shifted_logits[:, :3]), ValueError, "4 classes.*3"),
        (replace(CASE, shifted_logits=CASE.shifted_logits[:50]), ValueError, r"shifted_logits.*\(60, C\).*50"),
        (replace(CASE, shifted_logits=CASE.labels), TypeError, "shifted_logits.*int64"),
        (replace(CASE, clean_logits=[[0.0]]), TypeError, "clean_logits.*list"),
        (replace(CASE, clean_logits=CASE.clean_logits[:, :1]), ValueError, r"clean_logits.*at least 2.*\(60, 1\)"),
        (replace(CASE, clean=CASE.clean[:1]), ValueError, "1 clean_inputs.*2"),
        (replace(CASE, clean=CASE.clean[::-1]), ValueError, "14 wide.*9"),
        (CASE.layers(lambda X: X[:50]), ValueError, r"clean_inputs\[0\].*\(60, width\).*50"),
        (CASE.layers(lambda X: X[:, :, None]), ValueError, r"clean_inputs\[0\].*\(60, 9, 1\)"),
        (CASE.layers(lambda X: X[:, :1]), ValueError, "none of the 2 layers is wider than 1"),
        (replace(CASE, labels=CASE.labels - 1), ValueError, "at least 0.*is -1"),
        (replace(CASE, labels=CASE.labels.astype(float)), TypeError, "labels.*float64"),
        (CASE.samples(np.arange(1)), ValueError, r"labels.*n >= 2.*\(1,\)"),
        (replace(CASE, clean_accuracy=97.0), ValueError, "clean_accuracy.*97"),
        (replace(CASE, clean_accuracy=True), ValueError, "clean_accuracy.*True"),
        (replace(CASE, clean_accuracy=float("nan")), ValueError, "clean_accuracy.*nan"),
    ],
)  # fmt: skip
def test_refuses(case: Case, error: type[Exception], names: str) -> None:
    with pytest.raises(error, match=names):
        case.score()


@pytest.mark.parametrize(
    ("case", "names"),
    [
        (made(299), "299 samples"),
        (made(400, classes=41), "41 classes"),
        (golden("every_row_twice"), "400 of 400 samples are near copies"),
        (replace(made(400), clean_logits=10 * np.eye(4)[made(400).labels]), "trained on"),
    ],
)
def test_says_why_to_doubt_it(case: Case, names: str) -> None:
    with pytest.warns(UserWarning, match=names) as warned:
        found = case.score()
    assert len(warned) == 1
    assert [note for note in found.notes if names.split()[-1] in note]


def test_a_clean_accuracy_settles_what_training_samples_cannot() -> None:
    case = replace(made(400), clean_logits=10 * np.eye(4)[made(400).labels], clean_accuracy=0.9)
    found = case.score()
    assert found.notes == ()
    assert found.target_error == pytest.approx(0.12)


@quiet
@pytest.mark.parametrize("widths", [(9, 14), (50, 60)])
def test_counts_near_copies_on_either_side(widths: tuple[int, ...]) -> None:
    case = made(widths=widths)
    assert case.score().near_copies == 0
    twice = np.r_[0:60, 20:27]
    copied = case.samples(twice)
    assert copied.score().near_copies == 14
    generator = np.random.default_rng(0)
    jittered = replace(copied, shifted=[X + generator.standard_normal(X.shape) for X in copied.shifted])
    assert jittered.score().near_copies == 14

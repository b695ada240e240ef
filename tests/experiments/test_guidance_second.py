"""The second edition's parts: systematic errors, unbalanced tests, few answers, and what each costs."""

from dataclasses import replace

import numpy as np
import pytest

from hitl_fast.experiments.guidance import plan
from hitl_fast.experiments.guidance.conditions import CONDITIONS, FIRST, SECOND
from hitl_fast.experiments.guidance.defects import Defects, plant
from hitl_fast.experiments.guidance.few_answers import advice, class_balance
from hitl_fast.experiments.guidance.raters import Crew
from hitl_fast.experiments.guidance.tasks import Sizes, make


def test_systematic_errors_move_a_share_of_three_classes_to_one_other_each() -> None:
    truth = np.arange(4000) % 10
    split = plant(truth, Defects(0.0, 1.0, 0.0, systematic=0.6), pool=1000, validation=200, test=200, seed=1)
    own = truth[split.source]
    moved = {c: split.label[(own == c) & split.wrong] for c in range(10)}
    changed = [c for c, labels in moved.items() if labels.size]
    assert len(changed) == 3
    for c in changed:
        assert len(set(moved[c])) == 1
        assert set(moved[c]).isdisjoint(changed)
        assert moved[c].size == round(0.6 * (own == c).sum())
    assert (split.importance[split.wrong] == 1).all()
    assert (split.label[~split.wrong] == own[~split.wrong]).all()


def test_an_unbalanced_test_set_has_the_shares_of_the_pool() -> None:
    truth = np.arange(6000) % 10
    split = plant(
        truth, Defects(0.0, 5.0, 0.0, unbalanced_test=True), pool=1000, validation=300, test=300, seed=0
    )
    shares = [np.bincount(truth[rows], minlength=10) / len(rows) for rows in (split.source, split.test)]
    np.testing.assert_allclose(shares[0], shares[1], atol=0.01)
    assert shares[1].max() > 4 * shares[1].min()


def test_class_balance_follows_the_given_labels() -> None:
    weights = class_balance(np.repeat([0, 1], [900, 100]))
    assert weights[-1] == 1.0
    assert weights[0] == pytest.approx(0.1 + 0.9 / 3)


def test_editions_are_apart() -> None:
    assert set(FIRST) & set(SECOND) == {"uniform"}
    assert set(plan.FIRST_SETTINGS).isdisjoint(plan.SECOND_SETTINGS)
    assert {job["arm"] for job in plan.FULL_SECOND.jobs()} == set(SECOND)
    assert {job["arm"] for job in plan.FULL.jobs()} == set(FIRST)


@pytest.mark.jit
def test_few_answers_find_what_automatic_priorities_miss() -> None:
    task = make("image", Sizes(800, 300, 300), Defects(label_noise=0.0, systematic=0.6), 0)
    wrong = task.split.wrong
    gap = {}
    for name in ("class_balance", "auto", "ask_108"):
        found = advice(task, CONDITIONS[name], Crew(), 0)
        weights = found.guidance.weights
        gap[name] = weights[~wrong].mean() / weights[wrong].mean()
        assert (found.operations > 0) == (name != "class_balance")
        assert (found.guidance.minutes > 0) == (found.check is not None) == (name == "ask_108")
    assert gap["ask_108"] > gap["auto"]
    assert gap["ask_108"] > 1.5
    fewer = replace(CONDITIONS["ask_54"], chosen=False)
    assert advice(task, fewer, Crew(), 0).guidance.ratings == 54


@pytest.mark.parametrize("task", plan.FULL_SECOND.tasks)
def test_the_full_study_has_enough_samples(task: str) -> None:
    """Of every setting and seed, without the hours that its trainings take."""
    sizes = plan.FULL_SECOND.sizes[task]
    for setting in plan.FULL_SECOND.settings:
        for seed in plan.FULL_SECOND.seeds if plan.SETTINGS[setting].defects.unbalanced_test else (0,):
            made = make(task, sizes, plan.SETTINGS[setting].defects, seed)
            held = len(made.validation[1]), len(made.test[1])
            assert len(made.labels) == sizes.pool
            if not plan.SETTINGS[setting].defects.unbalanced_test:
                assert held == (sizes.validation, sizes.test)
            else:
                assert min(held) > 800
                counts = np.bincount(np.asarray(made.test[1]), minlength=len(made.classes))
                assert counts.max() / counts.min() == pytest.approx(5, abs=1)


@pytest.mark.parametrize(
    ("rows", "validation", "test"), [(1500, 100, 400), (1500, 400, 400), (2000, 60, 300), (5000, 300, 300)]
)
def test_unbalanced_sets_that_do_not_fit_are_smaller_in_proportion(
    rows: int, validation: int, test: int
) -> None:
    defects = Defects(0.2, 5.0, 0.3, unbalanced_test=True)
    truth = np.arange(rows) % 10
    split = plant(truth, defects, pool=1000, validation=validation, test=test)
    first, second = len(split.validation), len(split.test)
    assert first / second == pytest.approx(validation / test, abs=0.02)
    assert (first, second) == (validation, test) or max(first, second) < max(validation, test)
    counts = np.bincount(truth[split.test], minlength=10)
    assert counts.max() <= 5 * (counts.min() + 1)


def test_too_few_rows_for_unbalanced_sets() -> None:
    with pytest.raises(ValueError, match="beside the pool's"):
        plant(
            np.arange(1200) % 10,
            Defects(0.2, 5.0, 0.3, unbalanced_test=True),
            pool=1000,
            validation=20,
            test=400,
        )

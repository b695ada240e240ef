"""Predictions for groups that a model of effort was not fitted on, on made-up grids whose truth is known."""

import math

import numpy as np
import pytest

from hitl_fast.experiments.calibration.analysis import column, effort_of
from hitl_fast.experiments.calibration.concordance import resampled
from hitl_fast.experiments.calibration.transfer import LEFT_OUT, SETS, cost_intervals, predictions

CAP = 400
KEPT = {name: SETS[name] for name in ("effort score", "index", "accuracy drop")}


def made_up(datasets=3, spread=0.3, seed=0):
    """Steps follow the effort score everywhere, the accuracy drop with another slope in each data set."""
    generator = np.random.default_rng(seed)
    rows = []
    for d in range(datasets):
        for a in range(4):
            for shift in range(6):
                for strength in range(3):
                    hard = generator.uniform(0, 1)
                    steps = int(math.exp(6.5 * hard + spread * generator.normal()))
                    rows.append({
                        "dataset": f"d{d}", "architecture": f"a{a}", "shift": f"s{shift}", "strength": strength,
                        "scores": {
                            "effort_score": hard, "index": float(generator.normal()),
                            "accuracy_drop": hard * (1 - d),
                        },
                        "effort": {
                            "steps": min(steps, CAP), "censored": steps > CAP, "samples": 64 * min(steps, CAP),
                        },
                    })  # fmt: skip
    return rows


def predicted(rows):
    weights = resampled([LEFT_OUT["shift type"](row) for row in rows], 200, 0)
    return predictions(rows, KEPT, lambda name: column(rows, name), effort_of(rows), weights)


def test_a_score_that_means_the_same_everywhere_predicts_what_was_left_out():
    found = predicted(made_up())
    assert set(found) == set(LEFT_OUT)
    for by_set in found.values():
        assert by_set["effort score"].spearman.low > 0.9
        assert by_set["effort score"].factor < 1.6
        assert by_set["effort score"].behind is None
        assert (
            by_set["index"].spearman.value < 0.3
        )  # a mean of the others is lower where this group is higher
        assert by_set["index"].behind.low > 0.5


def test_a_score_whose_meaning_changes_with_the_data_set_is_behind():
    found = predicted(made_up())
    assert found["data set"]["accuracy drop"].spearman.value < 0.3
    assert found["data set"]["accuracy drop"].behind.low > 0.5


def test_what_has_one_group_is_not_left_out():
    assert set(predicted(made_up(datasets=1))) == {"shift type", "architecture"}


@pytest.mark.parametrize("spread", [0.1, 0.6])
def test_cost_intervals_hold_what_they_state(spread):
    rows = made_up(spread=spread)
    found = cost_intervals(rows, lambda name: column(rows, name), "effort_score")
    for one in found.values():
        assert 0.7 <= one.coverage <= 0.92
        assert set(one.by_dataset) == set(one.factors) == {"d0", "d1", "d2"}
        closed = 1 - one.open
        assert one.coverage == pytest.approx(
            closed * one.closed_coverage + one.open, abs=0.1
        )  # few open ends fail
        assert one.factor < 1 + 1.5 * spread


def test_efforts_that_no_score_tells_have_wide_intervals_that_hold():
    rows = made_up()
    generator = np.random.default_rng(1)
    for row in rows:
        row["scores"]["effort_score"] = float(generator.uniform())
    one = cost_intervals(rows, lambda name: column(rows, name), "effort_score")["shift type"]
    assert 0.7 <= one.coverage <= 0.92
    assert one.factor > 2.5

"""What the committed calibration grid says of the effort score, as the README quotes it."""

import functools
from pathlib import Path

import pytest

from hitl_fast.experiments.calibration.analysis import column, effort_of
from hitl_fast.experiments.calibration.concordance import resampled
from hitl_fast.experiments.calibration.effort_table import history_csv, retrainings
from hitl_fast.experiments.calibration.transfer import LEFT_OUT, SETS, cost_intervals, predictions
from hitl_fast.experiments.common.journal import read

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "calibration"
KEPT = {name: SETS[name] for name in ("effort score", "probe error", "accuracy drop", "index")}


@pytest.fixture(scope="module")
def rows():
    return retrainings(read(RESULTS / "results.jsonl")[1])


def test_the_history_is_that_of_the_results():
    assert (RESULTS / "history.csv").read_text() == history_csv(read(RESULTS / "results.jsonl")[1])


def test_the_effort_score_is_ahead_wherever_something_is_left_out(rows):
    weights = resampled([LEFT_OUT["shift type"](row) for row in rows], 300, 0)
    found = predictions(rows, KEPT, functools.partial(column, rows), effort_of(rows), weights)
    assert set(found) == {"shift type", "architecture", "data set"}
    for by_set in found.values():
        assert by_set["effort score"].spearman.value > 0.8
        assert all(by_set[name].behind.low > 0 for name in KEPT if name != "effort score")


def test_cost_models_hold_what_they_state_of_groups_left_out(rows):
    found = cost_intervals(rows, functools.partial(column, rows), "effort_score")
    assert set(found) == {"shift type", "architecture", "data set"}
    for one in found.values():
        assert 0.75 <= one.coverage <= 0.88
        assert one.factor <= 2.2

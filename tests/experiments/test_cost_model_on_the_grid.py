"""Cost models on the committed calibration grid: 80 % intervals hold 70 to 90 % of what was left out."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hitl_fast.cost.model import CostModel

HISTORY = Path(__file__).parents[2] / "docs" / "results" / "calibration" / "history.csv"
MODELS = [
    ("effort_score", "isotonic"),
    ("probe_error", "isotonic"),
    ("probe_error", "log_linear"),
    ("accuracy_drop", "isotonic"),
    (["effort_score", "probe_error", "accuracy_drop", "inverse_ari", "resque_angle"], "ridge"),
]


@pytest.fixture(scope="module")
def past() -> pd.DataFrame:
    return pd.read_csv(HISTORY)


def held(model: CostModel, left_out: pd.DataFrame) -> list[bool]:
    """Whether the interval holds each effort; of a censored retraining, whether it says that it may take more."""
    found = []
    for row in left_out.to_dict("records"):
        effort = model.predict({name: row[name] for name in model.scores}).effort
        above = effort.high == math.inf if row["censored"] else row["epochs"] <= effort.high * (1 + 1e-9)
        found.append(effort.low <= row["epochs"] * (1 + 1e-9) and above)
    return found


@pytest.mark.filterwarnings("ignore:.*outside")
@pytest.mark.parametrize(("scores", "method"), MODELS)
def test_kinds_of_shift_left_out(past: pd.DataFrame, scores: str | list[str], method: str) -> None:
    found: list[bool] = []
    for shift in past["shift"].unique():
        model = CostModel.fit(past[past["shift"] != shift], scores, method=method)
        found += held(model, past[past["shift"] == shift])
    assert len(found) == len(past)
    assert 0.7 <= np.mean(found) <= 0.9


@pytest.mark.filterwarnings("ignore:.*outside")
@pytest.mark.parametrize(("scores", "method"), MODELS)
def test_retrainings_left_out_by_chance(past: pd.DataFrame, scores: str | list[str], method: str) -> None:
    fold = np.random.default_rng(0).permutation(len(past)) % 5
    found: list[bool] = []
    for k in range(5):
        model = CostModel.fit(past[fold != k], scores, method=method, groups=None)
        found += held(model, past[fold == k])
    assert 0.7 <= np.mean(found) <= 0.9

"""``metrics()`` of everything: finite floats under names that MLflow takes, whatever users called their windows."""

import math
import re

from hypothesis import given, settings
from hypothesis import strategies as st

import hitl_fast as hf
from hitl_fast._common.bootstrap import Interval
from hitl_fast._common.trackers import flat
from hitl_fast.cost.estimate import CostEstimate


def taken(found: dict[str, float]) -> None:
    """As MLflow 3 checks names (`path_not_unique` and its pattern), and as all trackers want values."""
    for name, value in found.items():
        assert re.fullmatch(r"[/\w.\- :]+", name), name
        assert not name.startswith("/")
        assert not set(name.split("/")) & {"", ".", ".."}, name
        assert type(value) is float
        assert math.isfinite(value)


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(st.text(min_size=1), st.floats() | st.none() | st.integers(-9, 9)))
def test_names_and_values_that_trackers_take(found: dict[str, float | None]) -> None:
    result = flat(found)
    taken(result)
    finite = [value for value in found.values() if value is not None and math.isfinite(value)]
    assert list(result.values()) == finite  # none is lost, also where names become the same


def test_a_metric_keeps_its_name_in_a_step_where_another_is_missing() -> None:
    assert flat({"a(": 1, "a[": 2}) == {"a_": 1.0, "a__2": 2.0}
    for missing in (None, math.nan, math.inf):
        assert flat({"a(": missing, "a[": 2}) == {"a__2": 2.0}


def test_windows_of_any_name() -> None:
    names = ("a", "a<b>", "a[b]", "../../etc", "//", "epoch 0", "größe: 3 (µs)")
    meter = hf.EnergyMeter(sources=[])
    meter.start()
    for name in names:
        with meter.window(name):
            pass
    meter.stop()
    found = meter.metrics()
    taken(found)
    assert sum(name.endswith(("seconds", "seconds_2")) for name in found) == len(names) + 1


def test_an_estimate_whose_end_is_unknown() -> None:
    effort = Interval(9.0, 0.5, math.inf)
    estimate = CostEstimate(effort, "epochs", effort, Interval(1.0, 0.5, 2.0), None, 0.8, ())
    assert estimate.metrics() == {
        "effort": 9.0, "effort_low": 0.5, "epochs": 9.0, "epochs_low": 0.5, "kwh": 1.0, "kwh_low": 0.5, "kwh_high": 2.0,
        "level": 0.8,
    }  # fmt: skip

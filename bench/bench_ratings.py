"""Rater models, agreement, and reading of a million ratings; error of calibrated scores beside that of means."""

import csv
import importlib.util
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hitl_kernels.bradley_terry import bradley_terry
from hitl_kernels.dawid_skene import dawid_skene
from hitl_kernels.rater_model import rater_model, reference
from problems import RATINGS, rating_columns
from race import race, record

from hitl_fast.ratings import Ratings, simulated_ratings

ITEMS, RATERS, EACH = RATINGS
SHAPE = f"n={ITEMS * EACH} items={ITEMS} raters={RATERS}"
STEPS = 20


def test_rater_model() -> None:
    truth, items, raters, scores = rating_columns(ITEMS, RATERS, EACH)
    model = rater_model(items, raters, scores)
    assert model.change <= 1e-6
    assert np.corrcoef(model.score, truth)[0, 1] > 0.95
    few = items < ITEMS // 20  # the definition does a 20th of the items; its time is scaled to as many
    y = (scores[few] - scores[few].mean()) / scores[few].std()
    race(
        "rater_model",
        {
            "hitl": lambda: rater_model(items, raters, scores, max_steps=STEPS, tolerance=0),
            "reference": lambda: reference.graded(
                items[few], raters[few], y, ITEMS // 20, RATERS, steps=STEPS, tolerance=0
            ),
        },
        shape=f"{SHAPE}, {STEPS} steps, per rating",
        dtype="float64",
        work={"hitl": items.size, "reference": int(few.sum())},
        unit="us",
        rounds=5,
    )
    race(
        "rater_model",
        {"hitl to 1e-6": lambda: rater_model(items, raters, scores)},
        shape=f"{SHAPE}, {model.steps} steps",
        dtype="float64",
        unit="s",
        rounds=10,
    )


@pytest.mark.filterwarnings("ignore:The (inplace|copy) keyword")  # what crowd-kit asks of pandas
def test_dawid_skene() -> None:
    _, items, raters, scores = rating_columns(ITEMS, RATERS, EACH)
    labels = scores.astype(np.int64) - 1
    peers = {
        "hitl": lambda: dawid_skene(items, raters, labels, max_steps=STEPS, tolerance=0),
        "reference": lambda: reference.categories(
            items, raters, labels, ITEMS, RATERS, 5, steps=STEPS, tolerance=0
        ),
    }
    found = peers["hitl"]()
    expected = peers["reference"]()
    np.testing.assert_allclose(found.posterior, expected[0], rtol=0, atol=1e-9)
    # crowd-kit and choix are of the extra dev; they are raced where they are installed.
    if importlib.util.find_spec("crowdkit") is not None:
        from crowdkit.aggregation import DawidSkene

        table = pd.DataFrame({"task": items, "worker": raters, "label": labels})
        # Its stopping rule looks at a bound that may fall; below any tolerance it takes every step.
        peers["crowd-kit"] = lambda: DawidSkene(n_iter=STEPS, tol=-1e30).fit(table)
        its = peers["crowd-kit"]().labels_.sort_index().to_numpy()
        assert (its == found.posterior.argmax(1)).mean() > 0.99
    race(
        "dawid_skene", peers, shape=f"{SHAPE} labels=5, {STEPS} steps", dtype="float64", unit="s", rounds=3, warmup=1
    )  # fmt: skip


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval", "ratio"])
def test_agreement(level: str) -> None:
    _, items, raters, scores = rating_columns(ITEMS, RATERS, EACH)
    table = Ratings.from_arrays(items, raters, scores)
    found = table.agreement(level)
    assert found.low < found.alpha < found.high < found.low + 0.05
    race(
        "agreement",
        {f"hitl {level}": lambda: table.agreement(level)},
        shape=f"{SHAPE}, 1000 resamples",
        dtype="float64",
        unit="s",
        rounds=3,
        warmup=0,
    )


def test_calibrated_beside_means() -> None:
    ratios = []
    for seed in range(20):
        truth = np.random.default_rng(seed + 100).uniform(1, 5, 500)
        given = simulated_ratings(truth, raters=20, each=5, spammers=0.2, seed=seed)
        error = [
            float(np.sqrt(np.mean((given.aggregate(method).score - truth) ** 2)))
            for method in ("calibrated", "mean")
        ]
        ratios.append(error[0] / error[1])
    assert max(ratios) < 1
    record(
        "rater_model", "calibrated / mean", "error", np.array(ratios), unit="x",
        shape="root mean square error of scores, n=2500 items=500 raters=20, 20% spammers, 20 seeds", dtype="float64",
    )  # fmt: skip
    record(
        "rater_model", "calibrated / mean", "worst", max(ratios), unit="x",
        shape="root mean square error of scores, n=2500 items=500 raters=20, 20% spammers, 20 seeds", dtype="float64",
    )  # fmt: skip


def test_reading_a_table(tmp_path: Path) -> None:
    _, items, raters, scores = rating_columns(ITEMS, RATERS, EACH)
    given = Ratings.from_arrays(items, raters, scores)
    for name, write in (("csv", given.frame.to_csv), ("parquet", given.frame.to_parquet)):
        path = tmp_path / f"r.{name}"
        write(path, index=False)
        start = time.perf_counter()
        found = Ratings.read(path)
        seconds = time.perf_counter() - start
        assert np.array_equal(found.frame.score, given.frame.score)
        assert np.array_equal(found.frame.item, given.frame.item)
        record("ratings_read", f"hitl {name}", "time", seconds, unit="s", shape=SHAPE, dtype="float64")


PEAK = """
import resource, sys, time
from hitl_fast.ratings import Ratings
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
ratings = Ratings.read(sys.argv[1])
print(len(ratings), time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.parametrize("quoted", [False, True])
def test_reading_a_million_rows_of_csv(quoted: bool, tmp_path: Path) -> None:
    """Time and peak memory of a process of its own, beside pandas, which only parses."""
    _, items, raters, scores = rating_columns(ITEMS, RATERS, EACH)
    table = pd.DataFrame(
        {"item": items, "rater": [f"r{r}" for r in raters.tolist()], "score": scores.astype(int)}
    )
    path = tmp_path / "r.csv"
    table.to_csv(path, index=False, quoting=csv.QUOTE_NONNUMERIC if quoted else csv.QUOTE_MINIMAL)
    shape = f"{SHAPE}{', quoted' if quoted else ''}"
    done = subprocess.run([sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, check=True)
    n, seconds, peak = map(float, done.stdout.split())
    assert n == len(table)
    record("ratings_read", "hitl csv", "time", seconds, unit="s", shape=shape, dtype="float64")
    record("ratings_read", "hitl csv", "peak memory", peak / 1e9, unit="GB", shape=shape, dtype="float64")
    start = time.perf_counter()
    parsed = pd.read_csv(path)
    record(
        "ratings_read", "pandas", "time", time.perf_counter() - start, unit="s", shape=shape, dtype="float64"
    )
    assert len(parsed) == len(table)


@pytest.mark.parametrize("n", [1000, 2000, 4000, 8000])
def test_reading_many_features(n: int, tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text(
        "feature,rater,score\n" + "".join(f"word{i},r{j},{(i + j) % 5}\n" for i in range(n) for j in range(2))
    )
    assert len(Ratings.read(path).features) == n
    race(
        "ratings_read", {"hitl features": lambda: Ratings.read(path)}, shape=f"n={2 * n} features={n}", dtype="float64",
        unit="s", rounds=5,
    )  # fmt: skip


@pytest.mark.parametrize(("n_items", "n"), [(100, 100_000), (2000, 100_000)])
def test_bradley_terry(n_items: int, n: int) -> None:
    generator = np.random.default_rng(0)
    worth = generator.normal(0, 1.5, n_items)
    first = generator.integers(0, n_items, n)
    second = (first + generator.integers(1, n_items, n)) % n_items
    won = generator.random(n) < 1 / (1 + np.exp(worth[second] - worth[first]))
    outcome = won.astype(float)
    pairs = list(
        zip(np.where(won, first, second).tolist(), np.where(won, second, first).tolist(), strict=True)
    )
    peers = {"hitl": lambda: bradley_terry(first, second, outcome).score}
    if importlib.util.find_spec("choix") is not None:
        import choix

        # choix penalises alpha |s|^2, our prior of variance 4 is alpha = 1 / 8
        peers["choix"] = lambda: choix.opt_pairwise(n_items, pairs, alpha=1 / 8)
        np.testing.assert_allclose(peers["hitl"](), peers["choix"](), rtol=0, atol=1e-3)
    race(
        "bradley_terry", peers, shape=f"n={n} items={n_items}", dtype="float64", unit="s", rounds=3, warmup=1
    )

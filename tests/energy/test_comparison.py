"""Claims about energy: how often they are false, in which design, and the command that makes the runs."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from energy_fakes import Tree
from scipy import stats

from hitl_fast import cli
from hitl_fast.energy import Window, compare
from hitl_fast.energy.compare_command import alternating
from hitl_fast.energy.reporting.intervals import student


def simulated(kind: str, n: int, rng: np.random.Generator) -> tuple[list[float], list[float], str | None]:
    """Two sides of n runs without a difference, and their order in time."""
    noise = 1000 * (1 + 0.03 * rng.standard_normal((2, n)))
    if kind == "outliers":
        noise *= np.where(rng.random((2, n)) < 0.1, 1.3, 1.0)
    if not kind.startswith("drift"):
        return noise[0].tolist(), noise[1].tolist(), None
    order = (
        alternating(n)
        if kind in ("drift ABBA", "drift that settles")
        else "AB" * n
        if kind == "drift ABAB"
        else "A" * n + "B" * n
    )
    time = np.arange(2 * n)
    drift = 0.1 * (1 - np.exp(-time / 4)) if kind == "drift that settles" else 0.01 * time
    runs = 1000 * (1 + drift + 0.01 * rng.standard_normal(2 * n))
    sides = {side: [float(x) for x, s in zip(runs, order, strict=True) if s == side] for side in "AB"}
    return sides["A"], sides["B"], order


def false_claims(kind: str, n: int, runs: int, seed: int = 0) -> float:
    rng = np.random.default_rng(seed)
    claims = 0
    for _ in range(runs):
        one, two, order = simulated(kind, n, rng)
        claims += compare(one, two, order=order, resamples=100).claim
    return claims / runs


@pytest.mark.jit
@pytest.mark.parametrize("n", [5, 20])
@pytest.mark.parametrize("kind", ["normal", "outliers", "drift ABBA", "drift ABAB", "drift that settles"])
def test_false_claims(kind: str, n: int) -> None:
    """Of 1,000 simulated nulls at most 6 %."""
    assert false_claims(kind, n, 1000) <= 0.06


@pytest.mark.jit
@pytest.mark.parametrize(("kind", "n"), [("drift in blocks", 5), ("drift in blocks", 20)])
def test_drift_is_no_change(kind: str, n: int) -> None:
    """Five then five runs with 1 % drift a run made 96 % false claims. Within blocks a drift can only be guessed at."""
    assert false_claims(kind, n, 300) <= 0.1


@pytest.mark.parametrize("kind", ["normal", "outliers", "drift ABBA"])
def test_true_differences_are_found(kind: str) -> None:
    rng = np.random.default_rng(1)
    found = 0
    for _ in range(50):
        one, two, order = simulated(kind, 10, rng)
        found += compare(one, [0.8 * x for x in two], order=order, resamples=400).claim
    assert found >= (30 if kind == "outliers" else 48)


def test_blocks_are_seen_from_the_times_and_warned_of() -> None:
    def run(start: float, joules: float) -> Window:
        return Window("run", start, 1.0, {"package-0": joules}, joules, 0.1, {"package-0": 0.1})

    noise = [3.0, -2.0, 1.0, -1.0, 2.0]
    block = (
        [run(2.0 * i, 100 + noise[i]) for i in range(5)],
        [run(20 + 2.0 * i, 80 + noise[i]) for i in range(5)],
    )
    result = compare(*block)
    assert result.design == "blocks"
    assert "alternately" in result.warning
    assert result.claim
    turn = (
        [run(4.0 * i, 100 + noise[i]) for i in range(5)],
        [run(4.0 * i + 2, 80 + noise[i]) for i in range(5)],
    )
    assert compare(*turn).design == "alternating"
    assert compare(*turn).warning == ""
    same_clock = [replace(w, start=0.0) for w in turn[0]], [replace(w, start=0.0) for w in turn[1]]
    assert compare(*same_clock).design == "unknown"


def test_pairs() -> None:
    base = [100.0, 200.0, 300.0, 400.0, 500.0]
    other = [x * 0.98 + d for x, d in zip(base, (0.1, -0.1, 0.2, 0.0, -0.2), strict=True)]
    assert not compare(base, other).claim
    assert compare(
        base, [x - 5 + d for x, d in zip(base, (0.1, -0.1, 0.2, 0.0, -0.2), strict=True)], paired=True
    ).claim
    assert not compare(base, base, paired=True).claim


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"order": "AAB"}, "order names treatment 1 times"),
        ({"order": "AXBB"}, r"order\[1\]"),
        ({"order": 3}, "order must be"),
        ({"paired": True, "treatment": [1.0]}, "paired=True"),
    ],
)
def test_designs_that_do_not_fit(arguments: dict[str, object], said: str) -> None:
    with pytest.raises((ValueError, TypeError), match=said):
        compare(**{"baseline": [1.0, 2.0], "treatment": [1.0, 2.0], **arguments})  # type: ignore[arg-type]


@pytest.mark.parametrize("degrees", [1, 2, 3.7, 10, 38, 1000])
def test_student_is_scipys(degrees: float) -> None:
    for confidence in (0.5, 0.9, 0.95, 0.999):
        assert student(confidence, degrees) == pytest.approx(
            stats.t.ppf((1 + confidence) / 2, degrees), rel=1e-8
        )


def using(tree: Tree, joules: int) -> str:
    """A command that uses that much, by the counter."""
    file = str(tree.files["intel-rapl:0"])
    code = f"f=open({file!r},'r+b'); v=int(f.read()); f.seek(0); f.write(b'%020d' % (v+{joules}000000))"
    return f'{sys.executable} -S -c "{code}"'


def test_command(tree: Tree, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tree.zone("intel-rapl:0", "package-0", 1_000_000)
    path = tmp_path / "out.json"
    options = ["--rapl-root", str(tree.root), "--gpus", "none", "-n", "3", "--json", str(path)]
    assert cli.main(["compare-energy", *options, using(tree, 9), using(tree, 3)]) == 0
    data = json.loads(path.read_text())
    assert [w["name"] for w in data["windows"]] == list("ABBAAB")
    assert data["comparison"]["baseline_joules"] == 9.0
    assert data["comparison"]["treatment_joules"] == 3.0
    assert "B against A" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("commands", "status", "said"),
    [
        (["true", ""], 2, "command B is empty"),
        (["'", "true"], 2, "command A cannot be split"),
        (["no-such-program", "true"], 2, "no-such-program"),
        (["true", "false"], 1, "command B ended with status 1"),
    ],
)
def test_command_refuses(
    commands: list[str], status: int, said: str, tree: Tree, capfd: pytest.CaptureFixture[str]
) -> None:
    tree.zone("intel-rapl:0", "package-0", 1_000_000)
    options = ["--rapl-root", str(tree.root), "--gpus", "none", "-n", "2"]
    assert cli.main(["compare-energy", *options, *commands]) == status
    assert said in capfd.readouterr().err


def test_command_without_sensors(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare-energy", "--rapl-root", "/none", "--gpus", "none", "true", "true"]) == 2
    assert "no energy can be measured" in capfd.readouterr().err

"""``hitl-fast decide``: retrain, keep, or use another model, for several models and shifts at once."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hitl_fast._common.errors import InputError

from .curves import METHODS

if TYPE_CHECKING:
    from .decision import Candidate, Decision
    from .model import CostModel

EPILOG = """\
reports:
  What `hitl-fast preindex --json` writes, one for each model and shift. A file named MODEL--SHIFT.json tells both;
  otherwise its name is the shift, and --model-names tells the models.

history:
  A CSV file of past retrainings, one a row: the scores, named as in the reports (effort_score, probe_error, index,
  accuracy_drop, ...), and epochs; where there are: censored (1: given up before the target), joules, accuracy_drop, and
  shift, so that intervals hold for a kind of shift that was not seen. --dataset-size and --batch-size need the columns
  dataset_size and batch_size, or samples beside epochs and steps.

advice:
  keep       accuracy fell by no more than the tolerance, or retraining is over the budget
  use other  another model on the same shift is accurate enough as it is, or costs less to retrain beyond doubt
  retrain    otherwise

example:
  hitl-fast decide reports/*.json --history history.csv --country DEU --joules-per-epoch 5400

In JSON, an upper end of null says: that or more, for past retrainings like it were given up.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument("reports", nargs="+", type=Path, metavar="REPORT", help="JSON of hitl-fast preindex")
    parser.add_argument(
        "--model-names", nargs="+", metavar="NAME", help="of each report's model, or one for all"
    )
    parser.add_argument("--shift-names", nargs="+", metavar="NAME", help="of each report's shift")
    learn = parser.add_argument_group("what to learn from")
    source = learn.add_mutually_exclusive_group(required=True)
    source.add_argument("--history", type=Path, metavar="FILE", help="past retrainings, CSV")
    source.add_argument("--cost-model", type=Path, metavar="FILE", help="or what CostModel.to_json wrote")
    learn.add_argument(
        "--scores",
        nargs="+",
        metavar="S",
        help="(default: effort_score if it is there, else probe_error)",
    )
    learn.add_argument("--method", choices=METHODS, help="(default: isotonic; of several scores ridge)")
    learn.add_argument("--effort", help="epochs, samples, flops or joules (default: epochs)")
    learn.add_argument("--level", type=float, help="of the intervals (default: 0.8)")
    cost = parser.add_argument_group("what it costs")
    cost.add_argument(
        "--dataset-size", type=float, metavar="N", help="training samples, if not as many as in the past"
    )
    cost.add_argument(
        "--batch-size", type=float, metavar="B", help="samples of a step, if not as in the past"
    )
    cost.add_argument("--joules-per-epoch", type=float, metavar="J", help="of your training")
    cost.add_argument("--carbon", type=float, metavar="G", help="the grid's gCO2e per kWh")
    cost.add_argument("--country", metavar="CODE", help="or its yearly average, such as DEU")
    cost.add_argument("--budget-kwh", type=float, metavar="KWH", help="for one retraining")
    cost.add_argument(
        "--tolerance", type=float, default=1.0, metavar="P", help="percentage points of accuracy (default: 1)"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the table as JSON; - for standard output"
    )


def run(arguments: argparse.Namespace) -> int:
    from .decision import decide
    from .model import CostModel

    names = names_of(arguments.reports, arguments.model_names, arguments.shift_names)
    settled = {name: getattr(arguments, name) for name in ("scores", "method", "effort", "level")}
    given = {name: value for name, value in settled.items() if value is not None}
    if arguments.cost_model is None:
        given.setdefault("method", "ridge" if len(given.get("scores", ())) > 1 else "isotonic")
        model = CostModel.fit(arguments.history, **given)
    elif given:
        raise InputError(f"--{next(iter(given))} is settled by --cost-model: give --history to choose it")
    else:
        model = CostModel.from_json(arguments.cost_model)
    candidates = [
        candidate(model, path, *name, arguments) for path, name in zip(arguments.reports, names, strict=True)
    ]
    decisions = decide(candidates, tolerance=arguments.tolerance, budget_kwh=arguments.budget_kwh)
    if arguments.json is not None:
        text = json.dumps(as_json(model, decisions, arguments.tolerance), indent=1, allow_nan=False) + "\n"
        if os.fspath(arguments.json) == "-":
            sys.stdout.write(text)
            return 0
        from hitl_fast._common.files import write_text

        write_text(arguments.json, text)
    print(model)
    print()
    print(as_text(decisions))
    return 0


def names_of(
    reports: Sequence[Path], models: Sequence[str] | None, shifts: Sequence[str] | None
) -> list[tuple[str, str]]:
    """Model and shift of each report, as given or by the file's name."""
    n = len(reports)
    for option, given, allowed in (("--model-names", models, (1, n)), ("--shift-names", shifts, (n,))):
        if given is not None and len(given) not in allowed:
            raise InputError(f"{option} gives {len(given)} names for {n} reports")
    names = []
    for i, path in enumerate(reports):
        before, separator, after = path.stem.partition("--")
        model, shift = (before, after) if separator else ("model", path.stem)
        if models is not None:
            model = models[i % len(models)]
        names.append((model, shift if shifts is None else shifts[i]))
    return names


def candidate(
    model: CostModel, path: Path, name: str, shift: str, arguments: argparse.Namespace
) -> Candidate:
    from hitl_fast.shift import PreIndexReport

    from .decision import Candidate

    report = PreIndexReport.from_json(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the notes below the table say it of each row
            estimate = model.predict(
                report,
                joules_per_epoch=arguments.joules_per_epoch,
                grams_per_kwh=arguments.carbon,
                country=arguments.country,
                dataset_size=arguments.dataset_size,
                batch_size=arguments.batch_size,
            )
    except ValueError as problem:
        raise InputError(f"{path}: {problem}") from None
    accuracy = report.accuracy or {}
    return Candidate(name, shift, accuracy.get("clean"), accuracy.get("shifted"), estimate)


def as_text(decisions: Sequence[Decision]) -> str:
    """The table in columns, then the notes: what is true of all rows once, the rest by row."""
    from .estimate import interval_text

    first = decisions[0].candidate.estimate
    heads = ["model", "shift", "accuracy", first.unit, "epochs", "kWh", "gCO2e", "advice", "why"]
    rows = []
    for decision in decisions:
        own = decision.candidate
        epochs = None if first.unit == "epochs" else own.estimate.epochs
        costs = (own.estimate.effort, epochs, own.estimate.kwh, own.estimate.gco2e)
        rows.append(
            [
                own.model,
                own.shift,
                "unknown" if own.shifted is None else f"{own.shifted:.1%}",
                *("-" if cost is None else interval_text(cost) for cost in costs),
                decision.advice if decision.other is None else f"use {decision.other}",
                decision.reason,
            ]
        )
    kept = [j for j in range(len(heads)) if j not in (4, 5, 6) or any(row[j] != "-" for row in rows)]
    table = [[row[j] for j in kept] for row in (heads, *rows)]
    widths = [max(len(row[j]) for row in table) for j in range(len(kept) - 1)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]])
        for row in table
    ]
    estimates = [decision.candidate.estimate for decision in decisions]
    shared = [note for note in first.notes if all(note in estimate.notes for estimate in estimates)]
    notes = [f"note: {note}" for note in shared]
    for decision in decisions:
        own = decision.candidate
        notes += [f"note: {own.model}, {own.shift}: {n}" for n in own.estimate.notes if n not in shared]
    return "\n".join(lines + ([""] if notes else []) + notes)


def as_json(model: CostModel, decisions: Sequence[Decision], tolerance: float) -> dict[str, Any]:
    """The same, for programs."""
    return {
        "cost_model": {
            "scores": list(model.scores), "choice": model.choice, "effort": model.effort,
            "method": model.method, "level": model.level,
            "retrainings": model.retrainings, "censored": model.censored, "groups": model.groups,
            "error_factor": model.error,
            "rivals": [{"name": r.name, "error_factor": r.error, "as_good": r.as_good} for r in model.rivals],
        },
        "tolerance_points": tolerance,
        "rows": [_row(decision) for decision in decisions],
    }  # fmt: skip


def _row(decision: Decision) -> dict[str, Any]:
    own = decision.candidate
    costs = {name: getattr(own.estimate, name) for name in ("effort", "epochs", "kwh", "gco2e")}
    intervals = {
        name: None
        if cost is None
        else {end: value if math.isfinite(value) else None for end, value in cost._asdict().items()}
        for name, cost in costs.items()
    }
    return {
        "model": own.model, "shift": own.shift, "accuracy": own.shifted, "clean_accuracy": own.clean,
        "unit": own.estimate.unit, **intervals,
        "advice": decision.advice, "other": decision.other, "reason": decision.reason,
        "notes": list(own.estimate.notes),
    }  # fmt: skip

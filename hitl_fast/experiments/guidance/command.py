"""``hitl-fast experiment guidance``: train the grid, write results and page, say the answer."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hitl_fast._common.errors import InputError

if TYPE_CHECKING:
    from .breakeven import Prices
    from .plan import Plan

EPILOG = """\
Writes results.jsonl (one line a run) and results.html into the folder. The same command goes on where it was
interrupted, and only draws the page anew when all runs are done. Ratings are simulated and every output says so,
unless --ratings gives your own: first --export-pool DIR writes what is to be rated (a line of JSON an item, images
beside), then rate it from low (leave out) to high (needed) with any tool, under the item numbers written there.

example:
  hitl-fast experiment guidance --quick
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    add = parser.add_argument
    add("--quick", action="store_true", help="a small grid, under a minute on two cores")
    add(
        "--out",
        type=Path,
        metavar="DIR",
        help="where results go (default: hitl-fast-experiment/guidance, with -quick behind if so)",
    )
    add(
        "--workers",
        type=int,
        metavar="N",
        help="processes (default: one a core, or 1 where joules are measured)",
    )
    add("--seed", type=int, default=0, help="the first seed (default: 0)")
    add("--seeds", type=int, metavar="N", help="how many seeds are paired over (default: 10, quick: 3)")
    add(
        "--tasks",
        nargs="+",
        metavar="TASK",
        help="image, text (default: both, as far as their data are here)",
    )
    add("--settings", nargs="+", metavar="NAME", help="defects and raters, by name (default: all)")
    add(
        "--conditions",
        "--arms",
        nargs="+",
        metavar="NAME",
        help="ways to train, by name (default: all of the edition)",
    )
    add(
        "--edition",
        type=int,
        choices=(1, 2),
        default=1,
        help="2: few answers, propagated, beside conditions without human input (default: 1)",
    )
    add("--seconds-from", type=Path, metavar="DB", help="take people's seconds from a database of `collect`")
    add("--ratings", type=Path, metavar="FILE", help="an export of your own ratings, for one task")
    add("--export-pool", type=Path, metavar="DIR", help="write what --ratings are ratings of, and stop")
    add("--no-progress", action="store_true", help="no progress bar")
    prices = parser.add_argument_group("prices, declared (they change the page, not the results)")
    prices.add_argument("--wage", type=float, default=15.0, help="of a rater, an hour (default: %(default)s)")
    prices.add_argument(
        "--watts", type=float, default=30.0, help="of the computer a rater sits at (default: %(default)s)"
    )
    prices.add_argument("--kwh", type=float, default=0.25, help="price of electricity (default: %(default)s)")
    prices.add_argument(
        "--flops-per-joule", type=float, default=3e11, help="of the training hardware (default: %(default)g)"
    )
    prices.add_argument(
        "--exaflop",
        type=float,
        default=4.5,
        help="price of renting it for 10^18 operations (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    from ..common.journal import Journal
    from ..common.output_folder import folder, refuse_foreign
    from ..common.page import heading
    from ..common.runner import run_grid
    from .jobs import work
    from .pool import export_pool
    from .report import QUESTION, Report
    from .second_edition import SecondReport
    from .training_cost import measurable

    prices = _prices(arguments)
    plan, notes = chosen(arguments)
    for note in notes:
        print(note)
    if arguments.export_pool is not None:
        for path in export_pool(plan, arguments.export_pool):
            print(f"-> {path}")
        return 0
    out = folder(arguments.out, "guidance" if plan.edition == 1 else "guidance-2", arguments.quick)
    page = out / "results.html"
    refuse_foreign(page, heading(QUESTION))
    joules = measurable()
    workers = arguments.workers
    if joules and workers is None:
        workers = 1
        print("Sensors count whole processors, so one run at a time; --workers N is faster, without joules.")
    jobs = plan.jobs()
    with Journal(out / "results.jsonl", "guidance", plan.described(), command(arguments)) as journal:
        records = run_grid(
            work(plan, joules and workers in (0, 1)),
            jobs,
            journal,
            workers=workers,
            progress=not arguments.no_progress,
        )
        header = journal.header
    report = (Report if plan.edition == 1 else SecondReport)(header, records, prices)
    report.write(page)
    print("\n".join(report.lines()))
    print(f"\n-> {out / 'results.jsonl'}\n-> {page}")
    return 0


def chosen(arguments: argparse.Namespace) -> tuple[Plan, list[str]]:
    """The plan that the arguments ask for, and what is left out, and why.

    Raises:
        ValueError: an unknown name, fewer than two seeds, own ratings of no task or of two.
    """
    from dataclasses import replace

    from . import plan as plans
    from .conditions import CONDITIONS
    from .plan import MAIN
    from .tasks import TASKS

    first = (plans.QUICK, plans.FULL)
    second = (plans.QUICK_SECOND, plans.FULL_SECOND)
    plan = (first if arguments.edition == 1 else second)[0 if arguments.quick else 1]
    count = len(plan.seeds) if arguments.seeds is None else arguments.seeds
    if count < 2:
        raise InputError(f"--seeds must be 2 or more, as differences need pairs, not {count}")
    if arguments.seed < 0:
        raise InputError(f"--seed must be 0 or more, not {arguments.seed}")
    tasks, notes = _tasks(arguments.tasks, TASKS)
    plan = replace(
        plan,
        tasks=tasks,
        settings=_names(
            "--settings",
            arguments.settings,
            plans.FIRST_SETTINGS if plan.edition == 1 else plans.SECOND_SETTINGS,
            plan.settings,
        ),
        conditions=_names("--conditions", arguments.conditions, tuple(CONDITIONS), plan.conditions),
        seeds=tuple(range(arguments.seed, arguments.seed + count)),
        data_seed=arguments.seed,
        seconds=() if arguments.seconds_from is None else _seconds(arguments.seconds_from),
    )
    if arguments.ratings is not None:
        if plan.edition != 1:
            raise InputError("--ratings are of edition 1, whose conditions rate all samples")
        if len(plan.tasks) != 1:
            raise InputError("--ratings are of one task: say which, with --tasks image or --tasks text")
        plan = _with_own_ratings(replace(plan, ratings=str(arguments.ratings), settings=(MAIN,)))
    _refuse_without_control(plan)
    return plan, notes


def _refuse_without_control(plan: Plan) -> None:
    """Refuse, before anything is trained, a plan in which nothing could be compared with the control."""
    from .analysis import CONTROL
    from .plan import SETTINGS

    trained = {(job["setting"], job["arm"]) for job in plan.jobs()}
    for name in plan.settings:
        control = SETTINGS[name].control
        if (control, CONTROL) not in trained:
            option = "--settings" if control not in plan.settings else "--conditions"
            raise InputError(
                f"{name!r} is compared with {CONTROL!r} of {control!r}, which {option} leaves out: add it"
            )
    if {arm for _, arm in trained} <= {CONTROL}:
        raise InputError(f"--conditions names {CONTROL!r} alone, and there is nothing to compare with it")


def command(arguments: argparse.Namespace) -> str:
    """What one types to get these results again."""
    words = ["hitl-fast", "experiment", "guidance"]
    words += ["--quick"] if arguments.quick else []
    for name in ("seed", "seeds", "tasks", "settings", "conditions", "ratings", "edition", "seconds_from"):
        value = getattr(arguments, name)
        if value is not None and (name, value) not in (("seed", 0), ("edition", 1)):
            words += [
                f"--{name.replace('_', '-')}",
                *(map(str, value) if isinstance(value, list) else [str(value)]),
            ]
    return shlex.join(words)


def _seconds(path: Path) -> tuple[float, ...]:
    """Seconds of the answers of a collected database."""
    from hitl_fast.ratings.collect.reading import read_collection

    found = tuple(
        a.seconds for a in read_collection(path)[1] if a.seconds is not None and a.value is not None
    )
    if not found:
        raise InputError(f"--seconds-from {path}: no answer there has seconds")
    return found


def _tasks(wanted: list[str] | None, known: tuple[str, ...]) -> tuple[tuple[str, ...], list[str]]:
    """The tasks wanted; of all, those whose data are here."""
    from .tasks import available

    asked = _names("--tasks", wanted, known, known)
    missing = {task: problem for task in asked if (problem := available(task))}
    if wanted is not None and missing:
        raise InputError("; ".join(f"--tasks {task}: {problem}" for task, problem in missing.items()))
    notes = [f"{task} is left out: {problem}" for task, problem in missing.items()]
    here = tuple(task for task in asked if task not in missing)
    if not here:
        raise InputError("; ".join(notes))
    return here, notes


def _names(
    option: str, wanted: list[str] | None, known: tuple[str, ...], default: tuple[str, ...]
) -> tuple[str, ...]:
    strange = [name for name in wanted or () if name not in known]
    if strange:
        raise InputError(f"{option} does not know {strange[0]!r}; known: {', '.join(known)}")
    return default if wanted is None else tuple(name for name in known if name in wanted)


def _with_own_ratings(plan: Plan) -> Plan:
    """The conditions that these ratings can guide: by samples, by features, or both."""
    from dataclasses import replace

    from .conditions import CONDITIONS
    from .plan import SETTINGS
    from .raters import guidance_from
    from .tasks import make

    name = plan.tasks[0]
    assert plan.ratings is not None
    task = make(name, plan.sizes[name], SETTINGS[plan.settings[0]].defects, plan.data_seed)
    guidance = guidance_from(Path(plan.ratings), len(task), task.features)
    kept = tuple(
        condition
        for condition in plan.conditions
        if not (CONDITIONS[condition].features and guidance.importance is None)
        and not ((CONDITIONS[condition].draw or CONDITIONS[condition].loss) and guidance.ratings == 0)
    )
    return replace(plan, conditions=kept)


def _prices(arguments: argparse.Namespace) -> Prices:
    from .breakeven import Prices

    values: dict[str, Any] = {
        name: getattr(arguments, name) for name in ("wage", "watts", "kwh", "flops_per_joule", "exaflop")
    }
    return Prices(**values)

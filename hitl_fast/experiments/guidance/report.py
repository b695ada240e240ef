"""The page: what was asked, the answer, and what it rests on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hitl_fast._common.bootstrap import Interval

from ..common.journal import Record
from . import figures
from .analysis import CONTROL, FEW, Comparison, best_human, compare, comparisons, curves, steps_to
from .breakeven import FORMULA, MODELS, Prices, runs_to_break_even, size_to_break_even
from .conditions import CONDITIONS
from .formatting import bounded, number, percent, points, steps, verdict
from .plan import COVERAGES, MAIN, NOISES, RATED, SETTINGS, WITHOUT_PEOPLE
from .raters import Crew

if TYPE_CHECKING:
    from ..common.page import Page

QUESTION = "Does human guidance save energy?"
SIMULATED = (
    "Synthetic data defects are not those of real data, and simulated raters know, with their errors, exactly "
    "the importance that this experiment defined. Without defects nothing is gained; how much people would "
    "save on data of your own is answered by rating a part of it (--export-pool, --ratings)."
)
LIMITS = (
    "Operations are products of matrices and convolutions, as torch counts them: looking up word vectors, the "
    "optimiser, drawing samples and the memory's traffic are not in them. CPU seconds have them all, and on small "
    "models the two differ.",
    "A run that does not reach the target counts with its whole budget. The saving is then at least or at most what "
    "is shown, as the verdict says. Intervals are of single comparisons, not corrected for their number, and the best "
    "of the rated conditions is chosen by the same runs that it is judged by.",
)
TOO_FEW = (
    f"Of fewer than {FEW} seeds no interval within the differences seen can hold 95 %: those shown are too narrow, and "
    "their verdicts are hints."
)
CURRENCIES = {"joules": "energy", "money": "money"}


class Report:
    """Records, compared once, for the page and for the terminal.

    Attributes:
        header, records: of the journal.
        prices: declared.
        tasks: their names.
        found: every condition of every setting against its control.
    """

    def __init__(self, header: Record, records: Sequence[Record], prices: Prices) -> None:
        self.header, self.records, self.prices = header, records, prices
        self.settings: dict[str, Any] = header["settings"]
        self.tasks = list(dict.fromkeys(r["task"] for r in records))
        self.found = comparisons(records)
        self.raters = "simulated raters" if self.settings["ratings"] is None else "raters of your own"

    def answer(self) -> str:
        """In one sentence."""
        best = {task: c for task in self.tasks if (c := best_human(self.found, task)) is not None}
        saving = {task: c for task, c in best.items() if c.verdict == "saves"}
        begin = f"With {self.raters} and synthetic data defects, "
        if not best:
            return f"{begin}nothing can be said: no condition with ratings of samples was compared."
        told = ", ".join(f"{task} {bounded(c)}" for task, c in best.items())
        if any(c.few for c in best.values()):
            pairs = min(c.pairs for c in best.values())
            return (
                f"{begin}{pairs} seeds are too few to tell; operations saved by the best condition: {told}."
            )
        if not saving:
            return f"{begin}no: the best condition does not save operations beyond doubt ({told})."
        told = ", ".join(f"{task} {bounded(c)}" for task, c in saving.items())
        lost = [task for task in best if task not in saving]
        but = f", but not of {' or '.join(lost)}," if lost else ""
        needed = max(self._needed(task, c, "joules") for task, c in saving.items())
        own = max(self._samples_saved(task, c)[1] for task, c in saving.items())
        smallest = min(self._samples_saved(task, c)[1] for task, c in saving.items())
        where = (
            f"only in models of {number(needed)} operations a sample and more or over many runs: these small ones have "
            f"{number(own)}"
            if needed > smallest
            else "in models as small as these"
        )
        return (
            f"{begin}the best condition reaches the same accuracy with fewer training operations ({told}){but} and "
            f"that saves energy, once people's time is counted, {where}."
        )

    def details(self) -> list[str]:
        """What the answer rests on, a paragraph a task."""
        return [self._detail(task) for task in self.tasks]

    def lines(self) -> list[str]:
        """A few lines for the terminal."""
        lines = [QUESTION, self.answer(), "", *self.details(), ""]
        for task in self.tasks:
            lines.append(
                f"{task}, {self.raters}, operations saved to {self._target(task):.0%} validation accuracy:"
            )
            lines += [f"  {c.condition:<16} {percent(c.flops):>24}  {verdict(c)}" for c in self._main(task)]
        return lines

    def write(self, path: Path) -> None:
        """The page as one file."""
        from ..common.page import Page

        page = Page(QUESTION)
        page.question(
            "Images and texts with synthetic data defects; the same small model trained with and without people's "
            f"ratings of what is important. All ratings are of {self.raters}. Is the same accuracy reached with less?"
        )
        page.answer(self.answer())
        page.text(*self.details())
        self._conditions(page)
        self._results(page)
        self._sensitivity(page)
        self._planting(page)
        self._break_even(page)
        page.section("What this cannot tell")
        if any(c.few for c in self.found):
            page.text(TOO_FEW)
        page.text(*([SIMULATED] if self.settings["ratings"] is None else []), *LIMITS)
        page.provenance(self._provenance())
        page.write(path)

    def _main(self, task: str) -> list[Comparison]:
        return [c for c in self.found if c.task == task and c.setting == MAIN]

    def _target(self, task: str) -> float:
        return float(self.settings["recipes"][task]["target"])

    def _detail(self, task: str) -> str:
        best = best_human(self.found, task)
        if best is None:
            return f"{task}: no condition with ratings of samples was compared."
        people = f"{best.minutes:,.0f} minutes of people's time"
        target = f"{self._target(task):.0%} validation accuracy"
        if best.verdict != "saves" or best.few:
            doubt = {
                "undecided": "and runs that did not get there leave open whether it saves any",
                "costs": "so it costs more",
            }.get(best.verdict, "an interval that does not exclude 0")
            if best.few:
                doubt = f"by {best.pairs} seeds, which are too few to tell"
            no = "" if best.few else " no."
            return (
                f"{task}:{no} {best.condition}, the best of the rated conditions, saves {percent(best.flops)} of the "
                f"operations to {target}, {doubt}, for {people}."
            )
        rival = self._rival(task, best)
        energy, money = (number(self._runs(task, best, None, currency).value) for currency in CURRENCIES)
        needed = number(self._needed(task, best, "joules"))
        return (
            f"{task}: {best.condition} reaches {target} with {bounded(best)} "
            f"fewer operations{rival}. That took {people}: in energy they pay after {energy} runs of this small "
            f"model, or in one run from {needed} operations a sample; in money after {money} runs."
        )

    def _rival(self, task: str, best: Comparison) -> str:
        automatic = [c for c in self._main(task) if c.condition in WITHOUT_PEOPLE]
        if not automatic:
            return ""
        rival = max(automatic, key=lambda c: c.flops.value)
        return f" (without human input: {rival.condition} {percent(rival.flops)})"

    def _runs(self, task: str, c: Comparison, size: float | None, currency: str) -> Interval:
        saved, own = self._samples_saved(task, c)
        return runs_to_break_even(c.minutes, saved, own if size is None else size, self.prices, currency)

    def _needed(self, task: str, c: Comparison, currency: str) -> float:
        """Operations a sample of the smallest model that pays in one run."""
        return size_to_break_even(c.minutes, self._samples_saved(task, c)[0], 1, self.prices, currency).value

    def _samples_saved(self, task: str, c: Comparison) -> tuple[Interval, float]:
        """Operations saved a run in samples of the control, and the operations of one of these."""
        control = [
            r
            for r in self.records
            if (r["task"], r["setting"], r["arm"]) == (task, SETTINGS[c.setting].control, CONTROL)
        ]
        each = float(control[0]["flops_per_sample"])
        scale = float(np.mean([r["flops"] for r in control])) / each
        return Interval(*(share * scale for share in c.flops)), each

    def _conditions(self, page: Page) -> None:
        page.section("What was compared")
        defects = SETTINGS[MAIN].defects
        own = self.settings["ratings"]
        page.text(
            "Synthetic defects are put into the pool that is trained on: "
            f"{defects.label_noise:.0%} of labels are wrong, a class in two is rare ({defects.imbalance:g} to 1), "
            f"{defects.redundancy:.0%} of samples are near copies of a few others. Validation and test samples are "
            "rightly labelled and balanced. In truth a sample's importance is 1 with a wrong label, 2 as a near copy, "
            "4 if right and common, 5 if right and rare; that is a definition, and real people will hold other things "
            "to be important.",
            f"Ratings: {Crew()}."
            if own is None
            else f"Ratings: {own['file']}, SHA-256 {own['sha256']}. An answer whose time it does not tell counts "
            f"as {Crew.seconds:g} s. All runs train on one pool, so that intervals tell the chance of training, not "
            "that of other data or other people.",
            "Every condition has the same model, initial weights, optimiser and budget of steps. The target is a "
            "validation accuracy fixed beforehand; learning rates, the strength of the penalty and the targets were "
            "chosen on seeds that are not among these. Operations are those of torch's FlopCounterMode, forward and "
            "backward, with what a condition adds: the penalty's second backward pass, and scoring the whole "
            "pool once an epoch in the automatic conditions. Looks at the validation accuracy are left out, "
            "as all conditions take the same.",
        )
        trained = [c for c in CONDITIONS.values() if any(r["arm"] == c.name for r in self.records)]
        page.table(
            ["condition", "what it does"], [[c.name, c.says] for c in trained], caption="The conditions."
        )

    def _results(self, page: Page) -> None:
        page.section("What guidance saves")
        for task in self.tasks:
            rows = [self._row(c) for c in self._main(task)]
            if not rows:
                continue
            page.table(
                [
                    "condition", "reached", "median steps (epochs)", "operations saved", "verdict", "samples saved",
                    "CPU seconds saved", "joules saved", "accuracy after the budget", "people's minutes",
                ],
                rows,
                caption=f"{task}: to {self._target(task):.0%} validation accuracy against {CONTROL} (median steps "
                f"{self._steps(task, self._main(task)[0].against_steps)}), mean over {self._main(task)[0].pairs} seeds "
                f"in pairs, 95 % bootstrap intervals; {self.raters}. Accuracy in percentage points of the test set.",
            )  # fmt: skip
        self._curves(page)
        figure, axes = figures.panels(self.tasks)
        for axis, task in zip(axes, self.tasks, strict=True):
            figures.draw_savings(axis, {c.condition: c.flops for c in self._main(task)})
        page.figure(figure, f"Operations saved against {CONTROL}, with 95 % intervals; {self.raters}.")
        self._human_part(page)
        self._targets(page)

    def _row(self, c: Comparison) -> list[object]:
        return [
            c.condition, f"{c.reached} of {c.pairs}", self._steps(c.task, c.steps), percent(c.flops), verdict(c),
            percent(c.samples), percent(c.cpu_seconds), "not measured" if c.joules is None else percent(c.joules),
            points(c.accuracy), round(c.minutes, 1),
        ]  # fmt: skip

    def _steps(self, task: str, value: float | None) -> str:
        """Steps, and in brackets epochs."""
        epoch = self.settings["sizes"][task]["pool"] // self.settings["recipes"][task]["batch"]
        return steps(value) if value is None else f"{steps(value)} ({value / epoch:.1f})"

    def _curves(self, page: Page) -> None:
        figure, axes = figures.panels(self.tasks)
        for axis, task in zip(axes, self.tasks, strict=True):
            recipe = self.settings["recipes"][task]
            seen = np.arange(1, recipe["steps"] // recipe["every"] + 1) * recipe["every"] * recipe["batch"]
            conditions = [CONTROL, *(c.condition for c in self._main(task))]
            held = self.settings["sizes"][task]["validation"]
            drawn = {condition: curves(self.records, task, MAIN, condition, held) for condition in conditions}
            figures.draw_curves(axis, drawn, seen, self._target(task))
        axes[-1].legend(fontsize=7)
        page.figure(
            figure,
            f"Validation accuracy against samples seen, mean over seeds; the dotted line is the target; {self.raters}.",
        )

    def _human_part(self, page: Page) -> None:
        rows = []
        for task in self.tasks:
            best = best_human(self.found, task)
            pairs = [("sampler", "random_priority")]
            pairs += [(best.condition, rival) for rival in WITHOUT_PEOPLE] if best else []
            for condition, rival in pairs:
                c = compare(self.records, task, MAIN, condition, against=rival)
                if c is not None:
                    rows.append([task, condition, rival, percent(c.flops), verdict(c), points(c.accuracy)])
        if rows:
            page.table(
                ["task", "condition", "against", "operations saved", "verdict", "accuracy after the budget"], rows,
                caption="Is it the people? The rated sampler against the same weights dealt at random, and the best "
                f"rated condition against what a machine can do without people; {self.raters}.",
            )  # fmt: skip

    def _targets(self, page: Page) -> None:
        rows = []
        for task in self.tasks:
            best = best_human(self.found, task)
            if best is None:
                continue
            recipe, held = self.settings["recipes"][task], self.settings["sizes"][task]["validation"]
            for target in [self._target(task) + step for step in (-0.15, -0.1, -0.05, 0.0, 0.05, 0.1)]:
                row: list[object] = [task, f"{target:.0%}"]
                for condition in (CONTROL, "random_priority", best.condition, *WITHOUT_PEOPLE):
                    reached = [
                        steps_to(r["curve"], target, held, recipe["every"])
                        for r in self.records
                        if (r["task"], r["setting"], r["arm"]) == (task, MAIN, condition)
                    ]
                    middle = float(np.median(reached)) if reached else math.nan
                    row.append(None if math.isnan(middle) else steps(middle))
                rows.append(row)
        if rows:
            page.table(
                ["task", "target", CONTROL, "random_priority", "best rated arm", *WITHOUT_PEOPLE], rows,
                caption=f"Median steps to other targets than the one fixed beforehand; {self.raters}.",
            )  # fmt: skip

    def _sensitivity(self, page: Page) -> None:
        for says, label, settings in (
            ("noise", "answers that are random, %", NOISES),
            ("coverage", "part of the pool that is rated, %", COVERAGES),
        ):
            lines = {task: self._lines(task, settings) for task in self.tasks}
            if not any(len(line) > 1 for conditions in lines.values() for line in conditions.values()):
                continue
            page.section(f"How much depends on the raters' {says}?")
            figure, axes = figures.panels(self.tasks)
            for axis, task in zip(axes, self.tasks, strict=True):
                figures.draw_sensitivity(axis, lines[task], label)
            axes[-1].legend(fontsize=7)
            page.figure(figure, f"Operations saved against {label}, with 95 % intervals; {self.raters}.")
        chosen = [*(s for s in ("truth",) if s in self.settings["settings"])]
        chosen += [s for s in (*NOISES.values(), *COVERAGES.values()) if s in self.settings["settings"]]
        self._settings_table(page, list(dict.fromkeys(chosen)), "Raters of other kinds, all defects")

    def _lines(self, task: str, settings: dict[int, str]) -> dict[str, dict[float, Interval]]:
        found = {(c.setting, c.condition): c.flops for c in self.found if c.task == task}
        lines = {
            name: {
                float(x): found[setting, name] for x, setting in settings.items() if (setting, name) in found
            }
            for name in RATED
        }
        return {condition: line for condition, line in lines.items() if line}

    def _planting(self, page: Page) -> None:
        added = [s for s in self.settings["settings"] if SETTINGS[s].control == s and s != MAIN]
        if not added:
            return
        page.section("Where is nothing saved?")
        self._settings_table(
            page, added, "Other defects, usual raters, each against uniform with the same defects"
        )

    def _settings_table(self, page: Page, settings: Sequence[str], caption: str) -> None:
        rows = [
            [
                c.task, SETTINGS[c.setting].says, c.condition, f"{c.against_reached} of {c.pairs}",
                f"{c.reached} of {c.pairs}", percent(c.flops), verdict(c), points(c.accuracy),
                round(c.minutes, 1),
            ]
            for task in self.tasks
            for setting in settings
            for c in self.found
            if c.task == task and c.setting == setting and (c.condition in RATED or setting != MAIN)
        ]  # fmt: skip
        if rows:
            page.table(
                [
                    "task", "setting", "condition", "uniform reached", "reached", "operations saved", "verdict",
                    "accuracy after the budget", "people's minutes",
                ],
                rows,
                caption=f"{caption}; {self.raters}; 95 % intervals.",
            )  # fmt: skip

    def _break_even(self, page: Page) -> None:
        best = {task: c for task in self.tasks if (c := best_human(self.found, task)) is not None}
        if not best:
            return
        p = self.prices
        page.section("When do the ratings pay?")
        page.text(*FORMULA.replace("\n\n", "\n").splitlines())
        page.text(
            f"Declared, not measured: a rater's wage of {p.wage:g} an hour and {p.watts:g} W, electricity at "
            f"{p.kwh:g} a kWh, hardware that achieves {p.flops_per_joule:.3g} operations a joule and costs "
            f"{p.exaflop:g} per 10^18 of them. That a larger model saves as many samples is taken for granted, and "
            "was not tried."
        )
        sizes = np.geomspace(1e5, 1e16, 45)
        for task, c in best.items():
            rows = []
            for name, size in MODELS:
                row: list[object] = [name, f"{self._samples_saved(task, c)[1] if size is None else size:.2g}"]
                for currency in CURRENCIES:
                    runs = self._runs(task, c, size, currency)
                    row += [number(runs.value), f"{number(runs.low)} to {number(runs.high)}"]
                rows.append(row)
            needed = [number(self._needed(task, c, currency)) for currency in CURRENCIES]
            page.table(
                [
                    "model", "operations a sample", "runs until energy is paid back", "interval",
                    "runs until money is paid back", "interval",
                ],
                rows,
                caption=f"{task}, condition {c.condition}: {c.minutes:,.0f} minutes of people's time; {self.raters}. "
                f"One run pays from {needed[0]} operations a sample in energy and {needed[1]} in money.",
            )  # fmt: skip
        best = {task: c for task, c in best.items() if c.flops.value > 0}
        if not best:
            page.text("No size of model and no number of runs pays for them: nothing was saved.")
            return
        figure, axes = figures.panels(list(best))
        for axis, (task, c) in zip(axes, best.items(), strict=True):
            drawn = {
                says: np.array([self._runs(task, c, size, currency).value for size in sizes])
                for currency, says in CURRENCIES.items()
            }
            marks = {name.split(",")[0]: size for name, size in MODELS if size is not None}
            figures.draw_break_even(axis, sizes, drawn, marks)
        axes[-1].legend(fontsize=7)
        page.figure(
            figure, "Runs until the ratings are paid for, by the size of the model, at the declared prices."
        )

    def _provenance(self) -> dict[str, Any]:
        told = {name: self.header[name] for name in ("machine", "versions", "date", "command")}
        seeds = self.settings["seeds"]
        spent = sum(r["measured"]["cpu_seconds"] for r in self.records)
        return {
            "experiment": f"guidance, {len(self.records):,} runs, {spent:,.0f} CPU seconds in all",
            "seeds": f"{seeds[0]} to {seeds[-1]}",
            "raters": self.raters,
            **told,
        }

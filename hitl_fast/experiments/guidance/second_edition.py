"""The page of the second edition: for which defects do people pay, with how many minutes, from which model size on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hitl_fast.ratings.propagation import LEVEL

from ..common.journal import Record
from ..common.page import Page
from . import figures
from .analysis import CONTROL, Comparison, compare
from .breakeven import size_to_break_even
from .by_defect import AUTOMATIC, Cell, cell, of_the_balanced_test
from .conditions import CONDITIONS, SECOND
from .formatting import number, percent, points, verdict
from .plan import SETTINGS
from .report import QUESTION, TOO_FEW, Report

NOTHING_ADDED = "nothing is shown that people add to what the best condition without them saves"
LIMITS = (
    "Synthetic data defects are not those of real data, and simulated raters know, with their errors, exactly the "
    "importance that this experiment defined.",
    "A condition without a model in training pays for its signals: products of matrices of the features' components, "
    "of ridge regression and of all distances, counted once a run and included in its operations. In models as small "
    "as these they weigh more than in any that is used.",
    "A run ends where it meets the target, or with its budget: accuracies say what was reached by then, not what more "
    "training would have reached.",
    "Break-even sizes assume that a larger model saves as many samples, which was not tried. Intervals are of single "
    "comparisons, not corrected for their number, and a best condition is chosen by the runs that it is judged by.",
)


class SecondReport(Report):
    """Records of the second edition, compared once, for the page and for the terminal."""

    def answer(self) -> str:
        """For which defects people pay, with how many minutes, from which size on."""
        cells = self.cells()
        if not any(c.few or c.rated for c in cells):
            return "Nothing can be said: no condition with people was compared."
        fewest = min(c.pairs for cell in cells for c in (cell.few, cell.rated) if c is not None)
        if any(c.few for cell in cells for c in (cell.few, cell.rated) if c is not None):
            return f"{fewest} seeds are too few for a conclusion."
        told = [self.paid(cell) for cell in cells if cell.people is not None]
        rest = len(cells) - len(told)
        if not told:
            return f"People do not pay beyond doubt in any of {rest} kinds of defects and tasks: {NOTHING_ADDED}."
        few = sum(cell.people is cell.few for cell in cells if cell.people is not None)
        begin = (
            f"People pay in {len(told)} of {len(cells)} kinds of defects and tasks, in {few or 'none'} of them by few "
            f"answers: {'; '.join(told)}."
        )
        return f"{begin} In the other {rest} {NOTHING_ADDED}." if rest else begin

    def summary(self) -> str:
        """The answer without the cells one by one."""
        cells = [cell for cell in self.cells() if cell.people is not None]
        if not cells:
            return self.answer()
        found = [(cell.people, self._against_of(cell)) for cell in cells if cell.people is not None]
        minutes = [c.minutes for c, _ in found]
        sizes = [self._size(c, against) for c, against in found]
        all_rated = not any(CONDITIONS[c.condition].answers for c, _ in found)
        how = "each time by ratings of all samples" if all_rated else "by ratings of all samples or of a few"
        return (
            f"People pay in {len(cells)} of {len(self.cells())} kinds of defects and tasks, {how} "
            f"({min(minutes):.0f} to {max(minutes):.0f} minutes; in models of {number(min(sizes))} to "
            f"{number(max(sizes))} operations a sample and more). In the others {NOTHING_ADDED}."
        )

    def paid(self, cell: Cell) -> str:
        """What people save in a cell, in how many minutes, from which size on, and what asking nobody saves."""
        c, against = cell.people, self._against_of(cell)
        assert c is not None
        without = "" if cell.without is None else f", without people {against} {_samples(cell.without)}"
        return (
            f"{SETTINGS[cell.setting].says}, {cell.task} ({c.condition} saves {_samples(c)} of the training samples in "
            f"{c.minutes:.0f} minutes{without}; from {number(self._size(c, against))} operations a sample on)"
        )

    def _against_of(self, cell: Cell) -> str:
        return CONTROL if cell.without is None else cell.without.condition

    def cells(self) -> list[Cell]:
        return [
            cell(self.records, self.found, task, setting)
            for setting in self._settings()
            for task in self.tasks
        ]

    def balance(self) -> str:
        """How much of what balancing classes saves is owed to a test set of balanced classes."""
        told = []
        for name in ("class_balance", "auto"):
            for task in self.tasks:
                parts = of_the_balanced_test(self.records, task, name)
                if parts is not None:
                    with_it, without, difference = parts
                    low, high = 100 * difference.low, 100 * difference.high
                    told.append(
                        f"{name}, {task}: {100 * with_it:.0f} % and {100 * without:.0f} % (difference "
                        f"{100 * difference.value:.0f} points [{low:.0f}, {high:.0f}])"
                    )
        if not told:
            return ""
        return (
            "How much of what balancing classes saves is owed to validation and test samples of balanced classes? "
            "Training samples saved with these, and with ones that have the pool's unequal classes: "
            f"{'; '.join(told)}."
        )

    def details(self) -> list[str]:
        checks = [f"{SETTINGS[s].says}: {line}" for s in self._settings() if (line := self._checks(s))]
        if checks:
            checks.insert(
                0, "The check of the answers: in how many runs they contradicted the automatic priorities."
            )
        return [*filter(None, [self.balance()]), *checks]

    def lines(self) -> list[str]:
        """A few lines for the terminal."""
        found = [QUESTION, self.answer(), "", *self.details(), ""]
        for task in self.tasks:
            for setting in self._settings():
                found.append(f"{task}, {SETTINGS[setting].says}: operations saved against {CONTROL}")
                found += [
                    f"  {c.condition:<18} {percent(c.flops):>20}  {c.minutes:6.1f} min  {verdict(c)}"
                    for c in self._of(task, setting)
                ]
        return found

    def write(self, path: Path) -> None:
        """The page as one file."""
        page = Page(QUESTION)
        page.question(
            "Second edition: few answers, chosen and propagated to all samples, beside priorities that need no people. "
            "For which defects do people pay, with how many minutes, and from which model size on?"
        )
        page.answer(self.answer())
        page.text(self._setup(), *self.details())
        page.section("For which defects people pay")
        self._by_defect(page)
        page.section("What was compared")
        trained = [c for c in CONDITIONS.values() if any(r["arm"] == c.name for r in self.records)]
        page.table(
            ["condition", "what it does"], [[c.name, c.says] for c in trained], caption="The conditions."
        )
        for setting in self._settings():
            page.section(SETTINGS[setting].says.capitalize())
            self._figure(page, setting)
            for task in self.tasks:
                self._setting(page, task, setting)
        page.section("What this cannot show")
        page.text(*([TOO_FEW] if any(c.few for c in self.found) else []), *LIMITS)
        page.provenance(self._provenance())
        page.write(path)

    def _setup(self) -> str:
        """What was done, what is compared with what, and what was chosen on which data."""
        sizes = ", ".join(f"{self.settings['sizes'][task]['pool']:,} ({task})" for task in self.tasks)
        return (
            f"Pools of {sizes} samples with synthetic defects; all ratings are of {self.raters}. Each condition trains "
            f"a small network until it meets a validation accuracy, on the same {len(self.settings['seeds'])} seeds. "
            f"What it saves is against {CONTROL}, which draws every sample once an epoch; {', '.join(AUTOMATIC)} ask "
            "nobody. People pay where the best condition with people saves samples beyond doubt, both against "
            f"{CONTROL} and against the best that asks nobody. The methods were mostly chosen on other seeds; "
            "the power of 2 that conditions with people raise their weights to was tried on reported ones."
        )

    def _by_defect(self, page: Page) -> None:
        page.text(
            "Systematic label noise moves samples from some classes to others, which makes classes unequal: where "
            "nothing else does, class balance sees these errors without people."
        )
        rows = []
        for one in self.cells():
            c, against = one.people, CONTROL if one.without is None else one.without.condition
            pays = "not shown" if c is None else f"{c.condition}, from {number(self._size(c, against))}"
            rows.append([
                SETTINGS[one.setting].says, one.task,
                *("" if c is None else f"{c.condition} {_samples(c)}" for c in (one.without, one.few)),
                "" if one.few is None else round(one.few.minutes, 1),
                "" if one.rated is None else _samples(one.rated),
                "" if one.rated is None else round(one.rated.minutes), pays,
            ])  # fmt: skip
        page.table(
            ["defects", "task", "best without people", "best with few answers", "minutes", "all rated", "minutes",
             "people pay, from operations a sample"],
            rows,
            caption=f"Training samples saved against {CONTROL}, 95 % intervals over seeds in pairs; {self.raters}. "
            '"At least" and "at most": runs that ended with their budget count as if they had met the target then.',
        )  # fmt: skip

    def _settings(self) -> list[str]:
        return [s for s in self.settings["settings"] if any(c.setting == s for c in self.found)]

    def _of(self, task: str, setting: str) -> list[Comparison]:
        found = {c.condition: c for c in self.found if (c.task, c.setting) == (task, setting)}
        return [found[name] for name in SECOND if name in found]

    def _against(self, c: Comparison, rival: str) -> Comparison | None:
        return compare(
            self.records,
            c.task,
            c.setting,
            c.condition,
            against=rival,
            against_setting=SETTINGS[c.setting].control,
        )

    def _size(self, c: Comparison, against: str) -> float:
        """Operations a sample of the smallest model that pays for the minutes in one run, in energy."""
        of = SETTINGS[c.setting].control
        control: Sequence[Record] = [
            r for r in self.records if (r["task"], r["setting"], r["arm"]) == (c.task, of, CONTROL)
        ]
        rival = c if against == CONTROL else self._against(c, against)
        base = [r for r in self.records if (r["task"], r["setting"], r["arm"]) == (c.task, of, against)]
        if rival is None or not base or not control:
            return float("inf")
        scale = float(np.mean([r["samples"] for r in base]))
        saved = type(rival.samples)(*(share * scale for share in rival.samples))
        return size_to_break_even(c.minutes, saved, 1, self.prices, "joules").value

    def _setting(self, page: Page, task: str, setting: str) -> None:
        rows: list[list[object]] = []
        for c in self._of(task, setting):
            rival = None if c.condition == "auto" else self._against(c, "auto")
            human = CONDITIONS[c.condition].human
            rows.append([
                c.condition, f"{c.against_reached} of {c.pairs}", f"{c.reached} of {c.pairs}", percent(c.flops),
                verdict(c), percent(c.samples), "" if rival is None else percent(rival.samples),
                points(c.accuracy), round(c.minutes, 1), number(self._size(c, CONTROL)) if human else "",
                number(self._size(c, "auto")) if human else "",
            ])  # fmt: skip
        if rows:
            page.table(
                [
                    "condition", "uniform reached", "reached", "operations saved", "verdict", "samples saved",
                    "samples saved against auto", "test accuracy at the end", "people's minutes",
                    "break-even size against uniform", "against auto",
                ],
                rows,
                caption=f"{task}, {SETTINGS[setting].says}: to {self._target(task):.0%} validation accuracy, 95 % "
                f"intervals over seeds in pairs; {self.raters}. Break-even: operations a sample from which one run "
                "pays for the minutes, in energy.",
            )  # fmt: skip

    def _figure(self, page: Page, setting: str) -> None:
        figure, axes = figures.panels(self.tasks)
        for axis, task in zip(axes, self.tasks, strict=True):
            figures.draw_savings(
                axis, {c.condition: c.samples for c in self._of(task, setting)}, "training samples"
            )
        page.figure(
            figure,
            f"{SETTINGS[setting].says.capitalize()}: training samples saved against {CONTROL}, with 95 % intervals; "
            f"red: without people. {self.raters.capitalize()}.",
        )

    def _checks(self, setting: str) -> str:
        """How often the answers contradicted the automatic priorities."""
        parts = []
        for task in self.tasks:
            for name in SECOND:
                checked = [
                    r["check"]["p_value"] < LEVEL
                    for r in self.records
                    if (r["task"], r["setting"], r["arm"]) == (task, setting, name) and "check" in r
                ]
                if checked and CONDITIONS[name].prior is None and CONDITIONS[name].chosen:
                    parts.append(f"{task}, {name}: {sum(checked)} of {len(checked)}")
        return f"{'; '.join(parts)}." if parts else ""


def _samples(c: Comparison) -> str:
    """Training samples saved, with what budgets that ended too early hide."""
    return f"{c.bound} {percent(c.samples)}".strip()

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
from .conditions import CONDITIONS, SECOND
from .formatting import number, percent, points, verdict
from .plan import SETTINGS
from .report import QUESTION, TOO_FEW, Report

AUTOMATIC = ("class_balance", "auto", "cleanlab")
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
        """A sentence for each setting and task."""
        told = [self.conclusion(task, setting) for setting in self._settings() for task in self.tasks]
        return " ".join(filter(None, told)) or "Nothing can be said: no condition was compared."

    def details(self) -> list[str]:
        return [f"{SETTINGS[s].says}: {line}" for s in self._settings() if (line := self._checks(s))]

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
            f"All ratings are of {self.raters}. For which defects do people pay, and from which model size on?"
        )
        page.answer(self.answer())
        page.text(*self.details())
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

    def _settings(self) -> list[str]:
        return [s for s in self.settings["settings"] if any(c.setting == s for c in self.found)]

    def _of(self, task: str, setting: str) -> list[Comparison]:
        found = {c.condition: c for c in self.found if (c.task, c.setting) == (task, setting)}
        return [found[name] for name in SECOND if name in found]

    def conclusion(self, task: str, setting: str) -> str:
        """A sentence: what people's answers save with these defects, and whether that is more than without them."""
        people = [c for c in self._of(task, setting) if CONDITIONS[c.condition].human]
        automatic = [c for c in self._of(task, SETTINGS[setting].control) if c.condition in AUTOMATIC]
        if not people:
            return ""
        # By samples: in models large enough to pay for people, signals cost next to nothing.
        best = max(people, key=lambda c: c.samples.value)
        begin = f"{SETTINGS[setting].says.capitalize()}, {task}:"
        if best.few:
            return f"{begin} {best.pairs} seeds are too few for a conclusion."
        without = max(automatic, key=lambda c: c.samples.value, default=None)
        rival = "" if without is None else f"; without human input {without.condition} {_samples(without)}"
        if best.samples.low <= 0 or best.bound == "at most":
            return f"{begin} people do not save training samples beyond doubt ({_samples(best)}){rival}."
        against = CONTROL if without is None else without.condition
        gain = best if without is None else self._against(best, against)
        worth = gain is not None and gain.samples.low > 0 and gain.bound != "at most"
        found = f"{begin} {best.condition} saves {_samples(best)} of the training samples in {best.minutes:.1f} minutes"
        if not worth:
            return f"{found}{rival}; people add nothing that is shown."
        return f"{found}{rival}; people pay, from {number(self._size(best, against))} operations a sample on."

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
        return f"answers contradicted the automatic priorities in {'; '.join(parts)} runs." if parts else ""


def _samples(c: Comparison) -> str:
    """Training samples saved, with what budgets that ended too early hide."""
    return f"{c.bound} {percent(c.samples)}".strip()

"""The README's "Does it work?" section, its picture, and what other pages quote, made from the results here.

``python docs/results/answers.py`` prints the sections, ``--write`` puts them into the README, docs/few_labels.md,
docs/sizes.md and docs/explanation.md, and draws ``scores.svg``, ``--check`` fails where one differs from the results.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hitl_fast._common.bootstrap import Interval
from hitl_fast.experiments.calibration import size_prediction, size_table
from hitl_fast.experiments.calibration.analysis import (
    SCORES,
    Findings,
    analyse,
)
from hitl_fast.experiments.calibration.datasets import HELD_OUT
from hitl_fast.experiments.calibration.label_mode_table import compare, section
from hitl_fast.experiments.calibration.report import answer, unseen
from hitl_fast.experiments.calibration.wording import cell, listed
from hitl_fast.experiments.common.journal import Record, read
from hitl_fast.experiments.guidance.breakeven import Prices
from hitl_fast.experiments.guidance.by_defect import of_the_balanced_test
from hitl_fast.experiments.guidance.formatting import percent, points
from hitl_fast.experiments.guidance.plan import MAIN
from hitl_fast.experiments.guidance.report import Report
from hitl_fast.experiments.guidance.second_edition import SecondReport

HERE = Path(__file__).parent
PICTURE = HERE / "scores.svg"
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "bench")]
import picture  # noqa: E402
from table import quote  # noqa: E402

# (set that effort is predicted from, the score that ranks it)
RIVALS = (
    ("effort score", "effort_score"),
    ("probe error", "probe_error"),
    ("1 - CKA", "cka"),
    ("accuracy drop", "accuracy_drop"),
    ("index", "index"),
    ("p", "distance"),
)
CONDITIONS = {
    "random_priority": "weights dealt to random samples (placebo)",
    "sampler": "samples drawn by rating",
    "loss": "loss weighted by rating",
    "sampler+loss": "both",
    "features": "penalty on features rated unimportant",
    "automatic": "high-loss samples first, without people",
}
FEW_ANSWERS = ("class_balance", "auto", "ask_54", "ask_54_prior", "ask_108", "ask_108_prior", "all")
LEGEND = (
    "`class_balance` draws rare classes more often; `auto` uses label doubt, near copies and class balance; `ask_54` "
    "is 54 answers, propagated to all samples, and `_prior` says that they are added to `auto`; `all` is every sample "
    'rated by three people. "At least", "at most" and "within the budget": runs that did not reach the target count as '
    "if they had at the end of the budget."
)
DEFECTS = ("all-defects", "systematic-noise", "all-four")


def sections(header: Mapping[str, Any], findings: Findings) -> tuple[str, dict[str, Interval]]:
    """Markdown with each question, its answer and its table; and the numbers of the picture."""
    report = Report(*read(HERE / "guidance" / "results.jsonl"), Prices())
    few = SecondReport(*read(HERE / "few_answers" / "results.jsonl"), Prices())
    text = "\n\n".join(
        [
            f"**Does human guidance save energy?** {report.answer()}",
            _guidance(report),
            f"**Do few answers suffice, and do they beat asking nobody?** {_few_answers_in_words(few)}",
            LEGEND,
            _few_answers(few),
            f"**Does PreIndex predict retraining cost?** {answer(findings)} {unseen(findings)}",
            _calibration(findings),
            f"{len(report.records) + len(few.records):,} trainings and {len(findings.rows):,} retrainings "
            f"({findings.censored} of them stopped at {header['settings']['cap']:,} steps and count as more than that) "
            f"on {header['machine']}, {header['date']}. Brackets are 95 % intervals.",
        ]
    )
    numbers = {SCORES[score]: findings.ranks[score]["within a model"]["spearman"] for _, score in RIVALS}
    return text, numbers


def rivals(findings: Findings) -> str:
    """Markdown: every score that the effort score was compared with."""
    behind = findings.behind
    order = sorted(behind, key=lambda score: behind[score].value)
    table = [
        [
            SCORES[score],
            cell(findings.ranks[score]["within a model"]["spearman"]),
            cell(behind[score]) if score in behind else "–",
            *(cell(by_score[score].spearman) for by_score in findings.alone.values()),
        ]
        for score in ("effort_score", *order)
    ]
    ahead_of = {"within a model": behind} | {
        f"{what} left out": {score: by_score[score].behind for score in order}
        for what, by_score in findings.alone.items()
    }
    told = [f"{where}, {_all_but(differences)}" for where, differences in ahead_of.items()]
    text = (
        f"All {len(SCORES)} scores of the {len(findings.rows):,} committed retrainings, as they were recorded. The "
        f"formula of the effort score was chosen on mnist; nothing was chosen on {HELD_OUT}. Behind it (paired "
        "difference on the same resamples of shift types, 95 % interval clear of 0) are, of "
        f"{len(order)} others: {'; '.join(told)}. Where something is left out, log(1 + steps) is a line in the score's "
        "quantile, fitted on the rest. Scores are turned so that higher is to mean more effort: a value below 0 says "
        "the opposite."
    )
    columns = [
        "Spearman with steps",
        "within a model",
        "behind",
        *(f"{what} left out" for what in findings.alone),
    ]
    return f"{text}\n\n{_table(columns, table)}"


def _all_but(behind: Mapping[str, Interval | None]) -> str:
    near = [
        SCORES[score] for score, difference in behind.items() if difference is None or not difference.low > 0
    ]
    return f"all but {listed(near)}" if near else "all"


def few_labels(records: Sequence[Record]) -> str:
    """Markdown on the scores without pairs and with few labels."""
    _, modes = read(HERE / "calibration" / "modes.jsonl")
    return section(records, modes, compare(records, modes))


def other_sizes() -> str:
    """Markdown on retrainings at two sizes of the training set and of the batch."""
    _, records = read(HERE / "calibration" / "sizes.jsonl")
    return size_table.section(records, size_table.compare(records))


def predicted_sizes(grid: Sequence[Record]) -> str:
    """Markdown on what a cost model of the grid predicts of them."""
    _, records = read(HERE / "calibration" / "sizes.jsonl")
    _, scores = read(HERE / "calibration" / "size_scores.jsonl")
    return size_prediction.section(grid, records, size_prediction.predict(grid, records, scores))


def _guidance(report: Report) -> str:
    """One line per condition, the tasks side by side."""
    found = {(c.task, c.condition): c for c in report.found if c.setting == MAIN}
    rows = []
    for name, text in CONDITIONS.items():
        of_tasks = [found[task, name] for task in report.tasks if (task, name) in found]
        rows.append(
            [
                text,
                *(f"{c.bound} {percent(c.flops)}".strip() for c in of_tasks),
                *(points(c.accuracy) for c in of_tasks),
            ]
        )
    columns = [
        "condition",
        *(f"{task}: operations saved" for task in report.tasks),
        *(f"{task}: accuracy at equal steps (points)" for task in report.tasks),
    ]
    return _table(columns, rows)


def _few_answers_in_words(report: SecondReport) -> str:
    """What the conditions save, the tasks side by side, and what the signals cost."""
    found = {(c.setting, c.condition, c.task): c for c in report.found}

    def saved(setting: str, condition: str) -> str:
        return " and ".join(
            f"{found[setting, condition, task].samples.value * 100:.0f} %" for task in report.tasks
        )

    def operations(task: str, condition: str, name: str) -> float:
        of = [
            r[name]
            for r in report.records
            if (r["task"], r["setting"], r["arm"]) == (task, DEFECTS[0], condition)
        ]
        return sum(of) / len(of)

    ratios = [
        operations(task, "auto", "detector_flops") / operations(task, "uniform", "flops")
        for task in report.tasks
    ]
    random, systematic, four = DEFECTS
    return (
        f"{report.summary()} Training samples saved ({' and '.join(report.tasks)}). Random defects: `auto`, without "
        f"people, {saved(random, 'auto')}; 54 answers on it {saved(random, 'ask_54_prior')}; all samples rated "
        f"{saved(random, 'all')}. Systematic label noise: `auto` {saved(systematic, 'auto')}; 108 answers "
        f"{saved(systematic, 'ask_108')}; all rated {saved(systematic, 'all')}; class balance alone, without people, "
        f"{saved(systematic, 'class_balance')}, as relabelling made classes unequal. All four together: all rated "
        f"{saved(four, 'all')}, `auto` {saved(four, 'auto')}, 108 answers {saved(four, 'ask_108')}. "
        f"{_balance(report)} The signals take "
        f"{' and '.join(f'{ratio:.1f}' for ratio in ratios)} times the operations of a whole training of these small "
        "models, which the page counts as spent."
    )


def _balance(report: SecondReport) -> str:
    """What class balance saves with a test set of balanced classes, and with one like the pool."""
    found = [of_the_balanced_test(report.records, task, "class_balance") for task in report.tasks]
    shares = [parts[:2] for parts in found if parts is not None]
    with_it, without = (" and ".join(f"{100 * share[side]:.0f} %" for share in shares) for side in (0, 1))
    return f"Where test samples are as unequal as the pool's, class balance saves {without} in place of {with_it}."


def _few_answers(report: SecondReport) -> str:
    """One line per condition, the defects and tasks side by side."""
    found = {(c.task, c.setting, c.condition): c for c in report.found}
    cells = [(task, setting) for setting in DEFECTS for task in report.tasks]
    rows = []
    for name in FEW_ANSWERS:
        of_cells = [found[task, setting, name] for task, setting in cells]
        minutes = sorted({round(c.minutes) for c in of_cells})
        rows.append(
            [
                f"`{name}`",
                " to ".join(map(str, minutes)),
                *(f"{c.bound} {percent(c.samples)}".strip() for c in of_cells),
            ]
        )
    told = {
        "all-defects": "random label noise, imbalance, near copies",
        "systematic-noise": "systematic label noise",
        "all-four": "all four",
    }
    columns = [
        "training samples saved",
        "people's minutes",
        *(f"{task}: {told[setting]}" for task, setting in cells),
    ]
    return _table(columns, rows)


def _calibration(findings: Findings) -> str:
    rows = [
        [
            SCORES[score],
            _text(findings.ranks[score]["within a model"]["spearman"]),
            *(_text(by_set[name].spearman) for by_set in findings.predictions.values()),
        ]
        for name, score in RIVALS
    ]
    columns = [
        "Spearman with steps to recover",
        "within a model",
        *(f"{what} left out" for what in findings.predictions),
    ]
    return _table(columns, rows)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, ["---"] * len(columns), *rows))


def _text(interval: Interval) -> str:
    return f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def main() -> int:
    header, records = read(HERE / "calibration" / "results.jsonl")
    findings = analyse(records)
    text, numbers = sections(header, findings)
    status = quote(
        __doc__ or "",
        ("README.md", "answers", text),
        ("docs/few_labels.md", "few labels", few_labels(records)),
        ("docs/sizes.md", "sizes", other_sizes()),
        ("docs/sizes.md", "predicted sizes", predicted_sizes(records)),
        ("docs/explanation.md", "rivals", rivals(findings)),
    )
    made = json.dumps({name: _text(value) for name, value in numbers.items()})
    if "--write" in sys.argv:
        picture.draw(numbers, made, PICTURE)
    elif "--check" in sys.argv and picture.data_of(PICTURE) != made:
        print(f"{PICTURE.name} is out of date: run python {sys.argv[0]} --write")
        status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())

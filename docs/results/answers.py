"""The README's "Does it work?" section, made from the results beside this file.

``python docs/results/answers.py`` prints it, ``--write`` puts it into the README, ``--check`` fails where they differ.
"""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from hitl_fast._common.bootstrap import Interval
from hitl_fast.experiments.calibration.analysis import SCORES, Findings, analyse
from hitl_fast.experiments.calibration.report import answer, unseen
from hitl_fast.experiments.common.journal import read
from hitl_fast.experiments.guidance.breakeven import Prices
from hitl_fast.experiments.guidance.conditions import ARMS
from hitl_fast.experiments.guidance.plan import MAIN
from hitl_fast.experiments.guidance.report import Story, percent, points

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "bench"))
from table import quote  # noqa: E402

# (set that effort is predicted from, the score that ranks it)
RIVALS = (
    ("probe error", "probe_error"),
    ("1 - CKA", "cka"),
    ("accuracy drop", "accuracy_drop"),
    ("inverse ARI", "inverse_ari"),
    ("index", "index"),
    ("p", "distance"),
)


def section() -> str:
    """Markdown: each question, its answer in words, and the table that it rests on."""
    story = Story(*read(HERE / "guidance" / "results.jsonl"), Prices())
    header, records = read(HERE / "calibration" / "results.jsonl")
    findings = analyse(records)
    return "\n\n".join(
        [
            f"**Does human guidance save energy?** {story.answer()}",
            *_guidance(story),
            f"**Does PreIndex predict retraining cost?** {answer(findings)} {unseen(findings)}",
            _calibration(findings),
            f"{len(story.records):,} trainings and {len(findings.rows):,} retrainings ({findings.censored} of these "
            f"were given up at {header['settings']['cap']:,} steps and count as more than that) on "
            f"{header['machine']}, {header['date']}; intervals are of 95 %. Full tables, plots, seeds and versions: "
            "[docs/results/guidance](docs/results/guidance/results.html), "
            "[docs/results/calibration](docs/results/calibration/results.html).",
        ]
    )


def _guidance(story: Story) -> Iterable[str]:
    for task in story.tasks:
        rows = [
            [
                c.arm,
                ARMS[c.arm].says,
                f"{c.bound} {percent(c.flops)}".strip(),
                points(c.accuracy),
                f"{c.minutes:,.0f}",
            ]
            for c in story.found
            if (c.task, c.setting) == (task, MAIN)
        ]
        columns = [
            f"{task}: arm",
            "",
            "operations saved to the target",
            "accuracy, equal steps (points)",
            "people's minutes",
        ]
        yield _table(columns, rows)


def _calibration(findings: Findings) -> str:
    rows = [
        [
            SCORES[score],
            _said(findings.ranks[score]["within a model"]["spearman"]),
            *(_said(by_set[name].spearman) for by_set in findings.predictions.values()),
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


def _said(interval: Interval) -> str:
    return f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


if __name__ == "__main__":
    sys.exit(quote("answers", section(), __doc__ or ""))

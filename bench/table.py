"""The tables of numbers in README.md (a selection) and docs/benchmarks.md (all), made from the newest rows.

``python bench/table.py`` prints them, ``--write`` puts them into the files, ``--check`` fails where they differ.
"""

import argparse
import csv
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench" / "results"

# file | provider | metric | regular expression that the shape contains | description | target
# A leading + also shows the row in the README.
ROWS = [
    tuple(cell.strip() for cell in line.split("|"))
    for line in r"""
+ shift_distances | reference / hitl | ratio | | `shift_distances` against its NumPy definition | >= 500x
+ preindex | preindex / bare forward | ratio | N=1024 | `preindex` against bare ResNet-18, 1,024 pairs | <= 1.09x
preindex | preindex without the two / bare forward | ratio | N=1024 | the same without the effort score and the check of rows | <= 1.05x
preindex | checking | share | N=1000 | the check of rows, ResNet-18, 1,000 pairs | <= 2 %
effort_score | effort score / bare forward | ratio | 224 px | effort score over the forward pass, ResNet-18 at 224 pixels, 1,000 pairs | <= 0.02x
after_pass | after-pass / forward | ratio | ResNet-18 32x32 N=50000 | what follows the forward pass over it, ResNet-18, 50,000 pairs, 1,000 classes | <= 0.1x
after_pass | after-pass / forward | ratio | small CNN 8x8 N=100000 | the same, small CNN, 100,000 pairs, 10 classes | <= 0.5x
ranks | forward, 1 rank / 2 ranks | ratio | | forward of two ranks of one thread against one | >= 1.7x
ranks | after-pass, 1 rank / 2 ranks | ratio | | what follows it, two ranks against one | >= 1.3x
cold_start | kernels of preindex | CPU time | empty cache | CPU time of a first process, kernels not compiled yet | <= 6 s
cold_start | kernels of preindex | CPU time | warm cache | CPU time of a first process, kernels compiled |
preindex | preindex / bare forward | ratio | SmallResNet | `preindex` against bare SmallResNet, 8x8 images | <= 1.5x
preindex | peak over bare, N=10000 | memory | | peak memory over the bare model, 10,000 samples |
preindex | peak over bare, N=100000 | memory | | peak memory over the bare model, 100,000 samples | +- 10 %
+ lloyd | sklearn / hitl | ratio | D=512 K=100 noise | `lloyd` an iteration, N=50,000 D=512 K=100 | >= 1.3x
lloyd | sklearn / hitl | ratio | D=64 K=10 noise | `lloyd` an iteration, N=300,000 D=64 K=10 | >= 1.3x
lloyd | sklearn / hitl | ratio | D=8192 K=100 noise | `lloyd` an iteration, N=5,000 D=8,192 K=100 |
+ rand_index | sklearn / hitl | ratio | classes=10\b | `rand_index`, N=1,000,000, 10 classes | >= 30x
rand_index | sklearn / hitl | ratio | 100 hashes | `rand_index`, N=1,000,000, 100 classes named by hashes |
+ sampling_epoch | WeightedRandomSampler / PrioritySampler | ratio | N=10000000 | `PrioritySampler` against WeightedRandomSampler, an epoch of 10^7 | >= 4x
sampling_epoch_batches | WeightedRandomSampler / PriorityBatchSampler | ratio | N=10000000 | `PriorityBatchSampler` against WeightedRandomSampler, an epoch of 10^7 | >= 15x
alias_table | numpy choice / hitl | ratio | N=1000000 | alias table, 10^6 built and drawn, against NumPy | >= 15x
alias_table | scipy DiscreteAliasUrn / hitl | ratio | N=1000000 | alias table, 10^6 built and drawn, against SciPy | >= 1.5x
alias_table | hitl / copy of its bytes | ratio | N=1000000 | alias table against a copy of the bytes it moves | <= 1.5x
priority_tree_update | PriorityTree | time | N=1000000\b | `PriorityTree`, 256 updates of 10^6 | <= 15 us
+ priority_tree_update | cpprb / PriorityTree | ratio | N=1000000\b | `PriorityTree`, 256 updates of 10^6, against cpprb | > 1x
priority_tree_draw | PriorityTree | time | N=1000000\b | `PriorityTree`, 256 draws of 10^6 | <= 30 us
priority_tree_draw | cpprb / PriorityTree | ratio | | `PriorityTree`, 256 draws of 10^6, against cpprb | > 1x
+ exponential_keys | torch multinomial / hitl | ratio | N=1000000 | without replacement against torch | >= 15x
exponential_keys | hitl / copy of its bytes | ratio | N=1000000 | without replacement against a copy of the bytes it moves | <= 1.5x
ratings_read | hitl csv | time | | `Ratings.read`, 10^6 rows of CSV |
+ rater_model | hitl to 1e-6 | time | | `rater_model`, 10^6 ratings | <= 5 s
rater_model | calibrated / mean | worst | | calibrated error over the mean's, worst of 20 seeds | < 1x
weighted_cross_entropy | torch eager / hitl_fast | ratio | C=10$ | `weighted_cross_entropy` against eager PyTorch, C=10 | >= 5x
+ weighted_cross_entropy | torch eager / hitl_fast | ratio | C=1000$ | `weighted_cross_entropy` against eager PyTorch, C=1,000 | >= 4x
weighted_cross_entropy | torch eager / hitl_fast | ratio | C=50257$ | `weighted_cross_entropy` against eager PyTorch, C=50,257 | >= 2x
weighted_linear_cross_entropy | hitl_fast | extra peak memory | | last layer and loss, extra peak memory |
weighted_linear_cross_entropy | torch eager | extra peak memory | | last layer and eager loss, extra peak memory |
weighted_linear_cross_entropy | torch eager / hitl_fast | ratio | | last layer and loss against eager PyTorch | >= 0.91x
weighted_cross_entropy | hitl_fast | extra peak memory | | `weighted_cross_entropy`, extra peak memory | <= 1 logits
feature_importance | plain | accuracy without shortcut | | digits with a synthetic shortcut: accuracy of plain training |
feature_importance | penalty | accuracy without shortcut | | digits with a synthetic shortcut: `feature_importance_penalty` | >= 10 points more
trainer_memory | hitl_fast / transformers.Trainer | memory ratio | | fused loss, extra peak memory of a step against transformers.Trainer | <= 0.35x
trainer_memory | hitl_fast / trl SFTTrainer | memory ratio | | the same against TRL's SFTTrainer | <= 1.1x
people | signals | time | | `Signals.of`, 50,000 x 512, 100 classes | <= 60 s
people | questions | time | | `ask_next(54)` of 10^6 items | <= 5 s
people | propagate | time | | `propagate` from 500 answers to 10^6 items | <= 20 s
energy | hitl_fast | opening edge | | `EnergyMeter`, opening a window | <= 10 us
+ energy | hitl_fast | closing edge | | `EnergyMeter`, closing a window | <= 10 us
energy | zeus | closing edge | | Zeus, closing a window |
energy | hitl_fast sampler | CPU of one core | \b10 Hz | sampler of `EnergyMeter` at 10 Hz, of one core | <= 0.15 %
energy | a thread that only sleeps | CPU of one core | \b10 Hz | a thread that only sleeps, at 10 Hz |
energy | hitl_fast sampler | CPU of one core | \b100 Hz | sampler of `EnergyMeter` at 100 Hz, of one core | <= 0.4 %
energy | a thread that only sleeps | CPU of one core | \b100 Hz | a thread that only sleeps, at 100 Hz |
energy | hitl_fast | import | | `import hitl_fast.energy` | <= 60 ms
energy | hitl_fast | first start | | first start of an `EnergyMeter` | <= 20 ms
+ import | hitl_fast | time | | `import hitl_fast` | <= 50 ms
""".strip().splitlines()  # noqa: E501
]


class Row(NamedTuple):
    """A line of the tables: where its number comes from, how it reads, and whether the README has it too."""

    file: str
    provider: str
    metric: str
    shape: str
    text: str
    target: str
    in_readme: bool


def rows() -> list[Row]:
    found = []
    for cells in ROWS:
        shown = cells[0].startswith("+ ")
        found.append(Row(cells[0].removeprefix("+ "), *cells[1:], shown))
    return found


def table(selection: Sequence[Row]) -> str:
    """Markdown, one line per number. The machine of most numbers is named once, others in their line."""
    measured = [(row, newest(row)) for row in selection]
    usual = Counter(_where(found) for _, found in measured if found).most_common(1)[0][0]
    lines = ["| | target | median | 20 % to 80 % |", "|---|---|---|---|"]
    for row, found in measured:
        if found is None:
            lines.append(f"| {row.text} | {row.target} | not measured | |")
            continue
        unit = found["unit"] if found["unit"] == "x" else f" {found['unit']}"
        other = "" if _where(found) == usual else f" ({_apart(found, usual)})"
        lines.append(
            f"| {row.text}{other} | {row.target} | {found['p50']}{unit} | {found['p20']} to {found['p80']} |"
        )
    return "\n".join([f"Measured on {usual}.", "", *lines])


def _where(found: dict[str, str]) -> str:
    return f"{found['device'].partition(', load')[0]}, {found['date']}"


def _apart(found: dict[str, str], usual: str) -> str:
    """Where and when, without the machine if it is the one of most numbers."""
    machine = found["device"].partition(", load")[0]
    return found["date"] if usual.startswith(f"{machine}, ") else _where(found)


def newest(row: Row) -> dict[str, str] | None:
    """The last measurement appended for this row."""
    path = RESULTS / f"{row.file}.csv"
    if not path.exists():
        return None
    with path.open(newline="") as file:
        found = [
            line
            for line in csv.DictReader(file)
            if (line["provider"], line["metric"]) == (row.provider, row.metric)
            and re.search(row.shape, line["shape"])
        ]
    return found[-1] if found else None


def quote(description: str, *parts: tuple[str, str, str]) -> int:
    """Print generated sections, write them between their marks, or check that they are there: as the caller asks.

    Args:
        description: for --help.
        parts: (file below the root, mark, markdown); ``<!-- MARK: made by SCRIPT -->`` precedes the place in the file
            and ``<!-- end of MARK -->`` follows it.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    status = 0
    for name, mark, made in parts:
        path = ROOT / name
        begin, end = f"<!-- {mark}: made by {Path(sys.argv[0]).name} -->", f"<!-- end of {mark} -->"
        text = path.read_text()
        before, found, rest = text.partition(begin)
        _, ended, after = rest.partition(end)
        if not (found and ended):
            raise ValueError(f"{name} lacks {begin} or {end}")
        whole = f"{before}{begin}\n{made}\n{end}{after}"
        if arguments.write:
            path.write_text(whole)
        elif arguments.check and whole != text:
            print(f"{name} is out of date: run python {sys.argv[0]} --write")
            status = 1
        elif not arguments.check:
            print(made)
    return status


if __name__ == "__main__":
    sys.exit(
        quote(
            __doc__ or "",
            ("README.md", "numbers", table([row for row in rows() if row.in_readme])),
            ("docs/benchmarks.md", "all numbers", table(rows())),
        )
    )

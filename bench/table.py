"""The README's table of numbers, made from the newest rows in bench/results/.

``python bench/table.py`` prints it, ``--write`` puts it into the README, ``--check`` fails where they differ.
"""

import argparse
import csv
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench" / "results"

# file | provider | metric | what the shape has (a regular expression) | words | aim
ROWS = [
    tuple(cell.strip() for cell in line.split("|"))
    for line in r"""
shift_distances | reference / hitl | ratio | | `shift_distances` against its NumPy definition | >= 500x
preindex | preindex / bare forward | ratio | ResNet-18 | `preindex` against bare ResNet-18 | <= 1.05x
preindex | preindex / bare forward | ratio | SmallResNet | the same, SmallResNet, 8x8 images | <= 1.5x
preindex | peak over bare, N=10000 | memory | | peak memory over the bare model, 10,000 samples |
preindex | peak over bare, N=100000 | memory | | the same, 100,000 samples | +- 10 %
lloyd | sklearn / hitl | ratio | D=512 K=100 noise | `lloyd` an iteration, N=50,000 D=512 K=100 | >= 1.3x
lloyd | sklearn / hitl | ratio | D=64 K=10 noise | the same, N=300,000 D=64 K=10 | >= 1.3x
lloyd | sklearn / hitl | ratio | D=8192 K=100 noise | the same, N=5,000 D=8,192 K=100 |
rand_index | sklearn / hitl | ratio | classes=10\b | `rand_index`, N=1,000,000, 10 classes | >= 30x
rand_index | sklearn / hitl | ratio | 100 hashes | the same, 100 classes named by hashes |
sampling_epoch | WeightedRandomSampler / PrioritySampler | ratio | N=10000000 | `PrioritySampler` against WeightedRandomSampler, an epoch of 10^7 | >= 4x
sampling_epoch_batches | WeightedRandomSampler / PriorityBatchSampler | ratio | N=10000000 | the same as index tensors, `PriorityBatchSampler` | >= 15x
alias_table | numpy choice / hitl | ratio | N=1000000 | alias table, 10^6 built and drawn, against NumPy | >= 15x
alias_table | scipy DiscreteAliasUrn / hitl | ratio | N=1000000 | the same against SciPy's | >= 1.5x
priority_tree_update | PriorityTree | time | N=1000000\b | `PriorityTree`, 256 updates of 10^6 | <= 15 us
priority_tree_update | cpprb / PriorityTree | ratio | N=1000000\b | the same against cpprb | > 1x
priority_tree_draw | PriorityTree | time | N=1000000\b | `PriorityTree`, 256 draws of 10^6 | <= 30 us
priority_tree_draw | cpprb / PriorityTree | ratio | | the same against cpprb | > 1x
exponential_keys | torch multinomial / hitl | ratio | N=1000000 | without replacement against torch | >= 15x
ratings_read | hitl csv | time | | `Ratings.read`, 10^6 rows of CSV |
rater_model | hitl to 1e-6 | time | | `rater_model`, 10^6 ratings | <= 5 s
rater_model | calibrated / mean | worst | | calibrated error over the mean's, worst of 20 seeds | < 1x
weighted_cross_entropy | torch eager / hitl_fast | ratio | C=10$ | `weighted_cross_entropy` against eager, C=10 | >= 5x
weighted_cross_entropy | torch eager / hitl_fast | ratio | C=1000$ | the same, C=1,000 | >= 4x
weighted_cross_entropy | torch eager / hitl_fast | ratio | C=50257$ | the same, C=50,257 | >= 2x
weighted_linear_cross_entropy | hitl_fast | extra peak memory | | last layer and loss, extra peak memory |
weighted_linear_cross_entropy | torch eager | extra peak memory | | the same, eager |
weighted_linear_cross_entropy | torch eager / hitl_fast | ratio | | the same, time of eager over ours | >= 0.91x
weighted_cross_entropy | hitl_fast | extra peak memory | | `weighted_cross_entropy`, extra peak memory | <= 1 logits
feature_importance | plain | accuracy without shortcut | | digits with a planted shortcut: plain training |
feature_importance | penalty | accuracy without shortcut | | the same, `feature_importance_penalty` | >= 10 points more
energy | hitl_fast | opening edge | | `EnergyMeter`, opening a window | <= 10 us
energy | hitl_fast | closing edge | | the same, closing it | <= 10 us
energy | zeus | closing edge | | the same, Zeus |
energy | hitl_fast sampler | CPU of one core | \b10 Hz | its sampler at 10 Hz, of one core | <= 0.15 %
energy | a thread that only sleeps | CPU of one core | \b10 Hz | the same, a thread that only sleeps |
energy | hitl_fast sampler | CPU of one core | \b100 Hz | its sampler at 100 Hz, of one core | <= 0.6 %
energy | a thread that only sleeps | CPU of one core | \b100 Hz | the same, a thread that only sleeps |
energy | hitl_fast | import | | `import hitl_fast.energy` | <= 60 ms
energy | hitl_fast | first start | | its first start | <= 20 ms
import | hitl_fast | time | | `import hitl_fast` | <= 50 ms
""".strip().splitlines()  # noqa: E501
]


def table() -> str:
    """Markdown, a line a number; a number that was never measured is said to be."""
    lines = ["| | aim | median | 20 % to 80 % | measured on |", "|---|---|---|---|---|"]
    for name, provider, metric, shape, words, aim in ROWS:
        row = newest(name, provider, metric, shape)
        if row is None:
            lines.append(f"| {words} | {aim} | not measured | | |")
            continue
        unit = row["unit"] if row["unit"] == "x" else f" {row['unit']}"
        hardware = row["device"].partition(", load")[0]
        found = f"{row['p50']}{unit} | {row['p20']} to {row['p80']}"
        lines.append(f"| {words} | {aim} | {found} | {hardware}, {row['date']} |")
    return "\n".join(lines)


def newest(name: str, provider: str, metric: str, shape: str) -> dict[str, str] | None:
    """The last row appended for these."""
    path = RESULTS / f"{name}.csv"
    if not path.exists():
        return None
    with path.open(newline="") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if (row["provider"], row["metric"]) == (provider, metric) and re.search(shape, row["shape"])
        ]
    return rows[-1] if rows else None


def quote(mark: str, made: str, told: str) -> int:
    """Print what was made, write it between its marks in the README, or check that it is there: as the caller asks.

    Args:
        mark: what follows ``<!--`` before the place; ``<!-- end of ...`` follows it.
        made: markdown.
        told: for --help.
    """
    parser = argparse.ArgumentParser(description=told)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    readme = ROOT / "README.md"
    begin, end = f"<!-- {mark}: made by {Path(sys.argv[0]).name} -->", f"<!-- end of {mark} -->"
    text = readme.read_text()
    before, found, rest = text.partition(begin)
    _, ended, after = rest.partition(end)
    if not (found and ended):
        raise ValueError(f"README.md lacks {begin} or {end}")
    whole = f"{before}{begin}\n{made}\n{end}{after}"
    if arguments.write:
        readme.write_text(whole)
    elif arguments.check and whole != text:
        print(f"README.md differs from what it quotes: run python {sys.argv[0]} --write")
        return 1
    elif not arguments.check:
        print(made)
    return 0


if __name__ == "__main__":
    sys.exit(quote("numbers", table(), __doc__ or ""))

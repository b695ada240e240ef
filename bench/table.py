"""The README's table of numbers, made from the newest rows in bench/results/.

``python bench/table.py`` prints it, ``--write`` puts it into the README, ``--check`` fails where they differ.
"""

import argparse
import csv
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench" / "results"
BEGIN, END = "<!-- numbers: made by bench/table.py -->", "<!-- end of numbers -->"

# what is told: (file, provider, metric, part of the shape), words, the aim as text
ROWS = (
    (
        "shift_distances",
        "reference / hitl",
        "ratio",
        "",
        "`shift_distances` against its NumPy definition",
        ">= 500x",
    ),
    (
        "preindex",
        "preindex / bare forward",
        "ratio",
        "ResNet-18",
        "`preindex` against the bare model, ResNet-18",
        "<= 1.05x",
    ),
    (
        "preindex",
        "preindex / bare forward",
        "ratio",
        "SmallResNet",
        "the same, SmallResNet (8x8 images)",
        "<= 1.5x",
    ),
    (
        "preindex",
        "peak N=100,000 / N=10,000",
        "ratio",
        "",
        "peak memory, 100,000 samples against 10,000",
        "<= 1.1x",
    ),
    ("import", "hitl_fast", "time", "", "`import hitl_fast`", "<= 50 ms"),
)


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
            if (row["provider"], row["metric"]) == (provider, metric) and shape in row["shape"]
        ]
    return rows[-1] if rows else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    readme = ROOT / "README.md"
    text = readme.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    made = f"{before}{BEGIN}\n{table()}\n{END}{after}"
    if arguments.write:
        readme.write_text(made)
    elif arguments.check and made != text:
        print("README.md and bench/results/ differ: run python bench/table.py --write")
        return 1
    elif not arguments.check:
        print(table())
    return 0


if __name__ == "__main__":
    sys.exit(main())

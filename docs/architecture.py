"""The picture of the architecture in CONTRIBUTING.md, made from the imports of the code.

``python docs/architecture.py`` prints it, ``--write`` puts it into the file, ``--check`` fails where they differ.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "bench")]
from table import quote  # noqa: E402
from test_imports import imports_of, modules, part_of  # noqa: E402

ENTRY_POINTS = ("hitl_fast", "hitl_fast.__main__")  # these bind names of all parts


def edges() -> set[tuple[str, str]]:
    """(importing part, imported part); without ``_common``, which every part may import."""
    found = set()
    for name, path in modules():
        if name in ENTRY_POINTS:
            continue
        for target in imports_of(name, path):
            pair = (part_of(name), part_of(target))
            if pair[0] != pair[1] and not {"hitl_fast._common", "hitl_fast", "hitl_fast.__version__"} & set(
                pair
            ):
                found.add(pair)
    return found


def reduced(pairs: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Without the pairs that follow from a longer path, so that the picture stays readable."""
    targets = {part: {b for a, b in pairs if a == part} for part, _ in pairs}

    def reachable(start: str) -> set[str]:
        found: set[str] = set()
        for part in targets.get(start, ()):
            found |= {part} | reachable(part)
        return found

    return {(a, b) for a, b in pairs if not any(b in reachable(middle) for middle in targets[a] - {b})}


def mermaid() -> str:
    def label(part: str) -> str:
        return part.removeprefix("hitl_fast.")

    lines = [f"    {label(a)} --> {label(b)}" for a, b in sorted(reduced(edges()))]
    return "\n".join(["```mermaid", "graph TD", *lines, "```"])


if __name__ == "__main__":
    sys.exit(quote(__doc__ or "", ("CONTRIBUTING.md", "architecture", mermaid())))

"""Imports point one way, and ``import hitl_fast`` loads no heavy module."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("energy", "losses", "ratings", "sampling", "shift")
LAZY_HOME = re.compile(r"hitl_(fast|kernels)(\.\w+)+")  # homes of lazily imported names are strings
HEAVY = ("torch", "numba", "triton", "numpy")

# Who may import whom inside the project. A package may import itself, and everybody may import `_common`.
APIS = {f"hitl_fast.{name}" for name in PACKAGES}
ON_APIS = {"hitl_fast.cost", "hitl_fast.integrations"}
MAY_IMPORT = {
    "hitl_kernels": set(),
    "hitl_fast._common": set(),
    **{package: {"hitl_kernels"} for package in APIS},
    **{package: {"hitl_kernels", *APIS} for package in ON_APIS},
    "hitl_fast.experiments": {"hitl_kernels", *APIS, *ON_APIS},
    "hitl_fast.demo": {"hitl_fast.experiments", *APIS, *ON_APIS},
    "hitl_fast.doctor": {"hitl_fast.energy"},
    "hitl_fast.warm": {"hitl_kernels"},
    "hitl_fast.cli": {
        *(f"hitl_fast.{name}" for name in ("demo", "doctor", "experiments", "warm")),
        *APIS,
        *ON_APIS,
    },
}


def part_of(module: str) -> str:
    """The part of the project that a module belongs to: ``hitl_fast.energy.sensors.rapl`` -> ``hitl_fast.energy``."""
    names = module.split(".")
    return names[0] if names[0] == "hitl_kernels" else ".".join(names[:2])


def modules() -> list[tuple[str, Path]]:
    found = []
    for base, package in ((ROOT, "hitl_fast"), (ROOT / "kernels", "hitl_kernels")):
        for path in sorted((base / package).rglob("*.py")):
            name = ".".join(path.relative_to(base).with_suffix("").parts)
            found.append((name.removesuffix(".__init__"), path))
    return found


def imports_of(name: str, path: Path) -> set[str]:
    """Every project module that the file imports anywhere, in a function or under TYPE_CHECKING too."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = parents[: len(parents) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            # `from . import rapl` imports a module, `from .rapl import Domain` a name: the prefix decides.
            found |= {f"{origin}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and LAZY_HOME.fullmatch(str(node.value)):
            # A logger or a file format may be named after the module's own package.
            found |= {str(node.value)} - {package, package.rpartition(".")[0]}
    return {module for module in found if module.split(".")[0] in ("hitl_fast", "hitl_kernels")}


# The package itself binds the public names of all packages, and the entry point calls the command line.
WITH_RULE = [(name, path) for name, path in modules() if name not in ("hitl_fast", "hitl_fast.__main__")]


@pytest.mark.parametrize(
    ("name", "path"), WITH_RULE, ids=lambda value: value if isinstance(value, str) else ""
)
def test_imports_point_one_way(name: str, path: Path) -> None:
    part = part_of(name)
    allowed = MAY_IMPORT[part] | {part, "hitl_fast.__version__"}
    if part != "hitl_kernels":
        allowed |= {"hitl_fast._common"}
    wrong = {module for module in imports_of(name, path) if part_of(module) not in allowed}
    assert not wrong, f"{name} must not import {sorted(wrong)}"


def test_the_rule_finds_a_forbidden_import(tmp_path: Path) -> None:
    path = tmp_path / "rapl.py"
    path.write_text("def f():\n    from ...sampling import tree\n    import hitl_fast.losses\n")
    assert imports_of("hitl_fast.energy.sensors.rapl", path) == {
        "hitl_fast.sampling.tree",
        "hitl_fast.losses",
    }


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other: strongly connected components of two or more (Tarjan, 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(graph[name]):
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                found.append(sorted(group))

    for name in sorted(graph):
        if name not in index:
            visit(name)
    return found


def import_graph(files: list[tuple[str, Path]]) -> dict[str, set[str]]:
    """Module -> modules it imports anywhere; of `from package import name` the module that has the name, if one has."""
    known = {name for name, _ in files}
    graph = {}
    for name, path in files:
        wanted = imports_of(name, path)
        modules = {module if module in known else module.rpartition(".")[0] for module in wanted}
        graph[name] = (modules & known) - {name}
    return graph


def test_no_import_circles() -> None:
    """Counting imports in functions and under TYPE_CHECKING too."""
    assert circles(import_graph(modules())) == []


def test_circles_are_seen(tmp_path: Path) -> None:
    texts = {
        "a": "from .b import x",
        "b": "def f():\n    from . import c",
        "c": "import hitl_fast.a",
        "d": "from . import a",
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.py").write_text(text)
    files = [(f"hitl_fast.{name}", tmp_path / f"{name}.py") for name in texts]
    assert circles(import_graph(files)) == [["hitl_fast.a", "hitl_fast.b", "hitl_fast.c"]]


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sorted(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(run.stdout.split())


@pytest.mark.parametrize("statement", ["import hitl_fast", "import hitl_fast.cli"])
def test_the_package_alone_imports_nothing_heavy(statement: str) -> None:
    assert not loaded_by(statement) & set(HEAVY)


def test_every_public_name_is_found() -> None:
    import hitl_fast

    for name in hitl_fast.__all__:
        assert getattr(hitl_fast, name) is not None
    with pytest.raises(AttributeError, match="preindx"):
        _ = hitl_fast.preindx

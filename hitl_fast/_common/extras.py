"""What the optional dependencies (extras) of the installed package lack."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator

REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(\[(?P<extras>[\w,\s-]+)\])?.*?(;(?P<marker>.*))?$")
MARKER = re.compile(r"extra == ['\"](?P<extra>[\w-]+)['\"]")


def missing(extra: str, package: str = "hitl-fast") -> list[str]:
    """Distributions that the extra would install and that are not installed, in the order of its declaration.

    The answer comes from the metadata of the installed package, so that no list of modules can go out of date. An
    empty list also where there is no metadata (a source tree on the path without an installation).

    >>> missing("no such extra")
    []
    """
    found = []
    for name in _distributions(extra, package):
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found.append(name)
    return list(dict.fromkeys(found))


def _distributions(extra: str, package: str) -> Iterator[str]:
    """Names that ``package[extra]`` requires; its own further extras (``package[other]``) are followed."""
    try:
        requirements = importlib.metadata.requires(package) or []
    except importlib.metadata.PackageNotFoundError:
        return
    for requirement in requirements:
        parts = REQUIREMENT.match(requirement)
        marker = MARKER.search(parts["marker"] or "") if parts else None
        if parts is None or marker is None or marker["extra"] != extra:
            continue
        if parts["name"].replace("_", "-").lower() != package:
            yield parts["name"]
            continue
        for other in (parts["extras"] or "").split(","):
            yield from _distributions(other.strip(), package)

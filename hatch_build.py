"""Build hook: distributions hold tracked files alone, also when they are built from a tree with other files in it."""

from __future__ import annotations

import subprocess
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class TrackedFilesOnly(BuildHookInterface):
    """Exclude what git does not track. Without git, as when building from an sdist, everything is taken."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        command = ["git", "ls-files", "--others", "-z"]
        try:
            run = subprocess.run(command, cwd=self.root, capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return
        untracked = [name for name in run.stdout.decode().split("\0") if name]
        excluded = self.build_config.target_config.setdefault("exclude", [])
        excluded += [f"/{_literal(name)}" for name in untracked]


def _literal(name: str) -> str:
    """A pattern of .gitignore that matches this name alone."""
    return "".join(f"\\{c}" if c in "\\*?[]!# " else c for c in name)

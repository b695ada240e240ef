"""``hitl-fast warm``: compile the kernels once, at installation time, instead of at the first calls."""

from __future__ import annotations

import argparse

from hitl_fast._common.errors import InputError


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = """\
Compiled code goes to Numba's cache: the folder NUMBA_CACHE_DIR if it is set, else beside the installed package,
else the user's cache folder, else a private folder in the temporary folder. In a container image, run it while
the image is built, as the user that will run the programs, or set NUMBA_CACHE_DIR to one folder for both.

example:
  hitl-fast warm
"""


def run(arguments: argparse.Namespace) -> int:
    import hitl_kernels
    from hitl_kernels import policy

    folder = policy.cache_folder()
    if folder is None:
        raise InputError(
            "there is no folder to keep compiled code in: set NUMBA_CACHE_DIR to one that this user can write to"
        )
    total = 0.0
    for name, seconds in hitl_kernels.warm():
        print(f"{name:<24}{seconds:7.1f} s", flush=True)
        total += seconds
    print(f"{'all':<24}{total:7.1f} s  cache: {folder or 'where Numba puts it'}")
    return 0

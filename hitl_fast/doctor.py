"""``hitl-fast doctor``: one line per library, device and sensor, with the reason where one is missing."""

import argparse
import importlib.metadata
import os
import platform
from collections.abc import Callable, Iterator
from typing import NamedTuple

from hitl_fast._common.extras import missing

EXTRAS = {
    "gpu": "CUDA tensors",
    "plots": "plots",
    "ratings": "ratings and Parquet files",
    "cost": "CostModel and hitl-fast decide",
    "demo": "hitl-fast demo",
    "experiment": "hitl-fast experiment",
    "completion": "completion of commands in the shell",
}


class Finding(NamedTuple):
    """One line of the report: what was checked, whether it is usable, and what was found or why not."""

    name: str
    present: bool
    text: str


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = """\
The exit status is 0 even where something is missing: no part is needed by all of hitl_fast.

example:
  hitl-fast doctor
"""


def run(arguments: argparse.Namespace) -> int:
    for finding in findings():
        print(f"{finding.name:<12} {'yes' if finding.present else 'no ':<4} {finding.text}")
    return 0


def findings() -> Iterator[Finding]:
    """Every check, in the order of the report. A check that fails is a finding, not an error."""
    for name, check in CHECKS.items():
        try:
            yield from check()
        except Exception as problem:  # a broken installation must not hide the other lines
            yield Finding(name, False, f"{type(problem).__name__}: {problem}")


def _python() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("python", True, f"{platform.python_version()} on {platform.system()}, {cores} usable cores")


def _torch() -> Iterator[Finding]:
    import torch

    built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    yield Finding("torch", True, f"{torch.__version__}, {built}, {torch.get_num_threads()} threads")


def _triton() -> Iterator[Finding]:
    try:
        version = importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError:
        yield Finding("triton", False, "not installed; only CUDA tensors need it (Linux on x86-64)")
        return
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    mode = "interpreter (TRITON_INTERPRET is set)" if interpreted else "compiler"
    yield Finding("triton", True, f"{version}, {mode}")


def _numba() -> Iterator[Finding]:
    import numba

    @numba.njit(parallel=True)
    def probe(n: int) -> int:
        total = 0
        for i in numba.prange(n):
            total += i
        return total

    probe(8)  # the threading layer is chosen by the first parallel run
    jit = " JIT off (NUMBA_DISABLE_JIT is set)," if numba.config.DISABLE_JIT else ""
    layer = "none" if numba.config.DISABLE_JIT else numba.threading_layer()
    text = f"{numba.__version__},{jit} {numba.get_num_threads()} threads, threading layer {layer}"
    yield Finding("numba", True, text)


def _gpus() -> Iterator[Finding]:
    import torch

    if not torch.cuda.is_available():
        with_cuda = torch.version.cuda is not None
        reason = "torch finds no CUDA device" if with_cuda else "this torch is built without CUDA"
        yield Finding("gpu", False, reason)
        return
    for number in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(number)
        size = f"{device.total_memory / 2**30:.0f} GiB, compute capability {device.major}.{device.minor}"
        yield Finding(f"gpu {number}", True, f"{device.name}, {size}")


def _energy() -> Iterator[Finding]:
    from hitl_fast.energy import find_sensors

    for domain in find_sensors():
        yield Finding("energy", domain.status == "measured", str(domain))
        if domain.fix:
            advice = f"to make {domain.name} readable until the next boot: {domain.fix}"
            yield Finding("energy", False, advice)


def _extras() -> Iterator[Finding]:
    for extra, purpose in EXTRAS.items():
        absent = missing(extra)
        how = f"; missing {', '.join(absent)}: pip install 'hitl-fast[{extra}]'" if absent else ""
        yield Finding(f"[{extra}]", not absent, purpose + how)


CHECKS: dict[str, Callable[[], Iterator[Finding]]] = {
    "python": _python,
    "torch": _torch,
    "triton": _triton,
    "numba": _numba,
    "gpu": _gpus,
    "energy": _energy,
    "extras": _extras,
}

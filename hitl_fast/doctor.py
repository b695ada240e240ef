"""``hitl-fast doctor``: what this machine has, one line each, with the reason where something is absent."""

import argparse
import importlib.metadata
import os
import platform
from collections.abc import Callable, Iterator
from typing import NamedTuple


class Finding(NamedTuple):
    """One line of the report: what was looked for, whether it is there, and what was found or why not."""

    name: str
    present: bool
    text: str


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Exit status 0 whatever is absent: nothing here is needed by all of hitl_fast."


def run(arguments: argparse.Namespace) -> int:
    for finding in findings():
        print(f"{finding.name:<10} {'yes' if finding.present else 'no ':<4} {finding.text}")
    return 0


def findings() -> Iterator[Finding]:
    """Everything looked for, in the order of the report. A look that fails is a finding, not an error."""
    for name, look in LOOKS.items():
        try:
            yield from look()
        except Exception as problem:  # a broken install must not hide the other lines
            yield Finding(name, False, f"{type(problem).__name__}: {problem}")


def _python() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("python", True, f"{platform.python_version()} on {platform.system()}, {cores} cores to use")


def _torch() -> Iterator[Finding]:
    import torch

    built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built for the CPU alone"
    yield Finding("torch", True, f"{torch.__version__}, {built}, {torch.get_num_threads()} threads")


def _triton() -> Iterator[Finding]:
    try:
        version = importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError:
        why = "not installed; CUDA tensors need it (Linux on x86-64), CPU tensors do not"
        yield Finding("triton", False, why)
        return
    mode = (
        "interpreter (TRITON_INTERPRET is set)" if os.environ.get("TRITON_INTERPRET") == "1" else "compiler"
    )
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
        built = torch.version.cuda is not None
        yield Finding(
            "gpu", False, "torch sees no CUDA device" if built else "this torch is built without CUDA"
        )
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
            yield Finding(
                "energy", False, f"to make {domain.name} readable until the next boot: {domain.fix}"
            )


LOOKS: dict[str, Callable[[], Iterator[Finding]]] = {
    "python": _python,
    "torch": _torch,
    "triton": _triton,
    "numba": _numba,
    "gpu": _gpus,
    "energy": _energy,
}

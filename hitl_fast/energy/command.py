"""``hitl-fast energy -- CMD``: joules of any command."""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress

from hitl_fast._common.errors import InputError
from hitl_fast._common.files import is_stream

from .measuring.meter import EnergyMeter
from .reporting.carbon import INTENSITIES, carbon
from .reporting.report import EnergyReport
from .sensors import rapl

# What a terminal, a shell or a scheduler sends to a running program.
FORWARDED = tuple(
    getattr(signal, name)
    for name in (
        "SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGWINCH", "SIGCONT", "SIGTSTP",
    )
)  # fmt: skip
FROM_KERNEL = 0x80  # si_code of what the terminal sends, to the whole foreground group at once
OUTPUTS = ("json", "csv", "parquet", "trace", "openmetrics", "plot")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = "hitl-fast energy [OPTIONS] -- CMD [ARGUMENT ...]"
    parser.add_argument("--rate", type=float, default=10.0, metavar="HZ", help="samples a second (10)")
    parser.add_argument(
        "--gpus", default="visible", help="visible (default), all, none, or indices and UUIDs: 0,GPU-8a"
    )
    parser.add_argument("--rapl-root", default=rapl.ROOT, metavar="DIR", help=argparse.SUPPRESS)
    parser.add_argument(
        "--run-dir", metavar="DIR", help="where the ranks of one run meet, to count nothing twice"
    )
    parser.add_argument(
        "--cpu-watts", type=float, metavar="W", help="also estimate: CPU time x W per busy core"
    )
    parser.add_argument("--carbon", type=float, metavar="G", help="the grid's gCO2e per kWh")
    parser.add_argument("--country", metavar="CODE", help=f"or its yearly average: {' '.join(INTENSITIES)}")
    parser.add_argument("--quiet", action="store_true", help="no summary on standard error")
    for name in OUTPUTS:
        parser.add_argument(f"--{name}", metavar="FILE", help=f"write the report as {_LONG.get(name, name)}")
    parser.add_argument("cmd", nargs=argparse.REMAINDER, metavar="-- CMD", help="what to run and measure")
    parser.epilog = (
        "Standard input and output are the command's, signals are passed on, and its exit status is ours; the summary "
        "goes to\nstandard error. 126 and 127 as in a shell: it cannot be run, it is not found."
        "\n\nexample:\n  hitl-fast energy --country DEU --json energy.json -- python train.py"
    )


_LONG = {
    "json": "JSON",
    "csv": "CSV",
    "parquet": "Parquet",
    "trace": "a Perfetto trace",
    "plot": "watts over time",
}


def run(arguments: argparse.Namespace) -> int:
    command = arguments.cmd[1:] if arguments.cmd[:1] == ["--"] else arguments.cmd
    if not command:
        raise InputError("give a command to measure, as in `hitl-fast energy -- python train.py`")
    _check(arguments)
    meter = EnergyMeter(
        arguments.gpus if arguments.gpus in ("visible", "all", "none") else arguments.gpus.split(","),
        arguments.rate,
        arguments.rapl_root,
        estimate=arguments.cpu_watts is not None,
        cpu_watts=arguments.cpu_watts,
        run_dir=arguments.run_dir,
    )
    _quiet_reasons()
    with Child(command) as child:
        # Signals are held back from here on, so that the sampler's thread never takes one.
        with meter, meter.window(os.path.basename(command[0])):
            status = child.run()
        report = meter.report()
        _write(report, arguments)
        if not arguments.quiet:
            _tell(_summary(report, arguments))
    return leave(status)


class Child:
    """A command that gets our signals, and whose end is ours.

    Signals are blocked and taken one by one with sigwaitinfo, which tells who sent them: what the terminal sends
    (Ctrl-C) has reached the command already and is not sent twice.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        self._pid = 0

    def __enter__(self) -> Child:
        self._signals = {signal.SIGCHLD, *FORWARDED}
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)
        # A blocked signal that is ignored is not kept, and SIGCHLD is, by default.
        self._handler = signal.signal(signal.SIGCHLD, lambda number, frame: None)
        return self

    def __exit__(self, *exception: object) -> None:
        signal.signal(signal.SIGCHLD, self._handler)
        # What came too late for the command was still meant for it, not for the one that tells of its end.
        while signal.sigtimedwait(self._signals, 0):
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def run(self) -> int:
        """Run to the end; returns a wait status, or 126 << 8 or 127 << 8 where there is nothing to run."""
        _flush()
        restored = [signal.SIGPIPE, signal.SIGXFSZ]  # Python ignores them, and a child would inherit that
        try:
            self._pid = os.posix_spawnp(
                self._command[0], self._command, os.environ, setsigmask=self._mask, setsigdef=restored
            )
        except FileNotFoundError:
            _tell(f"hitl-fast energy: {self._command[0]}: command not found")
            return 127 << 8
        except OSError as problem:
            _tell(f"hitl-fast energy: {self._command[0]}: {problem.strerror}")
            return 126 << 8
        while True:
            status = self._ended()
            if status is not None:
                return status
            self._pass_on(signal.sigwaitinfo(self._signals))

    def _ended(self) -> int | None:
        while True:
            pid, status = os.waitpid(self._pid, os.WNOHANG | os.WUNTRACED)
            if pid == 0:
                return None
            if not os.WIFSTOPPED(status):
                return status
            if os.WSTOPSIG(status) in (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
                # Ctrl-Z: stop as it did, so that the shell gets its prompt; `fg` then wakes both.
                os.kill(os.getpid(), signal.SIGSTOP)
                os.kill(self._pid, signal.SIGCONT)

    def _pass_on(self, info: signal.struct_siginfo) -> None:
        if info.si_signo == signal.SIGCHLD:
            return
        if info.si_code == FROM_KERNEL and os.getpgid(self._pid) == os.getpgrp():
            return
        os.kill(self._pid, info.si_signo)


def leave(status: int) -> int:
    """The exit status for a wait status; dies of the signal that the command died of."""
    if not os.WIFSIGNALED(status):
        return os.WEXITSTATUS(status)
    number = os.WTERMSIG(status)
    resource.setrlimit(
        resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1])
    )  # one core is enough
    _flush()
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    return 128 + number


def _tell(text: str) -> None:
    """To standard error, if somebody is there to read it: the command's status is worth more than our words."""
    if sys.stderr is None:  # closed by the caller (2>&-); print would take standard output in its place
        return
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        sys.stderr = None  # a reader that has gone; else Python's own last flush would make the status 120


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError):
                stream.flush()


def _check(arguments: argparse.Namespace) -> None:
    """Before hours of training: whether the results can be written and the carbon told."""
    if arguments.carbon is not None or arguments.country is not None:
        carbon(0.0, arguments.carbon, country=arguments.country)
    for name in OUTPUTS:
        path = getattr(arguments, name)
        if path is None or is_stream(path):
            continue
        folder = os.path.dirname(os.path.realpath(path))
        if not (os.path.isdir(folder) and os.access(folder, os.W_OK)):
            raise InputError(f"--{name} {path}: cannot write into {folder}")
    needed = [
        name for name, given in (("pyarrow", arguments.parquet), ("matplotlib", arguments.plot)) if given
    ]
    for package in needed:
        if not _installed(package):
            raise InputError(f"{package} is not installed: pip install 'hitl-fast[energy]'")


def _installed(package: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(package) is not None


def _write(report: EnergyReport, arguments: argparse.Namespace) -> None:
    """Every output that was asked for; one that fails takes neither the others nor the exit status with it."""
    for name in OUTPUTS:
        path = getattr(arguments, name)
        if path is None:
            continue
        try:
            report.plot(path) if name == "plot" else getattr(report, f"to_{name}")(path)
        except Exception as problem:
            _tell(f"hitl-fast energy: --{name} {path}: {problem}")


def _summary(report: EnergyReport, arguments: argparse.Namespace) -> str:
    lines = [str(report)]
    if arguments.carbon is not None or arguments.country is not None:
        grams = report.windows[0].carbon(arguments.carbon, country=arguments.country)
        if grams is None:
            lines.append("carbon: nothing was measured")
        else:
            doubt = f"+- {grams.uncertainty_grams:.2g}"
            lines.append(
                f"carbon: {grams.grams:.4g} {doubt} gCO2e at {grams.grams_per_kwh:g} g/kWh ({grams.source})"
            )
    return "\n".join(lines)


def _quiet_reasons() -> None:
    """The summary has the reasons; they need not be logged as well."""
    import logging

    logging.getLogger("hitl_fast.energy").addHandler(logging.NullHandler())

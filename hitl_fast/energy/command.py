"""``hitl-fast energy -- CMD``: joules of any command."""

from __future__ import annotations

import argparse
import os

from hitl_fast._common.errors import InputError
from hitl_fast._common.files import is_stream

from .measuring.meter import EnergyMeter
from .process import Child, leave, tell
from .reporting.carbon import INTENSITIES, carbon
from .reporting.report import EnergyReport
from .sensors import rapl

TEXTS = ("json", "csv", "trace", "openmetrics")
OUTPUTS = (*TEXTS, "parquet", "plot")


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
        "--estimate",
        action="store_true",
        help="also estimate, apart from what is measured: CPU time x watts by model of the processor, and memory",
    )
    parser.add_argument(
        "--cpu-watts", type=float, metavar="W", help="the same with W per busy core instead of the table"
    )
    parser.add_argument(
        "--carbon",
        type=float,
        metavar="G",
        help="carbon intensity of the grid: grams of CO2 equivalent per kWh, for example 381",
    )
    parser.add_argument(
        "--country",
        help=f"or a country's yearly average, by name or code: Germany, DE, DEU ({' '.join(INTENSITIES)})",
    )
    parser.add_argument("--quiet", action="store_true", help="no summary on standard error")
    for name in OUTPUTS:
        dash = ", - for standard output" if name in TEXTS else ""
        parser.add_argument(
            f"--{name}", metavar="FILE", help=f"write the report as {_LONG.get(name, name)}{dash}"
        )
    parser.add_argument(
        "--read", metavar="FILE", help="print a JSON report, also one of a run that was killed"
    )
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
    if arguments.read is not None:
        report = EnergyReport.from_json(arguments.read)
        print(
            report
            if report.complete is not False
            else f"{report}\nthe run did not end: as of its last journal"
        )
        return 0
    if not command:
        raise InputError("give a command to measure, as in `hitl-fast energy -- python train.py`")
    _check(arguments)
    meter = EnergyMeter(
        arguments.gpus if arguments.gpus in ("visible", "all", "none") else arguments.gpus.split(","),
        arguments.rate,
        arguments.rapl_root,
        estimate=arguments.estimate or arguments.cpu_watts is not None,
        cpu_watts=arguments.cpu_watts,
        run_dir=arguments.run_dir,
        journal=_journal(arguments.json),
    )
    _quiet_reasons()
    with Child(command) as child:
        # Signals are held back from here on, so that the sampler's thread never takes one.
        with meter, meter.window(os.path.basename(command[0])):
            status = child.run()
        report = meter.report()
        _write(report, arguments)
        if not arguments.quiet:
            tell(_summary(report, arguments))
    return leave(status)


def _journal(path: str | None) -> str | None:
    """Where the report is kept while the command runs: the JSON file, if it is one."""
    return None if path is None or path == "-" or is_stream(path) or os.path.isdir(path) else path


def _check(arguments: argparse.Namespace) -> None:
    """Before hours of training: whether the results can be written and the carbon told."""
    if arguments.carbon is not None or arguments.country is not None:
        carbon(0.0, arguments.carbon, country=arguments.country)
    for name in OUTPUTS:
        path = getattr(arguments, name)
        if path == "-" and name not in TEXTS:
            raise InputError(f"--{name} -: only {', '.join(TEXTS)} can be written to standard output")
        if path is None or path == "-" or is_stream(path):
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
            # Standard output is opened anew: sys.stdout may be closed, and a file at its place is not replaced.
            target = "/dev/stdout" if path == "-" else path
            report.plot(target) if name == "plot" else getattr(report, f"to_{name}")(target)
        except Exception as problem:
            tell(f"hitl-fast energy: --{name} {path}: {problem}")


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

"""Watts to assume where nothing measures: by model of the processor, and by size of the memory.

``processors.csv`` has the thermal design power and the hardware threads of common processors, with the manufacturer's
page that publishes them. Of the 160 models that CodeCarbon 3.3 lists too, 156 have the same watts there; the others are
Apple's, where ours are of the whole computer at maximum, and one of which it lists the turbo power. Memory: 0.3725 W
per GB, whether used or not (Lannelongue, Grealey and Inouye, Green Algorithms: quantifying the carbon footprint of
computation, Advanced Science 8, 2021).
"""

from __future__ import annotations

import os
import re
import sys
import time
from typing import NamedTuple

from ..units import PER_MICROJOULE

TABLE = os.path.join(os.path.dirname(__file__), "processors.csv")
MEMORY_WATTS_PER_GB = 0.3725

# Processors of Arm servers have no model name in /proc/cpuinfo: (implementer, part), see MIDR_EL1.
_ARM = {("0x41", "0xd0c"): "Neoverse-N1", ("0x41", "0xd4f"): "Neoverse-V2"}
_NOISE = re.compile(
    r"\((?:R|TM)\)|@.*|\bwith .*|\b\d+-Cores?\b|\b(?:CPU|Processor|Intel|AMD)\b|\b\d+th Gen\b", re.I
)


class Watts(NamedTuple):
    """Watts of one busy hardware thread, and where that is from."""

    watts: float
    origin: str


def processor_watts(model: str | None = None) -> Watts:
    """Thermal design power / hardware threads, of this machine's processor by default.

    A model that is not in the table gets the median of the table.

    >>> processor_watts("AMD EPYC 7763 64-Core Processor").watts
    2.1875
    """
    name = processor_model() if model is None else model
    rows = _table()
    found = rows.get(_plain(name).casefold())
    if found is not None:
        watts, threads, source = found
        return Watts(
            watts / threads, f"{_plain(name)}: {watts:g} W thermal design power / {threads} threads, {source}"
        )
    import statistics  # slow to import, and needed here alone

    usual = statistics.median(watts / threads for watts, threads, _ in rows.values())
    return Watts(
        usual,
        f"default: {name or 'this processor'} is not in the table, whose median is {usual:.3g} W per thread",
    )


def processor_model() -> str:
    """As the system names it; empty where it does not."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            fields = [line.partition(":") for line in file]
    except OSError:
        if sys.platform != "darwin":
            import platform

            return platform.processor()
        import subprocess

        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    values = {key.strip(): value.strip() for key, _, value in reversed(fields)}
    arm = _ARM.get((values.get("CPU implementer", ""), values.get("CPU part", "")), "")
    return values.get("model name", "") or arm


def memory_gigabytes() -> float | None:
    """Memory of this machine, or of this container where that has less."""
    try:
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:
            size = min(size, int(file.read()))
    except (OSError, ValueError):  # no such group, or "max"
        pass
    return size / 1e9


class Steady:
    """A sensor that counts declared watts x time, as microjoules."""

    def __init__(self, watts: float) -> None:
        self._milliwatts = round(watts * 1000)

    def read(self) -> int:
        return time.perf_counter_ns() * self._milliwatts // PER_MICROJOULE

    def alive(self) -> bool:
        return True

    def close(self) -> None:
        pass


def _plain(model: str) -> str:
    """``Intel(R) Xeon(R) Gold 6148 CPU @ 2.40GHz`` as ``Xeon Gold 6148``."""
    return " ".join(_NOISE.sub(" ", model).split())


def _table() -> dict[str, tuple[float, int, str]]:
    import csv

    with open(TABLE, encoding="utf-8", newline="") as file:
        return {
            row["model"].casefold(): (float(row["watts"]), int(row["threads"]), row["source"])
            for row in csv.DictReader(file)
        }

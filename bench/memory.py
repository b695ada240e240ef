"""Peak memory of a call, from the high-water mark that Linux keeps of a process."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def extra_peak(call: Callable[[], object]) -> int:
    """Bytes of memory that the call had in use at its worst, beyond those before it."""
    gc.collect()
    CLEAR.write_text("5")  # the mark starts again from what is in use now
    before = kilobytes("VmRSS")
    call()
    return (kilobytes("VmHWM") - before) * 1024


def kilobytes(field: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1])

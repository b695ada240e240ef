"""The sensor of an estimate: CPU time of this process."""

from __future__ import annotations

import os
import time

from ..units import PER_MICROJOULE, SECOND


class CpuTime:
    """The estimate's sensor: this process's CPU time and that of the children it has waited for, as microjoules.

    ``CPU seconds x declared watts per busy core``. It sees neither other processes nor idle power.
    """

    def __init__(self, watts: float) -> None:
        self._milliwatts = round(watts * 1000)

    def read(self) -> int:
        times = os.times()
        children = round((times.children_user + times.children_system) * SECOND)
        return (time.process_time_ns() + children) * self._milliwatts // PER_MICROJOULE

    def alive(self) -> bool:
        return True

    def close(self) -> None:
        pass

"""What can be measured on this machine, and why not where it cannot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["measured", "estimated", "unavailable"]
Kind = Literal["package", "dram", "core", "uncore", "psys", "gpu", "cpu", "wall", "other"]

# core, uncore and psys count again what package and dram count; cpu is the estimate.
IN_TOTAL = frozenset({"package", "dram", "gpu"})


@dataclass(frozen=True)
class Domain:
    """One part of the machine that draws power.

    Attributes:
        name: its key in every result: ``package-0``, ``dram-0``, a GPU's UUID.
        kind: what it is.
        status: ``measured`` by a sensor, ``estimated`` from a declared wattage, or ``unavailable``.
        method: what is read: ``counter`` (the device's own joules), ``power`` (watts, integrated here) or
            ``cpu time``; empty where nothing is.
        reason: why it is unavailable, or what to know of the reading.
        source: the file or device.
        in_total: whether ``total_joules`` counts it.
        fix: the command that would make it readable, where there is one.
        missing: whether it belongs into the total and cannot be read, so that totals are ``partial``.
        added: whether an own source asked to be added to the total.
    """

    name: str
    kind: Kind
    status: Status
    method: str = ""
    reason: str = ""
    source: str = ""
    fix: str = ""
    missing: bool = False
    added: bool = False

    @property
    def in_total(self) -> bool:
        return self.status == "measured" and (self.kind in IN_TOTAL or self.added)

    def __str__(self) -> str:
        how = f"{self.status}, {self.method}" if self.method else self.status
        return f"{self.name}: {how}" + (f" ({self.reason})" if self.reason else "")

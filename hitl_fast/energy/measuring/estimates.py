"""Channels that estimate: watts assumed x time, for machines without sensors."""

from __future__ import annotations

from ..sensors.cpu_time import CpuTime
from ..sensors.domain import Domain
from ..sensors.estimates import MEMORY_WATTS_PER_GB, Steady, memory_gigabytes, processor_watts
from ..units import MILLISECOND
from .channel import CounterChannel


def estimates(cpu_watts: float | None) -> list[CounterChannel]:
    """CPU time x watts per busy core (from the table of processors where None), and the memory's watts x time."""
    origin = "declared"
    if cpu_watts is None:
        cpu_watts, origin = processor_watts()
    method = f"cpu time x {cpu_watts:.4g} W per busy core"
    domain = Domain("cpu-estimate", "cpu", "estimated", method, origin)
    channels = [CounterChannel(domain, CpuTime(cpu_watts), MILLISECOND, modulus=None)]
    size = memory_gigabytes()
    if size is not None:
        method = f"{size:.3g} GB x {MEMORY_WATTS_PER_GB} W"
        reason = "Green Algorithms (2021); all memory, whoever uses it"
        domain = Domain("memory-estimate", "dram", "estimated", method, reason)
        channels.append(CounterChannel(domain, Steady(size * MEMORY_WATTS_PER_GB), MILLISECOND, modulus=None))
    return channels

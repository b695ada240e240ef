"""What the training of one run spends by the clock and by the sensors, the looks at its accuracy left out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from hitl_fast.energy import EnergyMeter, find_sensors


def measurable() -> bool:
    """Whether a sensor counts this machine's processors."""
    return any(domain.in_total for domain in find_sensors(gpus="none"))


class Spending:
    """CPU seconds and, with a meter, joules of the processors, summed over the contexts that `training` makes.

    Sensors count whole processors: joules are of one run only where no other runs beside it.
    """

    def __init__(self, meter: EnergyMeter | None = None) -> None:
        self.cpu_seconds = 0.0
        self.joules: float | None = 0.0 if meter is not None else None
        self._meter = meter
        self._then: dict[str, float] | None = None

    @contextmanager
    def training(self) -> Iterator[None]:
        window = None if self._meter is None else self._meter.window("training")
        context: AbstractContextManager[object] = nullcontext() if window is None else window
        before = time.process_time()
        with context:
            yield
        self.cpu_seconds += time.process_time() - before
        if window is not None:
            joules = window.result.total_joules
            self.joules = None if joules is None or self.joules is None else self.joules + joules

    def reached(self) -> None:
        """Now the target is reached."""
        self._then = self._now("_to_target")

    def measured(self) -> dict[str, float]:
        """Whole budget and, where the target was reached, up to there. No joules where none were measured."""
        return {**self._now(""), **(self._then or {})}

    def _now(self, suffix: str) -> dict[str, float]:
        found = {f"training_cpu_seconds{suffix}": round(self.cpu_seconds, 6)}
        if self.joules is not None:
            found[f"joules{suffix}"] = round(self.joules, 6)
        return found

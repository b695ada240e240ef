"""Energy windows of the phases of a training, shared by the callbacks of all frameworks."""

from __future__ import annotations

import importlib
from typing import Any

from hitl_fast._common.errors import InputError, MissingExtraError
from hitl_fast.energy import Window
from hitl_fast.energy.measuring.meter import EnergyMeter
from hitl_fast.energy.measuring.open_window import OpenWindow


class Phases:
    """One meter, and its open windows by kind of phase. Closing a phase that is not open does nothing."""

    def __init__(self, meter: EnergyMeter | None, arguments: dict[str, Any], per_step: bool = False) -> None:
        if meter is not None and arguments:
            raise InputError(f"give a meter or its arguments ({', '.join(arguments)}), not both")
        self.meter = EnergyMeter(**arguments) if meter is None else meter
        self._own = meter is None
        self._running = False
        self._open: dict[str, OpenWindow] = {}
        self.per_step = per_step
        self.steps: list[Window] = []

    def begin(self) -> None:
        if self._own and not self._running:
            self.meter.start()
            self._running = True

    def open(self, kind: str, name: str) -> None:
        self.begin()
        self.close(kind)
        self._open[kind] = self.meter.window(name).start()

    def close(self, kind: str, error: str | None = None) -> None:
        window = self._open.pop(kind, None)
        if window is not None:
            window.stop(error)

    def begin_step(self) -> None:
        if self.per_step:
            self.open("step", "step")

    def end_step(self) -> None:
        window = self._open.get("step")
        if window is not None:
            self.close("step")
            self.steps.append(window.result)

    def metrics(self, since: int = 0) -> dict[str, float]:
        """Mean seconds and, where a sensor was read, joules of the steps from ``since`` on."""
        steps = self.steps[since:]
        if not steps:
            return {}
        found = {"seconds_per_step": sum(step.seconds for step in steps) / len(steps)}
        joules = [step.total_joules for step in steps if step.total_joules is not None]
        if len(joules) == len(steps):
            found["joules_per_step"] = sum(joules) / len(joules)
        return found

    def end(self, error: str | None = None) -> None:
        for kind in reversed(list(self._open)):
            self.close(kind, error)
        if self._running:
            self.meter.stop()
            self._running = False


def first_installed(what: str, *names: str) -> Any:
    """The first of several packages that is installed; an error inside a package is raised as it is."""
    for name in names:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as problem:
            if problem.name != name.partition(".")[0]:
                raise
    raise MissingExtraError(f"{what} is not installed: this callback needs {' or '.join(names)}")

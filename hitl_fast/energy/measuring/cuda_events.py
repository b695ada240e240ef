"""CUDA's clock: waiting for the device at a window's edge, or marking the edge in its stream and asking later.

torch is used only if the program has imported it and initialised CUDA; nothing here does either.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from ..units import MILLISECOND, SECOND


def _cuda() -> Any:
    """torch.cuda with work possibly under way, else None."""
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    if cuda is None or not cuda.is_initialized():
        return None
    # Neither waiting nor timing is allowed while a graph is being captured.
    capturing = getattr(cuda, "is_current_stream_capturing", None)
    return None if capturing is not None and capturing() else cuda


def _devices(cuda: Any) -> list[int]:
    """Devices that this process has used: asking another one to synchronise would create a context on it."""
    has_context = getattr(getattr(sys.modules["torch"], "_C", None), "_cuda_hasPrimaryContext", None)
    if has_context is None:
        return [cuda.current_device()]
    return [device for device in range(cuda.device_count()) if has_context(device)]


def synchronize() -> None:
    """Wait until all work given to the GPUs is done, so that it counts to the window that gave it."""
    cuda = _cuda()
    if cuda is None:
        return
    for device in _devices(cuda):
        try:
            cuda.synchronize(device)
        except RuntimeError:
            return  # an earlier kernel failed; torch says so again at the program's own next call


class Mark:
    """An edge in each device's stream; its time is known once the devices have got there."""

    def __init__(self, events: dict[int, Any]) -> None:
        self.events = events
        self.time: int | None = None


class EventClock:
    """Times of marks on the clock of the other readings.

    A mark seen to be reached between two polls is the anchor; others follow from the time between the two events,
    which CUDA gives as a float32 of milliseconds: good to a few microseconds over the ten seconds after which the
    anchor moves on.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._anchors: dict[int, tuple[Any, int]] = {}

    def mark(self) -> Mark | None:
        """Mark now in the current stream of each device in use; None if CUDA is not in use."""
        cuda = _cuda()
        if cuda is None:
            return None
        events = {}
        for device in _devices(cuda):
            event = cuda.Event(enable_timing=True)
            event.record(cuda.current_stream(device))
            if device not in self._anchors:
                event.synchronize()  # once a device and run
                self._anchors[device] = (event, self._clock())
            events[device] = event
        return Mark(events)

    def resolve(self, mark: Mark) -> int | None:
        """When the last device reached the mark; None while one has not."""
        if mark.time is None and all(event.query() for event in mark.events.values()):
            mark.time = max(self._time(device, event) for device, event in mark.events.items())
        return mark.time

    def _time(self, device: int, event: Any) -> int:
        anchor, at = self._anchors[device]
        time: int = at + round(anchor.elapsed_time(event) * MILLISECOND)
        if time - at > 10 * SECOND:
            self._anchors[device] = (event, time)
        return time

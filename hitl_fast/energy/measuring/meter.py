"""The energy meter: joules per phase of a run."""

from __future__ import annotations

import math
import os
import time
import weakref
from collections.abc import Iterable
from typing import Any

from hitl_fast._common.errors import InputError, InputTypeError

from ..reporting.report import EnergyReport
from ..reporting.results import Overhead, Timeline, Window
from ..sensors import rapl
from ..sensors.domain import Domain
from ..sensors.sources import EnergySource
from ..units import SECOND
from .estimates import estimates
from .journal import Journal
from .open_window import OpenWindow
from .sensor_set import Candidates, SensorSet, checked_gpus
from .session import Session
from .source_log import SourceLog, checked, with_sources

JOURNAL_SAMPLES = 512  # of the timeline; the whole of it would take longer to write than the journal waits

_said: set[str] = set()


class EnergyMeter:
    """Counts joules of processors, memory and NVIDIA GPUs between any two moments of a program.

    ``with meter.window(name)`` reads the sensors at both edges; in between a daemon thread samples them, for the
    timeline, for peaks, and so that no counter wraps around unseen. Windows nest, and may be open in several
    threads at once. Nothing that a sensor does raises; where nothing can be measured the meter runs all the same,
    says so once through `logging`, and reports seconds.

    Args:
        gpus: ``"visible"`` (as CUDA_VISIBLE_DEVICES says), ``"all"``, ``"none"``, or a list of indices, UUIDs or
            beginnings of UUIDs.
        rate_hz: samples a second, up to 1000; sensors are read every 30 s however low it is. Above 20, a loop compiled
            on demand samples RAPL, and GPUs are read 20 times a second.
        rapl_root: where the kernel shows its powercap zones.
        synchronize: whether edges wait until the GPUs are idle, if torch has initialised CUDA. With False an edge
            is marked in each GPU's current stream and costs no wait; the window then lasts, for all domains, from
            when the GPUs reached its beginning to when they reached its end.
        estimate: adds CPU time of this process and its finished children x watts per busy core, and the machine's
            memory x 0.3725 W per GB, as ``estimated_joules``, beside and never in the total.
        cpu_watts: watts of one busy core, for ``estimate``; by default from a table of processors by model, or its
            median where this one is not in it: the domain ``cpu-estimate`` says which.
        run_dir: where the ranks of one run on this node meet, so that each socket and GPU is counted by one of
            them; by default taken from what torchrun, MPI or SLURM set, and not needed by a process on its own.
        sources: meters of your own, see `EnergySource`: wall meters and others, reported beside the built-in
            sensors, and added to their total only where ``source.in_total`` says so.
        journal: a file that holds the report so far, as `EnergyReport.from_json` reads it. It is replaced every few
            seconds, so that a process that is killed loses at most five of them.

    Raises:
        ValueError: an argument is out of range, or ``gpus`` names one that is not there.

    >>> import hitl_fast as hf
    >>> with hf.EnergyMeter(rapl_root="/nonexistent", gpus="none") as meter:
    ...     with meter.window("sum") as window:
    ...         _ = sum(range(1000))
    >>> meter.windows[0].name, meter.windows[0].joules, meter.windows[0].seconds > 0
    ('sum', None, True)
    >>> meter.domains["package-0"].status
    'unavailable'
    """

    def __init__(
        self,
        gpus: str | Iterable[str | int] = "visible",
        rate_hz: float = 10.0,
        rapl_root: str | os.PathLike[str] = rapl.ROOT,
        synchronize: bool = True,
        *,
        estimate: bool = False,
        cpu_watts: float | None = None,
        run_dir: str | os.PathLike[str] | None = None,
        journal: str | os.PathLike[str] | None = None,
        sources: Iterable[EnergySource] = (),
    ) -> None:
        if not hasattr(rate_hz, "__float__") or not 0 < rate_hz <= 1000:
            raise InputError(f"rate_hz must be above 0 and at most 1000 samples a second, not {rate_hz!r}")
        if cpu_watts is not None and not (hasattr(cpu_watts, "__float__") and 0 < cpu_watts < math.inf):
            raise InputError(f"cpu_watts must be the watts of one busy core, above 0, not {cpu_watts!r}")
        self.rate_hz = float(rate_hz)
        self.synchronize = bool(synchronize)
        self._gpus = checked_gpus(gpus)
        self._rapl_root = os.fspath(rapl_root)
        self._estimate, self._cpu_watts = bool(estimate), cpu_watts
        self._run_dir = None if run_dir is None else os.fspath(run_dir)
        self._journal_path = None if journal is None else os.fspath(journal)
        self._journal: Journal | None = None
        self._sources = checked(sources)
        self._logs: list[SourceLog] = []
        self._epoch = 0.0  # seconds since 1970 at the start
        self._session: Session | None = None
        self._began = ""
        self._finalizer: Any = None

    def start(self) -> EnergyMeter:
        """Find the sensors and begin. A meter may be started again after `stop`; that begins a new run."""
        if self._session is not None and self._session.stopped is None and not self._session.forked:
            raise RuntimeError("the meter is already running: stop it first, or open a window")
        interval = round(SECOND / self.rate_hz)
        found = self._sensors(interval)
        channels = found.channels
        session = Session(
            channels, found.domains, interval=interval, wait=self.synchronize, release=found.release
        )
        self._session = session
        self._epoch = time.time() - (session.clock() - session.started) / SECOND
        self._logs = [SourceLog(source) for source in self._sources]
        weakref.finalize(self, _stop_logs, self._logs)
        self._began = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        # A meter that is dropped without being stopped takes its thread and files with it.
        self._finalizer = weakref.finalize(self, session.end)
        self._finalizer.atexit = False
        session.begin()
        if self._journal_path is not None:
            me = weakref.ref(self)  # the journal's thread must not keep a dropped meter alive
            try:
                self._journal = Journal(self._journal_path, lambda: _journal_text(me()))
            except BaseException:
                self.stop()
                raise
        if not self._logs and not any(channel.domain.status == "measured" for channel in channels):
            _say_once(self.domains)
        return self

    def stop(self) -> None:
        """End the run; results stay. Stopping twice, or before the start, does nothing."""
        if self._session is not None:
            self._session.end()
            _stop_logs(self._logs)
            if self._journal is not None:
                self._journal.stop()
                self._journal = None
            if self._finalizer is not None:
                self._finalizer.detach()

    def __enter__(self) -> EnergyMeter:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def window(self, name: str) -> OpenWindow:
        """A window to enter with ``with``, or to `OpenWindow.start` and `OpenWindow.stop` by hand."""
        if not isinstance(name, str):
            raise InputTypeError(f"name must be a string, not {type(name).__name__}")
        return OpenWindow(self._running(), name, lambda window: with_sources(window, self._logs, self._epoch))

    @property
    def windows(self) -> tuple[Window, ...]:
        """The closed windows, in the order in which they were opened."""
        if self._session is None:
            return ()
        return tuple(with_sources(window, self._logs, self._epoch) for window in self._session.windows())

    @property
    def total(self) -> Window:
        """From start to stop, or to now."""
        return with_sources(self._running(stopped=True).total(), self._logs, self._epoch)

    @property
    def domains(self) -> dict[str, Domain]:
        """Every part of the machine that was looked for, by name, with its status and the reason."""
        session = self._running(stopped=True)
        measured = [channel.domain for channel in session.recorder.channels]
        return {
            domain.name: domain
            for domain in (*measured, *session.domains, *(log.domain for log in self._logs))
        }

    @property
    def overhead(self) -> Overhead:
        """What measuring has cost so far."""
        session = self._running(stopped=True)
        recorder = session.recorder
        return Overhead(
            cpu_seconds=session.overhead / SECOND,
            reads=recorder.reads,
            samples=len(recorder.timeline),
            longest_gap_seconds=recorder.longest_gap / SECOND,
        )

    def report(self) -> EnergyReport:
        """Everything so far as plain data, to print, save or plot."""
        import socket

        session = self._running(stopped=True)
        recorder = session.recorder
        session.catch_up()
        with recorder.lock:
            times = recorder.timeline.times()
            energies = [recorder.timeline.energies(i) for i in range(len(recorder.channels))]
        return EnergyReport(
            windows=self.windows,
            total=self.total,
            domains=self.domains,
            overhead=self.overhead,
            timeline=Timeline(
                tuple((moment - session.started) / SECOND for moment in times),
                {
                    channel.domain.name: tuple(energy / 1e6 for energy in column)
                    for channel, column in zip(recorder.channels, energies, strict=True)
                },
            ),
            refresh_seconds={channel.domain.name: channel.refresh / SECOND for channel in recorder.channels},
            started=self._began,
            host=socket.gethostname(),
            complete=session.stopped is not None,
        )

    def _repr_html_(self) -> str | None:
        return None if self._session is None else self.report()._repr_html_()

    def metrics(self) -> dict[str, float]:
        """A flat dict of numbers, as trackers of experiments take it: see `EnergyReport.metrics`."""
        return self.report().metrics()

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """See `EnergyReport.to_json`."""
        return self.report().to_json(path)

    def plot(self, path: str | os.PathLike[str]) -> None:
        """See `EnergyReport.plot`."""
        self.report().plot(path)

    def _running(self, *, stopped: bool = False) -> Session:
        session = self._session
        if session is None or (session.stopped is not None and not stopped):
            raise RuntimeError(
                "the meter is not running: use it in `with EnergyMeter() as meter:` or call start()"
            )
        return session

    def _sensors(self, interval: int) -> SensorSet:
        found = SensorSet(Candidates(self._gpus, self._rapl_root), self._run_dir, interval)
        if self._estimate:
            found.channels += estimates(self._cpu_watts)
        return found


def _stop_logs(logs: list[SourceLog]) -> None:
    for log in logs:
        log.stop()


def _journal_text(meter: EnergyMeter | None) -> str:
    if meter is None:
        raise RuntimeError("the meter is gone")
    return meter.report().thinned(JOURNAL_SAMPLES).to_json()


def _say_once(domains: dict[str, Domain]) -> None:
    """Tell, once a process and set of reasons, that and why there will be no joules."""
    import logging

    reasons = "; ".join(str(domain) for domain in domains.values()) or "no sensor was looked for"
    if reasons not in _said:
        _said.add(reasons)
        logging.getLogger("hitl_fast.energy").warning("no energy can be measured here: %s", reasons)

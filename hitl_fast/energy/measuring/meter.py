"""The energy meter: joules per phase of a run."""

from __future__ import annotations

import math
import os
import socket
import time
import weakref
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

from hitl_fast._common.errors import InputError, InputTypeError

from ..reporting.report import EnergyReport
from ..reporting.results import Overhead, Timeline, Window
from ..sensors import rapl
from ..sensors.cpu_time import CpuTime
from ..sensors.domain import Domain
from ..sensors.nvml import REFRESH, Nvml
from ..sensors.sources import EnergySource
from ..units import MILLISECOND, MOST_MILLIWATTS, SECOND
from .channel import Channel, CounterChannel
from .device_locks import DeviceLocks, run_directory, warn_unshared
from .journal import Journal
from .power_channel import PowerChannel
from .session import Session
from .source_log import SourceLog, checked, with_sources
from .windows import Record

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
        rate_hz: samples a second, up to 1000; sensors are read every 30 s however low it is.
        rapl_root: where the kernel shows its powercap zones.
        synchronize: whether edges wait until the GPUs are idle, if torch has initialised CUDA. With False an edge
            is marked in each GPU's current stream and costs no wait; the window then lasts, for all domains, from
            when the GPUs reached its beginning to when they reached its end.
        estimate: adds CPU time of this process and its finished children x ``cpu_watts`` as
            ``estimated_joules``, beside and never in the total.
        cpu_watts: declared watts of one busy core, for ``estimate``.
        run_dir: where the ranks of one run on this node meet, so that each socket and GPU is counted by one of
            them; by default taken from what torchrun, MPI or SLURM set, and not needed by a process on its own.
        sources: meters of your own, see `EnergySource`: wall meters and others, reported beside the built-in
            sensors and never added to their total.
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
        if estimate and (not hasattr(cpu_watts, "__float__") or not 0 < cpu_watts < math.inf):  # type: ignore[operator]
            raise InputError(f"estimate=True needs cpu_watts, the watts of one busy core, not {cpu_watts!r}")
        self.rate_hz = float(rate_hz)
        self.synchronize = bool(synchronize)
        if not isinstance(gpus, (str, Iterable)):
            raise InputTypeError(
                f'gpus must be "visible", "all", "none" or a list of indices and UUIDs, not {gpus!r}; one is [{gpus!r}]'
            )
        self._gpus = gpus if isinstance(gpus, str) else list(gpus)
        _refuse_names(self._gpus)
        self._rapl_root = os.fspath(rapl_root)
        self._cpu_watts = cpu_watts if estimate else None
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
        channels, domains, release = self._sensors(interval)
        session = Session(channels, domains, interval=interval, wait=self.synchronize, release=release)
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
        session = self._running(stopped=True)
        recorder = session.recorder
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

    def _sensors(self, interval: int) -> tuple[list[Channel], list[Domain], Callable[[], None]]:
        """Channels to read, domains that are not read, and what to call at the end."""
        locks = DeviceLocks(self._run_dir) if self._run_dir is not None else _own_locks()
        zones, domains = rapl.discover(self._rapl_root)
        channels: list[Channel] = []
        nvml: Nvml | None = None

        def release() -> None:
            locks.release()
            if nvml is not None:
                nvml.close()

        try:
            for zone in zones:
                _add(channels, domains, locks, zone.domain, _rapl_channel, zone)
            if self._gpus != "none":
                nvml = self._add_gpus(channels, domains, locks, interval)
            if self._cpu_watts is not None:
                method = f"cpu time x {self._cpu_watts:g} W per busy core"
                domain = Domain("cpu-estimate", "cpu", "estimated", method)
                channels.append(CounterChannel(domain, CpuTime(self._cpu_watts), MILLISECOND, modulus=None))
        except BaseException:
            for channel in channels:
                channel.close()
            release()
            raise
        return channels, domains, release

    def _add_gpus(
        self, channels: list[Channel], domains: list[Domain], locks: DeviceLocks, interval: int
    ) -> Nvml | None:
        try:
            nvml = Nvml()
        except LookupError as problem:
            domains.append(Domain("gpu", "gpu", "unavailable", reason=str(problem)))
            return None
        try:
            gpus, broken = nvml.discover(self._gpus)
        except BaseException:
            nvml.close()
            raise
        domains += broken
        for gpu in gpus:
            _add(channels, domains, locks, gpu.domain, _gpu_channel, gpu, interval)
        return nvml


def find_sensors(
    gpus: str | Iterable[str | int] = "visible", rapl_root: str | os.PathLike[str] = rapl.ROOT
) -> list[Domain]:
    """Every part of this machine that could be measured, with its status, without measuring anything."""
    zones, domains = rapl.discover(os.fspath(rapl_root))
    found = [zone.domain for zone in zones] + domains
    try:
        nvml = Nvml()
    except LookupError as problem:
        return [*found, Domain("gpu", "gpu", "unavailable", reason=str(problem))]
    try:
        measured, broken = nvml.discover(gpus if isinstance(gpus, str) else list(gpus))
        return [*found, *(gpu.domain for gpu in measured), *broken]
    finally:
        nvml.close()


def _stop_logs(logs: list[SourceLog]) -> None:
    for log in logs:
        log.stop()


def _journal_text(meter: EnergyMeter | None) -> str:
    if meter is None:
        raise RuntimeError("the meter is gone")
    return meter.report().thinned(JOURNAL_SAMPLES).to_json()


class OpenWindow:
    """A window that is being taken; `result` once it is closed."""

    def __init__(self, session: Session, name: str, finish: Callable[[Window], Window]) -> None:
        self._finish = finish
        self.name = name
        self._session = session
        self._record: Record | None = None

    def start(self) -> OpenWindow:
        """The opening edge."""
        if self._record is not None:
            raise RuntimeError(f"window {self.name!r} is already open: ask the meter for a new one")
        self._record = self._session.open(self.name)
        return self

    def stop(self, error: str | None = None) -> None:
        """The closing edge; the meter's end, if that was earlier. Does nothing in a process forked since, or twice."""
        record = self._record
        if record is not None and record.closing is None and record.numbers is None:
            self._session.close(record, error)

    def __enter__(self) -> OpenWindow:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop(None if kind is None else kind.__name__)

    @property
    def result(self) -> Window:
        """The numbers, as well as they are known by now: just after the end a GPU's next refresh is still to come."""
        record = self._record
        if record is None or (record.closing is None and record.numbers is None):
            raise RuntimeError(f"window {self.name!r} is not closed yet")
        return self._finish(self._session.one(record))


def _refuse_names(gpus: str | list[str | int]) -> None:
    """Refuse what names a GPU on no machine, also on one without GPUs, where nobody would notice."""
    for entry in gpus.split(",") if isinstance(gpus, str) else gpus:
        named = str(entry).strip()
        if entry in ("visible", "all", "none") and entry == gpus:
            continue
        if isinstance(entry, bool) or not (named.isdecimal() or named.startswith(("GPU-", "MIG-"))):
            raise InputError(
                'gpus must be "visible", "all", "none" or a list of indices and UUIDs (GPU-... or MIG-...); '
                f"{entry!r} is none of them"
            )


def _own_locks() -> DeviceLocks:
    try:
        return DeviceLocks(run_directory())
    except OSError as problem:
        warn_unshared(problem)
        return DeviceLocks(None)


def _add(
    channels: list[Channel],
    domains: list[Domain],
    locks: DeviceLocks,
    domain: Domain,
    make: Callable[..., Channel],
    *arguments: object,
) -> None:
    """Count the domain if no other rank does and its sensor still answers."""
    holder = locks.acquire(domain.name)
    if holder:
        reason = f"counted by {holder} of this run"
        domains.append(Domain(domain.name, domain.kind, "unavailable", "", reason, domain.source))
        return
    try:
        channels.append(make(*arguments))
    except Exception as problem:  # between looking and opening, a sensor may go
        reason = f"went away at the start: {problem}"
        domains.append(Domain(domain.name, domain.kind, "unavailable", "", reason, domain.source))


def _rapl_channel(zone: rapl.Zone) -> Channel:
    sensor = rapl.CounterFile(zone.path)
    return CounterChannel(zone.domain, sensor, rapl.REFRESH, modulus=zone.modulus, zero_is_fault=True)


def _gpu_channel(gpu: Any, interval: int) -> Channel:
    limit = gpu.limit or MOST_MILLIWATTS
    if gpu.lag is None:
        unit = 1000  # microjoules in the counter's millijoule
        return CounterChannel(gpu.domain, gpu.sensor, REFRESH, modulus=None, unit=unit, limit=limit)
    hole = 3 * interval + 50 * MILLISECOND
    return PowerChannel(gpu.domain, gpu.sensor, REFRESH, lag=gpu.lag, hole=hole, limit=limit)


def _say_once(domains: dict[str, Domain]) -> None:
    """Tell, once a process and set of reasons, that and why there will be no joules."""
    import logging

    reasons = "; ".join(str(domain) for domain in domains.values()) or "no sensor was looked for"
    if reasons not in _said:
        _said.add(reasons)
        logging.getLogger("hitl_fast.energy").warning("no energy can be measured here: %s", reasons)

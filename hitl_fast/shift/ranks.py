"""What the processes of a group exchange, and whether they are alive: one error for all in place of a hang."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hitl_fast._common.errors import InputError, InputTypeError

from .sharding import place_in

BEAT = 1.0  # seconds between signs of life
SILENCE = 30.0  # seconds without one after which a rank counts as dead, counted in signs of one's own
LAST_WORDS = 5.0  # seconds that the first rank waits for the others to read why it ends
BLOCK = 1 << 24  # bytes sent at a time
KINDS = {"ValueError": InputError, "TypeError": InputTypeError, "ConnectionError": ConnectionError}

Tasks = Mapping[str, Callable[[], Any]]


class Alone:
    """A process without others."""

    rank, size = 0, 1

    def agree(self, settings: Mapping[str, Any], model: Callable[[], Mapping[str, Any]]) -> None:
        """Nothing to compare."""

    def check(self) -> None:
        """Nobody else can fail."""

    def exchange(self, value: Any) -> list[Any]:
        """One value, of this process."""
        return [value]

    def run(self, tasks: Tasks) -> dict[str, tuple[Any, float]]:
        """The value and the seconds of every task."""
        return {name: timed(task) for name, task in tasks.items()}


class Ranks:
    """The processes of a ``torch.distributed`` group during one computation.

    Values travel as JSON and as tensors. Each rank gives a sign of life to the group's store every second, from a
    thread, and watches that of the next rank. A rank that fails leaves its reason there; one that gives no sign for
    30 s is reported by its neighbour. The others raise that reason at their next ``check`` or ``meet``.
    """

    def __init__(self, group: Any) -> None:
        self._group = None if isinstance(group, str) else group
        self.rank, self.size = place_in(group)
        self._names = torch.distributed.get_process_group_ranks(self._group)
        on_cpu = "cpu:" in str(torch.distributed.get_backend_config(self._group))
        self._device = torch.device("cpu") if on_cpu else torch.device("cuda", torch.cuda.current_device())
        self._store = torch.distributed.distributed_c10d._get_default_store().clone()  # type: ignore[attr-defined]
        self._prefix = ""  # of this computation's keys in the store: the first rank's choice
        self._meetings = itertools.count()
        self._failed: tuple[str, str] | None = None  # kind of error, message
        self._entered = self._told = self._ended = False
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="hitl_fast ranks", daemon=True)

    def agree(self, settings: Mapping[str, Any], model: Callable[[], Mapping[str, Any]]) -> None:
        """Enter together: every rank must have the same settings and the same model.

        Raises:
            ValueError, TypeError, RuntimeError: a rank failed before, with its reason, or something differs.
        """
        mine = {"settings": {name: _plain(value) for name, value in settings.items()}, "model": dict(model())}
        self._enter(mine)

    def check(self) -> None:
        """Raise what another rank failed with, if one has."""
        if self._failed is not None:
            self._told = True
            kind, message = self._failed
            raise KINDS.get(kind, RuntimeError)(message)

    def meet(self) -> None:
        """Wait until every rank is here, however long one takes while it lives."""
        key = f"{self._prefix}/meeting {next(self._meetings)}"
        pause = 0.001
        with self._connection():
            self._store.add(key, 1)
            while self._store.add(key, 0) < self.size:
                self.check()
                time.sleep(pause)
                pause = min(2 * pause, 0.1)

    def exchange(self, value: Any) -> list[Any]:
        """Every rank's value, in order; values are what JSON holds."""
        data = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        sizes = [torch.zeros(1, dtype=torch.int64, device=self._device) for _ in range(self.size)]
        with self._connection():
            torch.distributed.all_gather(
                sizes, torch.tensor([len(data)], device=self._device), group=self._group
            )
            longest = max(int(size) for size in sizes)
            padded = torch.zeros(longest, dtype=torch.uint8, device=self._device)
            padded[: len(data)] = data
            found = [torch.empty_like(padded) for _ in range(self.size)]
            torch.distributed.all_gather(found, padded, group=self._group)
        return [
            json.loads(bytes(held[: int(size)].cpu().numpy()))
            for held, size in zip(found, sizes, strict=True)
        ]

    def blocks(self, rows: Any) -> Iterator[tuple[int, int, Tensor]]:
        """The rows of every rank to every rank: (rank, first row of the block, rows), rank after rank.

        Args:
            rows: (n, ...) array or tensor, of the same dtype on every rank.
        """
        rows = rows if isinstance(rows, Tensor) else np.asanyarray(rows)
        dtype = str(rows.dtype).rpartition(".")[2]
        shapes = [tuple(shape) for shape in self.exchange(list(rows.shape))]
        for rank, shape in enumerate(shapes):
            if 0 in shape:
                continue
            width = max(1, int(np.prod(shape[1:])) * rows.dtype.itemsize)
            step = max(1, BLOCK // width)
            for start in range(0, shape[0], step):
                stop = min(start + step, shape[0])
                if rank == self.rank:
                    part = rows[start:stop]
                    held = part if isinstance(part, Tensor) else torch.from_numpy(np.array(part))
                    block = held.to(self._device).contiguous()
                else:
                    block = torch.empty(
                        (stop - start, *shape[1:]), dtype=getattr(torch, dtype), device=self._device
                    )
                with self._connection():
                    torch.distributed.broadcast(block, src=self._names[rank], group=self._group)
                yield rank, start, block

    def columns(self, values: np.ndarray) -> list[np.ndarray]:
        """Every rank's (n,) values."""
        parts: list[list[np.ndarray]] = [[values[:0]] for _ in range(self.size)]
        as_bytes = values.view(np.uint8) if values.dtype == np.bool_ else values
        for rank, _, block in self.blocks(as_bytes):
            parts[rank].append(block.cpu().numpy().view(values.dtype))
        return [np.concatenate(part) for part in parts]

    def run(self, tasks: Tasks) -> dict[str, tuple[Any, float]]:
        """The tasks dealt to the ranks in turn; the value and the seconds of every task on every rank."""
        mine = {
            name: timed(task) for i, (name, task) in enumerate(tasks.items()) if i % self.size == self.rank
        }
        self.meet()
        found = {name: value for part in self.exchange(mine) for name, value in part.items()}
        return {name: (found[name][0], float(found[name][1])) for name in tasks}

    def fail(self, problem: BaseException) -> None:
        """Leave the reason why this rank ends, for the others."""
        self._ended = True
        if self._told:
            return
        kind = next((k for k in KINDS if k in {c.__name__ for c in type(problem).__mro__}), "RuntimeError")
        said = str(problem) if kind in KINDS else f"{type(problem).__name__}: {problem}"
        reason = [kind, f"rank {self._names[self.rank]}: {said}"]
        if not self._entered:
            if isinstance(problem, Exception):
                with contextlib.suppress(Exception):  # the own error is raised
                    self._enter({"error": reason})
            return
        with contextlib.suppress(Exception):  # a store that is gone cannot tell the others
            self._store.compare_set(f"{self._prefix}/failed", "", json.dumps(reason))

    def close(self) -> None:
        """Give no more signs of life, and say so."""
        if self._ended and self._thread.is_alive() and self.rank == 0 and self.size > 1:
            self._let_others_read()
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()
        with contextlib.suppress(Exception):  # a store that is gone needs no farewell
            self._store.add(f"{self._prefix}/done {self.rank}", 1)

    def _let_others_read(self) -> None:
        """Wait a little until the others have ended: this process may hold the store in which they read why."""
        deadline = time.monotonic() + LAST_WORDS
        others = [f"{self._prefix}/done {rank}" for rank in range(1, self.size)]
        with contextlib.suppress(Exception):  # a store that is gone is read by nobody
            while time.monotonic() < deadline and not all(self._store.add(key, 0) for key in others):
                time.sleep(BEAT / 10)

    def _enter(self, mine: Mapping[str, Any]) -> None:
        self._entered = True
        parts = self.exchange({**mine, "prefix": f"hitl_fast/{secrets.token_hex(8)}"})
        self._prefix = parts[0]["prefix"]
        errors = [part["error"] for part in parts if "error" in part]
        if errors:
            self._failed = tuple(errors[0])
            self.check()
        problem = self._difference(parts)
        if problem:
            self._told = True  # every rank has found the same
            raise InputError(problem)
        with self._connection():
            self._store.add(f"{self._prefix}/beat {self.rank}", 1)
        self._thread.start()

    def _difference(self, parts: list[dict[str, Any]]) -> str | None:
        for rank, part in enumerate(parts):
            for what in ("settings", "model"):
                ours, theirs = parts[0][what], part[what]
                for name in {**ours, **theirs}:
                    if ours.get(name) != theirs.get(name):
                        first, other = self._names[0], self._names[rank]
                        if what == "model":
                            return (
                                f"the model differs between ranks {first} and {other} at {name!r}: load the same"
                                " weights on every rank"
                            )
                        return (
                            f"{name} differs between ranks: {ours.get(name)!r} on rank {first}, {theirs.get(name)!r} on"
                            f" rank {other}: give every rank the same"
                        )
        return None

    @contextlib.contextmanager
    def _connection(self) -> Iterator[None]:
        """Turn what a broken connection raises into the reason of the rank that ended."""
        try:
            yield
        except (RuntimeError, OSError) as problem:
            if self._told:
                raise
            deadline = time.monotonic() + 2 * SILENCE  # whoever watches that rank may need longer than one
            while self._failed is None and self._thread.is_alive() and time.monotonic() < deadline:
                time.sleep(BEAT / 10)
            self.check()
            self._told = True
            raise ConnectionError(f"another rank has ended, its connection is gone: {problem}") from problem

    def _beat(self) -> None:
        """Give signs of life and watch for those of the next rank."""
        store, ahead = self._store.clone(), (self.rank + 1) % self.size
        # Counted, not timed: where all have been stopped (a suspended job), time has passed for all alike.
        seen, silent = -1, 0
        while not self._closed.wait(BEAT):
            try:
                store.add(f"{self._prefix}/beat {self.rank}", 1)
                if store.check([f"{self._prefix}/failed"]):
                    kind, message = json.loads(store.get(f"{self._prefix}/failed"))
                    self._failed = (kind, message)
                    return
                found = store.add(f"{self._prefix}/beat {ahead}", 0)
                if found != seen or store.add(f"{self._prefix}/done {ahead}", 0):
                    seen, silent = found, 0
                    continue
                silent += 1
                if silent * BEAT > SILENCE:
                    name = self._names[ahead]
                    reason = (
                        f"rank {name} has given no sign of life for {SILENCE:g} s: it was killed or cut off"
                    )
                    store.compare_set(f"{self._prefix}/failed", "", json.dumps(["ConnectionError", reason]))
            except (RuntimeError, OSError) as problem:
                self._failed = (
                    "ConnectionError",
                    "the store of the process group is gone, which its first rank or its launcher held: that"
                    f" process has ended ({problem})",
                )
                return


Joined = Alone | Ranks


@contextlib.contextmanager
def joined(group: Any) -> Iterator[Joined]:
    """The ranks of a group for one computation; whatever ends it here ends it on the others with the same reason.

    Args:
        group: None, "world" or a ProcessGroup. None, or "world" without other processes: this process alone.

    Raises:
        ValueError, TypeError: as ``sharding.place_in``.
    """
    if group is None:
        yield Alone()
        return
    place_in(group)
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        yield Alone()
        return
    ranks = Ranks(group)
    try:
        yield ranks
    except BaseException as problem:
        ranks.fail(problem)
        raise
    finally:
        ranks.close()


def local_ranks() -> int:
    """Ranks on this machine, as torchrun says."""
    found = os.environ.get("LOCAL_WORLD_SIZE", "1")
    return max(1, int(found)) if found.isdigit() else 1


def timed(task: Callable[[], Any]) -> tuple[Any, float]:
    """A task's value and its seconds."""
    start = time.perf_counter()
    value = task()
    return value, time.perf_counter() - start


def _plain(value: Any) -> Any:
    """A setting as JSON holds it; functions by name."""
    if callable(value):
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__name__)}"
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)

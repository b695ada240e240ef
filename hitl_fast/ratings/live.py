"""`LiveRatings`: weights from a database into which people answer while a model trains."""

from __future__ import annotations

import logging
import os
import sys
import zipfile
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from hitl_fast._common.errors import InputError, InputTypeError
from hitl_fast._common.files import beside, why_unreadable

from .collect.reading import VALUES, Answer, is_begun, read_collection
from .priorities import Priorities, Propagated
from .propagation import checked_prior
from .signals import Signals

LOGGER = logging.getLogger("hitl_fast.ratings.live")


class LiveRatings:
    """A source for ``sampler.follow``: at each epoch's start it reads new answers, propagates them, and gives weights.

    Before the first answer it gives None, so that the sampler keeps its own weights; that there is no database yet is
    logged once, with its whole path and what is named alike beside it. Where the database is gone or all answers were
    taken back, the last weights stay. A change is logged by ``logging.getLogger("hitl_fast.ratings.live")`` at level
    INFO: how many answers there are, by how many people, how many weights changed by more than a tenth, and whether the
    answers contradict the automatic priorities.

    Args:
        path: database of ``hitl-fast collect``; it need not exist yet.
        signals: of all samples of the data set, in its order.
        prior: as in `Priorities.propagate`.
        power, floor, temper: as in `Priorities.weights`.
        record: folder in which the weights of each epoch are kept, as ``epoch-00000.npz``. An epoch whose file exists
            draws from that file, so that other processes and a resumed run draw the same sequence. Choose a new folder
            for each training. Not needed where torch.distributed is initialised and nothing is resumed.

    Attributes:
        last: the last propagated priorities; None before the first answer.
        found: whether the database has been there, at any epoch so far.

    Raises:
        TypeError: signals are no `Signals`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        signals: Signals,
        *,
        prior: str | None = None,
        power: float = 1.0,
        floor: float = 0.1,
        temper: float = 1.0,
        record: str | os.PathLike[str] | None = None,
    ) -> None:
        if not isinstance(signals, Signals):
            raise InputTypeError(f"signals must be hitl_fast.Signals, not {type(signals).__name__}")
        self.path, self.signals, self.prior = Path(path), signals, prior
        self.options: dict[str, Any] = {"power": power, "floor": floor, "temper": temper}
        checked_prior(prior)
        signals.priorities().weights(**self.options)  # refuses options that are out of range
        self.record = None if record is None else Path(record)
        self.last: Propagated | None = None
        self.found = self._missed = False
        self._weights: np.ndarray | None = None
        self._read: list[Answer] = []

    def __call__(self, epoch: int) -> np.ndarray | None:
        """Weights of all samples for an epoch; None before the first answer.

        Raises:
            ValueError: the database is of another data set or program, or a recorded file is damaged.
        """
        if self.record is None:
            return self._current(epoch)
        place = self.record / f"epoch-{epoch:05}.npz"
        if not place.exists():
            weights = self._current(epoch)
            self.record.mkdir(parents=True, exist_ok=True)
            _keep_first(place, np.empty(0) if weights is None else weights)
        weights = _recorded(place, len(self.signals))
        return weights if weights.size else None

    def _current(self, epoch: int) -> np.ndarray | None:
        try:
            found = read_collection(self.path) if is_begun(self.path) else None
        except FileNotFoundError:  # since it was looked for
            found = None
        if found is None:
            if not (self.found or self._missed):
                self._missed = True
                LOGGER.warning("epoch %d: %s", epoch, _absent(self.path))
            return self._last_weights(epoch, "is gone")
        self.found = True
        about, answers = found
        if about.get("items") != len(self.signals):
            raise InputError(
                f"{self.path.name} is of {about.get('items')} items, and signals are of {len(self.signals)}"
            )
        if self.last is not None and answers == self._read:
            return self._weights
        self._read = answers
        priorities = collected_priorities(about, answers)
        if priorities is None:
            self.last = None
            return self._last_weights(epoch, "has no answer that counts")
        self.last = priorities.propagate(self.signals, self.prior)
        weights = self.last.weights(**self.options)
        before = np.full(len(weights), np.nan) if self._weights is None else self._weights
        changed = int((~(np.abs(weights - before) <= 0.1)).sum())
        LOGGER.info(
            "epoch %d: %d answers about %d samples by %d people; %d weights changed by more than 0.1; %s",
            epoch, len(answers), len(priorities), len({a.rater for a in answers}), changed, self.last.check,
        )  # fmt: skip
        self._weights = weights
        return weights

    def _last_weights(self, epoch: int, problem: str) -> np.ndarray | None:
        """Of the last recorded epoch: a resumed run or another rank, which read no answers, draws from the same."""
        weights = self._weights
        if self.record is not None:
            before = [place for place in self.record.glob("epoch-*.npz") if _epoch_of(place) < epoch]
            found = _recorded(max(before, key=_epoch_of), len(self.signals)) if before else np.empty(0)
            weights = found if found.size else None
        if weights is not None:
            LOGGER.warning("epoch %d: %s %s; the last weights stay", epoch, self.path, problem)
        return weights


def collected_priorities(about: dict[str, Any], answers: list[Answer]) -> Priorities | None:
    """Means of the answers about each item; None where there are none. Each answer of a pair is one of both items."""
    scores: dict[int, list[float]] = {}
    for a in answers:
        if a.value is not None:
            scores.setdefault(a.item, []).append(a.value)
            if a.other is not None:
                scores.setdefault(a.other, []).append(1.0 - a.value)
    if not scores:
        return None
    values = VALUES[about["question"]]
    items = np.array(sorted(scores))
    count = np.array([len(scores[i]) for i in items.tolist()])
    mean = np.array([float(np.mean(scores[i])) for i in items.tolist()])
    scale = (values[0], values[-1])
    # No variance: `propagate` then takes its stated noise an answer.
    return Priorities(items, mean, np.zeros(len(items)), count, scale, "mean", about["items"])


def _absent(path: Path) -> str:
    """What to know of a database that is not there: others of its folder that are named alike."""
    folder = path.absolute().parent
    advice = "until people answer there, weights stay as they are"
    if not folder.is_dir():
        return f"there is no database {path.absolute()}, for there is no folder {folder}; {advice}"
    names: list[str] = []
    with suppress(OSError):  # a folder that may not be listed
        names = [p.name for p in folder.iterdir() if p.is_file() and not p.name.endswith(("-wal", "-shm"))]
    near = [name for name in get_close_matches(path.name, names, n=3, cutoff=0.6) if name != path.name]
    alike = f" (there is {', '.join(near)})" if near else ""
    state = "nothing in the database" if path.exists() else "no database"
    return f"there is {state} {path.absolute()}{alike}; {advice}"


def _keep_first(place: Path, weights: np.ndarray) -> None:
    """Write the weights unless another process was first."""
    temporary = place.with_name(beside(place.name))
    try:
        with temporary.open("xb") as file:
            np.savez(file, weights=weights)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # another process was first
            os.link(temporary, place)
    finally:
        temporary.unlink(missing_ok=True)


def _epoch_of(place: Path) -> int:
    number = place.stem.removeprefix("epoch-")
    return int(number) if number.isascii() and number.isdigit() else sys.maxsize


def _recorded(place: Path, size: int) -> np.ndarray:
    try:
        with place.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
            weights = np.asarray(file["weights"], dtype=np.float64)
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as problem:
        raise InputError(f"{place} is no file of weights: {why_unreadable(problem)}") from None
    if weights.shape not in ((size,), (0,)):
        raise InputError(f"{place} holds {weights.size} weights, and signals are of {size} samples")
    return weights

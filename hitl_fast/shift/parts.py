"""PreIndex of batches that other processes send through the model: each batch's part, and all parts as one report."""

from __future__ import annotations

import inspect
import json
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from hitl_kernels.shift_distances import checked_bins
from safetensors.torch import load, save
from torch import Tensor, nn

from hitl_fast._common.errors import InputError, InputTypeError, UserError, input_errors

from .accumulator import PreIndexAccumulator
from .batches import Pair, pairs
from .changes import Changes
from .distributed import check_alike, fingerprint, merge_sums, summary
from .embeddings import EmbeddingStore, default_budget
from .estimate import model_device, preindex
from .evaluation import undisturbed, unwrapped
from .finish import After, finished, warn_of_left_out
from .guesses import Column, Guesses
from .layer_inputs import InputStore
from .one_pass import Pass, Sources
from .options import Options, whole_number
from .ranks import KINDS, Alone
from .refusal import ModelError
from .report import PreIndexReport
from .splitting import Splitting

NOT_HERE = ("model", "clean", "shifted", "paired", "labels_for", "label_budget", "group", "progress")
AT_ONCE = 32  # parts that are put together at a time


@dataclass(frozen=True)
class Request:
    """Arguments of ``hitl_fast.preindex``, checked."""

    sources: Sources
    options: Options
    after: After
    embedding_dtype: str
    device: Any
    max_memory: int | None

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Request:
        """All arguments but those in ``NOT_HERE``; a missing one has its default.

        Raises:
            TypeError: one is none of these.
            ValueError: one has a value that is not allowed.
        """
        known = inspect.signature(preindex).parameters
        for name in arguments:
            if name not in known or name in NOT_HERE:
                reason = "is not for pairs in parts" if name in known else "is no argument of preindex"
                raise InputTypeError(
                    f"{name} {reason}; there are {', '.join(sorted({*known} - {*NOT_HERE}))}"
                )
        given = {name: arguments.get(name, one.default) for name, one in known.items()}
        with input_errors():
            bins = checked_bins(given["bins"])
        names = ("arithmetic", "pooling", "measure", "measure_bins", "scale", "offset")
        options = Options(bins, *(given[name] for name in names))
        kmeans = not options.corrected if given["kmeans"] is None else given["kmeans"]
        after = After(given["effort_samples"], given["clean_accuracy"], given["embedding_samples"], kmeans)
        splitting = Splitting(given["labels"], given["inputs"], given["mask"])
        sources = Sources(given["embedding"], given["output"], splitting)
        EmbeddingStore(0, given["embedding_dtype"])  # refuses another dtype
        most = given["max_memory"]
        if most is not None:
            whole_number("max_memory", most, 0, "bytes")
        return cls(sources, options, after, given["embedding_dtype"], given["device"], most)


class Worker:
    """Sends batches of pairs through a model, and gives what each of them adds as bytes."""

    def __init__(self, model: Callable[[], nn.Module], request: Request) -> None:
        """``model`` is called on the first batch, so that its errors are those of a batch."""
        self._model, self._request = model, request
        self._pass: _Pass | None = None
        self.name = secrets.token_hex(8)

    def part(self, clean: Mapping[str, Any], shifted: Mapping[str, Any], first: int) -> bytes:
        """What a batch adds to a report, as a safetensors file; an error of the input is among what it may hold.

        Args:
            clean: columns of the batch.
            shifted: the same of the shifted samples.
            first: where the batch begins among all samples.
        """
        try:
            new = self._pass is None
            run = self._pass = self._begun() if self._pass is None else self._pass
            (pair,) = pairs([clean], [shifted], self._request.sources.splitting, first=first)
            tensors, said = run.part(pair, first)
            said |= {"worker": self.name, "place": str(run.place)}
            if new:
                said["model"] = fingerprint(run.watch.model)
        except ModelError as problem:  # a defect of the model is seen where it ran
            raise RuntimeError(str(problem)) from problem.__cause__
        except UserError as problem:
            kind = next(kind for kind in KINDS if kind in {c.__name__ for c in type(problem).__mro__})
            tensors, said = {}, {"error": [kind, str(problem)]}
        said["first"] = first
        text = torch.frombuffer(bytearray(json.dumps(said).encode()), dtype=torch.uint8)
        return bytes(save({**tensors, "summary": text}))

    def _begun(self) -> _Pass:
        wanted = self._request
        module = checked_model(self._model)
        place = model_device(module, wanted.device)
        module.to(place)
        store = EmbeddingStore(1 << 62, wanted.embedding_dtype)
        run = _Pass(module, wanted.sources, wanted.options, store, place, wanted.after.effort_samples)
        run.watch.__enter__()  # for as long as the process lives
        return run


def checked_model(model: Callable[[], nn.Module]) -> nn.Module:
    """The module that a function makes.

    Raises:
        TypeError: it is not a function that returns one.
    """
    if isinstance(model, nn.Module) or not callable(model):
        raise InputTypeError(
            f"model_fn must be a function without arguments that returns the model, not a {type(model).__name__}: every"
            " actor calls it"
        )
    made = model()
    if not isinstance(made, nn.Module):
        raise InputTypeError(f"model_fn must return a torch.nn.Module, not {type(made).__name__}")
    return unwrapped(made)


def of_parts(
    model: nn.Module, parts: Iterable[bytes], request: Request, makers: str, progress: bool
) -> PreIndexReport:
    """The report of all samples from the parts of their batches, in order.

    Args:
        model: as the workers have it; it is not run.
        parts: what ``Worker.part`` gave.
        request: as the workers have it.
        makers: how many workers there are, for the report's mode.
        progress: a progress bar.

    Raises:
        ValueError, TypeError: what a worker raised, with the position among all samples; workers do not have the same
            model; batches do not fit together.
        RuntimeError: batches come in another order than that of their samples.
    """
    place = torch.device("cpu")
    budget = default_budget(place) if request.max_memory is None else request.max_memory
    with EmbeddingStore(budget, request.embedding_dtype) as store, undisturbed(model, place, ()):
        run = _Pass(model, request.sources, request.options, store, place, request.after.effort_samples)
        where = run.absorb(parts, makers)
        layers, skipped = run.layers()
        run.refuse_nothing_finite("sample pairs")
        warn_of_left_out(layers, {"sample pairs": run.finite}, level=4)
        captured = run.layer_inputs() if run.captures else None
        kept = store.arrays(), captured
        report = finished(run, request.after, (layers, skipped), kept, Alone(), progress)
    return replace(report, mode=where + report.mode.removeprefix(str(place)))


class _Pass(Pass):
    """A pass whose batches are seen one by one, or were seen by others."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._passed = 0.0
        self.seconds = dict.fromkeys(("forward", "checking", "statistics"), 0.0)

    def part(self, pair: Pair, first: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What one batch adds: of every sample, and sums with all that this pass has found out so far.

        Batches may come in any order, as an idle worker takes whichever is ready.
        """
        self._clear(first)
        start = time.perf_counter()
        with undisturbed(self.watch.model, self.place, ()):
            self._see(pair)
            self._compare()
        self._passed += time.perf_counter() - start
        self.seconds = {
            "forward": self._passed - self.watch.seconds - self.checking.seconds,
            "checking": self.checking.seconds,
            "statistics": self.watch.seconds,
        }
        rows = self.store.arrays()
        tensors = {
            "classes": torch.from_numpy(self.classes.copy()),
            "finite": torch.from_numpy(self.finite.copy()),
            **_sides("rows", *rows),
        }
        said = summary(self, self.store, ())
        if self._inputs.samples:
            held = self.layer_inputs()
            said["inputs"] = {name: len(calls[0]) for name, calls in held.inputs.items()}
            for name, (ours, theirs) in held.inputs.items():
                for call, (a, b) in enumerate(zip(ours, theirs, strict=True)):
                    tensors |= _sides(f"input {call} of {name}", torch.from_numpy(a), torch.from_numpy(b))
            clean, shifted = held.clean_logits, held.shifted_logits
            tensors |= _sides("logits", torch.from_numpy(clean), torch.from_numpy(shifted))
        return tensors, said

    def _clear(self, first: int) -> None:
        """Forget what was found of samples, not what was found out about the model."""
        self.accumulator = PreIndexAccumulator(self.options.bins, self.options.arithmetic)
        self.guesses, missing = Guesses(kept=False), self.changes.missing
        self.changes = Changes()
        self.changes.missing = missing
        self._sides.batch, self._sides.position = None, first
        self.store = EmbeddingStore(self.store.max_memory, str(self.store.dtype).rpartition(".")[2])
        self._inputs = InputStore(max(0, self.captures - first))
        self._labels, self._finite = Column(np.int64), Column(np.bool_)

    def absorb(self, parts: Iterable[bytes], makers: str) -> str:
        """Take what others have seen, in order; the device that they have used."""
        waiting: list[dict[str, Any]] = []
        seconds: dict[str, dict[str, float]] = {}
        first: tuple[str, dict[str, Any]] | None = None
        mine = fingerprint(self.watch.model)
        places: dict[str, None] = {}
        for part in parts:
            tensors = load(part)
            said = json.loads(bytes(tensors.pop("summary").numpy()))
            self._refuse(said, mine)
            maker = f"the actor of sample {said['first']}"
            first = first or (maker, said)
            check_alike([first, (maker, said)], "actors")
            self._take(tensors, said)
            seconds[said["worker"]] = said["seconds"]
            places[said["place"]] = None
            waiting.append(said)
            if len(waiting) == AT_ONCE:
                self._merge(waiting, makers)
        self._merge(waiting, makers)
        self.seconds = {name: max(one[name] for one in seconds.values()) for name in self.seconds}
        return " and ".join(places)

    def _refuse(self, said: Mapping[str, Any], mine: Mapping[str, Any]) -> None:
        if "error" in said:
            kind, message = said["error"]
            raise KINDS[kind](message)
        if said["first"] != len(self.classes):
            raise RuntimeError(
                f"the batch of sample {said['first']} came where that of sample {len(self.classes)} was expected"
            )
        theirs = said.get("model", mine)
        for name in {**mine, **theirs}:
            if mine.get(name) != theirs.get(name):
                raise InputError(
                    f"the model differs between the driver and the actor of sample {said['first']} at {name!r}:"
                    " model_fn must return the same weights at every call; load them from a file, or set the seed in it"
                )

    def _take(self, tensors: Mapping[str, Tensor], said: Mapping[str, Any]) -> None:
        """What there is of every sample of a part."""
        labels = tensors["classes"].numpy()
        if self._inputs.open:
            for name, calls in said.get("inputs", {}).items():
                for call in range(calls):
                    self._inputs.enter(name, call, *_both(tensors, f"input {call} of {name}"))
            logits = _both(tensors, "logits")
            self._inputs.end_batch(logits, labels[: len(logits[0])])
        self._labels.append(labels)
        self._finite.append(tensors["finite"].numpy())
        self.store.append(*_both(tensors, "rows"))

    def _merge(self, waiting: list[dict[str, Any]], makers: str) -> None:
        if waiting:
            samples = len(self.classes) - sum(said["samples"] for said in waiting)
            before = {**summary(self, self.store, ()), "samples": samples}
            merge_sums(self, [before, *waiting], makers)
            waiting.clear()


def _sides(name: str, clean: Tensor, shifted: Tensor) -> dict[str, Tensor]:
    """Both sides by name, on the host, each in memory of its own; one where they are the same."""
    found = {f"clean {name}": clean}
    if shifted.data_ptr() != clean.data_ptr():
        found[f"shifted {name}"] = shifted
    return {key: side.cpu().clone(memory_format=torch.contiguous_format) for key, side in found.items()}


def _both(tensors: Mapping[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    clean = tensors[f"clean {name}"]
    return clean, tensors.get(f"shifted {name}", clean)

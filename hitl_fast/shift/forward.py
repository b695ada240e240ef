"""A model's forward pass, watched: rows of every layer, the embedding, and the layer that produced the output."""

from __future__ import annotations

import contextlib
import difflib
import itertools
import random
import sys
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from hitl_kernels.shift_distances import pooled_rows
from torch import Tensor, nn

from hitl_fast._common.errors import InputError, InputTypeError

from .batches import Inputs

# Rows of at most so many values may be kept after the hook that found them; longer ones are to be used up in it.
SHORT = 4096

# Tried at most, of all ways of taking a few samples from the inputs: many inputs have very many.
WAYS = 27

NOWHERE = -1  # in place of a dimension: no samples in this tensor

Logits = Callable[[Any], Tensor]
RowPairs = Callable[[str, Tensor, Tensor], None]


def unwrapped(model: nn.Module) -> nn.Module:
    """The module itself, where ``torch.compile`` or a data-parallel wrapper stands around it: they hide hooks."""
    wrappers = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    while True:
        if isinstance(model, wrappers):
            model = model.module
        elif "_orig_mod" in model._modules:
            model = model._modules["_orig_mod"]  # type: ignore[assignment]
        else:
            return model


@contextlib.contextmanager
def undisturbed(model: nn.Module, device: torch.device, loaders: tuple[object, ...]) -> Iterator[None]:
    """Evaluation on a device, every layer visible to hooks; afterwards all is as it was, also after an error.

    Flags are set without calling ``train()``, which some modules override to change their weights.

    Restored: each module's train/eval flag, the device of the parameters, PyTorch's switch for the fused
    Transformer path (which calls no inner module), and the state of every random generator that reading the
    loaders can advance: torch's (CPU and CUDA), NumPy's, Python's and the loaders' own torch ones.
    """
    training = {module: module.training for module in model.modules()}
    home = next((tensor.device for tensor in (*model.parameters(), *model.buffers())), device)
    fused = torch.backends.mha.get_fastpath_enabled()
    own = (getattr(loader, "generator", None) for loader in loaders)
    generators = [generator for generator in own if isinstance(generator, torch.Generator)]
    states = [generator.get_state() for generator in generators]
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002
    on_cuda = device.type == "cuda" or torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    cuda = range(torch.cuda.device_count()) if on_cuda else ()
    with torch.random.fork_rng(devices=cuda):
        try:
            if home != device:
                model.to(device)
            for module in training:
                module.training = False
            torch.backends.mha.set_fastpath_enabled(False)
            with torch.no_grad(), _uncompiled():
                yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fused)
            for module, flag in training.items():
                module.training = flag
            if home != device:
                model.to(home)
            random.setstate(python_state)
            np.random.set_state(numpy_state)  # noqa: NPY002
            for generator, state in zip(generators, states, strict=True):
                generator.set_state(state)


def _uncompiled() -> contextlib.AbstractContextManager[None]:
    """Parts compiled by ``module.compile()`` run as they were written: hooks made later are not in their graphs."""
    if "torch._dynamo" in sys.modules:
        return cast("contextlib.AbstractContextManager[None]", torch.compiler.set_stance("force_eager"))
    return contextlib.nullcontext()


class Watch:
    """Hooks on a model that hand row pairs to ``found`` while a batch goes through it.

    Args:
        model: unwrapped.
        embedding: name of the module whose output is the embedding; None: the input of the last nn.Linear to run.
        corrected: which arithmetic decides how outputs become rows.
        pooled: mean over positions, or every value a unit.
        found: called with (layer, clean rows, shifted rows).
    """

    def __init__(
        self, model: nn.Module, embedding: str | None, corrected: bool, pooled: bool, found: RowPairs
    ) -> None:
        self.model, self.corrected, self.pooled, self.found = model, corrected, pooled, found
        if isinstance(model, torch.jit.ScriptModule):
            raise InputTypeError("a scripted model cannot be watched: give the nn.Module that it was made of")
        self.layers = {name: module for name, module in model.named_modules() if _is_layer(module) and name}
        if not self.layers and not _is_layer(model):
            raise InputError(
                f"{type(model).__name__} has no layer with out_features or out_channels to look at"
            )
        if not self.layers:
            self.layers = {"": model}
        self.embedding = embedding
        if embedding is not None:
            self.embedding_module = _module(model, embedding)
        self.skipped: dict[str, str] = {}
        self.output_layer: str | None = None
        self.embedding_name: str | None = None
        self.seconds = 0.0  # spent in hooks
        self.largest_output = 0  # bytes of the largest layer output seen
        self._ran: set[str] = set()
        self._embeddings: Tensor | None = None
        self._last_linear: tuple[str, Tensor] | None = None
        self._calls: list[tuple[str, Callable[[], Tensor | None], tuple[int, ...]]] = []
        self._waiting: dict[str, list[Tensor]] = {}
        self._probed: dict[str, tuple[int, ...]] = {}
        self._role, self._n = "", 0
        # Where samples stand in a layer's outputs of three dimensions or more: 0, 1 behind time, or NOWHERE.
        self._axis: dict[str, int] = {}
        self.unsure: dict[str, tuple[int, ...]] = {}  # shapes of outputs that leave it open
        self._handles: list[Any] = []

    def __enter__(self) -> Watch:
        try:
            for name, module in self.layers.items():
                handle = module.register_forward_hook(self._layer_hook(name), with_kwargs=True)
                self._handles.append(handle)
            if self.embedding is not None:
                handle = self.embedding_module.register_forward_hook(self._embedding_hook, always_call=False)
                self._handles.append(handle)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def run(self, inputs: Inputs, n: int, role: str) -> tuple[Any, Tensor]:
        """One forward pass of ``n`` samples (per side): the model's output and the embeddings of all rows.

        ``role`` is "both" for a joined batch (clean first), "same" for one that serves as both sides, "clean" and
        then "shifted" for two passes, "probe" to see shapes alone.
        """
        self._role, self._n = role, n
        self._embeddings = self._last_linear = None
        self._calls.clear()
        if role != "shifted":
            self._waiting.clear()
        output = self.model(*inputs.args, **inputs.kwargs)
        if role == "shifted" and any(self._waiting.values()):
            name = next(name for name, rows in self._waiting.items() if rows)
            raise InputError(f"layer {name!r} ran more often on clean than on shifted data")
        if self._last_linear is not None:
            name, entering = self._last_linear
            self.embedding_name = f"input of {name}" if name else "input"
            self._embeddings = self._as_embedding(name, None, entering)
            self._last_linear = None
        if self._embeddings is None:
            raise InputError(
                "no nn.Linear ran, so there is no default embedding: name a layer by embedding="
                if self.embedding is None
                else f"the embedding layer {self.embedding!r} did not run in the forward pass"
            )
        return output, self._embeddings

    def samples_first(self, inputs: Inputs, n: int, logits: Logits) -> bool:
        """Whether samples stand first in every input; False also where that cannot be told."""
        found = self._tried(inputs, n, logits)
        return found is not None and not any(found[0])

    def learn_axes(self, inputs: Inputs, n: int, logits: Logits) -> None:
        """Find out where samples stand in outputs that leave it open: the dimension that grows with their number.

        Only where a batch has as many samples as time steps, say, so that most models never pay for it.

        Raises:
            ValueError: it cannot be told.
        """
        unsure, self.unsure = self.unsure, {}
        found = self._tried(inputs, n, logits)
        for name, shape in unsure.items():
            if found is None or name not in found[1]:
                raise InputError(
                    f"cannot tell which dimension of the output of {name!r}, of shape {shape}, holds the {n} samples: "
                    "use another batch size, one that no other dimension has"
                )
            self._axis[name] = found[1][name]

    def _tried(self, inputs: Inputs, n: int, logits: Logits) -> tuple[tuple[int, ...], dict[str, int]] | None:
        """The dimension of the samples in each input tensor and in each output, NOWHERE included.

        The ways in which the inputs' shapes allow to take a few samples are tried in turn, samples first before
        others, until in one the logits grow with their number. None: in none, or as well if samples and time change
        places.
        """
        shapes = [tuple(v.shape[:2]) for v in inputs.values() if isinstance(v, Tensor)]
        choices = [[*(axis for axis, size in enumerate(shape) if size == n), NOWHERE] for shape in shapes]
        for axes in itertools.islice(itertools.product(*choices), WAYS):
            seen = self._growing(inputs, n, axes, logits)
            if seen is None:
                continue
            either = tuple(
                1 - axis if shape == (n, n) and axis != NOWHERE else axis
                for axis, shape in zip(axes, shapes, strict=True)
            )
            if either != axes and self._growing(inputs, n, either, logits) is not None:
                return None
            return axes, seen
        return None

    def _growing(
        self, inputs: Inputs, n: int, axes: tuple[int, ...], logits: Logits
    ) -> dict[str, int] | None:
        """The dimension of each output that grows from two samples to three; None: the logits do not."""
        two, three = (self._shapes(inputs, n, axes, few, logits) for few in (2, 3))
        if two is None or three is None or _growth(two[0], three[0]) == NOWHERE:
            return None
        return {name: _growth(shape, three[1][name]) for name, shape in two[1].items() if name in three[1]}

    def _shapes(
        self, inputs: Inputs, n: int, axes: tuple[int, ...], few: int, logits: Logits
    ) -> tuple[tuple[int, ...], dict[str, tuple[int, ...]]] | None:
        """The shapes of the logits and of outputs for so many samples; None: the model cannot do with them."""
        along = iter(axes)
        taken = inputs.map(lambda v: _taken(v, n, next(along), few) if isinstance(v, Tensor) else v)
        self._role, self._n, self._probed = "probe", few, {}
        try:
            made = logits(self.model(*taken.args, **taken.kwargs))
        except Exception:  # whatever a model raises where samples were taken from its time steps or channels
            return None
        return tuple(made.shape), self._probed

    def find_output_layer(self, logits: Tensor) -> None:
        """Remember which layer made the logits: the one whose output they are (or view), else the last of that size.

        Dimensions of 1 do not count: a classifier with one logit drops that dimension somewhere.
        """
        made = ((name, output()) for name, output, _ in reversed(self._calls))
        itself = next(
            (n for n, output in made if output is not None and (output is logits or logits._base is output)),
            None,
        )
        sizes = _without_ones(logits.shape)
        alike = (name for name, _, shape in reversed(self._calls) if _without_ones(shape) == sizes)
        # A layer whose maps are averaged into the logits has as many channels, and nothing runs after it.
        last = self._calls[-1][0]
        averaged = last if [_units(self.layers[last])] == (list(logits.shape[1:]) or [1]) else None
        self.output_layer = itself if itself is not None else next(alike, averaged)
        if self.corrected and self.output_layer is not None:
            self._waiting.pop(self.output_layer, None)

    def never_ran(self) -> Iterator[str]:
        """Layers that no forward pass has called."""
        return (name for name in self.layers if name not in self._ran)

    def _layer_hook(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            start = time.perf_counter()
            self._see(name, module, args, kwargs, output)
            self.seconds += time.perf_counter() - start

        return hook

    def _see(
        self, name: str, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any
    ) -> None:
        self._ran.add(name)
        if self._role == "probe":
            self._note_shape(name, output)
            return
        if not isinstance(output, Tensor):
            self.skipped[name] = f"its output is a {type(output).__name__}, not a tensor"
            return
        if self.embedding is None and isinstance(module, nn.Linear):
            self._last_linear = (name, args[0] if args else kwargs["input"])
        self._calls.append((name, weakref.ref(output), tuple(output.shape)))
        self.largest_output = max(self.largest_output, output.nbytes)
        if not output.is_floating_point():
            self.skipped[name] = f"its output holds {output.dtype}, not floating point numbers"
            return
        samples = self._by_sample(name, output)
        if samples is None:
            self.skipped[name] = (
                f"its output of shape {tuple(output.shape)} has no dimension of {self._batch} samples"
            )
            return
        if name == self.output_layer and self.corrected:
            return
        rows = self._as_rows(module, samples)
        if rows.ndim > 2:
            rows = pooled_rows(rows, arithmetic="corrected" if self.corrected else "reference")
        elif self._role == "clean" or rows.shape[1] <= SHORT:
            rows = rows.clone()  # it outlives this hook, and the next module may work in place
        if self._role == "both":
            self.found(name, rows[: self._n], rows[self._n :])
        elif self._role == "same":
            self.found(name, rows, rows)
        elif self._role == "clean":
            self._waiting.setdefault(name, []).append(rows)
        elif not self._waiting.get(name):
            raise InputError(f"layer {name!r} ran more often on shifted than on clean data")
        else:
            self.found(name, self._waiting[name].pop(0), rows)

    def _note_shape(self, name: str, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim > 2:  # others leave nothing open
            self._probed[name] = tuple(output.shape)

    @property
    def _batch(self) -> int:
        return 2 * self._n if self._role == "both" else self._n

    def _by_sample(self, name: str, output: Tensor) -> Tensor | None:
        """The output with samples first: (n, ...) or, where positions were folded into the batch, (n, k, ...).

        Detached: a model may switch gradients on inside, and what is kept would hold every batch's graph.
        """
        output = output.detach()
        n = self._batch
        axis = self._axis.get(name) if output.ndim > 2 else 0
        if axis is None:
            axis = self._axis_seen(name, output)
        if axis == 1 and output.shape[1] == n:
            return output.transpose(0, 1)
        if axis == NOWHERE or output.ndim == 0 or len(output) == 0 or len(output) % n:
            return None
        return output if len(output) == n else output.reshape(n, -1, *output.shape[1:])

    def _axis_seen(self, name: str, output: Tensor) -> int:
        """Where samples stand as far as this output tells; what it leaves open is noted in ``unsure``."""
        first = len(output) % self._batch == 0
        second = output.shape[1] == self._batch
        if first and second and not hasattr(self.layers.get(name), "out_channels"):
            self.unsure[name] = tuple(output.shape)
            return 0
        self._axis[name] = axis = 1 if second and not first else 0
        return axis

    def _as_rows(self, module: nn.Module, samples: Tensor) -> Tensor:
        """(n, units) or (n, units, positions ...) to be pooled, by the arithmetic's rule."""
        if not self.pooled or samples.ndim <= 2:
            return samples.flatten(1)
        if not self.corrected:
            return samples if samples.ndim == 4 else samples.flatten(1)
        return samples.movedim(_unit_axis(module, samples.ndim), 1)

    def _as_embedding(self, name: str, module: nn.Module | None, values: Tensor) -> Tensor:
        """(n, D) float32, pooled over positions like the rows, or every value of a sample."""
        samples = self._by_sample(name, values)
        if samples is None:
            raise InputError(
                f"the embedding of shape {tuple(values.shape)} has no dimension of {self._batch} samples"
            )
        if self.pooled and self.corrected and samples.ndim > 2:
            samples = samples.movedim(_unit_axis(module, samples.ndim), 1).flatten(2).float().mean(2)
        # A copy: a view would keep the whole activation, and a module after this one may work in place.
        return samples.flatten(1).to(torch.float32, copy=True).contiguous()

    def _embedding_hook(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if self._role == "probe":
            self._note_shape(self.embedding or "", output)
            return
        start = time.perf_counter()
        if not isinstance(output, Tensor) or not output.is_floating_point():
            kind = output.dtype if isinstance(output, Tensor) else type(output).__name__
            raise InputError(
                f"the embedding layer {self.embedding!r} gives {kind}, not a floating point tensor"
            )
        self.embedding_name = self.embedding
        self._embeddings = self._as_embedding(self.embedding or "", module, output)
        self.seconds += time.perf_counter() - start


def logits_of(output: Any, wanted: str | int | Callable[[Any], Any] | None) -> Tensor:
    """The logits in a model's output: itself, its ``logits``, the first of a tuple, or what ``output=`` picks.

    Raises:
        TypeError: there is no tensor of floating point numbers at that place.
    """
    found = output
    if callable(wanted):
        found = wanted(output)
    elif wanted is not None:
        try:
            found = output[wanted]
        except (KeyError, IndexError, TypeError):
            found = getattr(output, str(wanted), None)
    elif isinstance(output, Mapping):
        found = output.get("logits")
    elif hasattr(output, "logits"):
        found = output.logits
    elif isinstance(output, tuple | list) and output:
        found = output[0]
    if not isinstance(found, Tensor) or not found.is_floating_point():
        held = f" with the keys {sorted(map(str, output))}" if isinstance(output, Mapping) else ""
        place = "logits in it" if wanted is None else f"logits at output={wanted!r}"
        raise InputTypeError(
            f"the model returns a {type(output).__name__}{held}: no {place}; pick them by output="
        )
    return found


def _is_layer(module: nn.Module) -> bool:
    return hasattr(module, "out_features") or hasattr(module, "out_channels")


def _module(model: nn.Module, name: str) -> nn.Module:
    modules = dict(model.named_modules(remove_duplicate=False))
    if name not in modules or not name:
        near = difflib.get_close_matches(name, modules, n=5, cutoff=0.4) or [n for n in modules if n][-5:]
        raise InputError(f"the model has no layer {name!r}; near ones: {', '.join(near)}")
    module: nn.Module = modules[name]
    return module


def _taken(values: Tensor, n: int, axis: int, few: int) -> Tensor:
    """A copy of a few of the n samples, over again where there are fewer."""
    if axis == NOWHERE:
        return values.clone()
    return values.index_select(axis, torch.arange(few, device=values.device) % n)


def _growth(two: tuple[int, ...], three: tuple[int, ...]) -> int:
    """Which of the first two dimensions is half as long again; positions may be folded into it."""
    pairs = enumerate(zip(two[:2], three[:2], strict=False))
    return next((axis for axis, (fewer, more) in pairs if 2 * more == 3 * fewer > 0), NOWHERE)


def _without_ones(shape: Sequence[int]) -> list[int]:
    return [size for size in shape if size != 1]


def _units(module: nn.Module) -> object:
    return getattr(module, "out_features", getattr(module, "out_channels", None))


def _unit_axis(module: nn.Module | None, ndim: int) -> int:
    """Where the units stand in an output with samples first: channels second, features last."""
    if hasattr(module, "out_channels"):
        # (n, C, ...), or (n, k, C, ...) where k positions were folded into the batch.
        dimensions = next((d for d in (1, 2, 3) if type(module).__name__.endswith(f"{d}d")), ndim - 2)
        return 1 if ndim <= dimensions + 2 else 2
    if module is None or hasattr(module, "out_features") or hasattr(module, "normalized_shape"):
        return -1
    # Other modules, for an embedding that is named: maps have channels second, token sequences features last.
    return 1 if ndim >= 4 or type(module).__name__.endswith("1d") else -1

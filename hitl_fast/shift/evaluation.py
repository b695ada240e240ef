"""A model in evaluation mode, left afterwards as it was found, and the logits in what it returns."""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from hitl_fast._common.errors import InputError, InputTypeError


def unwrapped(model: nn.Module) -> nn.Module:
    """The module inside ``torch.compile`` or a data-parallel wrapper, which hide hooks."""
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

    Restored: each module's train/eval flag, the device of the parameters, the values of the buffers (counters and
    moving averages that a forward pass updates), PyTorch's switch for the fused Transformer path (which calls no
    inner module), and the state of every random generator that reading the loaders can advance: torch's (CPU and
    CUDA), NumPy's, Python's and the loaders' own torch ones.

    Raises:
        ValueError: a lazy module has no weights yet.
    """
    _refuse_lazy(model)
    buffers = _Buffers(model)
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
            buffers.restore()
            if home != device:
                model.to(home)
            random.setstate(python_state)
            np.random.set_state(numpy_state)  # noqa: NPY002
            for generator, state in zip(generators, states, strict=True):
                generator.set_state(state)


class _Buffers:
    """The buffers of a model and their values."""

    def __init__(self, model: nn.Module) -> None:
        self._held = [
            (module, name, buffer, buffer.detach().clone())
            for module in model.modules()
            for name, buffer in module._buffers.items()
            if buffer is not None and not isinstance(module, torch.jit.ScriptModule)
        ]

    def restore(self) -> None:
        """Put back values that changed and buffers that were replaced."""
        for module, name, buffer, values in self._held:
            now = module._buffers.get(name)
            if now is not None and now.device != buffer.device and now.shape == values.shape:
                buffer = now  # the model was moved
            module._buffers[name] = buffer
            values = values.to(buffer.device)
            if buffer.shape != values.shape or not torch.equal(buffer, values):
                buffer.data = values


def _refuse_lazy(model: nn.Module) -> None:
    for name, module in model.named_modules():
        tensors = (*module._parameters.values(), *module._buffers.values())
        if any(t is not None and nn.parameter.is_lazy(t) for t in tensors):
            raise InputError(
                f"{type(module).__name__} {name!r} has no weights yet: run the model once on a batch, then load or"
                " train its weights"
            )


def _uncompiled() -> contextlib.AbstractContextManager[None]:
    """Parts compiled by ``module.compile()`` run as they were written: hooks made later are not in their graphs."""
    if "torch._dynamo" in sys.modules:
        return cast("contextlib.AbstractContextManager[None]", torch.compiler.set_stance("force_eager"))
    return contextlib.nullcontext()


def logits_of(output: Any, wanted: str | int | Callable[[Any], Any] | None) -> Tensor:
    """The logits in a model's output: the tensor itself, its ``logits``, one of a tuple, or what ``output=`` picks.

    Of a tuple it is the first tensor that is not a single number (a loss).

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
        found = next((v for v in output if isinstance(v, Tensor) and v.ndim > 0), output[0])
    if not isinstance(found, Tensor) or not found.is_floating_point():
        held = f" with the keys {sorted(map(str, output))}" if isinstance(output, Mapping) else ""
        place = "logits in it" if wanted is None else f"logits at output={wanted!r}"
        raise InputTypeError(
            f"the model returns a {type(output).__name__}{held}: no {place}; pick them by output="
        )
    return found

"""How the two sides of a batch go through the model: as one batch, in turn, or once where they are equal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .batches import same
from .checking import Checking, Passed
from .current_pass import Role
from .inputs import Inputs
from .masks import Mask
from .options import Options
from .refusal import NAMES, is_of_model, refusal, shapes

# On a CPU one batch of both is faster while its largest activation stays in a cache (measured: SmallResNet 1.13 times,
# 1 MiB), and slower where it does not (ResNet-18, 32 MiB: 0.85 times).
CACHE_BYTES = 8 * 2**20

Masks = tuple[Mask | None, Mask | None]


class Sides(NamedTuple):
    """Of clean and shifted samples: logits (None: they are not of samples) and embeddings."""

    logits: tuple[Tensor, Tensor] | None
    embeddings: tuple[Tensor, Tensor]


class BothSides:
    """Runs both sides of each batch, and remembers which way is right and faster for this model.

    Args:
        module: the model, unwrapped.
        checking: runs and checks a pass.
        forget: called with nothing, takes back what the passes of this batch have added so far.
    """

    def __init__(
        self,
        module: nn.Module,
        checking: Checking,
        options: Options,
        place: torch.device,
        forget: Callable[[], None],
    ) -> None:
        self.checking, self.place, self._forget = checking, place, forget
        self._masked = options.corrected and options.pooled  # whether rows can leave padding out
        mixing = any(isinstance(m, _BatchNorm) and m.running_mean is None for m in module.modules())
        on_sight = self._masked and place.type == "cpu"
        # Whether clean and shifted samples go through the model as one batch; None: to be seen from the first.
        self._together = False if mixing or not options.corrected else None if on_sight else True
        self.batch: int | None = 0  # the number of the next one; None: not known
        self.position = 0  # of its first sample
        self._taken = ""  # the shapes of a batch that did
        self.ways: dict[str, None] = {}  # how batches went through the model, in order of appearance

    def run(self, clean: Inputs, shifted: Inputs, n: int, masks: Masks, only: str = "") -> Sides:
        """Logits and embeddings of both sides of ``n`` pairs; ``only``: the name of the side that serves as both.

        Raises:
            ValueError: the model raised an error, which is the cause of this one; side, batch and shapes are named.
        """
        sides = self._run(clean, shifted, n, masks, only)
        self.batch = None if self.batch is None else self.batch + 1
        self.position += n
        self.checking.watch.take_raised()  # by ways to take samples that were tried
        return sides

    def _run(self, clean: Inputs, shifted: Inputs, n: int, masks: Masks, only: str) -> Sides:
        if same(clean, shifted):
            self.ways["equal batches once"] = None
            made = self._go(clean, self._role("same", n, masks[0]), only)
            return Sides(_both(made.logits, made.logits), (made.embeddings, made.embeddings))
        if self._together and self.checking.taking is not None:
            joined = self._joined(clean, shifted, n, masks)
            if joined is not None:
                self.ways["clean and shifted as one batch"] = None
                logits, rows = joined.logits, joined.embeddings
                halves = None if logits is None else (logits[:n], logits[n:])
                return Sides(halves, (rows[:n], rows[n:]))
            self._forget()
        self.ways["clean and shifted in turn"] = None
        ours = self._go(clean, self._role("clean", n, masks[0]))
        theirs = self._go(shifted, self._role("shifted", n, masks[1]))
        if self.checking.sees_batch:
            self._together = False
        elif self._together is None:
            self._together = 2 * self.checking.watch.largest_output <= CACHE_BYTES
        return Sides(_both(ours.logits, theirs.logits), (ours.embeddings, theirs.embeddings))

    def of_padding(self, mask: Mask | None) -> Mask | None:
        """The mask, unless all samples share it (a causal one), as far as is known."""
        taking = self.checking.taking
        if mask is None or mask.input is None or taking is None:
            return mask
        return None if taking.axes[mask.input] is None else mask

    def _go(self, inputs: Inputs, role: Role, only: str = "") -> Passed:
        try:
            passed = self.checking.run(inputs, role, self._forget)
        except Exception as problem:
            if not self.checking.watch.take_raised(problem) or not is_of_model(problem):
                raise
            side = only or NAMES[role.name]
            raise refusal(problem, side, self.batch, self.position, inputs, self._taken) from problem
        if role.name != "both":
            self._taken = shapes(inputs)
        return passed

    def _role(self, name: str, n: int, mask: Mask | None) -> Role:
        mask = self.of_padding(mask) if self._masked else None
        return Role(name, n) if mask is None else Role(name, n, mask.kept, mask.input)

    def _joined(self, clean: Inputs, shifted: Inputs, n: int, masks: Masks) -> Passed | None:
        """One pass of both sides; None: it does not go, or its numbers are not those of each side alone."""
        both = self.checking.join(clean, shifted)
        padding = (self.of_padding(masks[0]), self.of_padding(masks[1]))
        mask = _joined_mask(padding, n) if self._masked else None
        if both is None or mask is NotImplemented:
            return None
        try:
            made = self._go(both, Role("both", n, mask))
        except (torch.OutOfMemoryError, RuntimeError) as problem:
            if not _out_of_memory(problem):
                raise
            self._together = False
            del both
            if self.place.type == "cuda":
                torch.cuda.empty_cache()
            return None
        if made.sees_batch:
            self._together = False
            return None
        return made


def _both(clean: Tensor | None, shifted: Tensor | None) -> tuple[Tensor, Tensor] | None:
    return None if clean is None or shifted is None else (clean, shifted)


def _joined_mask(masks: Masks, n: int) -> Any:
    """The mask of both sides; NotImplemented where their widths differ."""
    widths = {mask.kept.shape[1] for mask in masks if mask is not None}
    if not widths:
        return None
    if len(widths) > 1:
        return NotImplemented
    width, device = widths.pop(), next(mask.kept.device for mask in masks if mask is not None)
    every = torch.ones((n, width), dtype=torch.bool, device=device)
    return torch.cat([every if mask is None else mask.kept for mask in masks])


def _out_of_memory(problem: BaseException) -> bool:
    return isinstance(problem, torch.OutOfMemoryError) or "can't allocate memory" in str(problem)

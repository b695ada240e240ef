"""The check of every kind of pass against samples that go through the model alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hitl_fast._common.errors import InputError

from .current_pass import Role
from .forward import Watch
from .inputs import Inputs
from .proof import LOGITS, Lone, Proof
from .samples import Taking, takings

SEES_BATCH = (
    "arithmetic sees the batch: the logits of a sample alone differ from those in its batch (or are random); clean and"
    " shifted samples were never joined, and the numbers are those at this batch size"
)


@dataclass(frozen=True)
class Passed:
    """What a pass gave: logits as (samples, ...), None where they are not of samples, and embeddings."""

    logits: Tensor | None
    embeddings: Tensor
    sees_batch: bool


class Checking:
    """Runs passes, and before the first of each kind a few of its samples alone.

    A kind is a side (clean, shifted, joined) and the shapes of its inputs apart from the number of samples. Two samples
    are run before the very first pass of a side, one before the first pass of another shape.
    """

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.taking: Taking | None = None
        self.seconds = 0.0
        self.sees_batch = False
        self.notes: list[str] = []
        self._proofs: dict[tuple[object, ...], Proof] = {}
        self._differs: dict[tuple[object, ...], bool] = {}

    def run(self, inputs: Inputs, role: Role, forget: Callable[[], None]) -> Passed:
        """A pass of a batch, checked; ``forget`` takes back what a pass has added."""
        if self.taking is None:
            return self._learn(inputs, role, forget)
        kind = self._kind(inputs, role, self.taking)
        proof = self._proofs.get(kind)
        if proof is None:
            self.taking.check(inputs, role.samples)
            proof = self._proofs[kind] = self._proof(inputs, role, self.taking)
        new = not proof.settled
        logits, sees_batch = self._go(inputs, role, proof)
        if new:
            self._differs[kind] = sees_batch
        return self._passed(role, proof, logits, self._differs.get(kind, False))

    def axes(self, inputs: Inputs, n: int) -> tuple[int | None, ...]:
        """The dimension of the samples in each input."""
        if self.taking is not None:
            return self.taking.axes
        return tuple(0 if isinstance(v, Tensor) and v.ndim and len(v) == n else None for v in inputs.values())

    def join(self, clean: Inputs, shifted: Inputs) -> Inputs | None:
        """One batch of both sides; None where that cannot be."""
        return None if self.taking is None else self.taking.join(clean, shifted)

    def _learn(self, inputs: Inputs, role: Role, forget: Callable[[], None]) -> Passed:
        """The first pass: find how samples are taken from the inputs."""
        n = role.samples
        first: Taking | None = None
        tried = False
        problems: list[Exception] = []
        for taking in takings(inputs, n):
            try:
                proof = self._proof(inputs, role, taking)
            except Exception as problem:  # whatever a model raises where a dimension was not the samples'
                problems.append(problem)
                self.watch.forget_head()
                continue
            if tried:
                forget()
            tried = True
            arranged, sees_batch = self._go(inputs, role, proof)
            if arranged is not None and not sees_batch:
                self._refuse_either(inputs, role, taking, arranged)
                return self._accept(taking, proof, role, inputs, arranged, sees_batch, forget)
            if first is None and arranged is not None:
                first = taking
            self.watch.forget_head()
        if first is not None:
            forget()
            proof = self._proof(inputs, role, first)
            arranged, sees_batch = self._go(inputs, role, proof)
            return self._accept(first, proof, role, inputs, arranged, sees_batch, forget)
        if tried:
            forget()
        if n == 1:
            return self._single(inputs, role)
        if problems:
            raise problems[0]
        raise InputError(
            f"no sample of a batch of {n} can be run alone: no input holds the samples along a dimension so that"
            " their logits come out one by one; use a batch size of 1"
        )

    def _refuse_either(self, inputs: Inputs, role: Role, taking: Taking, logits: Tensor) -> None:
        """Refuse inputs where samples and time steps can change places and the logits still agree."""
        n = role.samples
        swapped = taking.swapped(inputs, n)
        if n == 1 or swapped == taking:
            return
        try:
            lone = self._timed(lambda: self._alone(inputs, n, swapped, [0, n - 1]))
        except Exception:  # whatever a model raises where time steps were taken for samples
            return
        other = Proof(n, lone)
        for values in (logits, logits.movedim(1, 0)) if logits.ndim > 1 else (logits,):
            other.reasons.clear()
            if other.arranged(LOGITS, values, n) is not None and LOGITS in other.found:
                raise InputError(
                    f"cannot tell which dimension of an input of shape {_square(inputs, n)} holds the {n} samples, for"
                    " the logits agree with either: use another batch size, one that no other dimension has"
                )

    def _accept(
        self,
        taking: Taking,
        proof: Proof,
        role: Role,
        inputs: Inputs,
        logits: Tensor | None,
        sees_batch: bool,
        forget: Callable[[], None],
    ) -> Passed:
        self.taking = taking
        if role.mask_input is not None and taking.axes[role.mask_input] is None:
            # Shared by all samples, such as a causal mask: not one of padding. Once more, without it.
            forget()
            return self.run(inputs, Role(role.name, role.pairs), forget)
        kind = self._kind(inputs, role, taking)
        self._proofs[kind], self._differs[kind] = proof, sees_batch
        return self._passed(role, proof, logits, sees_batch)

    def _kind(self, inputs: Inputs, role: Role, taking: Taking) -> tuple[object, ...]:
        return (role.name, role.samples == 1, *taking.kind(inputs))

    def _single(self, inputs: Inputs, role: Role) -> Passed:
        """A batch of one whose inputs have no dimension of samples (a graph): all that it gives is the sample's."""
        self.taking = Taking((None,) * len(inputs.values()))
        self._timed(lambda: self.watch.find_head_in(_copied(inputs)))
        self.notes.append("not checked: the inputs of a batch of one have no dimension of samples")
        proof = self._proofs[self._kind(inputs, role, self.taking)] = Proof(1, ())
        logits, _ = self._go(inputs, role, proof)
        return self._passed(role, proof, logits, sees_batch=False)

    def _proof(self, inputs: Inputs, role: Role, taking: Taking) -> Proof:
        n = role.samples
        earlier = next((p for p in self._proofs.values() if p.lone), None)
        if n == 1 and self.taking is not None:
            return Proof(n, (), earlier)
        indices = {0, n - 1} if all(kind[0] != role.name for kind in self._proofs) else {0}
        return Proof(n, self._timed(lambda: self._alone(inputs, n, taking, sorted(indices))))

    def _alone(self, inputs: Inputs, n: int, taking: Taking, indices: list[int]) -> list[Lone]:
        """Passes of single samples: as a batch of one or, where a model cannot do with that, of equal copies."""
        first: Exception | None = None
        for copies in (c for c in (1, 2, 3) if c != n):
            try:
                return [self.watch.alone(taking.take(inputs, n, i, copies), i, copies) for i in indices]
            except Exception as problem:  # any error of the model
                first = first or problem
        assert first is not None
        raise first

    def _go(self, inputs: Inputs, role: Role, proof: Proof) -> tuple[Tensor | None, bool]:
        """A pass: its logits with samples first, and whether the check found that they depend on the batch."""
        logits, arranged = self.watch.run(_copied(inputs), role, proof)
        if proof.settled:
            return arranged, False
        sees_batch = proof.settle()
        if sees_batch:
            arranged = proof.arranged(LOGITS, logits, role.samples)
        return arranged, sees_batch

    def _passed(self, role: Role, proof: Proof, logits: Tensor | None, sees_batch: bool) -> Passed:
        if sees_batch and role.name == "both":
            return Passed(None, torch.empty(0), sees_batch)  # it will not be used
        if sees_batch and not self.sees_batch:
            self.sees_batch = True
            self.notes.append(SEES_BATCH)
        self.watch.reasons(proof)
        return Passed(logits, self.watch.embeddings(logits), sees_batch)

    def _timed(self, what: Callable[[], list[Lone] | None]) -> list[Lone]:
        start, hooks = time.perf_counter(), self.watch.seconds
        try:
            return what() or []
        finally:
            self.watch.seconds = hooks
            self.seconds += time.perf_counter() - start


def _copied(inputs: Inputs) -> Inputs:
    return inputs.map(lambda v: v.clone() if isinstance(v, Tensor) else v)


def _square(inputs: Inputs, n: int) -> tuple[int, ...]:
    return next(
        tuple(v.shape) for v in inputs.values() if isinstance(v, Tensor) and tuple(v.shape[:2]) == (n, n)
    )

"""What one forward pass is: its samples, how they are told apart, and what was seen of it so far."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from .proof import Key, Proof


@dataclass(frozen=True)
class Role:
    """Which samples a pass holds.

    Attributes:
        name: "both" for a joined batch (clean first), "same" for one that serves as both sides, "clean" and then
            "shifted" for two passes.
        pairs: sample pairs.
        mask: (samples, T) bool, True for what counts; None: no padding.
        mask_input: which of the inputs the mask is made of, if of one.
    """

    name: str
    pairs: int
    mask: Tensor | None = None
    mask_input: int | None = None

    @property
    def samples(self) -> int:
        return 2 * self.pairs if self.name == "both" else self.pairs


@dataclass
class CurrentPass:
    """A forward pass in progress, or the last one.

    Attributes:
        role: which samples it holds.
        proof: how its tensors are divided into samples.
        recorded: in the pass of a lone sample, copies of what the hooks saw; None in the pass of a batch.
        embedded: (samples, D), what the embedding layer gave.
        at_head: what entered the module that made the logits, and its output where it runs on every token.
        problem: why there is no embedding.
    """

    role: Role
    proof: Proof
    recorded: dict[Key, Tensor] | None = None
    embedded: Tensor | None = None
    at_head: tuple[Tensor, Tensor | None] | None = None
    problem: str = ""
    _calls: dict[str, int] = field(default_factory=dict)

    def call(self, of: str) -> int:
        """Which call of a module this is: 0, 1, ..."""
        number = self._calls.get(of, 0)
        self._calls[of] = number + 1
        return number

    def record(self, key: Key, values: Tensor) -> None:
        if self.recorded is not None:
            self.recorded[key] = values.detach().clone()

    def arranged(self, key: Key, values: Tensor) -> Tensor | None:
        """``values`` as (samples, ...); None where that cannot be told."""
        return self.proof.arranged(key, values, self.role.samples)

    @property
    def mask_width(self) -> int:
        return 0 if self.role.mask is None else self.role.mask.shape[1]


def lone_pass() -> CurrentPass:
    """The pass of a single sample, which is recorded to be compared with."""
    return CurrentPass(Role("", 0), Proof(0, ()), {})

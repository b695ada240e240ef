"""A loss from hidden states for causal language models of transformers, so that their logits never exist at once."""

from __future__ import annotations

import functools
import types
from typing import Any

import torch

from hitl_fast._common.errors import InputError
from hitl_fast.losses import weighted_linear_cross_entropy

from .weight_columns import behind_prompt

# What models do to their logits after the last linear layer, by the names of their configurations.
SCALES = (
    "final_logit_softcapping",
    "logit_scale",
    "logits_scaling",
    "output_multiplier",
    "lm_head_multiplier",
)


def add_fused_loss(model: Any) -> None:
    """Let ``model(..., hitl_labels=labels)`` return its weighted loss instead of logits.

    Inside the model's forward, so that DistributedDataParallel, adapters and compilers see it.

    Raises:
        ValueError: a head that is no linear layer, or logits that are scaled or capped after it.
    """
    head = model.get_output_embeddings()
    if not isinstance(head, torch.nn.Linear):
        raise InputError(
            f"fused=True needs a linear output layer, {type(model).__name__} has {type(head).__name__}"
        )
    config = model.config.get_text_config()
    for name in SCALES:
        if getattr(config, name, None) not in (None, 1, 1.0):
            raise InputError(
                f"fused=True does not know the {name} of {type(model).__name__}: use fused=False"
            )
    original = model.forward

    @functools.wraps(type(model).forward)
    def forward(
        self: Any,
        *given: Any,
        hitl_labels: torch.Tensor | None = None,
        hitl_weight: torch.Tensor | None = None,
        hitl_total: Any = None,
        hitl_smoothing: float = 0.0,
        **named: Any,
    ) -> Any:
        if hitl_labels is None:
            return original(*given, **named)
        named.pop("use_cache", None)
        hidden = self.base_model(*given, use_cache=False, **named).last_hidden_state
        hitl_labels, hitl_weight = behind_prompt(hidden, hitl_labels, hitl_weight)
        hidden = hidden[:, :-1]
        layer = self.get_output_embeddings()
        weight = None if hitl_weight is None else hitl_weight[:, 1:].contiguous()
        total = None if hitl_total is None else torch.as_tensor(hitl_total, device=hidden.device).clamp(min=1)
        loss = weighted_linear_cross_entropy(
            hidden,
            layer.weight,
            hitl_labels[:, 1:].contiguous(),
            weight,
            layer.bias,
            total,
            -100,
            hitl_smoothing,
        )
        return {"loss": loss}

    model.forward = types.MethodType(forward, model)

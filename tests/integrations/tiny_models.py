"""Tiny random models and data that need nothing from a hub."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

WORDS = ["<pad>", "<eos>", "<unk>", *[f"w{i}" for i in range(40)]]


def tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )


def gpt2(seed: int = 0, dtype: torch.dtype = torch.float32) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=len(WORDS), n_positions=32, n_embd=16, n_layer=1, n_head=2, resid_pdrop=0.0, embd_pdrop=0.0,
        attn_pdrop=0.0, bos_token_id=1, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    return GPT2LMHeadModel(config).to(dtype)


def token_rows(count: int = 16, seed: int = 1) -> list[dict[str, Any]]:
    generator = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        tokens = generator.integers(3, len(WORDS), int(generator.integers(4, 9))).tolist()
        rows.append({"input_ids": tokens, "labels": list(tokens)})
    return rows


def texts(count: int = 16, seed: int = 1) -> list[str]:
    generator = np.random.default_rng(seed)
    return [
        " ".join(f"w{i}" for i in generator.integers(0, 40, int(generator.integers(3, 8))))
        for _ in range(count)
    ]


def weights(count: int = 16, seed: int = 2) -> np.ndarray:
    found = np.random.default_rng(seed).random(count) * 2
    found[::5] = 0.0
    return found


def pairs(count: int = 16) -> dict[str, list[str]]:
    return {
        "prompt": texts(count, 1),
        "chosen": [f" {text}" for text in texts(count, 2)],
        "rejected": [f" {text}" for text in texts(count, 3)],
    }


def whole_pairs(count: int = 16) -> dict[str, list[str]]:
    """Pairs whose texts begin with their prompt, as RewardTrainer takes them."""
    held = pairs(count)
    return {
        name: [a + b for a, b in zip(held["prompt"], held[name], strict=True)]
        for name in ("chosen", "rejected")
    }


def scorer() -> Any:
    """A model with one score a text."""
    from transformers import GPT2ForSequenceClassification

    settings = gpt2().config
    settings.num_labels = 1
    torch.manual_seed(0)
    return GPT2ForSequenceClassification(settings)


# Two ranks of two batches of 4, and one rank with a batch of all 16 samples, in their order.
SPLIT = {
    "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "max_steps": 1, "bf16": False,
    "ddp_backend": "gloo", "train_sampling_strategy": "sequential",
}  # fmt: skip
WHOLE = {"per_device_train_batch_size": 16, "max_steps": 1, "bf16": False}
# The same of packed rows.
PACKED, PACKED_ROWS = {"packing": True, "max_length": 13}, 8
PACKED_SPLIT = {**PACKED, "per_device_train_batch_size": 2}


def arguments(kind: type, folder: object, **more: Any) -> Any:
    given = {
        "output_dir": str(folder), "per_device_train_batch_size": 4, "max_steps": 2, "use_cpu": True, "report_to": [],
        "save_strategy": "no", "disable_tqdm": True, "logging_steps": 1, "learning_rate": 0.1, "optim": "sgd",
        "lr_scheduler_type": "constant", "max_grad_norm": 0.0, "seed": 3,
    }  # fmt: skip
    return kind(**{**given, **more})


def parameters(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().double().flatten() for p in model.parameters()])

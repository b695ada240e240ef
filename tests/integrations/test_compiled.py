"""weighted_trainer on a compiled model."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

os.environ["HF_HUB_OFFLINE"] = "1"

import tiny_models as tiny

import hitl_fast as hf

pytestmark = pytest.mark.filterwarnings("ignore")  # what these frameworks warn of is their own affair


@pytest.mark.jit
@pytest.mark.parametrize("fused", [False, True])
def test_a_compiled_model_takes_the_same_step(tmp_path: Path, fused: bool) -> None:
    """``torch_compile`` with the backend "aot_eager", which traces forward and backward and needs no compiler."""
    from datasets import Dataset
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    found = []
    for more in ({}, {"torch_compile": True, "torch_compile_backend": "aot_eager"}):
        torch._dynamo.reset()
        trainer = hf.integrations.weighted_trainer(Trainer)(
            model=tiny.gpt2(),
            args=tiny.arguments(TrainingArguments, tmp_path, max_steps=1, **more),
            train_dataset=Dataset.from_list(tiny.token_rows(4)),
            data_collator=DataCollatorForSeq2Seq(tiny.tokenizer()),
            weights=np.array([0.5, 2.0, 0.0, 1.0]),
            fused=fused,
        )
        trainer.train()
        found.append(tiny.parameters(tiny_model(trainer.model)))
    assert (found[0] - tiny.parameters(tiny.gpt2())).abs().max() > 1e-5
    torch.testing.assert_close(found[1], found[0], atol=1e-6, rtol=1e-4)


def tiny_model(model: Any) -> Any:
    return getattr(model, "_orig_mod", model)

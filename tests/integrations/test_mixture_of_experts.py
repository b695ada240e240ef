"""The load-balancing loss of routers is added once, unweighted, in TRL; the plain Trainer refuses it and says why."""

from pathlib import Path
from typing import Any

import pytest
import tiny_models as tiny
import torch

from hitl_fast.integrations import weighted_trainer

pytestmark = [pytest.mark.jit, pytest.mark.filterwarnings("ignore")]
COEFFICIENT = 0.5


def experts(routers: bool = True) -> Any:
    from transformers import MixtralConfig, MixtralForCausalLM

    torch.manual_seed(0)
    config = MixtralConfig(
        vocab_size=len(tiny.WORDS), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, num_local_experts=4, max_position_embeddings=32, pad_token_id=0, bos_token_id=1,
        eos_token_id=1, output_router_logits=routers, router_aux_loss_coef=COEFFICIENT,
    )  # fmt: skip
    return MixtralForCausalLM(config)


def rows(weights: list[float] | None) -> Any:
    from datasets import Dataset

    ids = torch.randint(3, len(tiny.WORDS), (8, 6), generator=torch.Generator().manual_seed(1)).tolist()
    given = {"input_ids": ids, "labels": ids}
    return Dataset.from_dict(given if weights is None else {**given, "sample_weight": weights})


def trained(folder: Path, weights: list[float] | None, base: Any, **settings: Any) -> Any:
    from trl import SFTConfig

    model, args = experts(), tiny.arguments(SFTConfig, folder, bf16=False, **settings)
    base(model=model, args=args, train_dataset=rows(weights), processing_class=tiny.tokenizer()).train()
    return tiny.parameters(model)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_weights_of_one_train_as_trl_does(tmp_path: Path, accumulation: int) -> None:
    from trl import SFTTrainer

    more = {"gradient_accumulation_steps": accumulation}
    expected = trained(tmp_path, None, SFTTrainer, **more)
    found = trained(tmp_path, [1.0] * 8, weighted_trainer(SFTTrainer), **more)
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=1e-6)


def test_the_routers_loss_is_added_once_and_unweighted(tmp_path: Path) -> None:
    from trl import SFTTrainer

    weights = [0.0, 3.0, 0.5, 1.0, 2.0, 0.0, 4.0, 1.0]
    more = {"max_steps": 1, "per_device_train_batch_size": 8}
    found = trained(tmp_path, weights, weighted_trainer(SFTTrainer), **more)
    model = experts()
    ids = torch.tensor(rows(None)["input_ids"])
    output = model(input_ids=ids)
    each = torch.nn.functional.cross_entropy(
        output.logits[:, :-1].movedim(-1, 1), ids[:, 1:], reduction="none"
    )
    counted = sum(w > 0 for w in weights) * each.shape[1]  # a weight of 0 leaves a row out
    loss = (each * torch.tensor(weights)[:, None]).sum() / counted + COEFFICIENT * output.aux_loss
    loss.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
    torch.testing.assert_close(found, tiny.parameters(model), atol=1e-6, rtol=1e-5)


def test_the_plain_trainer_says_how_to_train_without_the_routers_loss(tmp_path: Path) -> None:
    from transformers import Trainer, TrainingArguments

    args = tiny.arguments(TrainingArguments, tmp_path)
    trainer = weighted_trainer(Trainer)(model=experts(), args=args, train_dataset=rows([1.0] * 8))
    with pytest.raises(ValueError, match="output_router_logits = False"):
        trainer.train()
    weighted_trainer(Trainer)(model=experts(routers=False), args=args, train_dataset=rows([1.0] * 8)).train()

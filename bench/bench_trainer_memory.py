"""Peak memory of one training step at the vocabulary of GPT-2: weighted_trainer with fused=True, Trainer, SFTTrainer.

Each trainer runs in a process of its own, which reads the high-water mark that Linux keeps. What is recorded is the
memory of the second step beyond what is in use when it begins; a short first step has loaded what loads late. Gradients
of the model (they are released between steps) count.

    python bench/bench_trainer_memory.py hitl_fast|transformers|trl FOLDER [TOKENS] prints MiB
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TOKENS, ROWS, V, H = 2048, 4, 50257, 768
SHAPE = f"tokens={TOKENS} rows={ROWS} H={H} V={V}"
PEERS = {"transformers": "transformers.Trainer", "trl": "trl SFTTrainer"}
LIMITS = {"transformers": 0.35, "trl": 1.1}  # ours over theirs


def trainer(side: str, folder: str, tokens: int) -> Any:
    import numpy as np
    import torch
    from datasets import Dataset, disable_progress_bars
    from tokenizers import Tokenizer, models
    from transformers import (
        DataCollatorForSeq2Seq,
        GPT2Config,
        GPT2LMHeadModel,
        PreTrainedTokenizerFast,
        Trainer,
        TrainingArguments,
    )  # fmt: skip

    import hitl_fast as hf

    disable_progress_bars()
    torch.manual_seed(0)
    length = tokens // ROWS
    special = {"bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0}
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=V, n_positions=length, n_embd=H, n_layer=1, n_head=12, **special)
    )
    generator = np.random.default_rng(0)
    ids = [generator.integers(2, V, 8 if row < ROWS else length).tolist() for row in range(2 * ROWS)]
    data = Dataset.from_dict({"input_ids": ids, "labels": ids})
    words = Tokenizer(models.WordLevel({"<pad>": 0, "<eos>": 1, "<unk>": 2}, unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>")
    options = {
        "output_dir": folder, "per_device_train_batch_size": ROWS, "max_steps": 2, "use_cpu": True, "report_to": [],
        "save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True, "optim": "sgd", "learning_rate": 1e-3,
        "gradient_checkpointing": False, "bf16": False, "train_sampling_strategy": "sequential",
    }  # fmt: skip
    if side == "trl":
        from trl import SFTConfig, SFTTrainer

        args = SFTConfig(**options, max_length=None)
        return SFTTrainer(model, args=args, train_dataset=data, processing_class=tokenizer)
    kind = Trainer if side == "transformers" else hf.integrations.weighted_trainer(Trainer)
    own = {} if side == "transformers" else {"weights": np.ones(2 * ROWS), "fused": True}
    collator = DataCollatorForSeq2Seq(tokenizer)
    return kind(model, TrainingArguments(**options), train_dataset=data, data_collator=collator, **own)


def measured(side: str, folder: str, tokens: int) -> float:
    """MiB of the second step; the first one is the trainer's own warm-up."""
    import gc

    from memory import CLEAR, kilobytes
    from transformers import TrainerCallback

    found: dict[str, int] = {}

    class Marks(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            gc.collect()
            CLEAR.write_text("5")
            found["before"] = kilobytes("VmRSS")

        def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            found["peak"] = kilobytes("VmHWM")

    loop = trainer(side, folder, tokens)
    loop.add_callback(Marks())
    loop.train()
    assert loop.state.global_step == 2
    return (found["peak"] - found["before"]) / 1024


def in_a_process(side: str, folder: Path, tokens: int = TOKENS) -> float:
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    command = [sys.executable, "-W", "ignore", __file__, side, str(folder), str(tokens)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert run.returncode == 0, run.stderr[-3000:]
    return float(run.stdout.split()[-1])


def test_peak_memory_of_a_step(tmp_path: Path) -> None:
    from race import record

    found = {side: in_a_process(side, tmp_path) for side in ("hitl_fast", *PEERS)}
    for side, megabytes in found.items():
        name = PEERS.get(side, "weighted_trainer(Trainer), fused=True")
        record("trainer_memory", name, "extra peak memory", megabytes, unit="MiB", shape=SHAPE)
    for side, name in PEERS.items():
        ratio = found["hitl_fast"] / found[side]
        record("trainer_memory", f"hitl_fast / {name}", "memory ratio", ratio, unit="x", shape=SHAPE)
    for side, limit in LIMITS.items():
        assert found["hitl_fast"] <= limit * found[side], (side, found)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(pytest.main([__file__, "-q", "-s"]))
    print(measured(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else TOKENS))

"""Supervised fine-tuning with people's ratings: TRL's SFTTrainer on a tiny random GPT-2, 200 steps.

Prompts are names of characters; 30 % of completions are another's. Of twenty simulated raters four answer at random.
python examples/sft_with_human_weights.py 3
"""

import sys
import tempfile
import unicodedata
from collections import Counter

import numpy as np
import torch
from datasets import Dataset, disable_progress_bars
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

import hitl_fast as hf
from hitl_fast.ratings.simulated import simulated_ratings

disable_progress_bars()
torch.set_num_threads(1)
SAMPLES, STEPS = 1000, 200


def answer(c: str) -> str:
    return f" {unicodedata.category(c)} {unicodedata.bidirectional(c)} {unicodedata.east_asian_width(c)}"


characters = [c for c in map(chr, range(0x3000)) if unicodedata.bidirectional(c) and unicodedata.name(c, "")]
counts = Counter(word for c in characters for word in (unicodedata.name(c) + 50 * answer(c)).split())
words = ["<pad>", "<eos>", "<unk>", *(word for word, _ in counts.most_common(300))]
core = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
core.pre_tokenizer = WhitespaceSplit()
special = {"pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<unk>"}
tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, **special)


def samples(seed: int) -> tuple[Dataset, Dataset, np.ndarray]:
    """Training samples, held-out samples without noise, and which of the training samples are noise."""
    generator = np.random.default_rng(seed)
    shuffled = generator.permutation(characters)
    prompts, answers = [unicodedata.name(c) for c in shuffled], [answer(c) for c in shuffled]
    noise = generator.random(SAMPLES) < 0.3
    for place in np.flatnonzero(noise):
        wrong = [a for a in answers[SAMPLES:] if a != answers[place]]
        answers[place] = wrong[generator.integers(len(wrong))]
    whole = Dataset.from_dict({"prompt": prompts, "completion": answers})
    return whole.select(range(SAMPLES)), whole.select(range(SAMPLES, SAMPLES + 400)), noise


def held_out_loss(train: Dataset, test: Dataset, weights: np.ndarray, seed: int) -> float:
    torch.manual_seed(seed)
    size = {"vocab_size": len(tokenizer), "n_positions": 32, "n_embd": 32, "n_layer": 1, "n_head": 2}
    config = GPT2Config(**size, bos_token_id=1, eos_token_id=1)
    args = SFTConfig(
        tempfile.mkdtemp(), max_steps=STEPS, per_device_train_batch_size=32, learning_rate=5e-3, seed=seed,
        report_to=[], save_strategy="no", disable_tqdm=True, logging_strategy="no", use_cpu=True, bf16=False,
        gradient_checkpointing=False, per_device_eval_batch_size=200,
    )  # fmt: skip
    model, data = GPT2LMHeadModel(config), {"train_dataset": train, "eval_dataset": test}
    Weighted = hf.integrations.weighted_trainer(SFTTrainer)
    trainer = Weighted(model, args=args, processing_class=tokenizer, weights=weights, **data)
    trainer.train()
    return trainer.evaluate()["eval_loss"]


def main(seed: int) -> tuple[float, float]:
    train, test, noise = samples(seed)
    ratings = simulated_ratings(np.where(noise, 2.0, 4.0), seed=seed)
    weights = ratings.aggregate("calibrated").weights(num_items=SAMPLES, floor=0.0, power=2.0)
    return tuple(held_out_loss(train, test, w, seed) for w in (np.ones(SAMPLES), weights))


if __name__ == "__main__":
    for seed in range(int(sys.argv[1]) if len(sys.argv) > 1 else 1):
        print("seed {}: held-out loss {:.4f} without ratings, {:.4f} with ratings".format(seed, *main(seed)))

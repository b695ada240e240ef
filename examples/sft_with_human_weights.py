"""Supervised fine-tuning with people's ratings: TRL's SFTTrainer on a tiny random GPT-2, 200 steps.

Text: what Python says about itself (`pydoc_data`). 30 % of the samples are noise (random words), and
simulated people rate how well each reads: five ratings a sample.

    python examples/sft_with_human_weights.py [SEEDS]
"""

import pydoc_data.topics
import re
import sys
import tempfile
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
WORDS, LENGTH, SAMPLES, STEPS = 200, 16, 1200, 200


def samples(seed: int) -> tuple[list[str], list[str], np.ndarray, PreTrainedTokenizerFast]:
    """Training texts, held-out texts, which training texts are noise, and a tokenizer of the commonest words."""
    words = re.findall(r"[a-z]+", " ".join(pydoc_data.topics.topics.values()).lower())
    common = ["<pad>", "<eos>", "<unk>", *(word for word, _ in Counter(words).most_common(WORDS - 3))]
    core = Tokenizer(WordLevel({word: place for place, word in enumerate(common)}, unk_token="<unk>"))
    core.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )
    pieces = np.array(words[: len(words) // LENGTH * LENGTH]).reshape(-1, LENGTH)
    generator = np.random.default_rng(seed)
    pieces = pieces[generator.permutation(len(pieces))]
    noise = generator.random(SAMPLES) < 0.3
    pieces[:SAMPLES][noise] = generator.choice(common[3:], (noise.sum(), LENGTH))
    texts = [" ".join(piece) for piece in pieces]
    return texts[:SAMPLES], texts[-800:], noise, tokenizer


def held_out_loss(
    train: list[str], test: list[str], tokenizer: object, weights: np.ndarray, seed: int
) -> float:
    torch.manual_seed(seed)
    special = {"bos_token_id": 1, "eos_token_id": 1}
    config = GPT2Config(vocab_size=WORDS, n_positions=LENGTH + 1, n_embd=32, n_layer=1, n_head=2, **special)
    model = GPT2LMHeadModel(config)
    args = SFTConfig(
        tempfile.mkdtemp(), max_steps=STEPS, per_device_train_batch_size=32, learning_rate=1e-2, seed=seed,
        report_to=[], save_strategy="no", disable_tqdm=True, logging_strategy="no", use_cpu=True, bf16=False,
    )  # fmt: skip
    data = Dataset.from_dict({"text": train})
    Weighted = hf.integrations.weighted_trainer(SFTTrainer)
    Weighted(model, args=args, train_dataset=data, processing_class=tokenizer, weights=weights).train()
    tokens = torch.tensor(tokenizer(test)["input_ids"])
    with torch.no_grad():
        return model.eval()(tokens, labels=tokens).loss.item()


def main(seed: int) -> tuple[float, float]:
    train, test, noise, tokenizer = samples(seed)
    ratings = simulated_ratings(np.where(noise, 2.0, 4.0), seed=seed)
    weights = ratings.aggregate("calibrated").weights(num_items=SAMPLES, floor=0.0, power=2.0)
    return tuple(held_out_loss(train, test, tokenizer, w, seed) for w in (np.ones(SAMPLES), weights))


if __name__ == "__main__":
    for seed in range(int(sys.argv[1]) if len(sys.argv) > 1 else 1):
        without, with_people = main(seed)
        print(f"seed {seed}: held-out loss {without:.4f} without ratings, {with_people:.4f} with ratings")

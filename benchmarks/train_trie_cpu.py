"""Claim: on a CPU, one optimizer step over a token trie takes a fraction of trl's padded step.

Same model (the embedded student's shape, random weights), same samples (examples of two turns that
share a prompt), same trl trainer underneath, one process:

    padded   `SFTTrainer` as it comes: samples padded to one length, loss on the completions
    trie     `TrieTrainer`: the same samples packed

and, in float32 on one batch, how far loss and LoRA gradients are apart; then what the operators of
a trie step take, of the fastest of some profiled steps. Run it on an idle machine:

    python benchmarks/train_trie_cpu.py [--prefix 768] [--own 96] [--examples 8] [--steps 3]

Prints a table; the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections import Counter
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, models
from torch import nn
from torch.profiler import ProfilerActivity, profile
from transformers import (
    PreTrainedTokenizerFast,
    PrinterCallback,
    Qwen2Config,
    Qwen2ForCausalLM,
    TrainerCallback,
)
from transformers.utils import logging
from trl import SFTConfig, SFTTrainer

from distill.student.render import Sample
from distill.train.device import choose_device
from distill.train.lora import lora_config
from distill.train.model import prepare
from distill.train.sft import TrieCollator, TrieTrainer, edge_log_probs, numbered, row_tensors
from distill.train.trie import pack

VOCABULARY = 4096
RANK, ALPHA = 16, 32
KINDS = {
    "aten::bmm": "attention: products",
    "aten::_softmax": "attention: softmax and mask",
    "aten::_softmax_backward_data": "attention: softmax and mask",
    "aten::masked_fill_": "attention: softmax and mask",
    "aten::mm": "linear layers and head",
    "aten::addmm": "linear layers and head",
    "aten::addmm_": "linear layers and head",
    "aten::copy_": "copies",
    "aten::cat": "copies",
}
"""What an operator of a step belongs to; the others are elementwise, or the cost of calling."""
ADAPTERS, REST = "adapters", "everything else"


class Clock(TrainerCallback):
    """Seconds of each optimizer step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Stop it."""
        self.seconds.append(time.perf_counter() - self._started)


class Profile(TrainerCallback):
    """Seconds of each kind of operator, of each optimizer step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Start to record."""
        self._profile = profile(activities=[ProfilerActivity.CPU], record_shapes=True)
        self._profile.__enter__()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Add up what was recorded."""
        self._profile.__exit__(None, None, None)
        found: Counter[str] = Counter()
        for event in self._profile.key_averages(group_by_input_shape=True):
            kind = KINDS.get(event.key, REST)
            if kind.startswith("linear") and any(RANK in shape for shape in event.input_shapes):
                kind = ADAPTERS
            found[kind] += event.self_cpu_time_total / 1e6
        self.steps.append(dict(found))


def make_examples(count: int, prefix: int, own: int) -> list[list[Sample]]:
    """Two turns each: the second's prompt holds the first, as in a call and its answer."""
    rng = np.random.default_rng(0)
    shared = rng.integers(0, VOCABULARY, prefix)
    examples = []
    for _ in range(count):
        ids = np.concatenate([shared, rng.integers(0, VOCABULARY, own)]).astype(np.int32)
        turns = ((prefix + own // 4, prefix + own // 2), (prefix + 3 * own // 4, prefix + own))
        samples = []
        for start, end in turns:
            weights = np.zeros(end, np.float32)
            weights[start:] = 1
            samples.append(Sample(ids[:end], weights))
        examples.append(samples)
    return examples


def make_model(dtype: torch.dtype) -> Qwen2ForCausalLM:
    torch.manual_seed(0)
    shape = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=8,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        max_position_embeddings=8192,
    )
    return Qwen2ForCausalLM(shape).to(dtype)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Return what the trainers insist on; nothing is tokenized."""
    inner = Tokenizer(models.WordLevel({"<eos>": 0, "<pad>": 1}, unk_token="<pad>"))
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>", pad_token="<pad>")


def flat_rows(examples: list[list[Sample]]) -> Dataset:
    samples = [sample for example in examples for sample in example]
    labels = [np.where(s.weights > 0, s.ids, -100).tolist() for s in samples]
    return Dataset.from_dict({"input_ids": [s.ids.tolist() for s in samples], "labels": labels})


def settings(folder: str, batch: int, steps: int, **more: Any) -> SFTConfig:
    return SFTConfig(
        output_dir=folder,
        per_device_train_batch_size=batch,
        max_steps=steps,
        learning_rate=1e-3,
        max_length=None,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
        **more,
    )


def run(trainer: SFTTrainer, callback: TrainerCallback) -> None:
    """Train under one callback."""
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(callback)
    trainer.train()


def seconds(trainer: SFTTrainer) -> float:
    """Train; return the median step in seconds, the first one not counted."""
    clock = Clock()
    run(trainer, clock)
    return statistics.median(clock.seconds[1:])


def shares(trainer: SFTTrainer) -> dict[str, float]:
    """Train; return each kind's share of the fastest step, the largest first."""
    profiled = Profile()
    run(trainer, profiled)
    fastest = min(profiled.steps[1:], key=lambda step: sum(step.values()))
    total = sum(fastest.values())
    return {kind: spent / total for kind, spent in Counter(fastest).most_common()}


def padded_step(examples: list[list[Sample]], steps: int, folder: str) -> float:
    rows = flat_rows(examples)
    linear = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear")
    return seconds(
        SFTTrainer(
            model=make_model(torch.float32),
            args=settings(folder, len(rows), steps),
            train_dataset=rows,
            processing_class=make_tokenizer(),
            peft_config=linear,
        )
    )


def trie_trainer(examples: list[list[Sample]], steps: int, folder: str) -> TrieTrainer:
    return TrieTrainer(
        model=prepare(make_model(choose_device().dtype), compiled=False),
        args=settings(
            folder,
            len(examples),
            steps,
            bf16=False,
            gradient_checkpointing=False,
            remove_unused_columns=False,
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
        data_collator=TrieCollator(examples, 16384),
        train_dataset=numbered(0, len(examples)),
        processing_class=make_tokenizer(),
        peft_config=lora_config(RANK, ALPHA),
    )


def gradients(samples: list[Sample], packed: bool) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and LoRA gradients of one batch in float32, packed or one sample after the other."""
    model = make_model(torch.float32)
    if packed:
        prepare(model, compiled=False)
    model = get_peft_model(model, lora_config(RANK, ALPHA))
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.05)
    weight = sum(float(s.weights.sum()) for s in samples)
    parts = [samples] if packed else [[sample] for sample in samples]
    total = 0.0
    for part in parts:
        (row,) = pack(part, 1 << 20)
        if packed:
            tensors = row_tensors(row)
            loss = -(edge_log_probs(model, tensors) * tensors["weights"]).sum() / weight
        else:
            logits = model(
                input_ids=torch.from_numpy(row.ids)[None],
                logits_to_keep=torch.from_numpy(row.sources),
                use_cache=False,
            ).logits[0]
            losses = nn.functional.cross_entropy(
                logits, torch.from_numpy(row.labels), reduction="none"
            )
            loss = (losses * torch.from_numpy(row.weights)).sum() / weight
        loss.backward()
        total += loss.item()
    found = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return total, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("prefix", 768), ("own", 96), ("examples", 8), ("steps", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    logging.set_verbosity_error()
    device = choose_device()
    examples = make_examples(options.examples, options.prefix, options.own)
    samples = [sample for example in examples for sample in example]
    (row,) = pack(samples, 1 << 20)
    with tempfile.TemporaryDirectory() as folder:
        trie = seconds(trie_trainer(examples, options.steps + 1, folder))
        spent = shares(trie_trainer(examples, options.steps + 1, folder))
        padded = padded_step(examples, options.steps + 1, folder)
    loss, flat = gradients(samples, packed=False)
    packed_loss, packed = gradients(samples, packed=True)
    error = max(float((packed[n] - g).abs().max() / g.abs().max()) for n, g in flat.items())
    width = max(len(sample.ids) for sample in samples) * len(samples)
    print(f"{device.name}, {options.examples} examples of {options.prefix} + {options.own} tokens")
    print(f"{'':8}{'tokens a step':>16}{'seconds a step':>16}")
    print(f"{'padded':8}{width:16,}{padded:16.3f}")
    print(f"{'trie':8}{len(row.ids):16,}{trie:16.3f}")
    print(f"relative difference in float32: loss {abs(packed_loss - loss) / loss:.1e}, "
          f"LoRA gradients {error:.1e} at most")  # fmt: skip
    print("of the operators' time in a trie step:")
    for kind, part in spent.items():
        print(f"  {kind:28}{part:7.1%}")
    result = {
        "speedup": round(padded / trie, 2),
        "padded_step_s": round(padded, 3),
        "trie_step_s": round(trie, 3),
        "padded_tokens": width,
        "trie_tokens": len(row.ids),
        "trie_dtype": str(device.dtype),
        "loss_relative_difference": abs(packed_loss - loss) / loss,
        "max_gradient_relative_error": error,
        "threads": torch.get_num_threads(),
        "profile": {kind: round(part, 4) for kind, part in spent.items()},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()

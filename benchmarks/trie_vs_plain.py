"""Claim: a student trained on tries answers as well as one trained on plain batches, sooner.

The embedded student on the data set of the demo (`make demo` leaves one), part of its training
examples, one epoch, twice from the same start with the same batches:

    plain  trl's `SFTTrainer` as it comes, with peft's LoRA: a row an example, padded to one length,
           loss on all its supervised turns
    trie   `TrieTrainer`, as `distill train` runs it

Both in the precision that `distill train` picks here. Then both answer the same turns of examples
they have not seen, greedily; a turn is right when its calls are the teacher's. The difference is
paired, with a 95% interval. Seconds of the clock, and of CPU, which a busy machine changes less.

    python benchmarks/trie_vs_plain.py configs/demo.yaml [--examples 640] [--turns 160]

Prints a table; the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, PrinterCallback, TrainerCallback, set_seed
from transformers.utils import logging
from trl import SFTConfig, SFTTrainer

from distill.config import Config, load_config
from distill.evaluate.stats import mcnemar, paired_difference
from distill.student.base import find_base, load_tokenizer
from distill.student.render import Renderer, Sample
from distill.train import attention
from distill.train.accuracy import Exam
from distill.train.data import load_material
from distill.train.device import Device, choose_device
from distill.train.lora import lora_config
from distill.train.model import load_student
from distill.train.sft import TrieCollator, TrieTrainer, numbered

ROW_TOKENS = 16384


class Losses(TrainerCallback):
    """The loss of each step."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
        """Keep it."""
        if "loss" in logs:
            self.found.append(logs["loss"])


def settings(config: Config, folder: str, examples: int, **more: Any) -> SFTConfig:
    steps = -(-examples // config.train.batch_size)
    return SFTConfig(
        output_dir=folder,
        per_device_train_batch_size=config.train.batch_size,
        num_train_epochs=1,
        learning_rate=config.train.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=max(1, steps // 20),
        weight_decay=0.0,
        seed=config.train.seed,
        logging_steps=1,
        max_length=None,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
        bf16=False,
        gradient_checkpointing=False,
        remove_unused_columns=False,
        **more,
    )


def whole(samples: list[Sample]) -> dict[str, list[int]]:
    """Return an example as one row: its last turn's prompt holds the others."""
    last = samples[-1]
    labels = np.full(len(last.ids), -100, np.int64)
    for sample in samples:
        if not np.array_equal(sample.ids, last.ids[: len(sample.ids)]):
            raise SystemExit("a turn is no prefix of the next; plain rows cannot hold both")
        labels = np.where(np.pad(sample.weights, (0, len(labels) - len(sample.weights))) > 0,
                          last.ids, labels)  # fmt: skip
    return {"input_ids": last.ids.tolist(), "labels": labels.tolist()}


def plain(config: Config, made: Any, examples: list[list[Sample]], folder: str) -> SFTTrainer:
    base, tokenizer, device = made
    rows = [whole(samples) for samples in examples]
    return SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(base.folder, dtype=device.dtype),
        args=settings(config, folder, len(rows)),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=LoraConfig(
            r=config.train.rank, lora_alpha=config.train.alpha, target_modules="all-linear"
        ),
    )


def trie(config: Config, made: Any, examples: list[list[Sample]], folder: str) -> TrieTrainer:
    base, tokenizer, device = made
    skip = {"dataset_kwargs": {"skip_prepare_dataset": True}}
    return TrieTrainer(
        model=load_student(base, device),
        args=settings(config, folder, len(examples), **skip),
        data_collator=TrieCollator(examples, ROW_TOKENS),
        train_dataset=numbered(0, len(examples)),
        processing_class=tokenizer,
        peft_config=lora_config(config.train.rank, config.train.alpha),
    )


def measure(make: Any, config: Config, made: Any, examples: Any, exam: Exam) -> dict[str, Any]:
    set_seed(config.train.seed)
    losses = Losses()
    with tempfile.TemporaryDirectory() as folder:
        trainer = make(config, made, examples, folder)
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(losses)
        began, busy = time.perf_counter(), time.process_time()
        trainer.train()
        seconds, busy = time.perf_counter() - began, time.process_time() - busy
    marks = exam.marks(trainer.accelerator.unwrap_model(trainer.model))
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(busy, 1),
        "losses": losses.found,
        "marks": marks,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="whose data set is there")
    parser.add_argument("--examples", type=int, default=640)
    parser.add_argument("--turns", type=int, default=160)
    parser.add_argument("--batch-size", type=int, default=16)
    options = parser.parse_args()
    logging.set_verbosity_error()
    attention.register()  # an exam gives a model its attention back, which plain has not
    config = load_config(options.config, [f"train.batch_size={options.batch_size}"])
    base, device = find_base(config), choose_device()
    if device.kind == "cuda":
        raise SystemExit("this measures a CPU; hide the GPU with CUDA_VISIBLE_DEVICES=")
    tokenizer = load_tokenizer(base)
    material = load_material(config, Renderer(tokenizer, base.family))
    seen, rest = material.train[: options.examples], material.train[options.examples :]
    held = [sample for samples in [*rest, *material.validation] for sample in samples]
    exam = Exam(held, options.turns, tokenizer, base.family)
    made = (base, tokenizer, Device("cpu", device.dtype))
    found = {
        name: measure(make, config, made, seen, exam)
        for name, make in (("trie", trie), ("plain", plain))
    }
    pairs = Counter(zip(found["trie"]["marks"], found["plain"]["marks"], strict=True))
    wins, losses = pairs[True, False], pairs[False, True]
    interval = paired_difference(pairs[True, True], wins, losses, pairs[False, False])
    print(f"{len(seen)} examples, {len(found['trie']['losses'])} steps, {device.name}")
    print(f"{'':7}{'seconds':>9}{'of CPU':>9}{'last loss':>11}{'right':>9}")
    for name, one in found.items():
        right = sum(one["marks"]) / len(one["marks"])
        print(
            f"{name:7}{one['seconds']:9.1f}{one['cpu_seconds']:9.1f}"
            f"{one['losses'][-1]:11.4f}{right:9.1%}"
        )
    print(
        f"difference {(wins - losses) / pairs.total():+.1%}, 95% interval "
        f"{interval.low:+.1%} to {interval.high:+.1%}, p {mcnemar(wins, losses):.2f}"
    )
    result = {
        "speedup": round(found["plain"]["seconds"] / found["trie"]["seconds"], 2),
        "cpu_speedup": round(found["plain"]["cpu_seconds"] / found["trie"]["cpu_seconds"], 2),
        "difference": (wins - losses) / pairs.total(),
        "interval": [interval.low, interval.high],
        "turns": pairs.total(),
        "examples": len(seen),
        "dtype": str(device.dtype),
        "threads": torch.get_num_threads(),
        **{name: {"seconds": one["seconds"], "cpu_seconds": one["cpu_seconds"],
                  "accuracy": sum(one["marks"]) / len(one["marks"]), "losses": one["losses"]}
           for name, one in found.items()},
    }  # fmt: skip
    print(json.dumps(result))


if __name__ == "__main__":
    main()

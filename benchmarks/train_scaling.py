"""Claim: a second GPU nearly doubles the speed of training and leaves the loss as it is.

Qwen2.5-7B's shape with random weights, LoRA of rank 32 on all linear layers, one process a GPU, as
`torchrun` starts `distill train`. An optimizer step is examples that share a prompt
(shared/own/examples). For each number of ranks:

    same     one step's examples shared out over the ranks: the loss must be that of one rank.
             Every rank computes the shared prompt, so the tokens computed grow with the ranks
    sharded  the same step, the base's layers shared out over the ranks (FSDP2)
    grown    as many examples on each rank as one had: efficiency is the share of one rank's speed
             that each of several keeps

    python benchmarks/train_scaling.py --ranks 1 2 --out scaling.json --budget 500
    python benchmarks/train_scaling.py --ranks 1 2 --toy     a small model, processes on the CPU

Prints a table (GiB: most that tensors took of one GPU while training); the last line is one JSON
object.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from shapes import SIZES_7B
from train_speed import ALPHA, RANK, SIZES_TOY, Workload, make_tokenizer
from transformers import PrinterCallback, Qwen2Config, Qwen2ForCausalLM, TrainerCallback
from transformers.utils import logging
from trl import SFTConfig

from distill.train import ranks
from distill.train.attention import ALIGNMENT
from distill.train.device import Device
from distill.train.lora import lora_config
from distill.train.model import prepare
from distill.train.sft import TrieCollator, TrieTrainer, numbered
from distill.train.shard import share_out

ARMS = ("same", "sharded", "grown")
STEPS = 7
"""Of each measurement; the first two compile and are not timed."""


class Record(TrainerCallback):
    """When each step ended, the device having finished, and what was logged."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.logs: list[dict[str, float]] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Note the time."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())

    def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
        """Keep a step's figures."""
        if "loss" in logs:
            self.logs.append(logs)


def make_model(toy: bool, place: str) -> Qwen2ForCausalLM:
    torch.manual_seed(0)
    shape = Qwen2Config(
        **(SIZES_TOY if toy else SIZES_7B), max_position_embeddings=32768, tie_word_embeddings=False
    )
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32 if toy else torch.bfloat16)
    try:
        with torch.device(place):
            return Qwen2ForCausalLM(shape)
    finally:
        torch.set_default_dtype(before)


def measure(options: argparse.Namespace, examples: int, folder: str) -> dict[str, Any]:
    work = Workload(options.shared, options.own, examples)
    vocabulary = (SIZES_TOY if options.toy else SIZES_7B)["vocab_size"]
    record, sharded = Record(), options.arm == "sharded"
    place = "cpu" if options.toy else "cuda"
    arguments = SFTConfig(
        output_dir=folder,
        max_steps=STEPS,
        per_device_train_batch_size=examples,
        learning_rate=2e-4,
        logging_steps=1,
        max_length=None,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=options.toy,
        bf16=False,
        gradient_checkpointing=False,
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    assert arguments.device.type == place  # connects the ranks
    model = make_model(options.toy, place if ranks.is_first() or not sharded else "meta")
    if sharded:
        share_out(model, Device(place, model.dtype))
    trainer = TrieTrainer(
        model=prepare(model, compiled=not options.toy),
        args=arguments,
        data_collator=TrieCollator(work.samples(vocabulary), options.row_tokens, ALIGNMENT),
        train_dataset=numbered(0, examples),
        processing_class=make_tokenizer(),
        peft_config=lora_config(RANK, ALPHA),
        callbacks=[record],
    )
    trainer.remove_callback(PrinterCallback)
    if not options.toy:
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    trainer.train()
    peak = torch.tensor(0.0 if options.toy else torch.cuda.max_memory_allocated(), device=place)
    if ranks.count() > 1:
        torch.distributed.all_reduce(peak, torch.distributed.ReduceOp.MAX)
    return {
        "examples": examples,
        "peak_gib": round(float(peak) / 2**30, 2),
        "step_s": round(statistics.median(np.diff(record.ends)[1:]), 4),
        "executed_tokens": int(record.logs[0]["executed_tokens"]),
        "losses": [log["loss"] for log in record.logs],
    }


def work_on(options: argparse.Namespace) -> None:
    """Measure on this rank; the first one writes."""
    logging.set_verbosity_error()
    if torch.cuda.is_available() and not options.toy:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    examples = options.examples * (ranks.count() if options.arm == "grown" else 1)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options, examples, folder)
    if ranks.is_first():
        options.worker.write_text(json.dumps(found))


def launch(count: int, arm: str, arguments: list[str], seconds: float) -> dict[str, Any]:
    """Measure on so many ranks; return what the first one found, or why there is nothing."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "found.json"
        command = [
            sys.executable, "-m", "torch.distributed.run", "--standalone",
            f"--nproc-per-node={count}", __file__, *arguments, "--worker", str(target),
            "--arm", arm,
        ]  # fmt: skip
        process = subprocess.Popen(command, stdout=sys.stderr)
        try:
            code = process.wait(max(seconds, 1))
        except subprocess.TimeoutExpired:
            process.terminate()  # torchrun ends its ranks
            process.wait()
            return {"failed": "no time left"}
        if code:
            return {"failed": f"exit code {code}"}
        found: dict[str, Any] = json.loads(target.read_text())
    found["tokens_per_s"] = round(found["executed_tokens"] / found["step_s"])
    return found


def compare(entry: dict[str, Any], arm: str, one: dict[str, Any]) -> None:
    """Add to a measurement what it is against that of one rank."""
    if arm == "grown":
        entry["efficiency"] = round(one["step_s"] / entry["step_s"], 4)
    else:
        pairs = zip(entry["losses"], one["losses"], strict=True)
        entry["largest_loss_difference"] = max(abs(a - b) / b for a, b in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2], help="1 first")
    parser.add_argument("--out", type=Path, help="file to keep the results in as they come")
    parser.add_argument("--row-tokens", type=int, default=24576)
    parser.add_argument("--toy", action="store_true", help="a small model on the CPU")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    parser.add_argument("--budget", type=float, default=3600, help="seconds for all of it")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    for name, default in (("shared", 3000), ("own", 300), ("examples", 64)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    if options.worker:
        work_on(options)
        return
    deadline = time.monotonic() + options.budget
    result: dict[str, Any] = {
        "device": "cpu" if options.toy else torch.cuda.get_device_name(0),
        "shape": "toy" if options.toy else "Qwen2.5-7B",
        "workload": f"{options.shared}/{options.own}/{options.examples}",
        "ranks": {},
    }
    print(
        f"{'ranks':>5} {'':8}{'examples':>9}{'s a step':>10}{'tokens/s':>10}{'GiB':>8}{'loss':>10}"
    )
    one: dict[str, Any] = {}
    for count, arm in product(options.ranks, options.arms):
        if count == 1 and arm != "same":
            continue
        entry = launch(count, arm, sys.argv[1:], deadline - time.monotonic())
        result["ranks"].setdefault(count, {})[arm] = entry
        if "failed" in entry:
            print(f"{count:5} {arm:8} {entry['failed']}", flush=True)
        else:
            one = one or entry
            compare(entry, arm, one)
            print(
                f"{count:5} {arm:8}{entry['examples']:9}{entry['step_s']:10.3f}"
                f"{entry['tokens_per_s']:10,}{entry['peak_gib']:8.2f}{entry['losses'][-1]:10.5f}",
                flush=True,
            )
        if options.out:
            options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()

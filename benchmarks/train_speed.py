"""Claim: on tool-call data, trie packing trains a 7B student many times faster than trl.

Qwen2.5-7B's shape with random weights, LoRA of rank 32 on all linear layers, one process. A
workload is one optimizer step: examples that share a prompt and have tokens of their own, the last
third of which are supervised (shared/own/examples); or 64 real dialogues on `tools/retail`.

    ours         `TrieTrainer`, as `distill train` runs it
    trl_default  `SFTTrainer` with its default settings, but bf16 weights and no cutting of examples
    trl_best     bf16, no checkpointing, loss on the targets only (trl's fused head), the largest
                 micro-batch that fits, FlashAttention without padding (examples are equally long,
                 so torch's own kernel applies), with and without Liger's kernels where installed

A step is timed from the end of one to the end of the next, so packing counts. trl's steps are
measured on fewer examples and scaled up (`examples_timed`): they are as many equal micro-batches.
One step of ours is profiled, and put beside what matrix products reach on the same device.

    python benchmarks/train_speed.py --budget 480 --out speed.json
    python benchmarks/train_speed.py --toy            a small model on the CPU: does the script work

What is most worth knowing is measured first; after every measurement --out is rewritten, and none
is begun after --budget seconds. Prints a table; the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from peft import LoraConfig
from shapes import SIZES_7B
from tokenizers import Tokenizer, models
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerFast,
    PrinterCallback,
    Qwen2Config,
    Qwen2ForCausalLM,
    TrainerCallback,
)
from transformers.utils import logging
from trl import SFTConfig, SFTTrainer

from distill.student.render import Sample
from distill.train.attention import ALIGNMENT
from distill.train.lora import lora_config
from distill.train.model import prepare
from distill.train.sft import TrieCollator, TrieTrainer, numbered
from distill.train.trie import pack

RANK, ALPHA = 32, 32
SIZES_TOY = {key: value // 28 for key, value in SIZES_7B.items()} | {
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
MICRO_BATCH_TOKENS = 17_000
"""What trl_best starts from; it is halved until it fits."""


@dataclass(frozen=True)
class Workload:
    """One optimizer step: examples that share a prompt."""

    shared: int
    own: int
    examples: int

    @property
    def name(self) -> str:
        return f"{self.shared}/{self.own}/{self.examples}"

    @property
    def length(self) -> int:
        return self.shared + self.own

    def samples(self, vocabulary: int) -> list[list[Sample]]:
        """Return the samples of each example, one here."""
        rng = np.random.default_rng(0)
        shared = rng.integers(0, vocabulary, self.shared)
        weights = np.zeros(self.length, np.float32)
        weights[-(self.own // 3) :] = 1
        rows = [
            np.concatenate([shared, rng.integers(0, vocabulary, self.own)])
            for _ in range(self.examples)
        ]
        return [[Sample(ids.astype(np.int32), weights)] for ids in rows]

    def rows(self, vocabulary: int) -> list[Sample]:
        """Return what trl trains on, a row an example."""
        return [sample for (sample,) in self.samples(vocabulary)]


class ToolTurns(Workload):
    """Real dialogues on `tools/retail`, rendered for Qwen2.5: every assistant turn is a sample.

    trl gets a dialogue as one row; all rows have their mean length, so that nothing is padded.
    """

    def __init__(self) -> None:
        with np.load(Path(__file__).with_name("tool_turns.npz")) as file:
            ends = np.cumsum(file["lengths"])[:-1]
            parts = zip(np.split(file["ids"], ends), np.split(file["targets"], ends), strict=True)
            flat = iter([Sample(ids, targets.astype(np.float32)) for ids, targets in parts])
            self._examples = [[next(flat) for _ in range(turns)] for turns in file["turns"]]
        mean = sum(len(turns[-1].ids) for turns in self._examples) // len(self._examples)
        targets = sum(int(s.weights.sum()) for turns in self._examples for s in turns)
        super().__init__(mean - 3 * targets // len(self._examples),
                         3 * targets // len(self._examples), len(self._examples))  # fmt: skip

    @property
    def name(self) -> str:
        return "retail"

    def samples(self, vocabulary: int) -> list[list[Sample]]:
        """Return the samples of each dialogue."""
        return self._examples

    def rows(self, vocabulary: int) -> list[Sample]:
        """Return rows of the dialogues' mean length with their mean number of targets."""
        return [sample for (sample,) in super().samples(vocabulary)]


class Clock(TrainerCallback):
    """When each optimizer step ended, the device having finished."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Note the time."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())

    def seconds(self) -> float:
        """Return the median step; what came before the end of the first is not counted."""
        return statistics.median(np.diff(self.ends))


class Bench:
    """The sizes, the device, and one way of timing for all."""

    def __init__(self, options: argparse.Namespace, folder: str) -> None:
        self.options = options
        self.folder = folder
        self.device = "cpu" if options.toy else "cuda"
        self.sizes = SIZES_TOY if options.toy else SIZES_7B
        self.vocabulary = self.sizes["vocab_size"]
        self.ways = ["any length", "each length", "attention only"]
        """Of compiling, the product's own first."""
        self.problems: list[str] = []
        self.trl_examples = 4 if options.toy else 8

    def model(self) -> PreTrainedModel:
        torch.manual_seed(0)
        shape = Qwen2Config(**self.sizes, max_position_embeddings=32768, tie_word_embeddings=False)
        with torch.device(self.device):
            before = torch.get_default_dtype()
            torch.set_default_dtype(torch.float32 if self.options.toy else torch.bfloat16)
            try:
                return Qwen2ForCausalLM(shape)
            finally:
                torch.set_default_dtype(before)

    def settings(self, steps: int, **more: Any) -> SFTConfig:
        return SFTConfig(
            output_dir=self.folder,
            max_steps=steps,
            max_length=None,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=self.device == "cpu",
            dataloader_pin_memory=self.device == "cuda",
            **more,
        )

    def run(self, trainer: SFTTrainer) -> float:
        """Train; return the seconds of a step."""
        clock = Clock()
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(clock)
        trainer.train()
        return clock.seconds()

    def trie_trainer(self, work: Workload, row_tokens: int, compiled: bool) -> TrieTrainer:
        examples = work.samples(self.vocabulary)
        return TrieTrainer(
            model=prepare(self.model(), compiled=compiled),
            args=self.settings(
                self.options.steps + 2,
                per_device_train_batch_size=work.examples,
                learning_rate=2e-4,
                bf16=False,
                gradient_checkpointing=False,
                remove_unused_columns=False,
                dataset_kwargs={"skip_prepare_dataset": True},
            ),
            data_collator=TrieCollator(examples, row_tokens, ALIGNMENT),
            train_dataset=numbered(0, work.examples),
            processing_class=make_tokenizer(),
            peft_config=lora_config(RANK, ALPHA),
        )

    def trl_trainer(
        self, work: Workload, micro: int, model: PreTrainedModel, **more: Any
    ) -> SFTTrainer:
        count = min(self.trl_examples, work.examples)
        rows = work.rows(self.vocabulary)[:count]
        labels = [np.where(s.weights > 0, s.ids, -100).tolist() for s in rows]
        return SFTTrainer(
            model=model,
            args=self.settings(
                3,
                per_device_train_batch_size=micro,
                gradient_accumulation_steps=max(1, count // micro),
                **more,
            ),
            train_dataset=Dataset.from_dict(
                {"input_ids": [s.ids.tolist() for s in rows], "labels": labels}
            ),
            processing_class=make_tokenizer(),
            peft_config=LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear"),
        )


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Return what the trainers insist on; nothing is tokenized."""
    inner = Tokenizer(models.WordLevel({"<eos>": 0, "<pad>": 1}, unk_token="<pad>"))
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>", pad_token="<pad>")


# --- what is measured -------------------------------------------------------------------------


def ours(bench: Bench, work: Workload, profiled: bool = False) -> dict[str, Any]:
    """Time trie packing; a row that does not fit is halved.

    Where the compiler fails, the next way of compiling is tried for this and all later workloads.
    """
    row_tokens = bench.options.row_tokens
    while True:
        try:
            return ours_at(bench, work, row_tokens, profiled)
        except torch.OutOfMemoryError:
            if row_tokens < work.length:
                raise
            row_tokens //= 2
        except Exception as error:
            if bench.device == "cpu" or len(bench.ways) == 1:
                raise
            bench.problems.append(f"{bench.ways.pop(0)}: {repr(error)[:1500]}")
            traceback.print_exc()
            torch._dynamo.reset()
        release()


def ours_at(bench: Bench, work: Workload, row_tokens: int, profiled: bool) -> dict[str, Any]:
    way = bench.ways[0]
    torch._dynamo.config.automatic_dynamic_shapes = way == "any length"
    compiled = bench.device == "cuda" and way != "attention only"
    began = time.perf_counter()
    trainer = bench.trie_trainer(work, row_tokens, compiled)
    seconds = bench.run(trainer)
    rows = pack([s for example in work.samples(bench.vocabulary) for s in example], row_tokens)
    executed = sum(len(row.ids) for row in rows)
    result = figures(bench, work, seconds, executed) | {
        "rows": len(rows),
        "row_tokens": row_tokens,
        "compiled": way if bench.device == "cuda" else None,
        "with_warm_up_s": round(time.perf_counter() - began, 1),
    }
    if profiled:
        result["profile"] = profile(trainer)
    return result


def trl_default(bench: Bench, work: Workload) -> dict[str, Any]:
    trainer = bench.trl_trainer(work, min(8, bench.trl_examples), bench.model())
    return scaled(bench, work, bench.run(trainer))


def trl_best(bench: Bench, work: Workload) -> dict[str, Any]:
    """Return the faster of the variants that run."""
    variants: dict[str, dict[str, Any]] = {"plain": {}}
    if find_spec("liger_kernel") and bench.device == "cuda":
        variants["liger"] = {"use_liger_kernel": True}
    found: dict[str, dict[str, Any]] = {}
    for name, more in variants.items():
        try:
            found[name] = trl_fitting(bench, work, more)
        except Exception as error:
            found[name] = {"failed": repr(error)[:300]}
        release()
    fastest = min(found, key=lambda name: found[name].get("step_s", float("inf")))
    others = {name: each.get("step_s", each) for name, each in found.items()}
    return found[fastest] | {"variant": fastest, "variants": others}


def trl_fitting(bench: Bench, work: Workload, more: dict[str, Any]) -> dict[str, Any]:
    fits = max(1, MICRO_BATCH_TOKENS // work.length)
    micro = min(bench.trl_examples, 2 ** (fits.bit_length() - 1))
    while True:
        try:
            model = bench.model()
            model.set_attn_implementation("sdpa")
            trainer = bench.trl_trainer(work, micro, model, gradient_checkpointing=False, **more)
            seconds = bench.run(trainer)
            return scaled(bench, work, seconds) | {"micro_batch": micro}
        except torch.OutOfMemoryError:
            if micro == 1:
                raise
            micro //= 2
        release()


def scaled(bench: Bench, work: Workload, seconds: float) -> dict[str, Any]:
    """Return the figures of a step of all examples from one of fewer."""
    timed = min(bench.trl_examples, work.examples)
    tokens = work.length * work.examples
    found = figures(bench, work, seconds * work.examples / timed, tokens)
    return found | {"examples_timed": timed}


def figures(bench: Bench, work: Workload, seconds: float, executed: int) -> dict[str, Any]:
    peak = torch.cuda.max_memory_allocated() / 2**30 if bench.device == "cuda" else None
    return {
        "step_s": round(seconds, 4),
        "executed_tokens": executed,
        "executed_tokens_per_s": round(executed / seconds),
        "logical_tokens_per_s": round(work.length * work.examples / seconds),
        "peak_gib": None if peak is None else round(peak, 1),
    }


def profile(trainer: TrieTrainer) -> dict[str, Any]:
    """Profile one forward and backward pass; return milliseconds on the device by kind of work."""
    batch = next(iter(trainer.get_train_dataloader()))
    weight = trainer._get_num_items_in_batch([batch], trainer.args.device)
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if torch.cuda.is_available():
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    started = time.perf_counter()
    with torch.profiler.profile(activities=kinds, acc_events=True) as found:
        trainer.training_step(trainer.model, batch, weight)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    wall = time.perf_counter() - started
    spent: dict[str, float] = {}
    top = []
    for event in found.key_averages():
        if event.device_type != torch.autograd.DeviceType.CUDA:
            continue
        milliseconds = event.self_device_time_total / 1000
        kind = kind_of(event.key)
        spent[kind] = spent.get(kind, 0.0) + milliseconds
        top.append((round(milliseconds, 1), event.count, event.key[:110]))
    top.sort(reverse=True)
    return {
        "wall_ms": round(wall * 1000, 1),
        "device_ms": {kind: round(value, 1) for kind, value in sorted(spent.items())},
        "top": top[:25],
    }


def kind_of(kernel: str) -> str:
    name = kernel.lower()
    if any(part in name for part in ("flex", "triton_tem", "cudnn")):
        return "attention"
    if any(part in name for part in ("gemm", "nvjet", "cutlass", "xmma", "splitk")):
        return "matrix products"
    if name.startswith(("memcpy", "memset")):
        return "copies"
    return "compiled elementwise" if "triton" in name else "other"


def matrix_products() -> dict[str, float]:
    """Return the TFLOP/s of the MLP's products alone, forward shape and its gradient."""
    found = {}
    for rows, width, depth in ((22272, 18944, 3584), (22272, 3584, 18944)):
        left = torch.randn(rows, depth, device="cuda", dtype=torch.bfloat16)
        right = torch.randn(depth, width, device="cuda", dtype=torch.bfloat16)
        for _ in range(3):
            left @ right
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(20):
            left @ right
        torch.cuda.synchronize()
        seconds = (time.perf_counter() - started) / 20
        found[f"{rows}x{depth}x{width}"] = round(2 * rows * width * depth / seconds / 1e12, 1)
    return found


# --- the run ----------------------------------------------------------------------------------


def release() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", type=float, default=520, help="seconds")
    parser.add_argument("--out", type=Path, help="file to keep the results in as they come")
    parser.add_argument("--steps", type=int, default=4, help="timed steps of ours")
    parser.add_argument("--row-tokens", type=int, default=24576)
    parser.add_argument("--workloads", help="names of those to run, with commas; all if left out")
    parser.add_argument("--only", help="of ours, trl_default, trl_best; all if left out")
    parser.add_argument("--toy", action="store_true", help="a small model on the CPU")
    options = parser.parse_args()
    logging.set_verbosity_error()
    warnings.filterwarnings("ignore")
    shapes = [(3000, 300, 64), (4000, 100, 64), (1000, 300, 64), (4000, 1500, 32), (300, 1500, 32)]
    if options.toy:
        shapes = [(300, 30, 8), (30, 150, 8)]
    works = [Workload(*shape) for shape in shapes]
    if not options.toy:
        works.insert(1, ToolTurns())
    if options.workloads:
        works = [work for work in works if work.name in options.workloads.split(",")]
    began = time.perf_counter()
    result: dict[str, Any] = {
        "device": "cpu" if options.toy else torch.cuda.get_device_name(0),
        "shape": "toy" if options.toy else "Qwen2.5-7B",
        "versions": {n: metadata.version(n) for n in ("torch", "transformers", "trl", "peft")},
        "workloads": {},
        "skipped": {
            name: "not installed" for name in ("unsloth", "axolotl", "llamafactory")
            if not find_spec(name)
        },
    }  # fmt: skip
    sections: list[tuple[str, Callable[..., dict[str, Any]]]] = [
        ("ours", ours), ("trl_default", trl_default), ("trl_best", trl_best),
    ]  # fmt: skip
    print(f"{'workload':>14} {'':12}{'s a step':>10}{'tokens/s':>10}{'GiB':>8}")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options, folder)
        plan = [
            (work, *section) for work in works for section in sections
            if not options.only or section[0] in options.only.split(",")
        ]  # fmt: skip
        for work, name, measure in plan:
            entry = result["workloads"].setdefault(work.name, {})
            if time.perf_counter() - began > options.budget:
                result["skipped"][f"{work.name} {name}"] = "time"
                continue
            try:
                first = not any(
                    "profile" in e.get("ours", {}) for e in result["workloads"].values()
                )
                more = {"profiled": True} if name == "ours" and first else {}
                entry[name] = measure(bench, work, **more)
                found = entry[name]
                print(
                    f"{work.name:>14} {name:12}{found['step_s']:10.3f}"
                    f"{found['executed_tokens_per_s']:10,}{found['peak_gib'] or 0:8.1f}",
                    flush=True,
                )
            except Exception as error:
                entry[name] = {"failed": repr(error)[:500]}
                traceback.print_exc()
            release()
            for peer in ("trl_default", "trl_best"):
                if entry.get(peer, {}).get("step_s") and entry.get("ours", {}).get("step_s"):
                    ratio = entry[peer]["step_s"] / entry["ours"]["step_s"]
                    entry[f"speedup_over_{peer}"] = round(ratio, 2)
            result["problems"] = bench.problems
            result["seconds"] = round(time.perf_counter() - began, 1)
            if options.out:
                options.out.write_text(json.dumps(result, indent=1) + "\n")
        if bench.device == "cuda":
            result["matrix_products_tflops"] = matrix_products()
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()

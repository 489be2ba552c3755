"""Claim: trie packing beats the other trainers of LoRA students on tool-call data too.

The workloads of `train_speed.py` (Qwen2.5-7B's shape, random weights, LoRA of rank 32 on all linear
layers), trained by each peer's own trainer with what its documentation calls fast. A peer pins its
own versions of transformers, trl and peft, so each has a folder SITES/PEER that `pip install
--target` filled, and a process of its own that sees that folder first (xformers in a folder of its
own, SITES/unsloth-xformers: Unsloth is measured with and without).

    unsloth       FastLanguageModel and its patched SFTTrainer; without gradient checkpointing, and
                  with its own ("unsloth")
    llamafactory  run_exp on a tokenized dataset, Liger's kernels
    axolotl       setup_model_and_trainer, its LoRA kernels and Liger's

All get bf16 weights, micro-batches of up to 17,000 tokens (halved until they fit) and SDPA or what
the peer picks; the examples of a workload are equally long, so a batch has no padding and packing
would add nothing. Steps are measured on 8 examples and scaled up (`examples_timed`), as trl's are.

    python benchmarks/train_peers.py --sites SITES --out peers.json --budget 150
    python benchmarks/train_peers.py --sites SITES --toy --peer axolotl     small model on the CPU

All processes start at once and import; then they get one job at a time. Prints a table; the last
line is one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import itertools
import json
import os
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RANK, ALPHA = 32, 32
PEERS = {
    "unsloth": ("unsloth", "unsloth-xformers"),
    "llamafactory": ("llamafactory",),
    "axolotl": ("axolotl",),
    "unsloth without xformers": ("unsloth",),
}
"""The folders that each process sees; the first is the peer's name."""
WORKLOADS = "3000/300/64,retail,300/1500/32"
EXAMPLES = 8
MICRO_BATCH_TOKENS = 17_000
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
VARIANTS = {
    "unsloth": ["no checkpointing", "own checkpointing"],
    "llamafactory": ["liger"],
    "axolotl": ["lora kernels + liger"],
    "unsloth without xformers": ["no checkpointing"],
}
"""Of each peer, the one expected to be fastest first; others only on the first workload."""


# --- in a peer's own process ------------------------------------------------------------------


def serve(peer: str) -> None:
    """Import the peer, then do jobs from stdin, a JSON line each, and answer on stdout."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    began = time.perf_counter()
    try:
        runner = {"unsloth": unsloth, "llamafactory": llamafactory, "axolotl": axolotl}[peer]()
        hello: dict[str, Any] = {"versions": versions(peer)}
    except BaseException as error:
        traceback.print_exc()
        hello = {"failed": where(error)}
    hello["import_s"] = round(time.perf_counter() - began, 1)
    print(json.dumps(hello), file=answers, flush=True)
    for line in sys.stdin if "failed" not in hello else ():
        try:
            answer = fitting(runner, json.loads(line))
        except BaseException as error:
            traceback.print_exc()
            answer = {"failed": where(error)}
        release()
        print(json.dumps(answer), file=answers, flush=True)


def versions(peer: str) -> dict[str, str]:
    from importlib import metadata

    names = (peer, "torch", "transformers", "trl", "peft", "accelerate", "datasets", "liger-kernel")
    found = {}
    for name in names:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def where(error: BaseException) -> str:
    """Return the error and the place in the peer where it rose."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{'/'.join(Path(frames[-1].filename).parts[-3:])}:{frames[-1].lineno}"
    return f"{place}: {error!r}"[:600]


def release() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def fitting(runner: Any, job: dict[str, Any]) -> dict[str, Any]:
    """Run a job with the largest micro-batch that fits."""
    import torch

    began = time.perf_counter()
    while True:
        try:
            ticks, settings = runner(job)
            break
        except torch.OutOfMemoryError:
            if job["micro"] == 1:
                raise
            job["micro"] //= 2
        release()
    steps = [late - early for early, late in itertools.pairwise(ticks.ends)]
    cuda = torch.cuda.is_available()
    return {
        "seconds": statistics.median(steps),
        "steps_s": [round(step, 4) for step in steps],
        "peak_gib": round(ticks.peak / 2**30, 1) if cuda else None,
        "micro_batch": job["micro"],
        "settings": settings,
        "with_warm_up_s": round(time.perf_counter() - began, 1),
    }


def clock() -> Any:
    """Return a callback that notes when each step ended, the device having finished, and its peak.

    The peak is read at the end of each step: Axolotl resets the counter whenever it logs.
    """
    import torch
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        def __init__(self) -> None:
            self.ends: list[float] = []
            self.peak = 0

        def on_step_end(self, *_: Any, **__: Any) -> None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
                self.peak = max(self.peak, torch.cuda.max_memory_allocated())
            self.ends.append(time.perf_counter())

    return Clock()


@contextlib.contextmanager
def random_weights() -> Iterator[None]:
    """While this is open, AutoModelForCausalLM builds random weights on the device.

    Only the reading of 15 GB from a disk is left out; all that a peer does before and after stays.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    original = AutoModelForCausalLM.__dict__["from_pretrained"]
    cuda = torch.cuda.is_available()

    def build(cls: Any, path: str | None = None, *_: Any, **more: Any) -> Any:
        path = path or more["pretrained_model_name_or_path"]
        config = more.get("config") or AutoConfig.from_pretrained(path)
        attention = more.get("attn_implementation") or config._attn_implementation or "sdpa"
        dtype = torch.bfloat16 if cuda else torch.float32
        with torch.device("cuda" if cuda else "cpu"):
            model = cls.from_config(config, attn_implementation=attention, dtype=dtype)
        model.config.name_or_path = str(path)
        return model

    AutoModelForCausalLM.from_pretrained = classmethod(build)
    try:
        yield
    finally:
        AutoModelForCausalLM.from_pretrained = original


def read_rows(job: dict[str, Any]) -> Any:
    """Return the job's examples as a dataset of tokens and labels."""
    from datasets import Dataset

    return Dataset.from_dict(json.loads(Path(job["rows"]).read_text()))


def with_mask(rows: Any) -> Any:
    """Return the dataset with the attention mask that some want; it hides nothing."""
    return rows.add_column("attention_mask", [[1] * len(ids) for ids in rows["input_ids"]])


def common(job: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that all trainers know by the same name."""
    return {
        "output_dir": job["folder"],
        "max_steps": 3,
        "per_device_train_batch_size": job["micro"],
        "gradient_accumulation_steps": max(1, EXAMPLES // job["micro"]),
        "learning_rate": 2e-4,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def unsloth() -> Any:
    """Return a runner of Unsloth, which must be imported before what it patches."""
    fast = importlib.import_module("unsloth").FastLanguageModel
    import torch
    from trl import SFTConfig, SFTTrainer

    def run(job: dict[str, Any]) -> Any:
        checkpointing = "unsloth" if job["variant"] == "own checkpointing" else False
        with random_weights():
            model, tokenizer = fast.from_pretrained(
                job["model"],
                max_seq_length=job["length"],
                dtype=torch.bfloat16 if torch.cuda.is_available() else torch.float32,
                load_in_4bit=False,
                load_in_16bit=True,
                use_gradient_checkpointing=checkpointing,
                offload_embedding=False,
                local_files_only=True,
            )
        model = fast.get_peft_model(
            model,
            r=RANK,
            lora_alpha=ALPHA,
            lora_dropout=0,
            bias="none",
            target_modules=LINEAR,
            use_gradient_checkpointing=checkpointing,
            max_seq_length=job["length"],
        )
        ticks = clock()
        cuda = torch.cuda.is_available()
        trainer = SFTTrainer(
            model=model,
            processing_class=tokenizer,
            train_dataset=read_rows(job),
            args=SFTConfig(
                **common(job),
                max_length=job["length"],
                bf16=cuda,
                use_cpu=not cuda,
                optim="adamw_torch_fused" if cuda else "adamw_torch",
                dataset_num_proc=1,
            ),
            callbacks=[ticks],
        )
        trainer.train()
        return ticks, {
            "gradient_checkpointing": checkpointing,
            "padding_free": getattr(trainer.args, "padding_free", None),
            "attention": attention_backend(),
        }

    def attention_backend() -> str | None:
        with contextlib.suppress(Exception):
            from unsloth.utils import attention_dispatch

            names = ("HAS_FLASH_ATTENTION", "HAS_XFORMERS")
            return ", ".join(f"{n}={getattr(attention_dispatch, n, None)}" for n in names)
        return None

    return run


def llamafactory() -> Any:
    """Return a runner of LLaMA-Factory."""
    import torch
    from llamafactory.train.tuner import run_exp

    def run(job: dict[str, Any]) -> Any:
        path = Path(job["folder"]) / f"tokenized-{time.time_ns()}"
        with_mask(read_rows(job)).save_to_disk(str(path))
        cuda = torch.cuda.is_available()
        settings = {
            "enable_liger_kernel": cuda,
            "flash_attn": "sdpa",
            "disable_gradient_checkpointing": True,
            "bf16": cuda,
        }
        ticks = clock()
        with random_weights():
            run_exp(
                common(job)
                | settings
                | {
                    "model_name_or_path": job["model"],
                    "stage": "sft",
                    "do_train": True,
                    "finetuning_type": "lora",
                    "lora_rank": RANK,
                    "lora_alpha": ALPHA,
                    "lora_target": "all",
                    "template": "empty",
                    "dataset": "tokenized",
                    "tokenized_path": str(path),
                    "cutoff_len": job["length"],
                    "overwrite_output_dir": True,
                    "use_cpu": not cuda,
                },
                callbacks=[ticks],
            )
        return ticks, settings

    return run


def axolotl() -> Any:
    """Return a runner of Axolotl."""
    import torch
    from axolotl.cli.config import load_cfg
    from axolotl.common.datasets import TrainDatasetMeta
    from axolotl.train import setup_model_and_trainer
    from axolotl.utils.dict import DictDefault

    def run(job: dict[str, Any]) -> Any:
        cuda = torch.cuda.is_available()
        settings = {
            "attn_implementation": "sdpa",
            "gradient_checkpointing": False,
            "sample_packing": False,
            "bf16": cuda,
        }
        settings |= dict.fromkeys(("lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel"), cuda)
        if cuda:
            settings |= {
                "plugins": ["axolotl.integrations.liger.LigerPlugin"],
                "liger_rope": True,
                "liger_rms_norm": True,
                "liger_fused_linear_cross_entropy": True,
            }
        cfg = load_cfg(
            DictDefault(
                settings
                | {
                    "base_model": job["model"],
                    "output_dir": job["folder"],
                    "datasets": [{"path": "tokenized", "type": ""}],
                    "sequence_len": job["length"],
                    "adapter": "lora",
                    "lora_r": RANK,
                    "lora_alpha": ALPHA,
                    "lora_dropout": 0.0,
                    "lora_target_modules": LINEAR,
                    "micro_batch_size": job["micro"],
                    "gradient_accumulation_steps": max(1, EXAMPLES // job["micro"]),
                    "max_steps": 3,
                    "learning_rate": 2e-4,
                    "optimizer": "adamw_torch_fused" if cuda else "adamw_torch",
                    "lr_scheduler": "constant",
                    "save_strategy": "no",
                    "val_set_size": 0,
                    "use_tensorboard": False,
                    "dataloader_num_workers": 0,
                }
            )
        )
        ticks = clock()
        with random_weights():
            trainer, *_ = setup_model_and_trainer(
                cfg, TrainDatasetMeta(train_dataset=with_mask(read_rows(job)), total_num_steps=3)
            )
        trainer.add_callback(ticks)
        trainer.train()
        return ticks, settings

    return run


# --- in the parent ----------------------------------------------------------------------------


class Child:
    """A peer's process: jobs go in, answers come out, what it prints goes to a log."""

    def __init__(self, peer: str, options: argparse.Namespace, folder: Path) -> None:
        self.peer = peer
        self.folder = folder / peer
        self.folder.mkdir()
        paths = [str(options.sites.resolve() / name) for name in PEERS[peer]] + options.extra_path
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(paths),
            "HF_HUB_OFFLINE": "1",
            "AXOLOTL_DO_NOT_TRACK": "1",
            "DO_NOT_TRACK": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "UNSLOTH_DISABLE_STATISTICS": "1",
        }
        if options.toy:
            environment |= {"CUDA_VISIBLE_DEVICES": ""}
        self.log = self.folder / "log"
        self.answers: queue.Queue[dict[str, Any]] = queue.Queue()
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(Path(__file__).resolve()), "--serve", PEERS[peer][0]],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                text=True, env=environment, cwd=self.folder,
            )  # fmt: skip
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.answers.put(json.loads(line))
        self.answers.put({"failed": f"the process ended with {self.process.wait()}"})

    def answer(self, seconds: float) -> dict[str, Any]:
        """Return the next answer; a child that takes longer is stopped."""
        try:
            return self.answers.get(timeout=max(seconds, 0.1))
        except queue.Empty:
            self.stop()
            return {"failed": f"stopped after {seconds:.0f} s"}

    def do(self, job: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Run a job, for so many seconds at most."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(job) + "\n")
            self.process.stdin.flush()
        except OSError:
            return {"failed": "the process has ended"}
        return self.answer(seconds)

    def stop(self) -> None:
        """End the process, so that its memory is free for the next."""
        self.process.kill()
        self.process.wait()

    def tail(self) -> str:
        """Return the end of what it printed."""
        return self.log.read_text(errors="replace")[-1500:]


def write_model(folder: Path, toy: bool) -> str:
    """Write a configuration and a tokenizer; the weights are random and never on a disk."""
    from shapes import SIZES_7B
    from train_speed import SIZES_TOY, make_tokenizer
    from transformers import Qwen2Config

    path = folder / "model"
    shape = SIZES_TOY | {"vocab_size": 5376} if toy else SIZES_7B
    Qwen2Config(
        **shape, max_position_embeddings=32768, tie_word_embeddings=False, dtype="bfloat16",
        architectures=["Qwen2ForCausalLM"], bos_token_id=None, eos_token_id=0, pad_token_id=1,
    ).save_pretrained(path)  # fmt: skip
    make_tokenizer().save_pretrained(path)
    return str(path)


def write_rows(folder: Path, names: list[str], toy: bool) -> list[dict[str, Any]]:
    """Write the first examples of each workload; return what a job must know of it."""
    import numpy as np
    from shapes import SIZES_7B
    from train_speed import ToolTurns, Workload

    found = []
    for name in names:
        work = ToolTurns() if name == "retail" else Workload(*map(int, name.split("/")))
        rows = work.rows(5000 if toy else SIZES_7B["vocab_size"])[:EXAMPLES]
        path = folder / f"{name.replace('/', '-')}.json"
        columns = {
            "input_ids": [row.ids.tolist() for row in rows],
            "labels": [np.where(row.weights > 0, row.ids, -100).tolist() for row in rows],
        }
        path.write_text(json.dumps(columns))
        fits = max(1, MICRO_BATCH_TOKENS // work.length)
        micro = min(EXAMPLES, 2 ** (fits.bit_length() - 1))
        found.append({"workload": name, "rows": str(path), "length": work.length, "micro": micro,
                      "examples": work.examples})  # fmt: skip
    return found


def scaled(work: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of a step of all examples from one of 8, named as in train_speed."""
    seconds = found.pop("seconds") * work["examples"] / EXAMPLES
    tokens = work["length"] * work["examples"]
    return {
        "step_s": round(seconds, 4),
        "executed_tokens": tokens,
        "executed_tokens_per_s": round(tokens / seconds),
        "examples_timed": EXAMPLES,
    } | found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--serve", choices=PEERS, help=argparse.SUPPRESS)
    parser.add_argument("--sites", type=Path, default=Path("sites"), help="a folder for each peer")
    parser.add_argument("--extra-path", action="append", default=[], help="added to PYTHONPATH")
    parser.add_argument("--peer", action="append", choices=PEERS, help="all if left out")
    parser.add_argument("--workloads", default=WORKLOADS, help="names, with commas")
    parser.add_argument("--budget", type=float, default=150, help="seconds for all")
    parser.add_argument("--limit", type=float, default=60, help="seconds for a job")
    parser.add_argument("--out", type=Path, help="file to keep the results in as they come")
    parser.add_argument("--toy", action="store_true", help="a small model on the CPU")
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    began = time.perf_counter()
    names = ["300/30/8"] if options.toy else options.workloads.split(",")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        children = [Child(peer, options, folder) for peer in options.peer or PEERS]
        try:
            measure(children, options, folder, names, began)
        finally:
            for child in children:
                child.stop()


def measure(
    children: list[Child], options: argparse.Namespace, folder: Path, names: list[str], began: float
) -> None:
    """Give each child its jobs, one child after the other, and print what comes."""
    model = write_model(folder, options.toy)
    works = write_rows(folder, names, options.toy)
    result: dict[str, Any] = {
        "shape": "toy" if options.toy else "Qwen2.5-7B",
        "peers": {},
        "workloads": {name: {} for name in names},
    }

    def left() -> float:
        return options.budget - (time.perf_counter() - began)

    print(f"{'workload':>14} {'':34}{'s a step':>10}{'tokens/s':>10}{'GiB':>8}", flush=True)
    for child in children:
        hello = child.answer(left())
        result["peers"][child.peer] = hello
        print(f"{child.peer}: {hello}", flush=True)
        plan = [
            (work, variant) for work in works for variant in VARIANTS[child.peer]
            if work is works[0] or variant == VARIANTS[child.peer][0]
        ]  # fmt: skip
        for work, variant in plan if "failed" not in hello else ():
            entry = result["workloads"][work["workload"]].setdefault(child.peer, {})
            if left() < 5:
                entry[variant] = {"failed": "not run: no time left"}
                continue
            job = work | {"variant": variant, "model": model, "folder": str(child.folder / "out")}
            found = child.do(job, min(options.limit, left()))
            if "failed" in found:
                entry[variant] = found
                print(f"{work['workload']:>14} {child.peer} {variant}: {found['failed']}")
            else:
                found = entry[variant] = scaled(work, found)
                print(
                    f"{work['workload']:>14} {child.peer + ', ' + variant:34}"
                    f"{found['step_s']:10.3f}{found['executed_tokens_per_s']:10,}"
                    f"{found['peak_gib'] or 0:8.1f}",
                    flush=True,
                )
            keep(options, result, began)
        child.stop()
        texts = json.dumps([hello, result["workloads"]])
        if "failed" in texts:
            print(
                f"--- end of the log of {child.peer}\n{child.tail()}", file=sys.stderr, flush=True
            )
        keep(options, result, began)
    print(json.dumps(result))


def keep(options: argparse.Namespace, result: dict[str, Any], began: float) -> None:
    result["seconds"] = round(time.perf_counter() - began, 1)
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

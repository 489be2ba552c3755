"""The Trainer of a run, made and driven: arguments, callbacks, resuming, memory.

Where the memory does not suffice, training goes on from the last checkpoint with rows of half the
length, once: rows change nothing but speed.
"""

from __future__ import annotations

import gc
import math
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch
from rich.console import Console
from transformers import EarlyStoppingCallback, PrinterCallback, TrainerCallback, set_seed
from trl.trainer.sft_config import SFTConfig

from distill.config import Config
from distill.errors import TrainError
from distill.student.base import Base
from distill.train import ranks
from distill.train.accuracy import Exam
from distill.train.attention import ALIGNMENT
from distill.train.data import Material
from distill.train.device import Device
from distill.train.logs import quiet
from distill.train.lora import lora_config
from distill.train.model import load_student
from distill.train.plan import Plan
from distill.train.preference import (
    AnswerCollator,
    AnswerTrainer,
    PairCollator,
    PreferenceTrainer,
)
from distill.train.progress import Display, FinalValidation, Interrupt, MetricsFile
from distill.train.run import Run
from distill.train.sft import TrieCollator, TrieTrainer, numbered
from distill.train.trackers import run_name, tracked


@dataclass(frozen=True)
class Job:
    """All that one run is made of."""

    config: Config
    base: Base
    material: Material
    tokenizer: Any
    device: Device
    run: Run
    costs: Plan

    @property
    def validates(self) -> bool:
        """Whether validation is measured while training."""
        return self.config.train.evals > 0 and bool(self.material.validation)


@dataclass(frozen=True)
class Fitted:
    """A trained model."""

    model: Any
    """With the best adapter that validation saw, where there was any."""
    seconds: float
    interrupted: bool


def fit(job: Job, console: Console) -> Fitted:
    """Train from the last checkpoint on.

    Raises:
        TrainError: The loss broke, or the memory is too small.
    """
    try:
        return _attempt(job, console)
    except torch.OutOfMemoryError as error:
        if ranks.count() > 1:  # the others wait for this one
            raise _too_small(job.costs.row_tokens, "") from error
        job = replace(job, costs=replace(job.costs, row_tokens=job.costs.row_tokens // 2))
    row_tokens = job.costs.row_tokens
    console.print(f"out of memory; going on with rows of {row_tokens} tokens")
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    try:
        return _attempt(job, console)
    except torch.OutOfMemoryError as error:
        raise _too_small(row_tokens, "also ") from error


def _too_small(row_tokens: int, also: str) -> TrainError:
    return TrainError(
        f"out of memory, {also}with rows of {row_tokens} tokens; set train.row_tokens to "
        f"{row_tokens // 2} or less, or lower train.max_length"
    )


def _attempt(job: Job, console: Console) -> Fitted:
    checkpoint = job.run.last_checkpoint()
    log = job.run.log if ranks.is_first() else None
    with ExitStack() as stack:
        stack.enter_context(quiet(log))
        interrupt = stack.enter_context(Interrupt())
        callbacks: list[TrainerCallback] = [interrupt]
        if ranks.is_first():
            step = int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0
            callbacks += stack.enter_context(tracked(job.config, step))
            callbacks.append(MetricsFile(job.run.metrics))
            callbacks.append(stack.enter_context(Display(console)))
        trainer = _trainer(job)
        for callback in callbacks:
            trainer.add_callback(callback)
        if job.material.validation:
            trainer.add_callback(FinalValidation())
        if job.validates and job.config.train.patience:
            trainer.add_callback(EarlyStoppingCallback(job.config.train.patience))
        started = time.monotonic()
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        seconds = time.monotonic() - started
        unfinished = trainer.state.global_step < trainer.state.max_steps
        return Fitted(trainer.model, seconds, interrupt.requested and unfinished)


def _trainer(job: Job) -> TrieTrainer:
    settings, material, recipe = job.config.train, job.material, job.costs.recipe
    count, held = len(material.train), len(material.validation)
    alignment = ALIGNMENT if job.device.kind == "cuda" else 1
    rows: Any = [*material.train, *material.validation]
    prefers = settings.objective != "sft"
    pack, learn = _OBJECTIVES[settings.objective]
    set_seed(settings.seed)
    arguments, sharded = _arguments(job), job.costs.sharded
    # Asking for the device connects the ranks, which the base is shared out over.
    assert arguments.device.type == job.device.kind
    trainer = learn(
        model=load_student(job.base, job.device, settings.method, sharded=sharded),
        args=arguments,
        data_collator=pack(rows, job.costs.row_tokens, alignment),
        train_dataset=numbered(0, count),
        eval_dataset=numbered(count, count + held) if held else None,
        processing_class=job.tokenizer,
        peft_config=lora_config(recipe.rank, settings.alpha) if recipe.rank else None,
    )
    assert trainer.model is not None
    for parameter in trainer.model.parameters():  # trl rounds adapters of a base in 4 bits
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    if isinstance(trainer, PreferenceTrainer):
        trainer.beta = settings.beta
    if settings.eval_turns and held:
        answers = [s for each in material.validation for s in (each[:1] if prefers else each)]
        trainer.exam = Exam(answers, settings.eval_turns, job.tokenizer, job.base.family)
    trainer.remove_callback(PrinterCallback)
    return trainer


_OBJECTIVES: dict[str, tuple[type[Any], type[TrieTrainer]]] = {
    "sft": (TrieCollator, TrieTrainer),
    "dpo": (PairCollator, PreferenceTrainer),
    "kto": (AnswerCollator, AnswerTrainer),
}


def _arguments(job: Job) -> SFTConfig:
    settings, device, recipe = job.config.train, job.device, job.costs.recipe
    steps = recipe.steps
    pause = math.ceil(steps / settings.evals) if settings.evals else steps
    arguments = SFTConfig(
        output_dir=str(job.run.checkpoints),
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=max(1, len(job.material.validation)),  # one trie, an exact mean
        num_train_epochs=recipe.epochs,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(settings.warmup_ratio * steps),
        weight_decay=0.0,
        seed=settings.seed,
        eval_strategy="steps" if job.validates else "no",
        eval_steps=pause,
        save_strategy="steps" if settings.evals else "no",
        save_steps=pause,
        save_total_limit=2,
        load_best_model_at_end=job.validates,
        metric_for_best_model="score" if job.validates else None,
        greater_is_better=True,
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to="none",  # the trackers are callbacks of ours
        run_name=run_name(job.config),
        project=job.config.name,
        disable_tqdm=True,
        # A frozen base is held in its precision, adapters in float32: nothing to autocast.
        bf16=settings.method == "full" and device.dtype is torch.bfloat16,
        gradient_checkpointing=job.costs.checkpointing,
        max_length=None,
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        use_cpu=device.kind == "cpu",
        dataloader_pin_memory=device.kind == "cuda",
    )
    if device.kind == "cuda":
        arguments._n_gpu = 1  # a process uses one; further ones take torchrun
    return arguments

"""Kahneman-Tversky optimization on tries against trl's own, which pads every answer apart."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from peft import LoraConfig, get_peft_model
from test_train import quiet, settings
from test_trie import check, gradients, sample, student
from train_world import tiny_model, workspace
from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference, KTOTrainer
from trl.trainer.utils import add_fused_lm_head

from distill.student.render import Sample
from distill.train import progress, runner
from distill.train.preference import (
    AnswerCollator,
    answer_losses,
    exchanged,
    margins,
    movement,
)

BETA = 0.3
Pairs = list[tuple[Sample, Sample]]


def random_pairs() -> Pairs:
    """Six pairs on two prompts, whose answers begin alike; one twice."""
    rng = np.random.default_rng(0)
    prompts = [rng.integers(0, 250, size).tolist() for size in (90, 30)]
    pairs = []
    for number in range(5):
        start = prompts[number % 2] + rng.integers(0, 250, number + 1).tolist()
        answers = [[*start, 7, 8, *rng.integers(0, 250, n).tolist()] for n in (3, 9)]
        pairs.append((sample(answers[0], len(start)), sample(answers[1], len(start))))
    return [*pairs, pairs[1]]


def trl_student() -> Any:
    """The student of `test_trie.student` as trl would train it."""
    base = tiny_model()
    add_fused_lm_head(base, outputs=("log_probs", "entropy", "mean_logits"))
    model = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear"))
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def moved_up(model: Any) -> Any:
    """Turn the adapter round: strange answers are then likelier than before, and count."""
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.neg_()
    return model


def trl_loss(model: Any, pairs: Pairs) -> tuple[torch.Tensor, float]:
    """The loss of trl's trainer, and the drift it has measured."""
    rows = []
    for pair, other in zip(pairs, [pairs[-1], *pairs[:-1]], strict=True):
        strange = exchanged(pair, other)
        for place, answer in enumerate(pair):
            first = int((answer.weights == 0).sum())
            rows.append(
                {
                    "prompt_ids": answer.ids[:first].tolist(),
                    "completion_ids": answer.ids[first:].tolist(),
                    "KL_completion_ids": strange[place].ids[strange[place].weights > 0].tolist(),
                    "label": place == 0,
                }
            )
    batch = DataCollatorForUnpairedPreference(pad_token_id=0)(rows)
    trainer: Any = SimpleNamespace(
        model=model,
        ref_model=None,
        accelerator=Accelerator(cpu=True),
        args=SimpleNamespace(gradient_checkpointing_kwargs=None),
        aux_loss_enabled=False,
        precompute_ref_logps=False,
        calculate_KL=True,
        loss_type="kto",
        beta=BETA,
        desirable_weight=1.0,
        undesirable_weight=1.0,
        _metrics={"train": defaultdict(list), "eval": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )
    trainer._compute_kl_logps = lambda m, b: KTOTrainer._compute_kl_logps(trainer, m, b)
    loss = KTOTrainer._compute_loss(trainer, model, batch, False)
    return loss, trainer._metrics["train"]["kl"][0]


@pytest.mark.parametrize("row_tokens", [100_000, 200])
def test_loss_gradient_and_drift_are_those_of_trl(row_tokens: int) -> None:
    pairs = random_pairs()
    batch = AnswerCollator(pairs, row_tokens)([{"example": n} for n in range(len(pairs))])
    assert (len(batch["rows"]) > 1) == (row_tokens == 200)
    trie, plain = moved_up(student(True)), moved_up(trl_student())
    moved = (movement(trie, batch["strange"]) / (2 * len(pairs))).clamp(min=0)
    losses = []
    for row in batch["rows"]:
        with torch.no_grad(), trie.disable_adapter():
            start = margins(trie, row)
        gain = margins(trie, row) - start
        losses.append(answer_losses(gain, moved, BETA).sum() / (2 * len(pairs)))
    loss, expected = trl_loss(plain, pairs)
    assert moved == pytest.approx(expected, abs=3e-5) and expected > 0.01
    check(gradients(trie, torch.stack(losses).sum()), gradients(plain, loss))


def test_a_pair_alone_in_its_batch_borrows_the_answers_of_another() -> None:
    pairs = random_pairs()
    (row,) = AnswerCollator(pairs, 100_000)([{"example": 5}])["strange"]
    (other,) = AnswerCollator([pairs[5], pairs[0]], 100_000)([{"example": 0}])["strange"]
    assert row["ids"].tolist() == other["ids"].tolist()
    own = {tuple(answer.ids.tolist()) for answer in exchanged(pairs[5], pairs[5])}
    assert tuple(exchanged(pairs[5], pairs[0])[0].ids.tolist()) not in own


def test_a_student_learns_from_answers_judged_alone(tmp_path: Path) -> None:
    workspace(tmp_path)
    config = settings(
        tmp_path, "train.objective=kto", "train.learning_rate=0.01", "train.batch_size=6",
        "train.epochs=4", "train.evals=1",
    )  # fmt: skip
    plan, _ = runner.plan(config)
    result = runner.train(config, quiet())
    assert result.manifest is not None
    rows = [r for r in progress.read_metrics(config.run_dir / "metrics.jsonl") if "loss" in r]
    assert rows[0]["loss"] == pytest.approx(0.5, rel=1e-3)  # the student is the reference
    assert rows[-1]["loss"] < 0.45 and rows[-1]["pair_accuracy"] == 1
    assert result.manifest.metrics["eval_pair_accuracy"] == 1
    assert plan.executed_tokens == pytest.approx(
        result.manifest.metrics["executed_tokens"], rel=0.05
    )
    assert math.isfinite(result.manifest.metrics["eval_loss"])
    assert "Kahneman-Tversky" in (config.run_dir / "adapter/README.md").read_text()

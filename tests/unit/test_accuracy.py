from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from peft import get_peft_model
from torch import nn
from train_world import byte_tokenizer, call, example, tiny_model

from distill.student.families import QWEN25
from distill.student.render import Sample, render
from distill.train.accuracy import Exam
from distill.train.lora import lora_config
from distill.train.model import compile_layers, prepare
from distill.types import AssistantMessage, Example, UserMessage


def student() -> Any:
    return get_peft_model(prepare(tiny_model(), compiled=False), lora_config(16, 16.0))


def turns(*pairs: tuple[str, AssistantMessage]) -> list[Sample]:
    rows = [
        Example(messages=(UserMessage(content=said), turn), tools=(), weights=(1.0,))
        for said, turn in pairs
    ]
    return [sample for row in rows for sample in render(row, byte_tokenizer(), QWEN25)]


def learn(model: Any, samples: list[Sample], steps: int = 150) -> None:
    """Learn the samples by heart, with all weights."""
    optimizer = torch.optim.Adam(model.requires_grad_(True).parameters(), 5e-3)
    width = max(len(sample.ids) for sample in samples)
    ids = torch.zeros(len(samples), width, dtype=torch.long)
    labels = torch.full_like(ids, -100)
    for row, sample in enumerate(samples):
        ids[row, : len(sample.ids)] = torch.from_numpy(sample.ids.astype(np.int64))
        wanted = torch.from_numpy(sample.weights > 0)
        labels[row, : len(sample.ids)][wanted] = ids[row, : len(sample.ids)][wanted]
    model.get_base_model().set_attn_implementation("sdpa")
    for _ in range(steps):
        logits = model(input_ids=ids).logits[:, :-1]
        loss = nn.functional.cross_entropy(logits.transpose(1, 2), labels[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_a_turn_is_right_when_its_calls_are_the_teachers() -> None:
    model = student()
    taught = turns(
        ("ring", call("ring", times=1)),
        ("hello there", AssistantMessage(content="Hi.")),
        ("toll", call("ring", times=2)),
    )
    learn(model, taught)
    asked = turns(
        ("ring", call("ring", times=1)),
        ("hello there", AssistantMessage(content="Good morning to you.")),  # words are words
        ("toll", call("ring", times=3)),  # another argument
    )
    compile_layers(model.get_base_model(), backend=lambda *_: pytest.fail("it was compiled"))
    model.train()
    exam = Exam(asked, 48, byte_tokenizer(), QWEN25)
    assert exam.accuracy(model) == pytest.approx(2 / 3)
    assert model.training and model.config._attn_implementation == "distill_trie"
    assert Exam(taught, 48, byte_tokenizer(), QWEN25).accuracy(model) == 1


def test_a_fixed_spread_of_turns_is_asked() -> None:
    samples = [render(example(n, ()), byte_tokenizer(), QWEN25)[0] for n in range(10)]
    exam = Exam(samples, 4, byte_tokenizer(), QWEN25)
    assert len(exam._samples) == 4
    assert {id(sample) for sample in exam._samples} == {id(samples[n]) for n in (0, 3, 6, 9)}

"""How many validation turns the student answers as the teacher did, decoding greedily.

Validation loss says little about whether calls are right: this decides which checkpoint is kept.
A turn is right when its calls are the teacher's (name and arguments, in any order), or when both
answer in words. It is an early sign, on a sample: `distill eval` runs the tools and compares with
what the task wants.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from torch import Tensor

from distill.student.calls import calls_in
from distill.student.families import Family
from distill.student.render import Sample
from distill.train import attention
from distill.train.shard import is_sharded

_BATCH = 16
_SLACK = 32
"""Tokens an answer may be longer than the teacher's."""


class Exam:
    """A fixed sample of validation turns."""

    def __init__(
        self, samples: Sequence[Sample], turns: int, tokenizer: Any, family: Family
    ) -> None:
        """Take the turns to ask; `turns` of them, evenly spread, are.

        Args:
            samples: Rendered turns; the supervised part is the teacher's answer.
            turns: How many.
            tokenizer: Of the student.
            family: Of the student.
        """
        chosen = np.unique(np.linspace(0, len(samples) - 1, min(turns, len(samples))).astype(int))
        self._samples = sorted((samples[i] for i in chosen), key=lambda sample: len(sample.ids))
        self._tokenizer = tokenizer
        self._family = family

    def __len__(self) -> int:
        return len(self._samples)

    def accuracy(self, model: Any) -> float:
        """Return the share of turns answered as the teacher did."""
        marks = self.marks(model)
        return sum(marks) / len(marks)

    def marks(self, model: Any) -> list[bool]:
        """Return which turns were answered as the teacher did, always in the same order."""
        marks = []
        with answering(model):
            for start in range(0, len(self._samples), _BATCH):
                batch = self._samples[start : start + _BATCH]
                answers = self._answers(model, batch)
                marks += [
                    self._agree(answer, sample.ids[sample.weights > 0].tolist())
                    for answer, sample in zip(answers, batch, strict=True)
                ]
        return marks

    def _answers(self, model: Any, batch: Sequence[Sample]) -> list[list[int]]:
        prompts = [torch.from_numpy(s.ids[s.weights == 0].astype(np.int64)) for s in batch]
        ids, real = _left_padded(prompts, self._tokenizer.pad_token_id or 0)
        stop = self._tokenizer.convert_tokens_to_ids(self._family.end_of_turn)
        output = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=real.to(model.device),
            max_new_tokens=max(int((s.weights > 0).sum()) for s in batch) + _SLACK,
            do_sample=False,
            use_cache=True,
            synced_gpus=is_sharded(model),  # a rank goes on until all have finished
            eos_token_id=stop,
            pad_token_id=stop,
        )
        return [row[ids.shape[1] :].tolist() for row in output]

    def _agree(self, answer: list[int], expected: list[int]) -> bool:
        found, wanted = (
            calls_in(self._text(ids), self._family.parser) for ids in (answer, expected)
        )
        return found == wanted

    def _text(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(ids)
        return text.partition(self._family.end_of_turn)[0]


@contextmanager
def answering(model: Any) -> Iterator[None]:
    """Let a model in training generate: usual attention, layers as they are, no gradients."""
    base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    was_training = model.training
    base.set_attn_implementation("sdpa")
    model.eval()
    try:
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):
            yield
    finally:
        base.set_attn_implementation(attention.NAME)
        model.train(was_training)


def _left_padded(prompts: Sequence[Tensor], pad: int) -> tuple[Tensor, Tensor]:
    width = max(len(prompt) for prompt in prompts)
    ids = torch.full((len(prompts), width), pad)
    real = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = prompt
        real[row, width - len(prompt) :] = 1
    return ids, real

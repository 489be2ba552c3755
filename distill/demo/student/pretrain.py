"""Make the embedded student from nothing: dialogues, tokenizer, weights.

    python -m distill.demo.student.pretrain OUT [--steps N] [--rows N] [--workers N] ...

One script is the whole story. It trains the tokenizer on some synthetic dialogues; then worker
processes keep writing new ones, packed into rows of `--row` tokens (a dialogue never sees another
one in its row), while a Qwen2 model trains on them for `--steps` steps (Muon for matrices, AdamW
for the rest; the learning rate rises, stays, falls to zero). Every dialogue is seen once. At the
end the model is measured on fresh dialogues. It uses the GPU when there is one. OUT receives the
checkpoint, `pretrain.jsonl` (the loss) and `pretrain.json` (the summary). The shipped tool sets
play no part.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from transformers import (
    AttentionInterface,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Tokenizer,
    set_seed,
)

from .dialogues import dialogue
from .exam import exam
from .tokenizer import render, train_tokenizer

SPOKEN, CONTEXT, NOTHING = 255, 38, 255
"""Loss weights of assistant tokens and of all others, in 1/255: what others say teaches words.
NOTHING is the dialogue number of padding."""
CHUNK = 400
"""Dialogues that a worker writes at a time."""

Arrays = list[np.ndarray]
"""Token ids (uint16), loss weights (uint8) and dialogue numbers (uint8), each [rows, tokens]."""


@dataclass(frozen=True)
class Settings:
    """Everything the result depends on, besides the code."""

    steps: int = 2692
    rows: int = 96
    """Rows of one step, over all micro-batches."""
    row: int = 2048
    micro: int = 48
    """Rows of one micro-batch."""
    matrix_lr: float = 0.02
    other_lr: float = 3e-3
    warmup: float = 0.02
    cooldown: float = 0.5
    """Shares of the steps with rising and with falling learning rate."""
    pool: int = 12
    """Steps' worth of rows that are shuffled together."""
    tokenizer_dialogues: int = 6000
    seed: int = 0
    workers: int = 8
    exam: int = 200
    """Fresh dialogues to measure on."""


# --- data -------------------------------------------------------------------------------------


def batches(folder: Path, settings: Settings) -> Iterator[Arrays]:
    """Yield the rows of one step after the other, for ever; the order follows from the seed."""
    rng = np.random.default_rng(settings.seed)
    # Started afresh: a forked tokenizer with threads can wait for ever.
    context = multiprocessing.get_context("spawn")
    with context.Pool(settings.workers, _prepare, (folder, settings)) as pool:
        ahead = 3 * settings.workers
        jobs = deque(pool.apply_async(_write, (number,)) for number in range(ahead))
        held: list[np.ndarray] = jobs.popleft().get()
        while True:
            while len(held[0]) < settings.rows * settings.pool:
                jobs.append(pool.apply_async(_write, (ahead,)))
                ahead += 1
                new = jobs.popleft().get()
                held = [np.concatenate(pair) for pair in zip(held, new, strict=True)]
            order = rng.permutation(len(held[0]))
            held = [array[order] for array in held]
            for _ in range(settings.pool // 2):
                yield [array[: settings.rows] for array in held]
                held = [array[settings.rows :] for array in held]


_tokenizer: Qwen2Tokenizer
_settings: Settings


def _prepare(folder: Path, settings: Settings) -> None:
    """Set up a worker process."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    global _tokenizer, _settings
    _tokenizer, _settings = Qwen2Tokenizer.from_pretrained(folder), settings


def _write(number: int) -> Arrays:
    """Write one chunk of dialogues and pack it into rows."""
    ids_of = _tokenizer.get_vocab()
    start, end, assistant = (ids_of[mark] for mark in ("<|im_start|>", "<|im_end|>", "assistant"))
    first = number * CHUNK
    texts = [render(dialogue(f"{_settings.seed}/{i}")) for i in range(first, first + CHUNK)]
    rows = Rows(_settings.row)
    for ids in _tokenizer(texts)["input_ids"]:
        tokens = np.array([*ids, _tokenizer.pad_token_id], dtype=np.uint16)
        rows.add(tokens, assistant_weights(tokens, start, end, assistant))
    return rows.arrays(_tokenizer.pad_token_id)


def assistant_weights(tokens: np.ndarray, start: int, end: int, assistant: int) -> np.ndarray:
    """Weigh each token: full inside assistant turns, their end mark included."""
    weights = np.full(len(tokens), CONTEXT, dtype=np.uint8)
    for at in np.flatnonzero(tokens == start):
        if tokens[at + 1] == assistant:
            stop = at + np.flatnonzero(tokens[at:] == end)[0]
            weights[at + 3 : stop + 1] = SPOKEN
    weights[0] = 0
    return weights


class Rows:
    """Dialogues packed into rows of fixed length."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.free: list[int] = []
        self.rows: list[list[tuple[np.ndarray, np.ndarray]]] = []

    def add(self, tokens: np.ndarray, weights: np.ndarray) -> None:
        """Put a dialogue into the row it fills best; one that is too long is dropped."""
        if len(tokens) > self.length:
            return
        fitting = [i for i, free in enumerate(self.free) if free >= len(tokens)]
        if not fitting:
            fitting = [len(self.rows)]
            self.free.append(self.length)
            self.rows.append([])
        best = min(fitting, key=self.free.__getitem__)
        self.free[best] -= len(tokens)
        self.rows[best].append((tokens, weights))

    def arrays(self, pad: int) -> Arrays:
        """Return the rows, the rest of each filled with `pad`."""
        shape = len(self.rows), self.length
        ids = np.full(shape, pad, dtype=np.uint16)
        weights, numbers = np.zeros(shape, dtype=np.uint8), np.full(shape, NOTHING, dtype=np.uint8)
        for index, row in enumerate(self.rows):
            at = 0
            for number, (tokens, weight) in enumerate(row):
                here = index, slice(at, at + len(tokens))
                ids[here], weights[here], numbers[here] = tokens, weight, number
                at += len(tokens)
        return [ids, weights, numbers]


# --- training ---------------------------------------------------------------------------------


def make_model(tokenizer: Qwen2Tokenizer, seed: int = 0) -> Qwen2ForCausalLM:
    """Return a model with random weights."""
    set_seed(seed)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=8,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return Qwen2ForCausalLM(config)  # type: ignore[no-untyped-call]


def optimizers(model: Qwen2ForCausalLM, settings: Settings) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices of the layers and AdamW for all else."""
    named = list(model.named_parameters())
    matrices = [p for n, p in named if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in named if p.ndim != 2 or "embed" in n]
    return [
        torch.optim.Muon(matrices, lr=settings.matrix_lr, weight_decay=0.01, momentum=0.95),
        torch.optim.AdamW(others, lr=settings.other_lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def schedule(step: int, settings: Settings) -> float:
    """Return the share of the learning rate at a step."""
    rising = (step + 1) / max(1, settings.steps * settings.warmup)
    falling = (settings.steps - step) / max(1, settings.steps * settings.cooldown)
    return min(1.0, rising, falling)


def loss_of(
    model: Any, ids: torch.Tensor, weights: torch.Tensor, mask: Any, positions: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weighted loss sum, and the loss sum over assistant tokens alone."""
    logits = model(
        input_ids=ids, attention_mask={"full_attention": mask}, position_ids=positions,
        use_cache=False,
    ).logits[:, :-1]  # fmt: skip
    each = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="none"
    )
    weight = weights[:, 1:].flatten()
    return (each * weight).sum(), (each * (weight == 1)).sum().detach()


class RowMask:
    """Lets each token see the earlier tokens of its own dialogue.

    On a GPU it gives a block mask for flex attention, whose rule reads `numbers`; elsewhere a
    boolean [B, 1, T, T].
    """

    def __init__(self, shape: tuple[int, int], device: str) -> None:
        self.numbers = numbers = torch.zeros(shape, dtype=torch.int32, device=device)

        def allowed(row: Any, head: Any, query: Any, key: Any) -> Any:
            return (query >= key) & (numbers[row, query] == numbers[row, key])

        self.allowed = allowed

    def update(self, numbers: torch.Tensor) -> Any:
        """Return the mask for new rows, given the dialogue number of each token."""
        self.numbers.copy_(numbers)
        rows, length = numbers.shape
        if self.numbers.is_cuda:
            return create_block_mask(self.allowed, rows, None, length, length, "cuda")
        same = self.numbers[:, None, :, None] == self.numbers[:, None, None, :]
        return same & torch.ones(length, length, dtype=torch.bool).tril()

    def positions(self) -> torch.Tensor:
        """Count positions from the start of each dialogue in a row."""
        at = torch.arange(self.numbers.shape[1], device=self.numbers.device)
        at = at.expand_as(self.numbers)
        new = torch.ones_like(self.numbers, dtype=torch.bool)
        new[:, 1:] = self.numbers[:, 1:] != self.numbers[:, :-1]
        return at - torch.where(new, at, 0).cummax(dim=1).values


def row_attention(
    module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
    attention_mask: Any, scaling: float, **kwargs: Any,
) -> tuple[torch.Tensor, None]:  # fmt: skip
    """Attend within dialogues of packed rows, in the form transformers calls attention."""
    query, key = query.to(value.dtype), key.to(value.dtype)
    if isinstance(attention_mask, BlockMask):
        out = flex_attention(
            query, key, value, block_mask=attention_mask, scale=scaling, enable_gqa=True
        )
    else:
        out = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=attention_mask, scale=scaling, enable_gqa=True
        )
    return out.transpose(1, 2).contiguous(), None


AttentionInterface.register("packed_rows", row_attention)


def train(
    model: Qwen2ForCausalLM, data: Iterator[Arrays], settings: Settings, log: Path
) -> tuple[float, int]:
    """Train in place.

    Returns:
        The loss of assistant tokens (nats a token), averaged over the last 50 steps, and the number
        of tokens trained on.
    """
    cuda = torch.cuda.is_available()
    device = "cuda" if cuda else "cpu"
    model.to(device).train()  # type: ignore[arg-type]
    model.config._attn_implementation = "packed_rows"
    stepper = torch.compile(loss_of) if cuda else loss_of
    tools = optimizers(model, settings)
    groups = [group for tool in tools for group in tool.param_groups]
    bases = [group["lr"] for group in groups]
    mask = RowMask((settings.micro, settings.row), device)
    recent: deque[float] = deque(maxlen=5)
    seen, started = 0, time.perf_counter()
    with log.open("w", encoding="utf-8") as file:
        for step, arrays in zip(range(settings.steps), data, strict=False):
            for group, base in zip(groups, bases, strict=True):
                group["lr"] = base * schedule(step, settings)
            seen += int((arrays[2] != NOTHING).sum())
            spoken = int((arrays[1][:, 1:] == SPOKEN).sum())
            total = float(arrays[1][:, 1:].sum(dtype=np.int64)) / SPOKEN
            heard = torch.zeros((), device=device)
            for first in range(0, settings.rows, settings.micro):
                part = [
                    torch.from_numpy(a[first : first + settings.micro].astype(np.int32)).to(device)
                    for a in arrays
                ]
                block = mask.update(part[2])
                with torch.autocast(device, torch.bfloat16):
                    loss, plain = stepper(
                        model, part[0].long(), part[1] / SPOKEN, block, mask.positions()
                    )
                (loss / total).backward()  # type: ignore[no-untyped-call]
                heard += plain
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for tool in tools:
                tool.step()
                tool.zero_grad()
            if step % 10 == 0 or step == settings.steps - 1:
                recent.append(heard.item() / spoken)
                seconds = round(time.perf_counter() - started, 1)
                row = {"step": step, "loss": round(recent[-1], 4), "seconds": seconds}
                file.write(json.dumps(row) + "\n")
                file.flush()
    return sum(recent) / len(recent), seen


# --- the whole story --------------------------------------------------------------------------


def pretrain(out: Path, settings: Settings) -> dict[str, Any]:
    """Write dialogues, train the tokenizer and the model, measure it, save it in `out`.

    Returns:
        The summary that is also written to `pretrain.json`.
    """
    out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    sample = range(settings.tokenizer_dialogues)
    tokenizer = train_tokenizer(render(dialogue(f"{settings.seed}/{i}")) for i in sample)
    tokenizer.save_pretrained(out)
    model = make_model(tokenizer, settings.seed)
    loss, seen = train(model, batches(out, settings), settings, out / "pretrain.jsonl")
    save(model, out)
    summary = {
        "settings": asdict(settings),
        "parameters": sum(p.numel() for p in model.parameters()),
        "tokens": seen,
        "loss": round(loss, 4),
        "seconds": round(time.perf_counter() - started),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "exam": exam(out, [dialogue(f"exam/{i}") for i in range(settings.exam)]),
    }
    (out / "pretrain.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return summary


def save(model: Qwen2ForCausalLM, out: Path) -> None:
    """Save the weights in bf16 with a generation config that is greedy."""
    model.generation_config.eos_token_id = model.config.eos_token_id
    model.generation_config.pad_token_id = model.config.pad_token_id
    model.to("cpu", torch.bfloat16).save_pretrained(out)  # type: ignore[arg-type]


def main() -> None:
    """Read the settings from the command line and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("out", type=Path, help="folder for the checkpoint")
    for name, value in asdict(Settings()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    arguments = vars(parser.parse_args())
    out = arguments.pop("out")
    print(json.dumps(pretrain(out, Settings(**arguments)), indent=1))


if __name__ == "__main__":
    main()

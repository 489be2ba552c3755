"""The second stage of making the embedded student: reading tool lists instead of guessing names.

    python -m distill.demo.student.tune BASE OUT [--steps N] [--row N] [--lr X] [--seed N]

All weights of a model that `pretrain` made are trained on with requests from `disguise`. A step
is one row: a tool list, stored once, and as many requests of it as fit, none of which sees another.
So the list is computed once for all of them, and a CPU is enough. Runs on the CPU, in bf16
products with float32 weights; OUT receives the checkpoint, `tune.jsonl` (the loss), `tune.json`.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AttentionInterface, Qwen2ForCausalLM, Qwen2Tokenizer, set_seed

from .disguise import requests
from .pretrain import SPOKEN, assistant_weights, save
from .tokenizer import render

REQUESTS = 24
"""Requests written for one tool list; those that do not fit into the row are left out."""


@dataclass(frozen=True)
class Settings:
    """Everything the result depends on, besides the code and the base."""

    steps: int = 1500
    row: int = 1536
    lr: float = 8e-4
    warmup: int = 30
    seed: int = 0


@dataclass(frozen=True)
class Row:
    """One tool list and requests of it."""

    ids: Tensor
    """[T] token ids."""
    positions: Tensor
    """[T] positions; every request goes on from the end of the list."""
    weights: Tensor
    """[T] 1 for tokens of the assistant, 0 for others."""
    hidden: Tensor
    """[T, T] True where a query does not see a key."""


def rows(tokenizer: Qwen2Tokenizer, settings: Settings) -> Iterator[Row]:
    """Yield rows for ever; lists that leave room for fewer than four requests are skipped."""
    number = 0
    while True:
        number += 1
        texts = [render(script) for script in requests(f"{settings.seed}/tune/{number}", REQUESTS)]
        samples = [np.array(ids) for ids in tokenizer(texts)["input_ids"]]
        same = np.stack([sample[: min(map(len, samples))] for sample in samples])
        shared = int((same == same[0]).all(0).argmin())
        kept, length = [], shared
        for sample in samples:
            if length + len(sample) - shared <= settings.row:
                kept.append(sample)
                length += len(sample) - shared
        if len(kept) >= 4:
            yield _row(kept, shared, tokenizer)


def _row(samples: list[np.ndarray], shared: int, tokenizer: Qwen2Tokenizer) -> Row:
    ids_of = tokenizer.get_vocab()
    marks = tuple(ids_of[mark] for mark in ("<|im_start|>", "<|im_end|>", "assistant"))
    parts = [samples[0][:shared], *(sample[shared:] for sample in samples)]
    owner = np.concatenate([np.full(len(part), index) for index, part in enumerate(parts)])
    start = [0, *(shared for _ in samples)]
    positions = [at + np.arange(len(part)) for at, part in zip(start, parts, strict=True)]
    spoken = [assistant_weights(sample, *marks)[shared:] == SPOKEN for sample in samples]
    order = np.arange(len(owner))
    seen = (order[:, None] >= order) & ((owner[:, None] == owner) | (owner == 0))
    return Row(
        torch.from_numpy(np.concatenate(parts)),
        torch.from_numpy(np.concatenate(positions)),
        torch.from_numpy(np.concatenate([np.zeros(shared, bool), *spoken])).float(),
        torch.from_numpy(~seen),
    )


def attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any,
    scaling: float, hidden: Tensor, **_: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """Attend under `hidden`; query heads are folded onto the key head they share."""
    groups = key.shape[1]
    length, width = query.shape[2:]
    folded = (query * scaling).reshape(1, groups, -1, width).to(value.dtype)
    scores = (folded @ key.to(value.dtype).transpose(2, 3)).view(1, groups, -1, length, length)
    shares = torch.softmax(scores.masked_fill(hidden, -torch.inf), -1)
    out = shares.view(1, groups, -1, length) @ value
    return out.reshape(1, -1, length, width).transpose(1, 2), None


AttentionInterface.register("shared_list", attend)


def loss_of(model: Any, row: Row) -> Tensor:
    """Return the mean loss of the assistant's tokens."""
    targets = torch.nonzero(row.weights[1:]).squeeze(1)
    # A request's first token is predicted by no token before it in the row; it has no weight.
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(
            input_ids=row.ids[None], position_ids=row.positions[None], hidden=row.hidden,
            logits_to_keep=targets, use_cache=False,
        ).logits[0]  # fmt: skip
    return torch.nn.functional.cross_entropy(logits.float(), row.ids[1:][targets])


def tune(base: Path, out: Path, settings: Settings) -> dict[str, Any]:
    """Train `base` on and save it in `out`; return the summary, also written to `tune.json`."""
    out.mkdir(parents=True, exist_ok=True)
    set_seed(settings.seed)
    tokenizer = Qwen2Tokenizer.from_pretrained(base)
    tokenizer.save_pretrained(out)
    model = Qwen2ForCausalLM.from_pretrained(
        base, dtype=torch.float32, attn_implementation="shared_list"
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.lr, betas=(0.9, 0.98))
    losses, started = [], time.perf_counter()
    with (out / "tune.jsonl").open("w", encoding="utf-8") as file:
        for step, row in zip(range(settings.steps), rows(tokenizer, settings), strict=False):
            rise = min(1.0, (step + 1) / settings.warmup)
            fall = 0.5 * (1 + math.cos(math.pi * step / settings.steps))
            for group in optimizer.param_groups:
                group["lr"] = settings.lr * rise * fall
            loss = loss_of(model, row)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
            line = {"step": step, "loss": round(losses[-1], 4)}
            file.write(json.dumps(line) + "\n")
            file.flush()
    save(model, out)
    last = losses[-50:]
    summary = {
        "settings": asdict(settings),
        "loss": round(sum(last) / len(last), 4),
        "seconds": round(time.perf_counter() - started),
    }
    (out / "tune.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return summary


def main() -> None:
    """Read the settings from the command line and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("base", type=Path, help="folder of a pretrained checkpoint")
    parser.add_argument("out", type=Path, help="folder for the new checkpoint")
    for name, value in asdict(Settings()).items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    arguments = vars(parser.parse_args())
    base, out = arguments.pop("base"), arguments.pop("out")
    print(json.dumps(tune(base, out, Settings(**arguments)), indent=1))


if __name__ == "__main__":
    main()

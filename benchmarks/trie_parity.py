"""Claim: a token trie changes neither the loss nor the gradient of the separate samples.

Small untrained Qwen2, Qwen3, Llama and Mistral models with LoRA on all linear layers; random tries
with several tool sets (prompts that share nothing), branches, duplicates, strict prefixes and
one-token samples; supervised (SFT) and preference (DPO, KTO) losses; one row and many. Reference:
every sample on its own through the model as transformers ships it, with peft's own LoRA layers and
torch's cross-entropy.

    python benchmarks/trie_parity.py                                    float32 on the CPU
    python benchmarks/trie_parity.py --device cuda --dtype bf16         the GPU path as it trains

On a GPU cuDNN attends to shared prompts of 64 tokens already, so that these tries have such.

In bf16 every sum is rounded, so the error is put beside those of ordinary changes of layout: the
same samples padded into one batch, and one after the other in one row (as trl packs). A second
table then has the distance of each layout from the same weights computed in float32. Prints tables,
and last one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from distill.student.render import Sample
from distill.train import cascade
from distill.train.attention import ALIGNMENT
from distill.train.lora import lora_config
from distill.train.model import prepare
from distill.train.preference import (
    AnswerCollator,
    answer_losses,
    exchanged,
    margins,
    movement,
    pair_tensors,
)
from distill.train.sft import edge_log_probs, row_tensors
from distill.train.trie import pack, pack_pairs, padded

VOCABULARY, BETA = 512, 0.1
Pairs = list[tuple[Sample, Sample]]
Gradients = dict[str, Tensor]
Layout = Callable[[nn.Module, list[Sample]], list[Tensor]]

SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 112,
    "intermediate_size": 240,
    "num_hidden_layers": 3,
    "max_position_embeddings": 4096,
}
ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {
    "qwen2": lambda: Qwen2ForCausalLM(  # 7 query heads a KV head, as in the 7B
        Qwen2Config(**SHAPE, num_attention_heads=7, num_key_value_heads=1)
    ),
    "qwen3": lambda: Qwen3ForCausalLM(
        Qwen3Config(**SHAPE, num_attention_heads=4, num_key_value_heads=2, head_dim=32)
    ),
    "llama": lambda: LlamaForCausalLM(
        LlamaConfig(**SHAPE, num_attention_heads=7, num_key_value_heads=7)
    ),
    "mistral": lambda: MistralForCausalLM(
        MistralConfig(**SHAPE, num_attention_heads=7, num_key_value_heads=1, sliding_window=None)
    ),
}


def sample(ids: list[int], first: int, weight: float = 1.0) -> Sample:
    weights = np.zeros(len(ids), np.float32)
    weights[first:] = weight
    return Sample(np.array(ids, np.int32), weights)


def draw(rng: np.random.Generator, low: int, high: int) -> list[int]:
    return rng.integers(0, VOCABULARY, rng.integers(low, high)).tolist()


def random_samples(rng: np.random.Generator) -> list[Sample]:
    """Draw the samples of one optimizer batch."""
    tool_sets = [draw(rng, 20, 400) for _ in range(rng.integers(1, 4))]
    samples = []
    for _ in range(rng.integers(4, 12)):
        prompt = tool_sets[rng.integers(len(tool_sets))] + draw(rng, 1, 40)
        first = prompt + draw(rng, 1, 30)
        samples.append(sample(first, len(prompt), float(rng.choice([0.5, 1.0, 2.0]))))
        longer = first + draw(rng, 1, 30)  # a later turn, whose prompt holds the first
        samples.append(sample(longer + draw(rng, 1, 30), len(longer)))
    samples.append(samples[0])
    samples.append(sample(samples[1].ids[:-1].tolist(), len(samples[1].ids) - 2))
    samples.append(sample(tool_sets[0][:1], 0))
    return samples


def random_pairs(rng: np.random.Generator) -> Pairs:
    """Draw pairs whose answers begin alike, some on the same prompt, one twice."""
    prompts = [draw(rng, 20, 300) for _ in range(3)]
    pairs = []
    for _ in range(rng.integers(3, 8)):
        prompt = prompts[rng.integers(3)] + draw(rng, 1, 20)
        alike = draw(rng, 0, 10) if rng.random() < 0.7 else []
        chosen, rejected = (prompt + alike + draw(rng, 1, 25) for _ in range(2))
        pairs.append((sample(chosen, len(prompt)), sample(rejected, len(prompt))))
    return [*pairs, pairs[0]]


def build(
    name: str, device: str, dtype: torch.dtype, *, trie: bool, layers: bool | None = None
) -> nn.Module:
    """Return the model with LoRA, the same weights whoever asks.

    Args:
        name: The architecture.
        device: Where.
        dtype: Of the base.
        trie: Whether it takes tries.
        layers: Whether the adapter's layers are ours too; as `trie` if left out.
    """
    torch.manual_seed(0)
    model = ARCHITECTURES[name]().to(device, dtype)
    if trie:
        prepare(model, compiled=device == "cuda")
    ours, plain = lora_config(4, 8.0), LoraConfig(r=4, lora_alpha=8, target_modules="all-linear")
    model = get_peft_model(model, ours if (trie if layers is None else layers) else plain)
    torch.manual_seed(1)
    for key, parameter in model.named_parameters():
        if "lora_B" in key:  # zero at the start, which would hide half of the gradient
            nn.init.normal_(parameter, std=0.1)
    return model.train()


def padded_log_probs(model: nn.Module, samples: list[Sample]) -> list[Tensor]:
    """Return the log-probability of every token after the first; one padded batch."""
    device = next(model.parameters()).device
    width = max(len(item.ids) for item in samples)
    ids = torch.zeros(len(samples), width, dtype=torch.long, device=device)
    real = torch.zeros_like(ids)
    for number, item in enumerate(samples):
        ids[number, : len(item.ids)] = torch.from_numpy(item.ids.astype(np.int64))
        real[number, : len(item.ids)] = 1
    logits = model(input_ids=ids, attention_mask=real, use_cache=False).logits[:, :-1]
    found = -nn.functional.cross_entropy(
        logits.float().transpose(1, 2), ids[:, 1:], reduction="none"
    )
    return [row[: len(item.ids) - 1] for row, item in zip(found, samples, strict=True)]


def packed_log_probs(model: nn.Module, samples: list[Sample]) -> list[Tensor]:
    """Return the same from one row without padding; positions tell where a sample begins."""
    device = next(model.parameters()).device
    flat = np.concatenate([item.ids for item in samples]).astype(np.int64)
    places = np.concatenate([np.arange(len(item.ids)) for item in samples])
    ids, position_ids = (torch.from_numpy(x)[None].to(device) for x in (flat, places))
    logits = model(input_ids=ids, position_ids=position_ids, use_cache=False).logits[0, :-1]
    found = -nn.functional.cross_entropy(logits.float(), ids[0, 1:], reduction="none")
    starts = np.cumsum([0, *(len(item.ids) for item in samples)])
    return [found[start : end - 1] for start, end in pairwise(starts.tolist())]


def separate_log_probs(model: nn.Module, samples: list[Sample]) -> list[Tensor]:
    """Return the same, every sample on its own."""
    return [padded_log_probs(model, [item])[0] for item in samples if len(item.ids) > 1]


def gradient_of(model: nn.Module, losses: list[Tensor]) -> Gradients:
    """Return the loss and the gradients of the adapter."""
    model.zero_grad()
    total = torch.stack(losses).sum()
    total.backward()
    trained = {n: p.grad.float().cpu() for n, p in model.named_parameters() if p.grad is not None}
    return {"loss": total.detach().float().cpu()} | trained


def plain_sft(model: nn.Module, samples: list[Sample], layout: Layout) -> Gradients:
    used = [item for item in samples if len(item.ids) > 1]
    weight = sum(float(item.weights[1:].sum()) for item in used)
    losses = []
    for found, item in zip(layout(model, used), used, strict=True):
        weights = torch.from_numpy(item.weights[1:]).to(found.device)
        losses.append(-(found * weights).sum() / weight)
    return gradient_of(model, losses)


def trie_sft(model: nn.Module, samples: list[Sample], row_tokens: int) -> Gradients:
    rows = [padded(row, ALIGNMENT) for row in pack(samples, row_tokens)]
    weight = sum(float(row.weights.sum()) for row in rows)
    losses = []
    for row in rows:
        tensors = {k: v.to(next(model.parameters()).device) for k, v in row_tensors(row).items()}
        losses.append(-(edge_log_probs(model, tensors) * tensors["weights"]).sum() / weight)
    return gradient_of(model, losses)


def plain_dpo(model: nn.Module, pairs: Pairs, layout: Layout) -> Gradients:
    samples = [item for pair in pairs for item in pair]

    def found() -> Tensor:
        sums = []
        for row, item in zip(layout(model, samples), samples, strict=True):
            sums.append((row * torch.from_numpy(item.weights[1:]).to(row.device)).sum())
        return torch.stack(sums[::2]) - torch.stack(sums[1::2])

    with torch.no_grad(), model.disable_adapter():
        reference = found()
    loss = -nn.functional.logsigmoid(BETA * (found() - reference)).mean()
    return gradient_of(model, [loss])


def trie_dpo(model: nn.Module, pairs: Pairs, row_tokens: int) -> Gradients:
    losses = []
    for row in pack_pairs(pairs, row_tokens):
        tensors = pair_tensors(padded(row, ALIGNMENT))
        tensors = {k: v.to(next(model.parameters()).device) for k, v in tensors.items()}
        with torch.no_grad(), model.disable_adapter():
            reference = margins(model, tensors)
        gain = BETA * (margins(model, tensors) - reference)
        losses.append(-nn.functional.logsigmoid(gain).sum() / len(pairs))
    return gradient_of(model, losses)


def plain_kto(model: nn.Module, pairs: Pairs, layout: Layout) -> Gradients:
    strange = [exchanged(pair, pairs[n - 1]) for n, pair in enumerate(pairs)]

    def found(answers: list[tuple[Sample, Sample]] | list[list[Sample]]) -> Tensor:
        samples = [item for pair in answers for item in pair]
        rows = zip(layout(model, samples), samples, strict=True)
        return torch.stack(
            [(row * torch.from_numpy(s.weights[1:]).to(row.device)).sum() for row, s in rows]
        )

    with torch.no_grad():
        with model.disable_adapter():
            reference, start = found(pairs), found(strange)
        moved = (found(strange) - start).mean().clamp(min=0)
    gain = BETA * (found(pairs) - reference - moved)
    right, wrong = gain.view(-1, 2).unbind(1)
    loss = (2 - torch.sigmoid(right) - torch.sigmoid(-wrong)).sum() / (2 * len(pairs))
    return gradient_of(model, [loss])


def trie_kto(model: nn.Module, pairs: Pairs, row_tokens: int) -> Gradients:
    device = next(model.parameters()).device
    numbers = [{"example": n} for n in range(len(pairs))]
    batch = AnswerCollator(pairs, row_tokens, ALIGNMENT)(numbers)
    rows, strange = (
        [{k: v.to(device) for k, v in row.items()} for row in batch[name]]
        for name in ("rows", "strange")
    )
    moved = (movement(model, strange) / (2 * len(pairs))).clamp(min=0)
    losses = []
    for row in rows:
        with torch.no_grad(), model.disable_adapter():
            reference = margins(model, row)
        gain = margins(model, row) - reference
        losses.append(answer_losses(gain, moved, BETA).sum() / (2 * len(pairs)))
    return gradient_of(model, losses)


def error(found: Gradients, expected: Gradients) -> float:
    """Return the largest error of any tensor, relative to its largest entry."""
    assert set(found) == set(expected)
    return max(float((found[k] - v).abs().max() / v.abs().max()) for k, v in expected.items())


LOSSES: dict[str, tuple[Any, Any, Any]] = {
    "sft": (random_samples, plain_sft, trie_sft),
    "dpo": (random_pairs, plain_dpo, trie_dpo),
    "kto": (random_pairs, plain_kto, trie_kto),
}
"""Loss -> what draws a batch, the loss of separate samples, the loss of tries."""


LAYOUTS: dict[str, Layout] = {
    "separate": separate_log_probs, "padded": padded_log_probs, "packed": packed_log_probs
}  # fmt: skip


@dataclass
class Errors:
    """The largest errors of the cases so far, by what is compared."""

    against_others: dict[str, list[float]] = field(default_factory=dict)
    """"trie against separate" and the like."""
    from_exact: dict[str, list[float]] = field(default_factory=dict)
    """The layout -> its errors against float32."""

    def compare(self, ways: dict[str, list[Gradients]], truth: Gradients | None) -> None:
        """Take in one case: [the gradients] of every layout, and those in float32."""
        (separate,), (padded_batch,) = ways["separate"], ways["padded"]
        for way, found in ways.items():
            if way != "separate":
                self._note(f"{way} against separate", [error(one, separate) for one in found])
            if truth is not None:
                self.from_exact.setdefault(way, []).extend(error(one, truth) for one in found)
        self._note("padded against packed", [error(padded_batch, ways["packed"][0])])

    def _note(self, what: str, errors: list[float]) -> None:
        self.against_others.setdefault(what, []).extend(errors)

    def worst(self, what: str, last: int = 0) -> float:
        """Return the largest of a comparison, or of its last entries."""
        return max(self.against_others[what][-last:])

    def print_rounding(self) -> None:
        """Print what bf16 does to each layout."""
        print(f"\n{'':36}{'largest':>10}{'mean':>10}   relative error")
        rows = self.against_others | {f"{k} against float32": v for k, v in self.from_exact.items()}
        for what, errors in rows.items():
            print(f"{what:36}{max(errors):10.1e}{statistics.mean(errors):10.1e}")


def exact(name: str, device: str, loss: str, seed: int) -> Gradients:
    """Return what the weights of the bf16 model give in float32, each sample on its own."""
    model = build(name, device, torch.bfloat16, trie=False).float()
    draw_batch, plain, _ = LOSSES[loss]
    found: Gradients = plain(model, draw_batch(np.random.default_rng(seed)), separate_log_probs)
    return found


def case(
    loss: str, plain_model: nn.Module, tries: dict[str, nn.Module], seed: int
) -> dict[str, list[Gradients]]:
    """Return the gradients of a batch in each layout; of tries in one row and in rows of 600."""
    draw_batch, plain, packed = LOSSES[loss]
    batch = draw_batch(np.random.default_rng(seed))
    ways = {way: [plain(plain_model, batch, layout)] for way, layout in LAYOUTS.items()}
    for way, model in tries.items():
        ways[way] = [packed(model, batch, row_tokens) for row_tokens in (1 << 20, 600)]
    return ways


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--dtype", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--architectures", default=",".join(ARCHITECTURES))
    parser.add_argument("--tries", type=int, default=5, help="random tries a model and loss")
    options = parser.parse_args()
    cascade.LEAST_KEYS, cascade.LEAST_AREA, cascade.QUERIES_STEP = 64, 2**14, 256
    dtype = torch.bfloat16 if options.dtype == "bf16" else torch.float32
    print(f"{'':18}{'trie':>10}{'padded':>10}   largest relative error against separate samples")
    rounded, errors, cases = options.dtype == "bf16", Errors(), 0
    for name in options.architectures.split(","):
        plain_model = build(name, options.device, dtype, trie=False)
        tries = {"trie": build(name, options.device, dtype, trie=True)}
        if rounded and options.device == "cpu":
            tries["trie, peft's layers"] = build(
                name, options.device, dtype, trie=True, layers=False
            )
        for loss in LOSSES:
            for seed in range(options.tries):
                truth = exact(name, options.device, loss, seed) if rounded else None
                errors.compare(case(loss, plain_model, tries, seed), truth)
                cases += 2
            mine = errors.worst("trie against separate", 2 * options.tries)
            usual = errors.worst("padded against separate", options.tries)
            print(f"{name:12}{loss:6}{mine:10.1e}{usual:10.1e}", flush=True)
    result = {
        "max_relative_error": errors.worst("trie against separate"),
        "cases": cases,
        "device": torch.cuda.get_device_name(0) if options.device == "cuda" else "cpu",
        "dtype": options.dtype,
        "against_others": {k: summary(v) for k, v in errors.against_others.items()},
        "from_float32": {k: summary(v) for k, v in errors.from_exact.items()},
    }
    if rounded:
        errors.print_rounding()
    print(json.dumps(result))


def summary(errors: list[float]) -> dict[str, float]:
    return {"max": max(errors), "mean": statistics.mean(errors)}


if __name__ == "__main__":
    main()

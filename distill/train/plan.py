"""What a run will cost, known before any weight is loaded, and how its rows are sized.

Tokens are counted on the batches of one shuffled epoch. Memory is an estimate from the shapes in
the base's config.json: weights, adapter and optimizer, what the backward pass keeps of the largest
row, and the logits of a chunk. Time is the work of the matrix products and of attention, at the
share of this machine's own matrix speed that training reaches.

On several ranks, a base that does not fit one GPU is sharded: a rank then holds its part of the
layers, and the few that are gathered.

On a GPU a row is as long as its memory allows. Layers are computed twice (gradient checkpointing)
only where the longest sample alone would not fit otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from distill.config import Config, Recipe
from distill.errors import TrainError
from distill.student.base import WEIGHTS, Base
from distill.student.families import read_json
from distill.student.render import Sample
from distill.train import ranks
from distill.train.data import Material
from distill.train.device import Device
from distill.train.model import LOGITS_AT_ONCE
from distill.train.trie import Row, pack, pack_pairs, share, share_pairs

_PROCESS_BYTES = 700 * 2**20
"""Of Python and the libraries themselves."""
_USABLE = 0.9
"""Share of a GPU's memory that is planned with; the rest is the allocator's."""
_CPU_ROW_TOKENS = 16384
_FOUR_BITS = 0.516
"""Bytes a weight in 4 bits, with the doubly quantised scale of every 64."""
_GATHERED = 3
"""Layers in whole on a rank with a sharded base: one at work, the next received and unpacked."""
_RANKS = (2, 4, 8, 16, 32, 64)
"""What is proposed where one GPU does not suffice."""
_EFFICIENCY = 0.5
"""Share of the matrix speed that a training step reaches."""


@dataclass(frozen=True)
class Plan:
    """Sizes of a run."""

    examples: int
    validation: int
    dropped: dict[str, int]
    samples: int
    recipe: Recipe
    """Rank, epochs, learning rate and optimizer steps."""
    logical_tokens: int
    """Of all epochs, every sample on its own."""
    executed_tokens: int
    """Of all epochs, as packed."""
    row_tokens: int
    """Most distinct tokens of a row."""
    checkpointing: bool
    """Whether layers are computed twice to save memory."""
    sharded: bool
    """Whether the base is shared out over the ranks."""
    memory_bytes: int
    flop: float
    """Of all epochs."""

    @property
    def sharing(self) -> float:
        """How many times fewer tokens are computed than the samples have."""
        return self.logical_tokens / self.executed_tokens

    def seconds(self, device: Device) -> float:
        """Estimate how long the steps take; a short measurement of the device."""
        return self.flop / (_EFFICIENCY * device.matrix_flop_per_s() * ranks.count())


def make_plan(config: Config, base: Base, material: Material, device: Device) -> Plan:
    """Count and estimate.

    Args:
        config: The distillation.
        base: Its base model.
        material: Its rendered data set.
        device: Where it would run.

    Raises:
        TrainError: The base does not fit the GPU, nor its part where it can be sharded.
    """
    recipe = config.train.recipe(len(material.train))
    shape = _Shape(base, recipe.rank, device, config.train.method)
    longest = max(len(s.ids) for split in (material.train, material.validation)
                  for samples in split for s in samples)  # fmt: skip
    memory = device.memory_bytes
    sharded = _shards(config, shape, longest, memory)
    if sharded:
        shape = shape.shared(ranks.count())
    if not shape.fits(longest, memory):
        raise TrainError(_too_large(config, shape, longest, memory))
    row_tokens, checkpointing = shape.rows(longest, memory, config.train.row_tokens)
    size = config.train.batch_size
    order = np.random.default_rng(config.train.seed).permutation(len(material.train)).tolist()
    rows = [
        row
        for start in range(0, len(order), size)
        for row in _rows(config, [material.train[i] for i in order[start : start + size]],
                         row_tokens)
    ]  # fmt: skip
    epochs, objective = recipe.epochs, config.train.objective
    # Forward, the gradient of the inputs as much again; frozen weights have none. The reference of
    # kto, and its drift, are about three more.
    passes = 2 + checkpointing + {"sft": 0, "dpo": 1, "kto": 3}[objective]
    passes += config.train.method == "full"
    return Plan(
        examples=len(material.train),
        validation=len(material.validation),
        dropped=dict(material.dropped),
        samples=sum(len(samples) for samples in material.train),
        recipe=recipe,
        logical_tokens=round(epochs * sum(row.logical for row in rows)),
        executed_tokens=round(epochs * sum(len(row.ids) for row in rows)),
        row_tokens=row_tokens,
        checkpointing=checkpointing,
        sharded=sharded,
        memory_bytes=max(shape.memory(row, checkpointing) for row in rows),
        flop=epochs * sum(shape.forward_flop(row) for row in rows) * passes,
    )


def _rows(config: Config, batch: Sequence[Sequence[Sample]], row_tokens: int) -> Sequence[Row]:
    objective = config.train.objective
    if objective != "sft":
        pairs = [(chosen, rejected) for chosen, rejected in batch]
        shares = (share_pairs(pairs, rank, ranks.count()) for rank in range(ranks.count()))
        return [
            row
            for part in shares
            if part
            for row in pack_pairs(part, row_tokens, apart=objective == "kto")
        ]
    samples = [sample for samples in batch for sample in samples]
    parts = (share(samples, rank, ranks.count()) for rank in range(ranks.count()))
    return [row for part in parts for row in pack(part, row_tokens)]


def _shards(config: Config, shape: _Shape, longest: int, memory: int | None) -> bool:
    wanted, method = config.train.shard, config.train.method
    if wanted is None:
        return ranks.count() > 1 and method == "lora" and not shape.fits(longest, memory)
    if wanted and method != "lora":
        raise TrainError(
            f"train.method {method!r} cannot be sharded; set train.method to 'lora', or leave "
            "train.shard out"
        )
    if wanted and ranks.count() == 1:
        raise TrainError(
            "train.shard is true, but there is one rank; start `torchrun --nproc-per-node=2 -m "
            "distill train CONFIG`, or leave train.shard out"
        )
    return wanted


def _too_large(config: Config, shape: _Shape, longest: int, memory: int | None) -> str:
    """Say what does not fit, and what would."""
    assert memory is not None
    advice = "lower train.max_length or take a smaller student.base"
    many = (n for n in _RANKS if n > ranks.count() and shape.shared(n).fits(longest, memory))
    if config.train.method != "lora":
        advice += f"; train.method {config.train.method!r} cannot be sharded over more GPUs"
    elif config.train.shard is False and ranks.count() > 1:
        advice = f"leave train.shard out, {advice}"
    elif count := next(many, None):
        advice = f"start `torchrun --nproc-per-node={count} -m distill train CONFIG`, {advice}"
    return (
        f"the base and a sample of {longest} tokens need more than a GPU's "
        f"{memory / 2**30:.0f} GiB; {advice}"
    )


class _Shape:
    """What the base's shapes say about memory and work."""

    def __init__(self, base: Base, rank: int, device: Device, method: str) -> None:
        shape: dict[str, Any] = read_json(base.folder / "config.json")
        self._gpu = device.kind == "cuda"
        self._bytes: int = device.dtype.itemsize
        self._vocabulary: int = shape["vocab_size"]
        self._layers: int = shape["num_hidden_layers"]
        self._hidden: int = shape["hidden_size"]
        self._inner: int = shape["intermediate_size"]
        self._heads: int = shape["num_attention_heads"]
        width: int = shape.get("head_dim") or self._hidden // self._heads
        self._queries: int = width * self._heads
        self._keys: int = width * (shape.get("num_key_value_heads") or self._heads)
        self._weights: int = sum(path.stat().st_size for path in base.folder.glob(WEIGHTS))
        widths = [self._hidden + self._queries, self._hidden + self._keys] * 2
        widths += [self._hidden + self._inner] * 3
        self._trained: int = rank * sum(widths) * self._layers
        precision = str(shape.get("dtype") or shape.get("torch_dtype") or "float32")
        stored = 4 if precision == "float32" else 2
        matrices = 1 if shape.get("tie_word_embeddings") else 2
        self._ends = stored * matrices * self._vocabulary * self._hidden
        if method == "qlora":
            attention = 2 * self._hidden * (self._queries + self._keys)
            linear = self._layers * (attention + 3 * self._hidden * self._inner)
            self._weights -= round(linear * (stored - _FOUR_BITS))
            self._weights += self._hidden * self._inner * self._bytes  # one layer's, unpacked
        if method == "full":
            self._trained = self._weights // stored
            self._weights = self._trained * self._bytes if self._bytes < 4 else 0  # for autocast
        self._held = self._weights  # by one rank

    def shared(self, parts: int) -> _Shape:
        """Return the shape of a base whose layers lie on so many ranks."""
        layers = self._weights - self._ends
        found = copy(self)
        found._held = round(self._ends + layers / parts + _GATHERED * layers / self._layers)
        return found

    def fits(self, longest: int, memory: int | None) -> bool:
        """Whether the longest sample can be trained on, on a GPU at least by computing twice."""
        return memory is None or self._row_tokens(memory, checkpointing=True) >= longest

    def rows(self, longest: int, memory: int | None, wanted: int | None) -> tuple[int, bool]:
        """Return the most tokens of a row, and whether layers are computed twice."""
        if memory is None:
            return wanted or _CPU_ROW_TOKENS, False
        checkpointing = self._row_tokens(memory, checkpointing=False) < longest
        return wanted or self._row_tokens(memory, checkpointing), checkpointing

    def _row_tokens(self, memory: int, checkpointing: bool) -> int:
        left = _USABLE * memory - self._fixed(LOGITS_AT_ONCE)
        return int(left / self._kept_a_token(checkpointing))

    def memory(self, row: Row, checkpointing: bool) -> int:
        kept = len(row.ids) * self._kept_a_token(checkpointing)
        if not self._gpu:  # attention keeps its probabilities
            kept += self._heads * float(row.depth.sum()) * self._layers * self._bytes
        logits = min(LOGITS_AT_ONCE, len(row.labels) * self._vocabulary)
        return int(self._fixed(logits) + kept)

    def forward_flop(self, row: Row) -> float:
        widths = 2 * (self._queries + self._keys) + 3 * self._inner
        products = len(row.ids) * self._hidden * widths * self._layers
        products += len(row.labels) * self._hidden * self._vocabulary
        pairs = float(row.depth.sum()) + len(row.ids)
        return 2 * products + 4 * pairs * self._queries * self._layers

    def _fixed(self, logits: int) -> float:
        optimizer = 16 * self._trained  # weight, gradient and two moments in float32
        return _PROCESS_BYTES + self._held + optimizer + 3 * 4 * logits

    def _kept_a_token(self, checkpointing: bool) -> float:
        """Return the bytes a token leaves behind for the backward pass."""
        hidden = 5 if self._gpu else 10  # compiled layers keep what cannot be had again cheaply
        inner = 3 if self._gpu else 4
        layer = hidden * self._hidden + inner * self._inner + 2 * (self._queries + self._keys)
        if checkpointing:
            return (self._layers * self._hidden + 2 * layer) * self._bytes
        return self._layers * layer * self._bytes

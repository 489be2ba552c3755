"""What a run will cost, known before any weight is loaded.

Tokens are counted on the batches of one shuffled epoch. Memory is an estimate from the shapes in
the base's config.json: weights, what the backward pass keeps of the largest row, and the logits of
its supervised positions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from distill.config import Config
from distill.student.base import WEIGHTS, Base
from distill.student.families import read_json
from distill.train.data import Material
from distill.train.device import Device
from distill.train.trie import Row, pack
from distill.types import Json

_PROCESS_BYTES = 700 * 2**20
"""Of Python and the libraries themselves."""


@dataclass(frozen=True)
class Plan:
    """Sizes of a run."""

    examples: int
    validation: int
    dropped: dict[str, int]
    samples: int
    steps: int
    logical_tokens: int
    """Of all epochs, every sample on its own."""
    executed_tokens: int
    """Of all epochs, as packed."""
    memory_bytes: int

    @property
    def sharing(self) -> float:
        """How many times fewer tokens are computed than the samples have."""
        return self.logical_tokens / self.executed_tokens


def make_plan(config: Config, base: Base, material: Material, device: Device) -> Plan:
    """Count and estimate.

    Args:
        config: The distillation.
        base: Its base model.
        material: Its rendered data set.
        device: Where it would run.
    """
    size = config.train.batch_size
    order = np.random.default_rng(config.train.seed).permutation(len(material.train)).tolist()
    batches = [order[i : i + size] for i in range(0, len(order), size)]
    rows = [
        row
        for batch in batches
        for row in pack([s for i in batch for s in material.train[i]], config.train.row_tokens)
    ]
    epochs = config.train.epochs
    return Plan(
        examples=len(material.train),
        validation=len(material.validation),
        dropped=dict(material.dropped),
        samples=sum(len(samples) for samples in material.train),
        steps=total_steps(config, len(material.train)),
        logical_tokens=round(epochs * sum(row.logical for row in rows)),
        executed_tokens=round(epochs * sum(len(row.ids) for row in rows)),
        memory_bytes=_memory(base, rows, device),
    )


def total_steps(config: Config, examples: int) -> int:
    """Return the optimizer steps of a whole run."""
    return math.ceil(config.train.epochs * math.ceil(examples / config.train.batch_size))


def _memory(base: Base, rows: list[Row], device: Device) -> int:
    shape = read_json(base.folder / "config.json")
    weights = sum(path.stat().st_size for path in base.folder.glob(WEIGHTS))
    per_layer = max(_kept_values(shape, row, device) for row in rows)
    logits = 3 * shape["vocab_size"] * max(len(row.labels) for row in rows)
    kept = per_layer * shape["num_hidden_layers"] * device.dtype.itemsize
    return int(_PROCESS_BYTES + weights + kept + 4 * logits)


def _kept_values(shape: dict[str, Json], row: Row, device: Device) -> int:
    """Return the values a row leaves behind in one layer for the backward pass."""
    hidden, heads = shape["hidden_size"], shape["num_attention_heads"]
    head = shape.get("head_dim") or hidden // heads
    projections = head * (2 * heads + 4 * (shape.get("num_key_value_heads") or heads))
    kept = len(row.ids) * (10 * hidden + 4 * shape["intermediate_size"] + projections)
    if device.kind == "cpu":  # attention keeps its probabilities
        kept += heads * int(row.depth.sum())
    return int(kept)

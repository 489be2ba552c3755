"""From a data set on disk to rendered samples, with a count of what was left out and why.

An example that is longer than `train.max_length`, that the student's format cannot express, or
that has no supervised turn is dropped and counted. Nothing is ever cut.

For preference training an "example" is a pair: two samples, chosen and rejected. `pairs.jsonl` has
no splits, so a tenth of its keys is held out for validation, chosen by their hash.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from distill.config import Config
from distill.dataset import (
    PAIRS,
    TRAIN,
    VALIDATION,
    DatasetInfo,
    Pair,
    dataset_hash,
    read_examples,
    read_info,
    read_pairs,
)
from distill.errors import DatasetError, StudentError, TrainError
from distill.student.render import Renderer, Sample
from distill.toolsets import load_toolset
from distill.types import AssistantMessage, Example


@dataclass(frozen=True)
class Material:
    """What a run trains and validates on: per example, its samples."""

    info: DatasetInfo
    hash: str
    """Of the files as they are now."""
    train: list[list[Sample]]
    """For preference training: [chosen, rejected] of each pair."""
    validation: list[list[Sample]]
    dropped: Counter[str] = field(default_factory=Counter)
    """Reason -> examples."""
    families: list[str] = field(default_factory=list)
    """Of each training example; of a pair, its key."""


def load_material(config: Config, renderer: Renderer) -> Material:
    """Read and render the data set of a config.

    Raises:
        DatasetError: It is missing, malformed or empty, or all of it was dropped.
        TrainError: The tool set changed since it was built.
    """
    info = read_info(config.dataset_dir)
    _check_toolset(config, info)
    dropped: Counter[str] = Counter()
    folder, longest = config.dataset_dir, config.train.max_length
    if config.train.objective != "sft":
        found, families = _pairs(folder / PAIRS, renderer, longest, dropped)
        content = hashlib.sha256((folder / PAIRS).read_bytes()).hexdigest()[:16]
    else:
        splits = [read_examples(folder / name) for name in (TRAIN, VALIDATION)]
        kept = [_rendered(split, renderer, longest, dropped) for split in splits]
        found = [list(split.values()) for split in kept]
        families = [str(splits[0][n].meta.get("family", n)) for n in kept[0]]
        content = dataset_hash(folder)
    if not found[0]:
        _refuse_empty(config, dropped)
    return Material(info, content, found[0], found[1], dropped, families)


def _check_toolset(config: Config, info: DatasetInfo) -> None:
    current = load_toolset(config.toolset_dir).toolset
    if current.hash != info.toolset_hash:
        raise TrainError(
            f"tool set {current.name!r} is now {current.hash!r}, but the data set in "
            f"{str(config.dataset_dir)!r} was built with {info.toolset_hash!r}; undo the change, "
            "or run `distill collect` and `distill filter` again"
        )


def _rendered(
    examples: list[Example], renderer: Renderer, max_length: int, dropped: Counter[str]
) -> dict[int, list[Sample]]:
    """Return the samples of each example that is kept, by its number."""
    kept = {}
    for number, example in enumerate(examples):
        try:
            samples = renderer.render(example)
        except StudentError as error:
            dropped[str(error)] += 1
            continue
        if not samples:
            dropped["no turn to train on"] += 1
        elif max(len(sample.ids) for sample in samples) > max_length:
            dropped[f"longer than train.max_length ({max_length})"] += 1
        else:
            kept[number] = samples
    return kept


def _pairs(
    path: Path, renderer: Renderer, max_length: int, dropped: Counter[str]
) -> tuple[list[list[list[Sample]]], list[str]]:
    """Return the rendered pairs to train on and those held out, and the keys of the first."""
    found: list[list[list[Sample]]] = [[], []]
    keys = list[str]()
    for pair in read_pairs(path):
        try:
            both = [_answered(pair, answer, renderer) for answer in (pair.chosen, pair.rejected)]
        except StudentError as error:
            dropped[str(error)] += 1
            continue
        if max(len(sample.ids) for sample in both) > max_length:
            dropped[f"longer than train.max_length ({max_length})"] += 1
        elif np.array_equal(both[0].ids, both[1].ids):
            dropped["chosen and rejected read the same in the student's format"] += 1
        else:
            found[_held_out(pair.key)].append(both)
            keys += [] if _held_out(pair.key) else [pair.key]
    return found, keys


def _answered(pair: Pair, answer: AssistantMessage, renderer: Renderer) -> Sample:
    for call in answer.tool_calls:
        try:
            call.parsed()
        except ValueError as error:
            raise StudentError("a call's arguments are no JSON object") from error
    messages = (*pair.messages, answer)
    turns = sum(isinstance(message, AssistantMessage) for message in messages)
    weights = (0.0,) * (turns - 1) + (1.0,)
    (sample,) = renderer.render(Example(messages=messages, tools=pair.tools, weights=weights))
    return sample


def _held_out(key: str) -> bool:
    return hashlib.sha256(key.encode()).digest()[0] % 10 == 0


def _refuse_empty(config: Config, dropped: Counter[str]) -> None:
    folder = str(config.dataset_dir)
    if not dropped:
        what = "pairs" if config.train.objective != "sft" else "training examples"
        raise DatasetError(f"no {what} in {folder!r}; see rejects.jsonl there for why")
    (reason, count), *_ = dropped.most_common(1)
    raise DatasetError(
        f"none of the examples in {folder!r} can be trained on: {count} of {dropped.total()} were "
        f"dropped: {reason}"
    )

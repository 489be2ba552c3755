"""From a data set on disk to rendered samples, with a count of what was left out and why.

An example that is longer than `train.max_length`, that the student's format cannot express, or
that has no supervised turn is dropped and counted. Nothing is ever cut.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from distill.config import Config
from distill.dataset import TRAIN, VALIDATION, DatasetInfo, dataset_hash, read_examples, read_info
from distill.errors import DatasetError, StudentError, TrainError
from distill.student.render import Renderer, Sample
from distill.toolsets import load_toolset
from distill.types import Example


@dataclass(frozen=True)
class Material:
    """What a run trains and validates on: per example, its samples."""

    info: DatasetInfo
    hash: str
    """Of the files as they are now."""
    train: list[list[Sample]]
    validation: list[list[Sample]]
    dropped: Counter[str] = field(default_factory=Counter)
    """Reason -> examples."""


def load_material(config: Config, renderer: Renderer) -> Material:
    """Read and render the data set of a config.

    Raises:
        DatasetError: It is missing, malformed or empty, or all of it was dropped.
        TrainError: The tool set changed since it was built.
    """
    info = read_info(config.dataset_dir)
    _check_toolset(config, info)
    dropped: Counter[str] = Counter()
    splits = []
    for name in (TRAIN, VALIDATION):
        examples = read_examples(config.dataset_dir / name)
        splits.append(_rendered(examples, renderer, config.train.max_length, dropped))
    if not splits[0]:
        _refuse_empty(config, dropped)
    return Material(info, dataset_hash(config.dataset_dir), splits[0], splits[1], dropped)


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
) -> list[list[Sample]]:
    kept = []
    for example in examples:
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
            kept.append(samples)
    return kept


def _refuse_empty(config: Config, dropped: Counter[str]) -> None:
    folder = str(config.dataset_dir)
    if not dropped:
        raise DatasetError(f"no training examples in {folder!r}; see rejects.jsonl there for why")
    (reason, count), *_ = dropped.most_common(1)
    raise DatasetError(
        f"none of the examples in {folder!r} can be trained on: {count} of {dropped.total()} were "
        f"dropped: {reason}"
    )

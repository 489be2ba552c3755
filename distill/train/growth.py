"""`distill train --curve`: does the student get better with more traces?

The student is trained on an eighth, a quarter, a half and all of the training rows, each part
within the next, with rank, epochs and learning rate of the whole. Families of tasks are never
divided. Each of them answers the same validation turns greedily. The parts are runs of their own,
in `curve/` of the run's folder; all rows are the run itself. Each is resumed or left alone like any
run.

    runs/<name>/curve.json
        {"points": [{"rows": 120, "tokens": 310220, "loss": 0.41,
                     "accuracy": {"value": 0.62, "low": 0.55, "high": 0.69, "n": 200}}]}

`tokens` are those of the rows' samples, `loss` and `accuracy` are of the checkpoint that was kept.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console

from distill.config import Config
from distill.errors import TrainError
from distill.proportion import Z95, wilson
from distill.student.base import Base
from distill.trackers import check_trackers
from distill.train import ranks
from distill.train.accuracy import Exam
from distill.train.data import Material
from distill.train.device import choose_device
from distill.train.logs import quiet
from distill.train.model import load_trained
from distill.train.runner import prepared, train_on
from distill.types import Frozen

FILE = "curve.json"
SHARES = (0.125, 0.25, 0.5, 1.0)
TURNS = 200
"""Validation turns answered for each point."""
_LESS_LOSS = 0.02
"""A share of the loss that is worth more traces."""


class Share(Frozen):
    """A measured share with its 95% interval (Wilson)."""

    value: float
    low: float
    high: float
    n: int
    """Of how many."""


class Point(Frozen):
    """One size of the data."""

    rows: int
    tokens: int
    loss: float
    accuracy: Share


class Growth(Frozen):
    """A learning curve, smallest part first."""

    points: tuple[Point, ...]


def grow(config: Config, console: Console) -> Growth | None:
    """Train on growing parts of the data set and measure each.

    Returns:
        The curve; None when it was interrupted: run it again to go on.

    Raises:
        DistillError: Something that training needs is missing or does not fit.
        TrainError: There is nothing to validate on, or too few families to divide.
    """
    if ranks.count() > 1:
        raise TrainError("--curve runs in one process; start it without torchrun")
    check_trackers("train.track", config.train.track)
    base, material, tokenizer = prepared(config)
    parts = nested_parts(material.families, config.train.seed)
    if len(parts) < 2 or not material.validation:
        raise TrainError(
            f"data set {str(config.dataset_dir)!r} has {len(set(material.families))} families and "
            f"{len(material.validation)} validation rows; a curve needs several of each"
        )
    folder, points = config.run_dir, list[Point]()
    for part in parts:
        whole = len(part) == len(material.train)
        console.print(f"[bold]{len(part)} of {len(material.train)} rows[/]")
        now = config if whole else _smaller(config, len(part), len(material.train))
        result = train_on(now, base, _part(material, part), tokenizer, console)
        if result.manifest is None:
            return None
        points.append(_measured(now, base, _part(material, part), tokenizer))
        _write(folder / FILE, Growth(points=tuple(points)))
    return Growth(points=tuple(points))


def nested_parts(families: Sequence[str], seed: int) -> list[list[int]]:
    """Return row numbers of growing parts, each within the next, without dividing a family."""

    def drawn(family: str) -> bytes:
        return hashlib.sha256(f"{seed}/{family}".encode()).digest()

    rows: dict[str, list[int]] = {}
    for number, family in enumerate(families):
        rows.setdefault(family, []).append(number)
    ordered = [rows[family] for family in sorted(rows, key=drawn)]
    parts = []
    for share in SHARES:
        part = list[int]()
        for numbers in ordered:
            if len(part) >= share * len(families):
                break
            part += numbers
        parts.append(sorted(part))
    return [part for n, part in enumerate(parts) if part not in parts[:n]]


def in_words(growth: Growth) -> str:
    """Say whether more traces would help."""
    before, last = growth.points[-2:]
    gain = last.accuracy.value - before.accuracy.value
    error = Z95 * math.sqrt(sum(_variance(point.accuracy) for point in (before, last)))
    fell = 1 - last.loss / before.loss
    found = (
        f"from {before.rows} to {last.rows} rows, accuracy changed by {gain:+.1%} "
        f"(interval {gain - error:+.1%} to {gain + error:+.1%}) and the loss by {-fell:+.1%}"
    )
    if gain > error:
        return f"More traces would help: {found}."
    if gain < -error:
        return f"More traces did harm: {found}. Look at what the later ones teach."
    if fell > _LESS_LOSS:
        return f"More traces may help: {found}; the loss still falls."
    return f"More traces of this kind would hardly help: {found}."


def _variance(share: Share) -> float:
    return share.value * (1 - share.value) / share.n


def _smaller(config: Config, rows: int, whole: int) -> Config:
    """Return the config of a part: its own folder, everything else as for the whole."""
    recipe = config.train.recipe(whole)
    fixed = {"epochs": recipe.epochs, "learning_rate": recipe.learning_rate}
    if recipe.rank:
        fixed["rank"] = recipe.rank
    output = str(config.run_dir / "curve" / f"{rows}")
    train = config.train.model_copy(update=fixed | {"output": output})
    return config.model_copy(update={"train": train})


def _part(material: Material, part: Sequence[int]) -> Material:
    if len(part) == len(material.train):
        return material
    numbers = ",".join(map(str, part))
    return replace(
        material,
        hash=f"{material.hash}/{hashlib.sha256(numbers.encode()).hexdigest()[:16]}",
        train=[material.train[number] for number in part],
        families=[material.families[number] for number in part],
    )


def _measured(config: Config, base: Base, material: Material, tokenizer: object) -> Point:
    """Return the point of a finished run; asked once, then read."""
    run = config.run_dir
    kept = run / "point.json"
    try:
        return Point.model_validate_json(kept.read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        pass
    sft = config.train.objective == "sft"
    answers = [s for each in material.validation for s in (each if sft else each[:1])]
    exam = Exam(answers, TURNS, tokenizer, base.family)
    with quiet(None):
        model, manifest = load_trained(base, choose_device(), run)
        right = exam.accuracy(model)
    low, high = wilson(round(right * len(exam)), len(exam))
    point = Point(
        rows=len(material.train),
        tokens=sum(len(sample.ids) for samples in material.train for sample in samples),
        loss=manifest.metrics["eval_loss"],
        accuracy=Share(value=right, low=low, high=high, n=len(exam)),
    )
    _write(kept, point)
    return point


def _write(path: Path, value: Frozen) -> None:
    prepared = path.with_name(path.name + ".part")
    prepared.write_text(value.model_dump_json(indent=1) + "\n", encoding="utf-8")
    prepared.replace(path)
